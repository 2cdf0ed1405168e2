//! Lifetime of the projected token.

use super::go_int::parse_int;
use crate::bounds::LONGEST_IDENTITY;
use crate::config::TOKEN_EXPIRATION_SECONDS;
use crate::denial::Denial;
use crate::names::TOKEN_EXPIRATION_ANNOTATION;

/// Seconds from the pod's annotation, then the service account's, then the setting. An empty annotation counts as
/// absent.
///
/// # Errors
/// The annotation used is not an integer or out of bounds; upstream's error text.
pub(crate) fn token_expiration(
    pod: Option<&str>,
    service_account: Option<&str>,
    default: i64,
) -> Result<i64, Denial> {
    let annotated = [pod, service_account].into_iter().flatten().find(|value| !value.is_empty());
    let Some(value) = annotated else { return Ok(default) };
    // Of a longer one only the beginning is kept.
    if pod.is_none_or(str::is_empty) && value.len() > LONGEST_IDENTITY {
        return Err(Denial::invalid(format!(
            "annotation {TOKEN_EXPIRATION_ANNOTATION} must be at most {LONGEST_IDENTITY} bytes long"
        )));
    }
    let seconds = parse_int(value, 64).map_err(Denial::invalid)?;
    if !TOKEN_EXPIRATION_SECONDS.contains(&seconds) {
        return Err(Denial::invalid(format!(
            "token expiration {seconds} not valid. Expected value to be between 3600 and 86400"
        )));
    }
    Ok(seconds)
}

#[cfg(test)]
mod tests {
    use super::token_expiration;

    fn seconds(pod: Option<&str>, account: Option<&str>) -> Result<i64, String> {
        token_expiration(pod, account, 3600).map_err(|denial| denial.message)
    }

    #[test]
    fn the_pod_goes_before_the_service_account_and_empty_is_absent() {
        assert_eq!(seconds(None, None), Ok(3600));
        let long = "0".repeat(256) + "43200";
        assert!(seconds(None, Some(&long)).is_err_and(|message| message.contains("at most 256 bytes")));
        assert_eq!(seconds(Some("4000"), Some(&long)), Ok(4000));
        assert_eq!(seconds(None, Some("4800")), Ok(4800));
        assert_eq!(seconds(Some("4000"), Some("4800")), Ok(4000));
        assert_eq!(seconds(Some(""), Some("4800")), Ok(4800));
        assert_eq!(seconds(Some("4000"), Some("bad")), Ok(4000));
    }

    #[test]
    fn bounds_are_inclusive() {
        assert_eq!(seconds(Some("3600"), None), Ok(3600));
        assert_eq!(seconds(Some("86400"), None), Ok(86400));
        for value in ["3599", "86401", "-1"] {
            let text =
                format!("token expiration {value} not valid. Expected value to be between 3600 and 86400");
            assert_eq!(seconds(Some(value), None), Err(text));
        }
    }
}
