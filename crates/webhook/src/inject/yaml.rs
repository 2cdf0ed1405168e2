//! YAML dialects: this program reads and writes 1.2, kubectl 1.1.

use std::borrow::Cow;
use std::fmt::Write as _;

use anyhow::Result;

/// Converts JSON text to YAML with the same key order.
///
/// # Errors
/// The text is not JSON.
pub(super) fn yaml_of(json: &str) -> Result<String> {
    let value: serde_yaml::Value = serde_yaml::from_str(json)?;
    let mut quote = "azwi-quote".to_owned();
    while json.contains(&quote) {
        quote.push('-');
    }
    Ok(serde_yaml::to_string(&quoted(value, &quote))?.replace(&quote, "'"))
}

/// The value with marks around strings that a YAML 1.2 writer leaves unquoted but YAML 1.1 readers, such as kubectl,
/// take for something else.
fn quoted(value: serde_yaml::Value, quote: &str) -> serde_yaml::Value {
    use serde_yaml::Value;
    match value {
        Value::String(text) if is_ambiguous(&text) => Value::String(format!("{quote}{text}{quote}")),
        Value::Sequence(values) => values.into_iter().map(|value| quoted(value, quote)).collect(),
        Value::Mapping(entries) => Value::Mapping(
            entries.into_iter().map(|(key, value)| (quoted(key, quote), quoted(value, quote))).collect(),
        ),
        other => other,
    }
}

/// Whether YAML 1.1 reads this text as a boolean, a number or a date if unquoted.
fn is_ambiguous(text: &str) -> bool {
    let is_boolean = ["y", "n", "yes", "no", "on", "off"].iter().any(|word| text.eq_ignore_ascii_case(word));
    let digits = text.trim_start_matches(['+', '-', '.']);
    let is_number = digits.starts_with(|first: char| first.is_ascii_digit())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-_.:".contains(&byte));
    is_boolean || is_number
}

/// For kubectl, file modes with a leading zero are octal; for a YAML 1.2 reader, they are text.
pub(super) fn with_decimal_modes(content: &str) -> Cow<'_, str> {
    if !content.contains("ode: 0") {
        return Cow::Borrowed(content);
    }
    let mut text = String::with_capacity(content.len());
    // Indentation of a literal block, which must stay unchanged.
    let mut block: Option<usize> = None;
    for line in content.split_inclusive('\n') {
        let indent = line.len() - line.trim_start().len();
        block = block.filter(|outer| line.trim().is_empty() || indent > *outer);
        match octal_mode(line).filter(|_| block.is_none()) {
            // Writing to a String cannot fail.
            Some((key, mode)) => _ = writeln!(text, "{key} {mode}"),
            None => text.push_str(line),
        }
        if block.is_none() && line.trim_end().trim_end_matches(['-', '+']).ends_with(['|', '>']) {
            block = Some(indent);
        }
    }
    Cow::Owned(text)
}

/// The key of a line with its colon, and the file mode after it if that is octal.
fn octal_mode(line: &str) -> Option<(&str, u32)> {
    let (key, value) = line.split_at(line.find(": 0")? + 1);
    let name = key.trim_start_matches([' ', '-']);
    let value = value.split('#').next().unwrap_or_default().trim();
    let is_octal = value.len() > 1 && matches!(name, "defaultMode:" | "mode:");
    u32::from_str_radix(value, 8).ok().filter(|_| is_octal).map(|mode| (key, mode))
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_kubectl_would_read_as_something_else_is_quoted() {
        let text =
            super::yaml_of(r#"{"on":"off","a":["Yes","1_000","0400","2026-01-01","v1","it's on",true,5]}"#);
        assert_eq!(
            text.unwrap(),
            "'on': 'off'\na:\n- 'Yes'\n- '1_000'\n- '0400'\n- '2026-01-01'\n- v1\n- it's on\n- true\n- 5\n"
        );
    }
}
