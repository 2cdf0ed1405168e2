//! Documents of a manifest file. Unchanged documents are written back byte for byte.

use anyhow::{Context as _, Result, bail};
use azwi_json::JsonText;
use serde::Deserialize as _;

use super::yaml::{with_decimal_modes, yaml_of};

/// One document: its text with the preceding separator, and its content as JSON text in the same order.
#[derive(Debug)]
pub(super) struct Document {
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
pub(super) fn split(text: &str) -> Result<Vec<Document>> {
    let mut parts: Vec<(String, String)> = vec![(String::new(), String::new())];
    for line in text.split_inclusive('\n') {
        let is_separator = line
            .strip_prefix("---")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace));
        if is_separator {
            // A document may start on the separator's line.
            let rest = line.get(3..).unwrap_or_default();
            let blank = rest.len() - rest.trim_start().len();
            let is_comment = rest.trim_start().is_empty() || rest.trim_start().starts_with('#');
            let (separator, content) = line.split_at(if is_comment { line.len() } else { 3 + blank });
            parts.push((separator.to_owned(), content.to_owned()));
        } else if let Some((_, content)) = parts.last_mut() {
            content.push_str(line);
        }
    }
    let mut documents = Vec::new();
    for (number, (separator, content)) in parts.into_iter().enumerate() {
        let json =
            json_of(&content).with_context(|| format!("document {} is neither YAML nor JSON", number + 1))?;
        if let Some(problem) = json.as_deref().and_then(|json| JsonText::parse(json).err()) {
            bail!("document {} is {problem}", number + 1);
        }
        documents.push(Document { separator, content, json });
    }
    Ok(documents)
}

/// The JSON text of a document, keys in the document's order.
fn json_of(content: &str) -> Result<Option<String>> {
    if content.trim_start().starts_with('{') {
        // JSON keeps its own text, including the spelling of numbers.
        if serde_json::from_str::<serde::de::IgnoredAny>(content).is_ok() {
            return Ok(Some(content.trim().to_owned()));
        }
    }
    let content = with_decimal_modes(content);
    let value = serde_yaml::Value::deserialize(serde_yaml::Deserializer::from_str(&content))?;
    if value.is_null() {
        return Ok(None);
    }
    Ok(Some(serde_json::to_string(&value)?))
}

impl Document {
    /// Adds a separator to the first document of each file after the first.
    pub(super) fn separated(self) -> Self {
        // The part before a file's first separator is empty.
        let needs_one = self.separator.is_empty() && !self.content.is_empty();
        Self { separator: if needs_one { "---\n".to_owned() } else { self.separator }, ..self }
    }

    /// Returns the document's text with this content.
    ///
    /// # Errors
    /// The JSON cannot be written as YAML.
    pub(super) fn with_json(&self, json: Option<&str>) -> Result<String> {
        let content = match json {
            None => self.content.clone(),
            Some(json) if self.content.trim_start().starts_with('{') => format!("{json}\n"),
            Some(json) if self.separator.ends_with(' ') => format!("\n{}", yaml_of(json)?),
            Some(json) => yaml_of(json)?,
        };
        Ok(format!("{}{content}", self.separator))
    }

    /// Returns the content in this program's YAML style.
    ///
    /// # Errors
    /// The JSON cannot be written as YAML.
    pub(super) fn rewritten(&self) -> Result<String> {
        self.json.as_deref().map_or_else(|| Ok(String::new()), yaml_of)
    }

    /// Kind and name, for messages.
    pub(super) fn name(&self) -> String {
        let Some(json) = self.json.as_deref().and_then(|json| azwi_json::JsonText::parse(json).ok()) else {
            return "(empty document)".to_owned();
        };
        super::objects::name_of(json.root())
    }
}

#[cfg(test)]
mod tests {
    use super::split;

    const FILE: &str = "# first\na: 1\n--- # second\nb: [x,   y]\n\n---\n\n---\n{\"c\": 1.50}\n";

    #[test]
    fn unchanged_documents_keep_their_bytes() {
        let documents = split(FILE).unwrap();
        assert_eq!(documents.len(), 4);
        let written: String = documents.iter().map(|document| document.with_json(None).unwrap()).collect();
        assert_eq!(written, FILE);
    }

    #[test]
    fn documents_are_read_in_order_and_json_keeps_its_numbers() {
        let documents = split(FILE).unwrap();
        let json: Vec<_> = documents.iter().map(|document| document.json.as_deref()).collect();
        assert_eq!(json, [Some("{\"a\":1}"), Some("{\"b\":[\"x\",\"y\"]}"), None, Some("{\"c\": 1.50}")]);
        assert_eq!(documents[0].with_json(Some("{\"z\":1,\"a\":\"2\"}")).unwrap(), "z: 1\na: '2'\n");
    }

    #[test]
    fn another_files_documents_are_separated_once() {
        for (file, written) in [("a: 1\n", "---\na: 1\n"), ("---\na: 1\n", "---\na: 1\n")] {
            let documents = split(file).unwrap().into_iter().map(super::Document::separated);
            assert_eq!(documents.map(|it| it.with_json(None).unwrap()).collect::<String>(), written);
        }
    }

    #[test]
    fn a_document_may_begin_on_the_line_of_its_separator() {
        let documents = split("--- {\"c\": 1}\n--- # comment\na: 1\n").unwrap();
        let json: Vec<_> = documents.iter().map(|document| document.json.as_deref()).collect();
        assert_eq!(json, [None, Some("{\"c\": 1}"), Some("{\"a\":1}")]);
        assert_eq!(documents[1].with_json(Some("{}")).unwrap(), "--- {}\n");
    }

    #[test]
    fn octal_modes_are_numbers_but_not_inside_of_text() {
        let documents =
            split("script: |\n  mode: 0755\nv:\n- mode: 0755 # rwx\n  defaultMode: 0400\nmode: 0\n").unwrap();
        assert_eq!(
            documents[0].json.as_deref(),
            Some(r#"{"script":"mode: 0755\n","v":[{"mode":493,"defaultMode":256}],"mode":0}"#)
        );
    }

    #[test]
    fn what_is_no_yaml_is_named_by_its_number() {
        assert!(format!("{:#}", split("a: 1\n---\n{b\n").unwrap_err()).starts_with("document 2 is neither"));
    }
}
