//! Revocation of authorities: an annotation with a time on the Secret.

use azwi_json::printable;
use k8s_openapi::jiff::Timestamp;
use thiserror::Error;
use time::OffsetDateTime;

/// Authorities made before this time are neither used nor trusted.
pub(super) const ANNOTATION: &str = "azure.workload.identity/revoke-before";
/// How much of an invalid value is shown.
const LONGEST_VALUE: usize = 64;

#[derive(Debug, PartialEq, Eq, Error)]
pub(super) enum RevocationError {
    #[error("{0:?} is no time such as 2026-01-31T08:00:00Z")]
    NoTime(String),
    /// The time is in the future; until then each new authority would be revoked.
    #[error("{0} is in the future")]
    Future(String),
}

/// Parses the annotation's value, in whole seconds like the times in certificates.
///
/// # Errors
/// The value is not a time, or is in the future.
pub(super) fn revoke_before(value: &str, now: OffsetDateTime) -> Result<OffsetDateTime, RevocationError> {
    let shown = || printable(value, LONGEST_VALUE);
    let time: Timestamp = value.trim().parse().map_err(|_| RevocationError::NoTime(shown()))?;
    let time = OffsetDateTime::from_unix_timestamp(time.as_second())
        .map_err(|_| RevocationError::NoTime(shown()))?;
    if time > now { Err(RevocationError::Future(shown())) } else { Ok(time) }
}

#[cfg(test)]
mod tests {
    use time::{Duration, OffsetDateTime};

    use super::{RevocationError, revoke_before};

    fn now() -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap()
    }

    #[test]
    fn times_are_read_in_whole_seconds() {
        for value in ["2027-01-15T08:00:00Z", " 2027-01-15T09:00:00+01:00\n", "2027-01-15T08:00:00.999Z"] {
            assert_eq!(revoke_before(value, now()), Ok(now()), "{value}");
        }
    }

    #[test]
    fn what_is_no_time_or_has_not_come_revokes_nothing() {
        for value in
            ["", "now", "true", "2027-01-15", "2027-01-15T08:00:00", "1800000000", "9999999-01-01T00:00:00Z"]
        {
            assert_eq!(revoke_before(value, now()), Err(RevocationError::NoTime(value.to_owned())));
        }
        let soon = "2027-01-15T08:00:01Z";
        assert_eq!(revoke_before(soon, now()), Err(RevocationError::Future(soon.to_owned())));
        assert_eq!(revoke_before(soon, now() + Duration::SECOND), Ok(now() + Duration::SECOND));
        let RevocationError::NoTime(shown) = revoke_before(&"x\n".repeat(999), now()).unwrap_err() else {
            panic!("it is no time")
        };
        assert_eq!(shown, format!("{}…", "x".repeat(64)));
    }
}
