//! Text from the cluster on its way into a message or a log line.

/// `text` without control characters and with at most `limit` characters; an ellipsis marks a cut.
///
/// What a pod or service account carries is written by strangers: it must not forge log lines, recolour a terminal or
/// fill a log.
#[must_use]
pub fn printable(text: &str, limit: usize) -> String {
    // As names are.
    if text.len() <= limit && text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return text.to_owned();
    }
    // Where almost everything is unsafe, the search for what is not ends here.
    let looked_at = text.get(..text.floor_char_boundary(limit.saturating_mul(16))).unwrap_or(text);
    let mut shown = String::with_capacity(text.len().min(limit * 4));
    let mut characters = looked_at.chars().filter(|c| !is_unsafe(*c));
    for character in characters.by_ref().take(limit) {
        shown.push(character);
    }
    if characters.next().is_some() || looked_at.len() < text.len() {
        shown.push('…');
    }
    shown
}

/// Control characters, and the format characters that reorder or hide text on a terminal.
fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// `namespace/name`, cut so that a message stays one readable line.
#[must_use]
pub fn object_name(namespace: &str, name: &str) -> String {
    [&*printable(namespace, 63), "/", &*printable(name, 63)].concat()
}

/// `text` as Go's `strconv.Quote` writes it, because upstream's parse errors quote values that way.
#[must_use]
pub fn go_quote(text: &str) -> String {
    use std::fmt::Write as _;
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{b}' => quoted.push_str("\\v"),
            c if is_printable(c) => quoted.push(c),
            // Writing to a String cannot fail.
            c if c.is_ascii() => _ = write!(quoted, "\\x{:02x}", u32::from(c)),
            c if u32::from(c) <= 0xffff => _ = write!(quoted, "\\u{:04x}", u32::from(c)),
            c => _ = write!(quoted, "\\U{:08x}", u32::from(c)),
        }
    }
    quoted.push('"');
    quoted
}

/// Whether Go's `unicode.IsPrint` holds. The standard library's tables decide the same question for `escape_debug`,
/// which leaves printable characters alone (combining marks too, but only after another character).
fn is_printable(character: char) -> bool {
    let mut buffer = [0; 5];
    let [first, rest @ ..] = &mut buffer;
    *first = b'x';
    let length = 1 + character.encode_utf8(rest).len();
    matches!(character, '\'' | '"' | '\\')
        || buffer
            .get(..length)
            .and_then(|bytes| std::str::from_utf8(bytes).ok())
            .is_some_and(|text| text.escape_debug().nth(1) == Some(character))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_as_go_does() {
        assert_eq!(go_quote("3600s"), r#""3600s""#);
        assert_eq!(go_quote("３６００"), "\"３６００\"");
        assert_eq!(go_quote("a\"b\\c\u{7}\n\u{1}\u{7f}"), r#""a\"b\\c\a\n\x01\x7f""#);
        assert_eq!(go_quote("\u{a0}\u{200b}\u{e0001}'"), r#""\u00a0\u200b\U000e0001'""#);
        assert_eq!(go_quote("e\u{301}"), "\"e\u{301}\"");
        assert_eq!(go_quote("\u{301}"), "\"\u{301}\"");
    }

    #[test]
    fn hostile_text_becomes_one_short_line() {
        assert_eq!(printable("a\u{1b}[31mb\nc\u{202e}d", 100), "a[31mbcd");
        assert_eq!(printable("abcdef", 3), "abc…");
        assert_eq!(printable("abc", 3), "abc");
    }
}
