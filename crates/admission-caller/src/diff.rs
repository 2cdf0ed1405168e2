//! Compares two texts, for display.

use std::fmt::Write as _;

use similar::{ChangeTag, TextDiff};

/// The lines of `before` and `after`, with three lines of context around each change; in colour if `colours`.
pub fn unified(before: &str, after: &str, colours: bool) -> String {
    let diff = TextDiff::from_lines(before, after);
    let mut text = String::new();
    for (number, group) in diff.grouped_ops(3).iter().enumerate() {
        if number > 0 {
            text.push_str("  ...\n");
        }
        for change in group.iter().flat_map(|operation| diff.iter_changes(operation)) {
            let (sign, colour) = match change.tag() {
                ChangeTag::Equal => (' ', ""),
                ChangeTag::Delete => ('-', "\u{1b}[31m"),
                ChangeTag::Insert => ('+', "\u{1b}[32m"),
            };
            let line = change.value().trim_end_matches('\n');
            if colours && !colour.is_empty() {
                // Writing to a String cannot fail.
                _ = writeln!(text, "{colour}{sign} {line}\u{1b}[0m");
            } else {
                _ = writeln!(text, "{sign} {line}");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::unified;

    #[test]
    fn changes_are_signed_and_coloured_on_demand() {
        assert_eq!(unified("a\nb\n", "a\nc\n", false), "  a\n- b\n+ c\n");
        assert!(unified("a\n", "b\n", true).contains("\u{1b}[32m+ b"));
        assert_eq!(unified("a\n", "a\n", false), "");
    }
}
