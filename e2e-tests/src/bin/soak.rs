//! Runs the released webhook for a long time through everything that happens in a cluster.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use e2e_tests::hostile::raise_file_limit;
use e2e_tests::soak::{Plan, endure, obstacle};
use test_support::repository_root;

/// Runs two replicas of the webhook at half of their capacity, and lets one fault after another happen to them.
///
/// Each replica has its own control group with as much memory as its container, and its certificate changes every minute.
/// The faults repeat until the time is over. Exits with 1 if a creation failed that should not have, or if memory or
/// open files have grown.
#[derive(Parser)]
#[command(name = "soak", after_help = "Example:\n  soak --webhook dist/amd64/azwi-webhook --minutes 5")]
struct Arguments {
    /// The webhook; `make dist` builds it.
    #[arg(long, value_name = "FILE")]
    webhook: PathBuf,
    /// How long.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1440))]
    minutes: u64,
    /// Memory of each replica in MiB; defaults to the chart's limit.
    #[arg(long, value_name = "MIB", default_value_t = 64)]
    memory: u64,
    /// Path of the plot.
    #[arg(long, value_name = "FILE", default_value_os_t = repository_root().join("target/soak.svg"))]
    output: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("soak: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool> {
    ensure!(
        arguments.webhook.exists(),
        "{} does not exist; `make dist` builds it",
        arguments.webhook.display()
    );
    raise_file_limit();
    let plan = Plan {
        program: arguments.webhook.canonicalize()?,
        duration: Duration::from_secs(arguments.minutes * 60),
        memory: arguments.memory * 1024 * 1024,
    };
    if let Some(obstacle) = obstacle(&plan) {
        println!("SKIPPED soak: {obstacle}");
        return Ok(true);
    }
    let report = tokio::runtime::Runtime::new()?.block_on(endure(&plan))?;
    print!("{report}");
    std::fs::write(&arguments.output, report.plot())
        .with_context(|| format!("cannot write {}", arguments.output.display()))?;
    println!("{}", arguments.output.display());
    Ok(report.is_good())
}
