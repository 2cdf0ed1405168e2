//! The documents of a manifest file. Unchanged documents are written back byte for byte.

use anyhow::{Context as _, Result};
use serde::de::IgnoredAny;

use crate::yaml::{json_to_yaml, yaml_to_json};

/// One document: its text with the preceding separator, and its content as JSON text in the same order.
#[derive(Debug)]
pub struct Document {
    /// `---` and any other text before the content.
    separator: String,
    content: String,
    /// The content as JSON; `None` for an empty document.
    pub json: Option<String>,
}

/// Splits a file into its documents.
///
/// # Errors
/// A document is neither YAML nor JSON.
pub fn split(text: &str) -> Result<Vec<Document>> {
    let content = text.trim_start_matches('\u{feff}');
    let byte_order_mark = text.len() - content.len();
    let mut parts = vec![Part {
        separator: text.get(..byte_order_mark).unwrap_or_default().to_owned(),
        ..Part::default()
    }];
    for (number, line) in (1..).zip(content.split_inclusive('\n')) {
        match separator_length(line) {
            Some(length) => {
                let (separator, content) = line.split_at(length);
                parts.push(Part {
                    separator: separator.to_owned(),
                    content: content.to_owned(),
                    line: number,
                });
            }
            None => {
                if let Some(part) = parts.last_mut() {
                    part.content.push_str(line);
                }
            }
        }
    }
    let mut documents = Vec::new();
    for part in parts {
        let number = documents.iter().filter(|document: &&Document| document.json.is_some()).count() + 1;
        let line = part.line.max(1);
        part.read_into(&mut documents).with_context(|| {
            format!("document {number}, which begins in line {line}, is neither YAML nor JSON")
        })?;
    }
    Ok(documents)
}

/// Length of the separator at the start of a line, or `None` if the line is none. A document may start on the
/// separator's line.
fn separator_length(line: &str) -> Option<usize> {
    if line.trim_end() == "..." {
        return Some(line.len());
    }
    let rest = line.strip_prefix("---")?;
    let content = rest.trim_start();
    match content.chars().next() {
        None | Some('#') => Some(line.len()),
        Some(_) if content.len() < rest.len() => Some(line.len() - content.len()),
        Some(_) => None,
    }
}

/// The text between two separators, with the first of them.
#[derive(Debug, Default)]
struct Part {
    separator: String,
    content: String,
    /// Number of the separator's line.
    line: usize,
}

impl Part {
    /// Adds the document, or several if they are JSON objects in a row.
    fn read_into(self, documents: &mut Vec<Document>) -> Result<()> {
        let Self { mut separator, content, .. } = self;
        // JSON keeps its own text, including the spelling of numbers.
        let Some(ends) = ends_of_json(&content) else {
            let json = yaml_to_json(&content)?;
            documents.push(Document { separator, content, json });
            return Ok(());
        };
        let mut start = 0;
        for end in ends {
            let content = content.get(start..end).unwrap_or_default().to_owned();
            let json = Some(content.trim().to_owned());
            documents.push(Document { separator: std::mem::take(&mut separator), content, json });
            start = end;
        }
        Ok(())
    }
}

/// Where each of the JSON objects ends, white space after it included; `None` if the text is something else.
fn ends_of_json(text: &str) -> Option<Vec<usize>> {
    if !text.trim_start().starts_with('{') {
        return None;
    }
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>();
    let mut ends = Vec::new();
    while let Some(value) = values.next() {
        value.ok()?;
        let rest = text.get(values.byte_offset()..)?;
        ends.push(text.len() - rest.trim_start().len());
    }
    Some(ends)
}

impl Document {
    /// Adds a separator to the first document of each file after the first.
    #[must_use]
    pub fn separated(self) -> Self {
        // The part before a file's first separator is empty. A byte order mark may be at the start of a file only.
        let has_one = self.separator.starts_with("---") || self.content.is_empty();
        Self { separator: if has_one { self.separator } else { "---\n".to_owned() }, ..self }
    }

