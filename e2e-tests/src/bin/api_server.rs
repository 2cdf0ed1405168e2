//! The stub API server as a program, for tests that start real programs from a shell.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use admission_caller::manifests;
use anyhow::{Context as _, Result};
use clap::Parser;
use serde_json::Value;
use test_support::api_server::ApiServer;

/// Serves service accounts on the loopback until it is killed, and writes a kubeconfig for it.
#[derive(Parser)]
#[command(name = "api_server")]
struct Arguments {
    /// Service accounts in YAML or JSON, one or more documents.
    #[arg(long)]
    service_accounts: PathBuf,
    /// Name of service accounts that nobody may read; can be repeated.
    #[arg(long)]
    forbidden: Vec<String>,
    /// Name of service accounts whose reads are delayed by `--pause`; can be repeated.
    #[arg(long)]
    slow: Vec<String>,
    /// Delay of slow reads in milliseconds.
    #[arg(long, default_value_t = 4000)]
    pause: u64,
    /// Path of the kubeconfig to write; it appears once requests are answered.
    #[arg(long)]
    kubeconfig: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let run = tokio::runtime::Runtime::new()
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(serve(&arguments)));
    match run {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("api_server: {error:#}");
            ExitCode::from(2)
        }
    }
}

async fn serve(arguments: &Arguments) -> Result<()> {
    let server = ApiServer::start()?;
    for account in manifests::read_documents(&arguments.service_accounts)? {
        let field = |name: &str| account.pointer(&format!("/metadata/{name}")).and_then(Value::as_str);
        let name = field("name").context("a service account has no name")?;
        server.apply(
            field("namespace").unwrap_or("default"),
            name,
            account.get("metadata").unwrap_or(&Value::Null),
        );
    }
    arguments.forbidden.iter().for_each(|name| server.forbid(name));
    let pause = Duration::from_millis(arguments.pause);
    arguments.slow.iter().for_each(|name| server.slow_down(name, pause));
    std::fs::write(&arguments.kubeconfig, server.kubeconfig())
        .with_context(|| arguments.kubeconfig.display().to_string())?;
    std::future::pending().await
}
