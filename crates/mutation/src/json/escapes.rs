//! Strings with backslashes in them.

/// Resolves escapes. Half a surrogate pair becomes U+FFFD, as Go has it.
pub(super) fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, escaped)) = rest.split_once('\\') {
        plain.push_str(before);
        let mut characters = escaped.chars();
        let character = characters.next();
        rest = characters.as_str();
        plain.push(match character {
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('u') => {
                let first = code_unit(&mut rest);
                let mut second = rest.strip_prefix("\\u").unwrap_or_default();
                match (first, code_unit(&mut second)) {
                    (0xd800..=0xdbff, low @ 0xdc00..=0xdfff) => {
                        rest = second;
                        let pair = 0x10000 + ((first - 0xd800) << 10) + (low - 0xdc00);
                        char::from_u32(pair).unwrap_or(char::REPLACEMENT_CHARACTER)
                    }
                    _ => char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER),
                }
            }
            // A quote, a backslash or a slash stands for itself; nothing else can follow.
            Some(other) => other,
            None => char::REPLACEMENT_CHARACTER,
        });
    }
    plain.push_str(rest);
    plain
}

/// Takes four hexadecimal digits off the text.
fn code_unit(text: &mut &str) -> u32 {
    let Some((digits, rest)) = text.split_at_checked(4) else { return u32::MAX };
    *text = rest;
    u32::from_str_radix(digits, 16).unwrap_or(u32::MAX)
}
