//! Durations in Go's format: the API server passes its deadline as `?timeout=10s`.

use std::time::Duration;

/// Parses a duration such as `10s`, `1m30s` or `500ms`; returns `None` for anything else, including negative ones.
pub fn parse(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let number_length = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, unit_and_rest) = rest.split_at_checked(number_length)?;
        let is_unit = |c: char| c.is_alphabetic();
        let unit_length = unit_and_rest.find(|c: char| !is_unit(c)).unwrap_or(unit_and_rest.len());
        let (unit, after) = unit_and_rest.split_at_checked(unit_length)?;
        let seconds = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        let amount: f64 = number.parse().ok()?;
        total = total.checked_add(Duration::try_from_secs_f64(amount * seconds).ok()?)?;
        rest = after;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::parse;

    #[test]
    fn what_go_writes_is_read() {
        for (text, milliseconds) in
            [("10s", 10_000), ("1m30s", 90_000), ("500ms", 500), ("1.5s", 1500), ("1h", 3_600_000)]
        {
            assert_eq!(parse(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_none() {
        for text in ["", "10", "s", "10x", "-1s", "1s ", "999999999999999999999h"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
