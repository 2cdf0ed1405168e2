//! Flag values that several parts of the program share.

use std::time::Duration;

use crate::go_duration;

/// No certificate should last longer than ten years, and no time computed from now can overflow.
const LONGEST: &str = "87600h";

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    duration_from("0s", text)
}

pub(crate) fn life(text: &str) -> Result<Duration, String> {
    duration_from("1s", text)
}

pub(crate) fn interval(text: &str) -> Result<Duration, String> {
    duration_from("100ms", text)
}

/// Parses a duration within the bounds.
fn duration_from(shortest: &str, text: &str) -> Result<Duration, String> {
    let limits = (go_duration::parse(shortest), go_duration::parse(LONGEST));
    match (go_duration::parse(text), limits) {
        (Some(duration), (Some(shortest), Some(longest))) if (shortest..=longest).contains(&duration) => {
            Ok(duration)
        }
        _ => Err(format!(
            "a duration is a number and a unit, such as 1m30s; here from {shortest} to {LONGEST}"
        )),
    }
}
