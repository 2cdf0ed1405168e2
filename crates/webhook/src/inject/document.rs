//! One document: from its text to the text after injection, without any I/O but the look-up of service accounts.

use std::ops::Range;

use anyhow::{Result, anyhow};
use azwi_json::JsonText;
use azwi_manifest::Document;
use azwi_mutation::{AdmissionRequest, Config, admit};
use serde_json::json;

use super::accounts::Accounts;
use super::objects::{items, name_of, text_of};

/// Result of processing a document.
#[derive(Debug)]
pub struct Outcome {
    /// The document after injection; `None` if unchanged.
    pub json: Option<String>,
    /// The operations, one line of JSON per changed object.
    pub patches: Vec<String>,
    /// Warnings and denials.
    pub messages: Vec<String>,
    /// Whether nothing was denied.
    pub is_admitted: bool,
}

/// Gives each pod of a document that opts in its identity; objects without a namespace are in `default_namespace`.
///
/// # Errors
/// The document is nested too deeply, or a patch does not fit it.
pub fn inject_into(
    document: &Document,
    config: &Config,
    accounts: &Accounts,
    default_namespace: &str,
) -> Result<Outcome> {
    let mut outcome = Outcome { json: None, patches: Vec::new(), messages: Vec::new(), is_admitted: true };
    let Some(text) = document.json.as_deref() else { return Ok(outcome) };
    let json = JsonText::parse(text).map_err(|problem| anyhow!("a document is {problem}"))?;
    let mut changes: Vec<(Range<usize>, String)> = Vec::new();
    for item in items(json.root()) {
        let Some((pod, path)) = item.pod() else { continue };
        let own = text_of(item.object, &["metadata", "namespace"]);
        let namespace = if own.is_empty() { default_namespace } else { &own };
        let name = name_of(&item.kind, item.object);
        let answer =
            |request| admit(&request, config).finish(|namespace, name| accounts.find(namespace, name));
        match answer(AdmissionRequest::pod_creation(namespace, pod)) {
            Err(denial) => {
                outcome.is_admitted = false;
                outcome.messages.push(format!("Error: {name}: {denial}"));
            }
            Ok(mutation) => {
                let is_workload = !path.is_empty();
                let told = if is_workload {
                    // What the API server would say when the object itself is created.
                    answer(AdmissionRequest::creation(namespace, &item.group, &item.kind, item.object))
                        .map_or_else(|_| Vec::new(), |told| told.warnings)
                } else {
                    mutation.warnings
                };
                let warnings = told.iter();
                outcome.messages.extend(warnings.map(|warning| format!("Warning: {name}: {warning}")));
                if !mutation.patch.is_empty() {
                    changes.push((pod.start()..pod.end(), mutation.patch.apply_to(pod)?));
                    outcome.patches.push(patch_line(&name, &path, &mutation.patch.to_json())?);
                }
            }
        }
    }
    if !changes.is_empty() {
        let mut changed = text.to_owned();
        // From last to first, so that earlier ranges stay valid.
        for (range, pod) in changes.into_iter().rev() {
            changed.replace_range(range, &pod);
        }
        outcome.json = Some(changed);
    }
    Ok(outcome)
}

/// The operations on a whole object: those on its pod, with the pod's path before each path.
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

#[cfg(test)]
mod tests {
    use azwi_manifest::split;
    use azwi_mutation::Config;

    use super::super::accounts::Accounts;
    use super::{Outcome, inject_into};

    /// The second has the same kind and name, but is one of Google Cloud's.
    const ACCOUNTS: &str = "{apiVersion: v1, kind: ServiceAccount, metadata: {name: sa, annotations: \
        {azure.workload.identity/client-id: 5d2e50e8-c9fc-4dad-9ab4-bc23cce71bf1}}}\n---\n\
        {apiVersion: cloudplatform.gcp.upbound.io/v1beta1, kind: ServiceAccount, metadata: {name: sa}}";

    fn injected(manifest: &str) -> Outcome {
        let config = Config::from_json(r#"{"tenantId":"contoso.example"}"#).unwrap();
        let mut accounts = Accounts::new("default");
        for document in split(ACCOUNTS).unwrap() {
            accounts.add(&document);
        }
        let document = split(manifest).unwrap().remove(0);
        inject_into(&document, &config, &accounts, "default").unwrap()
    }

    #[test]
    fn workload_objects_get_the_warnings_of_admission() {
        let outcome = injected(
            "{apiVersion: batch/v1, kind: Job, metadata: {name: j, labels: {azure.workload.identity/use: 'true'}}, \
             spec: {template: {spec: {serviceAccount: sa, containers: [{name: c}]}}}}",
        );
        let warning = "Warning: Job j: AZWI004 label azure.workload.identity/use of Job j has no effect; label its pod \
                       template";
        assert_eq!((outcome.messages, outcome.json), (vec![warning.to_owned()], None));
    }

    #[test]
    fn a_container_keeps_what_it_merges_from_an_anchor() {
        let outcome = injected(
            "base: &base {env: [{name: A, value: b}], volumeMounts: [{name: data, mountPath: /data}]}\n\
             labels: &labels {azure.workload.identity/use: 'true'}\n\
             apiVersion: v1\nkind: Pod\nmetadata: {name: p, labels: {<<: *labels}}\n\
             spec:\n  automountServiceAccountToken: no\n  serviceAccountName: sa\n  containers: [{<<: *base, name: web}]\n\
             \x20 volumes: [{name: data, configMap: {name: c, defaultMode: 0400}}]\n",
        );
        let json = outcome.json.unwrap();
        for part in [
            r#"{"name":"A","value":"b"},{"name":"AZURE_CLIENT_ID""#,
            r#"{"name":"data","mountPath":"/data"},{"mountPath":"/var/run/secrets/azure"#,
            r#""automountServiceAccountToken":false"#,
            r#""defaultMode":256"#,
        ] {
            assert!(json.contains(part), "{part} is missing in {json}");
        }
    }

    #[test]
    fn items_without_a_kind_are_named_by_their_lists() {
        let outcome = injected(
            "{apiVersion: apps/v1, kind: DeploymentList, items: [{metadata: {name: d}, spec: {template: {metadata: \
             {labels: {azure.workload.identity/use: 'true'}}, spec: {serviceAccount: missing, containers: []}}}}]}",
        );
        assert_eq!(outcome.messages, ["Error: Deployment d: serviceaccounts \"missing\" not found"]);
    }

    #[test]
    fn kinds_count_with_their_api_group_only() {
        let job = |group: &str| {
            injected(&format!(
                "{{apiVersion: {group}/v1, kind: Job, metadata: {{name: j}}, spec: {{template: {{metadata: {{labels: \
                 {{azure.workload.identity/use: 'true'}}}}, spec: {{serviceAccount: sa, containers: [{{name: c}}]}}}}}}}}"
            ))
        };
        assert!(job("batch").json.unwrap().contains("AZURE_CLIENT_ID"));
        assert!(job("example.com").json.is_none());
    }
}
