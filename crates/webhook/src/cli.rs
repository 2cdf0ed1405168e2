//! The command line. Upstream's flags work with one or two dashes.

// Argument comments become help texts, where backticks would be printed.
#![allow(clippy::doc_markdown)]

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use clap::{Args, Parser, Subcommand};

use crate::arguments::duration;
use crate::certificates::CertificateArguments;
use crate::certificates::TlsVersion;
use crate::inject::{self, InjectArguments};
use crate::limits::Limits;
use crate::open_files;
use crate::process::{self, Options};
use crate::settings::SettingsArguments;
use crate::telemetry::{self, LogLevel};
use crate::version::BUILD;

/// Exit code for an invalid flag, variable or settings file.
const USAGE: u8 = 2;
/// The webhook's namespace if POD_NAMESPACE is not set, as in upstream.
const DEFAULT_NAMESPACE: &str = "azure-workload-identity-system";

/// Gives pods that opt in their Azure Workload Identity.
#[derive(Debug, Parser)]
#[command(
    name = "azwi-webhook",
    disable_version_flag = true,
    args_conflicts_with_subcommands = true,
    after_help = "Examples:
  azwi-webhook --webhook-cert-dir=/certs --log-level=info
  azwi-webhook inject --tenant-id contoso.example -f deployment.yaml --service-accounts sa.yaml -o diff
  azwi-webhook version"
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeArguments,
    /// Print build information as one line of JSON.
    #[arg(long, help_heading = "Options")]
    version: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the webhook (default without a subcommand).
    Serve(Box<ServeArguments>),
    /// Inject into manifests, without a webhook.
    Inject(Box<InjectArguments>),
    /// Print build information as one line of JSON.
    Version,
}

#[derive(Debug, Args)]
struct ServeArguments {
    #[command(flatten)]
    settings: SettingsArguments,
    #[command(flatten)]
    certificates: CertificateArguments,
    /// Minimum TLS version: 1.2 or 1.3.
    #[arg(long, value_name = "VERSION", default_value = "1.3", help_heading = "Certificates")]
    tls_min_version: String,
    /// Address that the API server calls.
    #[arg(long, value_name = "ADDRESS", default_value = ":9443", help_heading = "Addresses")]
    webhook_addr: String,
    /// Address of the health endpoints for the kubelet: /livez, /healthz, /readyz.
    #[arg(long, value_name = "ADDRESS", default_value = ":9440", help_heading = "Addresses")]
    health_addr: String,
    /// Address where Prometheus scrapes /metrics.
    #[arg(long, value_name = "ADDRESS", default_value = ":8095", help_heading = "Addresses")]
    metrics_addr: String,
    /// Metrics backend; only prometheus.
    #[arg(long, value_name = "KIND", default_value = "prometheus", help_heading = "Addresses")]
    metrics_backend: String,
    /// Kubeconfig; by default KUBECONFIG, ~/.kube/config or the pod's own service account.
    #[arg(long, value_name = "FILE", help_heading = "Options")]
    kubeconfig: Option<PathBuf>,
    /// Log level: empty, info, debug, trace or all. The proxy sidecar gets the same level.
    #[arg(long, value_name = "LEVEL", help_heading = "Options")]
    log_level: Option<String>,
    /// How long to keep serving after SIGTERM, while readiness fails.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration, help_heading = "Stopping")]
    lame_duck: Duration,
    /// How long requests in flight may take after that.
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = duration, help_heading = "Stopping")]
    drain: Duration,
    #[command(flatten)]
    limits: Limits,
}

pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(with_two_dashes(arguments)) {
        Ok(cli) => cli,
        // Help is printed to standard output and is not an error; clap distinguishes them.
        Err(error) if error.use_stderr() => return fail(&anyhow!(in_one_line(&error)), USAGE),
        Err(help) => {
            _ = help.print();
            return ExitCode::SUCCESS;
        }
    };
    match cli.command {
        _ if cli.version => print_version(),
        Some(Command::Version) => print_version(),
        Some(Command::Inject(arguments)) => inject::run(&arguments),
        Some(Command::Serve(arguments)) => serve_with(*arguments),
        None => serve_with(cli.serve),
    }
}

