//! `azwi-webhook inject`: the same mutation on manifests, without a webhook.

mod accounts;
mod objects;

use std::io::{IsTerminal as _, Read as _, Write as _};
use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, anyhow};
use azwi_json::JsonText;
use azwi_manifest::{Document, json_to_yaml, split};
use azwi_mutation::{AdmissionRequest, Config, admit};
use clap::{Args, ValueEnum};

use crate::settings::SettingsArguments;

use accounts::Accounts;
use objects::{items, name_of, text_of};
use serde_json::json;

#[derive(Debug, Args)]
#[command(
    about = "Inject into manifests, without a webhook",
    long_about = "Reads manifests, gives each pod that opts in its identity as the webhook would, and writes them back.\n\n\
        Pods, workload objects (their pod templates) and Lists are looked at; everything else, and whatever does not opt \
        in, is written as it was read. Warnings go to standard error.\n\n\
        Exits with 0, with 1 when a pod would be denied, with 2 when something cannot be read.",
    after_help = "Example:\n  kubectl create deployment web --image=nginx --dry-run=client -o yaml \\\n    | azwi-webhook inject --tenant-id contoso.example --opt-in all --service-accounts sa.yaml -f -"
)]
pub struct InjectArguments {
    /// YAML or JSON manifest with one or more documents; - is standard input. Can be repeated.
    #[arg(short = 'f', long = "filename", value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Service accounts in addition to those in the manifests.
    #[arg(long, value_name = "FILE")]
    service_accounts: Vec<PathBuf>,
    /// Read other service accounts from the cluster of the current context.
    #[arg(long)]
    from_cluster: bool,
    /// Kubeconfig for --from-cluster.
    #[arg(long, value_name = "FILE", requires = "from_cluster")]
    kubeconfig: Option<PathBuf>,
    /// Namespace of objects that do not set one.
    #[arg(short = 'n', long, default_value = "default")]
    namespace: String,
    /// Output format.
    #[arg(short = 'o', long, value_enum, default_value = "manifest")]
    output: Output,
    #[command(flatten)]
    settings: SettingsArguments,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// The manifests with the injected parts.
    Manifest,
    /// The RFC 6902 operations, one line per changed object.
    Patch,
    /// The changed lines.
    Diff,
}

pub fn run(arguments: &InjectArguments) -> ExitCode {
    match inject(arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("azwi-webhook: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Result of processing a document.
#[derive(Debug)]
struct Outcome {
    /// The document after injection; `None` if unchanged.
    json: Option<String>,
    /// The operations, one line of JSON per changed object.
    patches: Vec<String>,
    /// Warnings and denials.
    messages: Vec<String>,
    /// Whether nothing was denied.
    is_admitted: bool,
}

/// Returns whether nothing was denied.
fn inject(arguments: &InjectArguments) -> Result<bool> {
    let config = arguments.settings.resolve(None)?.config;
    let mut documents = Vec::new();
    for file in &arguments.files {
        let text = read(file)?;
        let read = split(&text).with_context(|| format!("cannot read {}", file.display()))?;
        for (number, document) in read.into_iter().enumerate() {
            let is_next_file = number == 0 && !documents.is_empty();
            documents.push(if is_next_file { document.separated() } else { document });
        }
    }
    let mut accounts = Accounts::new(&arguments.namespace);
    for document in &documents {
        accounts.add(document);
    }
    for file in &arguments.service_accounts {
        let text = read(file)?;
        for document in split(&text).with_context(|| format!("cannot read {}", file.display()))? {
            accounts.add(&document);
        }
    }
    if arguments.from_cluster {
        accounts.read_others_from_cluster(arguments.kubeconfig.as_deref())?;
    }

    let mut is_admitted = true;
    let mut written = String::new();
    for document in &documents {
        let outcome = inject_into(document, &config, &accounts, &arguments.namespace)?;
        for message in &outcome.messages {
            eprintln!("{message}");
        }
        is_admitted &= outcome.is_admitted;
        match arguments.output {
            Output::Manifest => {
                if !written.is_empty() && !written.ends_with('\n') {
                    written.push('\n');
                }
                written.push_str(&document.with_json(outcome.json.as_deref())?);
            }
            Output::Patch => outcome.patches.iter().for_each(|patch| {
                written.push_str(patch);
                written.push('\n');
            }),
            Output::Diff => written.push_str(&diff(document, outcome.json.as_deref())?),
        }
    }
    if is_admitted {
        std::io::stdout().write_all(written.as_bytes()).context("cannot write the result")?;
    }
    Ok(is_admitted)
}

fn inject_into(
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
        let name = name_of(item.object);
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

fn read(file: &PathBuf) -> Result<String> {
    if file.as_os_str() != "-" {
        return std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()));
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
    Ok(text)
}

/// Kind and name, for messages.
fn document_name(document: &Document) -> String {
    let json = document.json.as_deref().and_then(|json| JsonText::parse(json).ok());
    json.map_or_else(String::new, |json| name_of(json.root()))
}

/// The changed lines of a document, with three lines of context.
fn diff(document: &Document, json: Option<&str>) -> Result<String> {
    let Some(json) = json else { return Ok(String::new()) };
    // This program writes both sides, so that only the injected parts differ.
    let before = document.rewritten()?;
    let after = json_to_yaml(json)?;
    let name = document_name(document);
    let diff = similar::TextDiff::from_lines(&before, &after);
    let text = diff.unified_diff().header(&format!("{name} before"), &format!("{name} after")).to_string();
    if !std::io::stdout().is_terminal() || std::env::var_os("NO_COLOR").is_some() {
        return Ok(text);
    }
    let coloured = text.lines().map(|line| match line.as_bytes().first() {
        Some(b'+') => format!("\u{1b}[32m{line}\u{1b}[0m\n"),
        Some(b'-') => format!("\u{1b}[31m{line}\u{1b}[0m\n"),
        _ => format!("{line}\n"),
    });
    Ok(coloured.collect())
}

#[cfg(test)]
mod tests {
    use azwi_manifest::split;
    use azwi_mutation::Config;

    use super::accounts::Accounts;
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
