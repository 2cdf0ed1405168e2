//! User-provided manifests in YAML or JSON.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use azwi_mutation::pod_template_path;
use serde_json::{Value, json};

/// Reads a file with a single document.
///
/// # Errors
/// The file cannot be read, or is neither YAML nor JSON.
pub fn read_document(path: &Path) -> Result<Value> {
    let documents = read_documents(path)?;
    documents.into_iter().next().with_context(|| format!("{} holds no document", path.display()))
}

/// Reads all documents of a file; skips empty ones.
///
/// # Errors
/// The file cannot be read, or is neither YAML nor JSON.
pub fn read_documents(path: &Path) -> Result<Vec<Value>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut objects = Vec::new();
    let documents = azwi_manifest::split(&text).with_context(|| format!("cannot read {}", path.display()))?;
    for json in documents.into_iter().filter_map(|document| document.json) {
        objects.extend(objects_of(serde_json::from_str(&json)?));
    }
    Ok(objects)
}

/// The items of a List, or the object itself; empty for an empty document.
fn objects_of(value: Value) -> Vec<Value> {
    let is_list = value.get("kind").and_then(Value::as_str) == Some("List");
    match value.get("items").and_then(Value::as_array).filter(|_| is_list) {
        Some(items) => items.clone(),
        None if value.is_null() => Vec::new(),
        None => vec![value],
    }
}

/// API group and resource of a workload object; `None` for other kinds.
pub fn workload_resource(object: &Value) -> Option<(&str, String)> {
    let (group, kind) = group_and_kind(object)?;
    pod_template_path(group, kind)?;
    Some((group, format!("{}s", kind.to_lowercase())))
}

fn group_and_kind(object: &Value) -> Option<(&str, &str)> {
    let text = |key| object.get(key).and_then(Value::as_str);
    let group = text("apiVersion")?.split_once('/').map_or("", |(group, _)| group);
    Some((group, text("kind")?))
}

/// Reads the pods and workload objects of a file, at least one.
///
/// # Errors
/// The file cannot be read, or contains neither; the error names its content and the accepted kinds.
pub fn read_pods_and_workloads(path: &Path) -> Result<Vec<Value>> {
    let objects = read_documents(path)?;
    let is_meant =
        |object: &&Value| group_and_kind(object) == Some(("", "Pod")) || workload_resource(object).is_some();
    let found: Vec<_> = objects.iter().filter(is_meant).cloned().collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let named = |object: &Value| {
        let text = |key, missing: &str| object.get(key).and_then(Value::as_str).unwrap_or(missing).to_owned();
        format!("{} {}", text("apiVersion", "(no apiVersion)"), text("kind", "(no kind)"))
    };
    let held = objects.iter().map(named).collect::<Vec<_>>().join(", ");
    let held = if held.is_empty() { "no objects".to_owned() } else { held };
    bail!(
        "{} has neither a Pod nor a workload object with a pod template, such as apps/v1 Deployment; it has {held}",
        path.display()
    )
}

/// The pod itself, or a pod as the controller of a workload object would create it; `None` for other kinds.
pub fn pod_of(object: &Value) -> Option<Value> {
    let (group, kind) = group_and_kind(object)?;
    if (group, kind) == ("", "Pod") {
        return Some(object.clone());
    }
    let path = pod_template_path(group, kind)?;
    let template = path.split('.').try_fold(object, |value, key| value.get(key));
    let of_object = |field: &str| object.pointer(&format!("/metadata/{field}")).and_then(Value::as_str);
    let mut pod = template?.as_object()?.clone();
    pod.insert("apiVersion".to_owned(), "v1".into());
    pod.insert("kind".to_owned(), "Pod".into());
    let metadata = pod.entry("metadata").or_insert(Value::Null);
    if metadata.is_null() {
        *metadata = json!({});
    }
    let metadata = metadata.as_object_mut()?;
    let name = of_object("name").unwrap_or_default();
    if kind == "StatefulSet" {
        metadata.insert("name".to_owned(), format!("{name}-0").into());
    } else {
        metadata.insert("generateName".to_owned(), format!("{name}-").into());
    }
    if let Some(namespace) = of_object("namespace") {
        metadata.insert("namespace".to_owned(), namespace.into());
    }
    Some(pod.into())
}
