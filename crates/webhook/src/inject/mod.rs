//! `azwi-webhook inject`: the same mutation on manifests, with no webhook.

mod accounts;
mod documents;
mod objects;
mod yaml;

use std::io::{IsTerminal as _, Read as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};

use crate::cli::SettingsArguments;

use accounts::Accounts;
use documents::Document;

/// What `inject` takes.
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
    /// Manifest, YAML or JSON, with one or several documents; - is standard input. May be repeated.
    #[arg(short = 'f', long = "filename", value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Service accounts that exist besides those in the manifests.
    #[arg(long, value_name = "FILE")]
    service_accounts: Vec<PathBuf>,
    /// Read other service accounts from the cluster of the current context.
    #[arg(long)]
    from_cluster: bool,
    /// Kubeconfig for --from-cluster.
    #[arg(long, value_name = "FILE", requires = "from_cluster")]
    kubeconfig: Option<PathBuf>,
    /// Namespace of objects that name none.
    #[arg(short = 'n', long, default_value = "default")]
    namespace: String,
    /// What is written.
    #[arg(short = 'o', long, value_enum, default_value = "manifest")]
    output: Output,
    #[command(flatten)]
    settings: SettingsArguments,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// The manifests, with what was injected.
    Manifest,
    /// The operations (RFC 6902) for each changed object, one line each.
    Patch,
    /// The lines that change.
    Diff,
}

/// Runs `inject`.
#[must_use]
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

/// Whether nothing was denied.
fn inject(arguments: &InjectArguments) -> Result<bool> {
    let config = arguments.settings.resolve(None)?.config;
    let mut documents = Vec::new();
    for file in &arguments.files {
        let text = read(file)?;
        let read = documents::split(&text).with_context(|| format!("cannot read {}", file.display()))?;
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
        for document in documents::split(&text).with_context(|| format!("cannot read {}", file.display()))? {
            accounts.add(&document);
        }
    }
    if arguments.from_cluster {
        accounts.read_others_from_cluster(arguments.kubeconfig.as_deref())?;
    }

    let mut is_admitted = true;
    let mut written = String::new();
    for document in &documents {
        let outcome = objects::inject(document, &config, &accounts, &arguments.namespace)?;
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

/// The lines of a document that change, with three around each.
fn diff(document: &Document, json: Option<&str>) -> Result<String> {
    let Some(json) = json else { return Ok(String::new()) };
    // Both sides are written anew, so that only what is injected differs.
    let before = document.rewritten()?;
    let after = yaml::yaml_of(json)?;
    let name = document.name();
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
