//! Untrusted text for messages and log lines.

/// Returns `text` without control characters, truncated with an ellipsis to `limit` characters.
///
/// The content of pods and service accounts is untrusted: it must not forge log lines, recolour a terminal or fill a
/// log.
pub fn printable(text: &str, limit: usize) -> String {
    // The usual case for names.
    if text.len() <= limit && text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return text.to_owned();
    }
    // If almost everything is unsafe, the search for safe characters ends here.
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

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn hostile_text_becomes_one_short_line() {
        assert_eq!(printable("a\u{1b}[31mb\nc\u{202e}d", 100), "a[31mbcd");
        assert_eq!(printable("abcdef", 3), "abc…");
        assert_eq!(printable("abc", 3), "abc");
    }
}
