//! Strings with backslash escapes.

/// Resolves escapes. Half a surrogate pair becomes U+FFFD, as in Go.
pub(super) fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    pieces(text, |piece| {
        plain.push_str(piece);
        true
    });
    // Kept for as long as a request waits.
    plain.shrink_to_fit();
    plain
}

/// Whether a text is `wanted` once its escapes are resolved. Ends at the first difference: a caller may send thousands of
/// keys of escapes, each of which is compared with many names.
pub(super) fn is_escaped(text: &str, wanted: &str) -> bool {
    let mut rest = wanted;
    let is_prefix = pieces(text, |piece| {
        let left = rest.strip_prefix(piece);
        rest = left.unwrap_or(rest);
        left.is_some()
    });
    is_prefix && rest.is_empty()
}

/// Passes on the text between escapes, and what each escape stands for, until `each` returns false.
///
/// Byte by byte, because a string may consist only of escapes and be seven megabytes long.
fn pieces(text: &str, mut each: impl FnMut(&str) -> bool) -> bool {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(length) = bytes.get(at..).unwrap_or_default().iter().position(|byte| *byte == b'\\') {
        if length > 0 && !each(text.get(at..at + length).unwrap_or_default()) {
            return false;
        }
        at += length + 2;
        let resolved = match bytes.get(at - 1) {
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                let first = code_unit(bytes, at);
                at += 4;
                let second = match bytes.get(at..at + 2) {
                    Some(b"\\u") => code_unit(bytes, at + 2),
                    _ => 0,
                };
                match (first, second) {
                    (0xd800..=0xdbff, low @ 0xdc00..=0xdfff) => {
                        at += 6;
                        let pair = 0x10000 + ((first - 0xd800) << 10) + (low - 0xdc00);
                        char::from_u32(pair).unwrap_or(char::REPLACEMENT_CHARACTER)
                    }
                    _ => char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER),
                }
            }
            // A quote, a backslash or a slash stands for itself; nothing else can follow.
            Some(other) => char::from(*other),
            None => char::REPLACEMENT_CHARACTER,
        };
        if !each(resolved.encode_utf8(&mut [0; 4])) {
            return false;
        }
    }
    each(text.get(at..).unwrap_or_default())
}

/// The number in the four hexadecimal digits at `at`.
fn code_unit(bytes: &[u8], at: usize) -> u32 {
    let digits = bytes.get(at..at + 4).unwrap_or_default();
    let digit = |number: u32, byte: &u8| Some(number << 4 | char::from(*byte).to_digit(16)?);
    digits.iter().try_fold(0, digit).unwrap_or(u32::MAX)
}
