//! Manifests that people hand in, as YAML or JSON.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Deserialize as _;
use serde_json::Value;

/// Reads the one document of a file.
///
/// # Errors
/// The file cannot be read, or is neither YAML nor JSON.
pub fn read_document(path: &Path) -> Result<Value> {
    let documents = read_documents(path)?;
    documents.into_iter().next().with_context(|| format!("{} holds no document", path.display()))
}

/// Reads all documents of a file; empty ones are left out.
///
/// # Errors
/// The file cannot be read, or is neither YAML nor JSON.
pub fn read_documents(path: &Path) -> Result<Vec<Value>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut documents = Vec::new();
    for document in serde_yaml::Deserializer::from_str(&text) {
        let value = Value::deserialize(document)
            .with_context(|| format!("{} is neither YAML nor JSON", path.display()))?;
        if !value.is_null() {
            documents.push(value);
        }
    }
    Ok(documents)
}
