//! `azwi-webhook inject`: the same mutation on manifests, without a webhook.

mod accounts;
mod document;
mod objects;

use std::io::{IsTerminal as _, Read as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use azwi_json::JsonText;
use azwi_manifest::{Document, json_to_yaml, split};
use clap::{Args, ValueEnum};

use crate::settings::SettingsArguments;

use objects::{name_of, text_of};

pub use accounts::Accounts;
pub use document::{Outcome, inject_into};

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
    json.map_or_else(String::new, |json| name_of(&text_of(json.root(), &["kind"]), json.root()))
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
