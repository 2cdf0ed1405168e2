//! Compares our answers with upstream's recorded ones.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use admission_caller::diff;
use anyhow::{Result, bail};
use clap::{Parser, ValueEnum};
use e2e_tests::conformance::{Route, ThroughCore, ThroughPolicy, ThroughWebhook, compare, read_cases};
use e2e_tests::host::PolicyHost;
use test_support::repository_root;

/// Compares our answers with upstream's recorded ones; exits with 1 if any differ.
#[derive(Parser)]
#[command(
    name = "conformance",
    after_help = "Example:\n  conformance --through core e2e-tests/conformance/*.jsonl*"
)]
struct Arguments {
    /// Routes to compare, separated by commas.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "core,policy")]
    through: Vec<Through>,
    /// The policy module; `make policy.wasm` builds it.
    #[arg(long, value_name = "FILE", default_value_os_t = repository_root().join("policy.wasm"))]
    policy: PathBuf,
    /// How many differences to show.
    #[arg(long, value_name = "N", default_value_t = 5)]
    show: usize,
    /// Files of recorded cases (.jsonl or .jsonl.gz).
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Through {
    /// The core, as a library.
    Core,
    /// The wasm, under the embedded host.
    Policy,
    /// The webhook, over TLS.
    Webhook,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("conformance: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool> {
    let mut cases = Vec::new();
    for file in &arguments.files {
        cases.extend(read_cases(file)?);
    }
    if cases.is_empty() {
        bail!("the files hold no cases");
    }
    let mut is_equal = true;
    for through in &arguments.through {
        let route: Box<dyn Route> = match through {
            Through::Core => Box::new(ThroughCore),
            Through::Webhook => Box::new(ThroughWebhook::start()?),
            Through::Policy => Box::new(ThroughPolicy(PolicyHost::load(&arguments.policy)?)),
        };
        let report = compare(route.as_ref(), &cases, |done| show_progress(route.name(), done, cases.len()))?;
        let differing = report.differences.len();
        println!(
            "{}: {} cases, {} comparisons, {differing} differ",
            route.name(),
            report.cases,
            report.comparisons
        );
        for difference in report.differences.iter().take(arguments.show) {
            println!("\n{} ({}): - upstream, + ours", difference.case, difference.layout);
            let colours = std::io::stdout().is_terminal();
            print!("{}", diff::unified(&difference.expected, &difference.actual, colours));
        }
        if differing > arguments.show {
            println!("\n{} more differ; --show {differing} shows all", differing - arguments.show);
        }
        is_equal &= differing == 0;
    }
    Ok(is_equal)
}

fn show_progress(route: &str, done: usize, all: usize) {
    if std::io::stderr().is_terminal() && (done.is_multiple_of(50) || done == all) {
        eprint!("\r{route}: {done} of {all} cases{}", if done == all { "\n" } else { "" });
        // Progress that cannot be shown is no reason to stop.
        _ = std::io::stderr().flush();
    }
}