    /// Returns the document's text with this content; `None` leaves it unchanged.
    ///
    /// # Errors
    /// The JSON cannot be written as YAML.
    pub fn with_json(&self, json: Option<&str>) -> Result<String> {
        let content = match json {
            None => self.content.clone(),
            Some(json) if self.content.trim_start().starts_with('{') => format!("{json}\n"),
            Some(json) if self.separator.ends_with(' ') => format!("\n{}", json_to_yaml(json)?),
            Some(json) => json_to_yaml(json)?,
        };
        Ok(format!("{}{content}", self.separator))
    }

    /// Returns the content in this program's YAML style.
    ///
    /// # Errors
    /// The JSON cannot be written as YAML.
    pub fn rewritten(&self) -> Result<String> {
        self.json.as_deref().map_or_else(|| Ok(String::new()), json_to_yaml)
    }
}

#[cfg(test)]
mod tests {
    use super::{Document, split};

    fn json(file: &str) -> Vec<String> {
        split(file).unwrap().into_iter().filter_map(|document| document.json).collect()
    }

    #[test]
    fn unchanged_documents_keep_their_bytes() {
        for (file, expected) in [
            (
                "# first\na: 1\n--- # second\nb: [x,   z]\n\n---\n\n---\n{\"c\": 1.50}\n",
                &["{\"a\":1}", "{\"b\":[\"x\",\"z\"]}", "{\"c\": 1.50}"][..],
            ),
            ("\u{feff}---# comment\r\na: 1\r\n...\r\n", &["{\"a\":1}"]),
            (
                "{\"a\": 1}{\"b\": 2}\n {\"c\": 3} \n---\n{d: 4}",
                &["{\"a\": 1}", "{\"b\": 2}", "{\"c\": 3}", "{\"d\":4}"],
            ),
            ("--- {\"c\": 1}\n--- # comment\na: 1\n", &["{\"c\": 1}", "{\"a\":1}"]),
            ("a: |\n  ---\n  x\nb: ----\n", &["{\"a\":\"---\\nx\\n\",\"b\":\"----\"}"]),
            ("", &[]),
        ] {
            assert_eq!(json(file), expected, "{file}");
            let written = split(file)
                .unwrap()
                .iter()
                .map(|document| document.with_json(None).unwrap())
                .collect::<String>();
            assert_eq!(written, file);
        }
    }

    #[test]
    fn a_changed_document_keeps_its_separator_and_format() {
        for (file, changed, expected) in [
            ("---\nb: 1 # comment\na: x\n", "{\"b\":2,\"a\":\"x\"}", "---\nb: 2\na: x\n"),
            ("--- {\"c\": 1}\n", "{}", "--- {}\n"),
            ("--- !!map\na: 1\n", "{\"a\":2}", "--- \na: 2\n"),
            ("\u{feff}a: 1\n", "{\"a\":2}", "\u{feff}a: 2\n"),
        ] {
            let document = split(file).unwrap().pop().unwrap();
            assert_eq!(document.with_json(Some(changed)).unwrap(), expected);
        }
    }

    #[test]
    fn another_files_documents_are_separated_once() {
        for file in ["a: 1\n", "---\na: 1\n", "\u{feff}a: 1\n"] {
            let documents = split(file).unwrap().into_iter().enumerate();
            let documents = documents.map(|(number, it)| if number == 0 { it.separated() } else { it });
            let written: String = documents.map(|it: Document| it.with_json(None).unwrap()).collect();
            assert_eq!(written, "---\na: 1\n");
        }
    }

    #[test]
    fn what_is_no_yaml_is_named_by_its_number_and_line() {
        let error = format!("{:#}", split("---\na: 1\n---\n{b\n").unwrap_err());
        assert!(
            error.starts_with("document 2, which begins in line 3, is neither YAML nor JSON: "),
            "{error}"
        );
    }
}