/// Go's flags have one dash or two; clap would read one dash as a group of short flags.
fn with_two_dashes(arguments: impl IntoIterator<Item = OsString>) -> impl Iterator<Item = OsString> {
    let mut is_gos = true;
    arguments.into_iter().map(move |argument| {
        // This subcommand is not upstream's, and has short flags with values.
        is_gos &= argument != "inject";
        let is_long = is_gos
            && argument.to_str().is_some_and(|text| {
                let mut characters = text.chars();
                characters.next() == Some('-')
                    && characters.next().is_some_and(|c| c.is_ascii_alphabetic())
                    && characters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '-')
            });
        if is_long { ["-".into(), argument].into_iter().collect() } else { argument }
    })
}

fn print_version() -> ExitCode {
    match serde_json::to_string(&BUILD) {
        Ok(version) => {
            println!("{version}");
            ExitCode::SUCCESS
        }
        Err(error) => fail(&error.into(), 1),
    }
}

/// The command-line error, without the usage that clap adds.
fn in_one_line(error: &clap::Error) -> String {
    let whole = error.render().to_string();
    let problem = whole.split("\n\n").next().unwrap_or_default();
    let words: Vec<&str> = problem.trim_start_matches("error:").split_whitespace().collect();
    format!("{}; --help tells more", words.join(" "))
}

fn fail(error: &anyhow::Error, code: u8) -> ExitCode {
    eprintln!("azwi-webhook: {error:#}");
    ExitCode::from(code)
}

fn serve_with(arguments: ServeArguments) -> ExitCode {
    let (mut options, level) = match options(arguments) {
        Ok(options) => options,
        Err(error) => return fail(&error, USAGE),
    };
    let log = telemetry::start(level);
    telemetry::log_panics();
    // One thread: waking another one costs more than answering a request, and one thread answers far more requests than
    // an API server sends.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into(), 1),
    };
    options.limits.connections = open_files::room_for(options.limits.connections);
    match runtime.block_on(process::run(options, log)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error, 1),
    }
}

fn options(arguments: ServeArguments) -> Result<(Options, LogLevel)> {
    let ServeArguments {
        settings,
        certificates,
        tls_min_version,
        webhook_addr,
        health_addr,
        metrics_addr,
        metrics_backend,
        kubeconfig,
        log_level,
        lame_duck,
        drain,
        limits,
    } = arguments;
    let level = LogLevel::read(log_level.as_deref().unwrap_or_default());
    let level = level.map_err(|problem| anyhow!("invalid --log-level set: {problem}"))?;
    if !metrics_backend.eq_ignore_ascii_case("prometheus") {
        bail!("unsupported metrics backend: {metrics_backend}; it must be prometheus");
    }
    // The sidecar logs at the webhook's level unless the settings override it.
    let settings = settings.resolve(log_level.as_deref())?;
    certificates.check_lifetimes()?;
    limits.check()?;
    let namespace = std::env::var("POD_NAMESPACE").unwrap_or_else(|_| DEFAULT_NAMESPACE.to_owned());
    let options = Options {
        webhook_addr,
        health_addr,
        metrics_addr,
        callers: certificates.caller_checks(),
        certificates: certificates.source(namespace),
        tls_min_version: tls_version(&tls_min_version)?,
        kubeconfig,
        lame_duck,
        drain,
        limits,
        settings,
    };
    Ok((options, level))
}

