//! Base 10 integers as parsed by Go's `strconv.ParseInt`, with its error texts, which upstream passes to the user.

/// How many bytes of a value are quoted; anything longer was not meant as a number.
const LONGEST_QUOTED_VALUE: usize = 256;

/// Parses `text` as a signed integer of `bits` (32 or 64) bits: an optional sign and ASCII digits, nothing else.
///
/// # Errors
/// Go's text, for example `strconv.ParseInt: parsing "1h": invalid syntax`.
pub(super) fn parse_int(text: &str, bits: u32) -> Result<i64, String> {
    let failed = |problem: &str| {
        let value = text.get(..text.floor_char_boundary(LONGEST_QUOTED_VALUE)).unwrap_or(text);
        format!("strconv.ParseInt: parsing {value:?}: {problem}")
    };
    let (negative, digits) = match text.as_bytes() {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] | digits => (false, digits),
    };
    if digits.is_empty() {
        return Err(failed("invalid syntax"));
    }
    // Go parses the digits as an unsigned number of the same width and stops at the first that no longer fits, so it
    // never sees a letter after that one.
    let largest_unsigned = u64::MAX >> (64 - bits);
    let mut magnitude: u64 = 0;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return Err(failed("invalid syntax"));
        }
        magnitude = magnitude
            .checked_mul(10)
            .and_then(|tens| tens.checked_add(u64::from(digit - b'0')))
            .filter(|sum| *sum <= largest_unsigned)
            .ok_or_else(|| failed("value out of range"))?;
    }
    let limit = 1_u64 << (bits - 1);
    match negative {
        false if magnitude < limit => Ok(magnitude.cast_signed()),
        true if magnitude <= limit => Ok(magnitude.cast_signed().wrapping_neg()),
        _ => Err(failed("value out of range")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_go_accepts() {
        for (text, number) in [
            ("3600", 3600),
            ("+3600", 3600),
            ("007200", 7200),
            ("-1", -1),
            ("-0", 0),
            ("-9223372036854775808", i64::MIN),
        ] {
            assert_eq!(parse_int(text, 64), Ok(number), "{text}");
        }
        assert_eq!(parse_int("2147483647", 32), Ok(2_147_483_647));
    }

    #[test]
    fn refuses_in_gos_words() {
        for text in ["", "+", " 1", "1 ", "0x10", "1_000", "1e4", "3600.0", "３６００", "+-1"] {
            let message = format!("strconv.ParseInt: parsing \"{text}\": invalid syntax");
            assert_eq!(parse_int(text, 64), Err(message));
        }
        for (text, bits) in [
            ("9223372036854775808", 64),
            ("99999999999999999999x", 64),
            ("2147483648", 32),
            ("-2147483649", 32),
        ] {
            let message = format!("strconv.ParseInt: parsing \"{text}\": value out of range");
            assert_eq!(parse_int(text, bits), Err(message));
        }
    }
}
