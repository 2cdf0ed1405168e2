//! Pods in the objects of a document: the object itself, the pod template of a workload object, the items of a List.

use anyhow::{Result, anyhow};
use azwi_mutation::{Admission, AdmissionRequest, Config, Json, Value};
use serde_json::json;

use super::accounts::Accounts;
use super::documents::Document;

/// What became of a document.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The document with what was injected; none if nothing was.
    pub json: Option<String>,
    /// The operations for each changed object, as one line of JSON each.
    pub patches: Vec<String>,
    /// Warnings and denials, for people.
    pub messages: Vec<String>,
    /// Whether nothing was denied.
    pub is_admitted: bool,
}

/// Where the pod is in an object of this kind; empty for the object itself.
fn pod_path(kind: &str) -> Option<&'static [&'static str]> {
    match kind {
        "Pod" => Some(&[]),
        "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "ReplicationController" | "Job" => {
            Some(&["spec", "template"])
        }
        "CronJob" => Some(&["spec", "jobTemplate", "spec", "template"]),
        _ => None,
    }
}

/// The objects of a document with their kinds: the items of a List, or the one that it is.
pub fn items(root: Value<'_>) -> Vec<(String, Value<'_>)> {
    let kind = text_of(root, &["kind"]);
    let Some(items) = root.get("items").filter(|_| kind.ends_with("List")) else { return vec![(kind, root)] };
    let kind_of_item = |item| {
        let own = text_of(item, &["kind"]);
        // The items of a PodList need not say what they are.
        if own.is_empty() { kind.trim_end_matches("List").to_owned() } else { own }
    };
    items.elements().map(|item| (kind_of_item(item), item)).collect()
}

/// The text at a path, empty if there is none.
pub fn text_of(object: Value<'_>, path: &[&str]) -> String {
    let found = path.iter().try_fold(object, |value, key| value.get(key));
    found.and_then(|value| value.text().ok()).unwrap_or_default().into_owned()
}

/// Kind and name, for people.
pub fn name_of(object: Value<'_>) -> String {
    let name = text_of(object, &["metadata", "name"]);
    let name = if name.is_empty() { text_of(object, &["metadata", "generateName"]) } else { name };
    format!("{} {}", text_of(object, &["kind"]), azwi_mutation::printable(&name, 63)).trim_end().to_owned()
}

/// Injects into every pod of a document.
///
/// # Errors
/// The patch does not fit, which would be a fault of this program.
pub fn inject(
    document: &Document,
    config: &Config,
    accounts: &Accounts,
    default_namespace: &str,
) -> Result<Outcome> {
    let mut outcome = Outcome { is_admitted: true, ..Outcome::default() };
    let Some(text) = document.json.as_deref() else { return Ok(outcome) };
    let json = Json::parse(text).map_err(|problem| anyhow!(problem))?;
    // From the last to the first, so that the places of those before stay as they are.
    let mut changed = text.to_owned();
    for (kind, object) in items(json.root()).into_iter().rev() {
        let Some(path) = pod_path(&kind) else { continue };
        let Some(pod) = path.iter().try_fold(object, |value, key| value.get(key)) else { continue };
        let namespace = text_of(object, &["metadata", "namespace"]);
        let namespace = if namespace.is_empty() { default_namespace } else { &namespace };
        let name = name_of(object);
        match plan(pod, namespace, config, accounts)? {
            Err(denial) => {
                outcome.is_admitted = false;
                outcome.messages.insert(0, format!("Error: {name}: {denial}"));
            }
            Ok(mutation) => {
                let warnings = mutation.warnings.iter().map(|warning| format!("Warning: {name}: {warning}"));
                outcome.messages.splice(0..0, warnings);
                if !mutation.patch.is_empty() {
                    let patched = mutation.patch.apply_to(pod)?;
                    changed.replace_range(pod.start()..pod.end(), &patched);
                    outcome.patches.insert(0, patch_line(&name, path, &mutation.patch.to_json())?);
                    outcome.json = Some(String::new());
                }
            }
        }
    }
    outcome.json = outcome.json.map(|_| changed);
    Ok(outcome)
}

/// What the webhook would answer when the pod is created.
fn plan(
    pod: Value<'_>,
    namespace: &str,
    config: &Config,
    accounts: &Accounts,
) -> Result<azwi_mutation::Answer> {
    let envelope = json!({
        "operation": "CREATE",
        "namespace": namespace,
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "resource": {"group": "", "version": "v1", "resource": "pods"},
    })
    .to_string();
    // As text, so that nothing of the pod is rewritten.
    let open = envelope.strip_suffix('}').unwrap_or(&envelope);
    let request = format!("{open},\"object\":{}}}", pod.raw());
    let json = Json::parse(&request).map_err(|problem| anyhow!(problem))?;
    let request = AdmissionRequest::read(json.root()).map_err(|problem| anyhow!(problem))?;
    Ok(match azwi_mutation::admit(&request, config) {
        Admission::Answered(answer) => answer,
        Admission::Pending(pending) => {
            let account = accounts.lookup(pending.namespace(), pending.service_account_name());
            pending.answer(account)
        }
    })
}

/// The operations on a whole object: those on its pod, each path with the pod's own before it.
fn patch_line(name: &str, path: &[&str], patch: &str) -> Result<String> {
    let prefix: String = path.iter().flat_map(|key| ["/", key]).collect();
    let mut operations: Vec<serde_json::Value> = serde_json::from_str(patch)?;
    for operation in &mut operations {
        let whole =
            operation.get("path").and_then(|path| path.as_str()).map(|path| format!("{prefix}{path}"));
        if let (Some(object), Some(whole)) = (operation.as_object_mut(), whole) {
            object.insert("path".to_owned(), whole.into());
        }
    }
    Ok(json!({"object": name, "patch": operations}).to_string())
}
