//! Manifests that people hand in, as YAML or JSON.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Deserialize as _;
use serde_json::{Value, json};

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

/// The pod itself, or a pod as the controller of a workload object would create it; none for other kinds.
#[must_use]
pub fn pod_of(object: Value) -> Option<Value> {
    let template = match object.get("kind")?.as_str()? {
        "Pod" => return Some(object),
        "CronJob" => object.pointer("/spec/jobTemplate/spec/template"),
        _ => object.pointer("/spec/template"),
    };
    let of_object = |field: &str| object.pointer(&format!("/metadata/{field}")).and_then(Value::as_str);
    let mut pod = template?.as_object()?.clone();
    pod.insert("apiVersion".to_owned(), "v1".into());
    pod.insert("kind".to_owned(), "Pod".into());
    let metadata = pod.entry("metadata").or_insert_with(|| json!({})).as_object_mut()?;
    let name = of_object("name").unwrap_or_default();
    metadata.insert("generateName".to_owned(), format!("{name}-").into());
    if let Some(namespace) = of_object("namespace") {
        metadata.insert("namespace".to_owned(), namespace.into());
    }
    Some(pod.into())
}