fn tls_version(version: &str) -> Result<TlsVersion> {
    match version {
        "1.2" => Ok(TlsVersion::V1_2),
        "1.3" => Ok(TlsVersion::V1_3),
        "1.0" | "1.1" => bail!("--tls-min-version {version} is too old to be spoken; use 1.2 or 1.3"),
        _ => bail!("unable to parse TLS version: invalid TLS version {version:?}. Must be one of: 1.2, 1.3"),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use clap::{CommandFactory as _, Parser as _};

    use super::{Cli, Command, with_two_dashes};

    fn parsed(line: &str) -> Cli {
        let arguments = format!("azwi-webhook {line}");
        Cli::try_parse_from(with_two_dashes(arguments.split_whitespace().map(OsString::from))).unwrap()
    }

    #[test]
    fn what_is_wrong_is_said_in_one_line() {
        for (line, problem) in [
            ("--bogus", "unexpected argument '--bogus' found"),
            ("--max-body x", "invalid value 'x' for '--max-body"),
            ("--max-body 7MiB", "without a unit"),
            ("--max-connections 0", "from 1 to 65536"),
            ("--write-timeout 0s", "invalid value '0s' for '--write-timeout"),
            ("inject", "required arguments were not provided: --filename <FILE>"),
        ] {
            let arguments = format!("azwi-webhook {line}");
            let error = Cli::try_parse_from(arguments.split_whitespace()).unwrap_err();
            let said = super::in_one_line(&error);
            assert!(said.contains(problem) && said.lines().count() == 1, "{said}");
        }
    }

    #[test]
    fn lives_that_leave_no_time_for_what_follows_are_refused() {
        let problem = |line: &str| {
            let checked = parsed(line).serve.certificates.check_lifetimes();
            checked.map_or_else(|error| error.to_string(), |()| String::new())
        };
        for line in [
            "",
            "--ca-life 9s --ca-overlap 2s --cert-check-interval 900ms",
            "--leaf-life 3s --cert-check-interval 900ms",
            "--ca-life 87600h --ca-overlap 87600h --disable-cert-rotation",
        ] {
            assert_eq!(problem(line), "", "{line}");
        }
        for (line, said) in [
            (
                "--ca-overlap 9000h",
                "--ca-overlap 32400000s must be shorter than a third of --ca-life 31536000s",
            ),
            ("--ca-life 9s --ca-overlap 3s", "--ca-overlap 3s must be shorter than a third of --ca-life 9s"),
            (
                "--ca-life 9s --ca-overlap 2s --cert-check-interval 1s",
                "--cert-check-interval 1s must be shorter than a third of --ca-life 9s less --ca-overlap 2s",
            ),
            ("--leaf-life 30s", "--cert-check-interval 10s must be shorter than a third of --leaf-life 30s"),
        ] {
            assert!(problem(line).starts_with(said), "{}", problem(line));
        }
    }

    #[test]
    fn durations_of_certificates_have_bounds() {
        let flags = ["--ca-life", "--ca-overlap", "--leaf-life", "--cert-check-interval"];
        for (flag, shortest) in flags.iter().zip(["1s", "1s", "1s", "100ms"]) {
            for value in [shortest, "87600h"] {
                parsed(&format!("{flag} {value}"));
            }
            for value in
                ["0s", "99ms", "87600h1ns", "99999999h", "3000000000000000h", "999999999999999999999h", "x"]
            {
                let error = Cli::try_parse_from(["azwi-webhook", *flag, value]).unwrap_err();
                let said = super::in_one_line(&error);
                let expected = format!(
                    "invalid value '{value}' for '{flag} <DURATION>': a duration is a number and a unit, such as 1m30s; \
                     here from {shortest} to 87600h"
                );
                assert!(said.starts_with(&expected), "{said}");
            }
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn upstreams_arguments_are_understood_with_one_dash_and_with_two() {
        for dashes in ["-", "--"] {
            let line = format!(
                "{dashes}log-level=info {dashes}metrics-addr=:8095 {dashes}metrics-backend prometheus \
                 {dashes}disable-cert-rotation {dashes}audience= {dashes}webhook-cert-dir /certs {dashes}tls-min-version=1.2"
            );
            let cli = parsed(&line);
            assert!(cli.command.is_none() && cli.serve.certificates.disable_cert_rotation);
            assert_eq!((cli.serve.log_level.as_deref(), &*cli.serve.tls_min_version), (Some("info"), "1.2"));
        }
        assert!(!parsed("--disable-cert-rotation=false").serve.certificates.disable_cert_rotation);
        assert!(parsed("-version").version);
    }

    #[test]
    fn every_flag_is_documented() {
        let docs = include_str!("../../../docs/webhook.md");
        for flag in Cli::command().get_arguments().filter_map(|argument| argument.get_long()) {
            assert!(docs.contains(&format!("`--{flag}")), "docs/webhook.md does not name --{flag}");
        }
    }

    #[test]
    fn subcommands_are_told_apart() {
        assert!(matches!(parsed("serve -log-level debug").command, Some(Command::Serve(_))));
        assert!(matches!(parsed("inject -f pod.yaml").command, Some(Command::Inject(_))));
        assert!(matches!(parsed("version").command, Some(Command::Version)));
    }
}
