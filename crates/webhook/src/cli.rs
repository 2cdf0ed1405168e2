//! The command line. Upstream's flags are understood with one dash and with two.

// The comments on arguments are help texts, where backticks would show.
#![allow(clippy::doc_markdown)]

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use clap::{Args, Parser, Subcommand};
use serde_json::Value;

use crate::certificates::{Lives, Objects};
use crate::go_duration;
use crate::inject::{self, InjectArguments};
use crate::limits::{Limits, largest_body};
use crate::open_files;
use crate::serve::{self, CertificateSource, Clients, Options};
use crate::server::TlsVersion;
use crate::settings::{Resolved, resolve};
use crate::telemetry::{self, LogLevel};
use crate::version::BUILD;

/// Exit code of a wrong flag, variable or settings file.
const USAGE: u8 = 2;
/// Namespace of the webhook where POD_NAMESPACE does not say, as upstream has it.
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
    /// Print what was built, as one line of JSON.
    #[arg(long, help_heading = "Options")]
    version: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the webhook (the default without a subcommand).
    Serve(Box<ServeArguments>),
    /// Inject into manifests, without a webhook.
    Inject(Box<InjectArguments>),
    /// Print what was built, as one line of JSON.
    Version,
}

/// Settings of the mutation that flags can give; each goes before the environment and the settings file.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Mutation")]
pub struct SettingsArguments {
    /// Settings as the policy has them, in YAML or JSON.
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// Azure tenant: a GUID or a verified domain name [env: AZURE_TENANT_ID].
    #[arg(long, value_name = "TENANT")]
    tenant_id: Option<String>,
    /// Audience of the projected token [default: api://AzureADTokenExchange].
    #[arg(long)]
    audience: Option<String>,
    /// Who is mutated: pod, serviceAccount, podOrServiceAccount or all [default: podOrServiceAccount].
    #[arg(long, value_name = "WHO")]
    opt_in: Option<String>,
    /// Layout of the token volume: azure-identity-token, reserved or reserved-per-pod [default: azure-identity-token].
    #[arg(long, value_name = "LAYOUT")]
    token_volume: Option<String>,
    /// Annotation suffix of the token endpoint (AKS identity binding).
    #[arg(long, value_name = "SUFFIX")]
    custom_token_endpoint_annotation_suffix: Option<String>,
    /// Audience of tokens for the token endpoint.
    #[arg(long, value_name = "AUDIENCE")]
    custom_token_endpoint_audience: Option<String>,
}

impl SettingsArguments {
    /// The configuration that these flags, the environment and the settings file come to.
    pub fn resolve(&self, proxy_log_level: Option<&str>) -> Result<Resolved> {
        let flags = [
            ("tenantId", &self.tenant_id),
            ("audience", &self.audience),
            ("optIn", &self.opt_in),
            ("tokenVolume", &self.token_volume),
            ("tokenEndpoint.annotationSuffix", &self.custom_token_endpoint_annotation_suffix),
            ("tokenEndpoint.audience", &self.custom_token_endpoint_audience),
        ];
        // Upstream's manifests pass empty flags for what is not set.
        let given = flags.into_iter().filter_map(|(key, value)| {
            let value = value.as_deref().filter(|value| !value.is_empty())?;
            Some((key, Value::from(value)))
        });
        resolve(self.settings.as_deref(), |name| std::env::var_os(name), given.collect(), proxy_log_level)
    }
}

#[derive(Debug, Args)]
struct ServeArguments {
    #[command(flatten)]
    settings: SettingsArguments,
    #[command(flatten)]
    certificates: CertificateArguments,
    /// Oldest version of TLS: 1.2 or 1.3.
    #[arg(long, value_name = "VERSION", default_value = "1.3", help_heading = "Certificates")]
    tls_min_version: String,
    /// Where the API server calls.
    #[arg(long, value_name = "ADDRESS", default_value = ":9443", help_heading = "Addresses")]
    webhook_addr: String,
    /// Where the kubelet asks for health: /livez, /healthz, /readyz.
    #[arg(long, value_name = "ADDRESS", default_value = ":9440", help_heading = "Addresses")]
    health_addr: String,
    /// Where Prometheus reads /metrics.
    #[arg(long, value_name = "ADDRESS", default_value = ":8095", help_heading = "Addresses")]
    metrics_addr: String,
    /// Kind of metrics; only prometheus.
    #[arg(long, value_name = "KIND", default_value = "prometheus", help_heading = "Addresses")]
    metrics_backend: String,
    /// Kubeconfig; without it KUBECONFIG, ~/.kube/config or the pod's own service account.
    #[arg(long, value_name = "FILE", help_heading = "Options")]
    kubeconfig: Option<PathBuf>,
    /// How much is logged: empty, info, debug, trace or all. The proxy sidecar gets the same word.
    #[arg(long, value_name = "LEVEL", help_heading = "Options")]
    log_level: Option<String>,
    /// How long to go on serving after SIGTERM, while readiness fails.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration, help_heading = "Stopping")]
    lame_duck: Duration,
    /// How long requests in flight may take after that.
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = duration, help_heading = "Stopping")]
    drain: Duration,
    #[command(flatten)]
    limits: LimitArguments,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Certificates")]
struct CertificateArguments {
    /// Take tls.crt and tls.key from --webhook-cert-dir; otherwise the webhook makes its own certificates.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false",
        action = clap::ArgAction::Set, value_name = "BOOL")]
    disable_cert_rotation: bool,
    /// Folder with tls.crt and tls.key, read anew when their content changes.
    #[arg(long, value_name = "DIR", default_value = "/certs")]
    webhook_cert_dir: PathBuf,
    /// File in PEM with the authorities of callers; with it, the API server has to show a certificate. Read anew when its
    /// content changes.
    #[arg(long, value_name = "FILE")]
    client_ca_file: Option<PathBuf>,
    /// Common name or DNS name that a caller's certificate must have; may be given more than once, or several by commas; needs --client-ca-file [default: any].
    #[arg(long, value_name = "NAME", requires = "client_ca_file", value_delimiter = ',')]
    client_allowed_name: Vec<String>,
    /// How often files, Secret and caBundle are looked at.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = interval)]
    cert_check_interval: Duration,
    /// Secret in the webhook's namespace that keeps its certificate authority. The chart makes an empty one.
    #[arg(long, value_name = "NAME", default_value = "azure-wi-webhook-ca")]
    ca_secret: String,
    /// MutatingWebhookConfiguration whose caBundle is kept right.
    #[arg(long, value_name = "NAME", default_value = "azure-wi-webhook-mutating-webhook-configuration")]
    webhook_configuration: String,
    /// Service by whose name the API server calls.
    #[arg(long, value_name = "NAME", default_value = "azure-wi-webhook-webhook-service")]
    service_name: String,
    /// Life of the certificate authority; a new one is made after two thirds of it.
    #[arg(long, value_name = "DURATION", default_value = "8760h", value_parser = life)]
    ca_life: Duration,
    /// How long a new certificate authority is trusted before it signs.
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = life)]
    ca_overlap: Duration,
    /// Life of a replica's certificate; a new one is made after two thirds of it.
    #[arg(long, value_name = "DURATION", default_value = "168h", value_parser = life)]
    leaf_life: Duration,
}

impl CertificateArguments {
    /// What follows something has to be in use before that ends.
    fn check_lives(&self) -> Result<()> {
        if self.disable_cert_rotation {
            return Ok(());
        }
        let (interval, overlap) = (self.cert_check_interval, self.ca_overlap);
        let (authority, leaf) = (self.ca_life, self.leaf_life);
        if overlap >= authority / 3 {
            bail!(
                "--ca-overlap {overlap:?} must be shorter than a third of --ca-life {authority:?}, when the next authority \
                 is made"
            );
        }
        if interval + overlap >= authority / 3 {
            bail!(
                "--cert-check-interval {interval:?} must be shorter than a third of --ca-life {authority:?} less \
                 --ca-overlap {overlap:?}, when the next authority is to sign"
            );
        }
        if interval >= leaf / 3 {
            bail!(
                "--cert-check-interval {interval:?} must be shorter than a third of --leaf-life {leaf:?}, when the next \
                 certificate is made"
            );
        }
        Ok(())
    }

    fn clients(&self) -> Option<Clients> {
        self.client_ca_file.clone().map(|ca_file| Clients {
            ca_file,
            allowed_names: self.client_allowed_name.clone(),
            check_every: self.cert_check_interval,
        })
    }

    fn source(self, namespace: String) -> CertificateSource {
        if self.disable_cert_rotation {
            return CertificateSource::Files(self.webhook_cert_dir, self.cert_check_interval);
        }
        let service = format!("{}.{namespace}", self.service_name);
        CertificateSource::SelfManaged(Objects {
            dns_names: vec![format!("{service}.svc"), format!("{service}.svc.cluster.local"), service],
            namespace,
            secret: self.ca_secret,
            webhook_configuration: self.webhook_configuration,
            lives: Lives { authority: self.ca_life, leaf: self.leaf_life, overlap: self.ca_overlap },
            check_every: self.cert_check_interval,
        })
    }
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
struct LimitArguments {
    /// Memory of all requests together in bytes: bodies, and answers until they are sent. docs/security.md says which
    /// request goes when it is full [default: five sixteenths of the container's memory limit].
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().request_memory, hide_default_value = true,
        value_parser = bytes)]
    request_memory: usize,
    /// Largest body of a request in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().body_bytes, value_parser = bytes)]
    max_body: usize,
    /// Largest head of a request in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().header_bytes)]
    max_header: usize,
    /// How long a connection is kept that has not sent a review.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = interval)]
    header_timeout: Duration,
    /// How long a client may take for a request's body.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = interval)]
    body_timeout: Duration,
    /// How long a TLS handshake may take.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = interval)]
    handshake_timeout: Duration,
    /// How long a client may take to read an answer.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = interval)]
    write_timeout: Duration,
    /// How long a request may take where the API server does not say by ?timeout=.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = interval)]
    request_timeout: Duration,
    /// Connections at a time; beyond it one goes that has waited long [default: by the container's memory limit, 256 in
    /// 64 MiB].
    #[arg(long, value_name = "N", default_value_t = Limits::default().connections, hide_default_value = true,
        value_parser = connections)]
    max_connections: usize,
    /// Memory of the cache of service accounts in bytes; those that do not fit are read when they are needed [default: a
    /// sixteenth of the container's memory limit].
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().cache_memory, hide_default_value = true,
        value_parser = bytes)]
    cache_memory: usize,
    /// Service accounts that are read at a time, an eighth of them in one namespace; requests that need more wait half
    /// of their time for a place, and are answered with code 503.
    #[arg(long, value_name = "N", default_value_t = Limits::default().reads, value_parser = reads)]
    max_in_flight: usize,
}

/// No certificate is to last longer than ten years, and no time that is counted from now can overflow.
const LONGEST: &str = "87600h";

fn duration(text: &str) -> Result<Duration, String> {
    duration_from("0s", text)
}

/// A limit in bytes: what is smaller than the smallest review answers nothing.
fn bytes(text: &str) -> Result<usize, String> {
    let bytes = text.parse().ok().filter(|bytes| (1024..=1 << 40).contains(bytes));
    bytes.ok_or_else(|| "a limit is a number of bytes without a unit, at least 1024".to_owned())
}

fn connections(text: &str) -> Result<usize, String> {
    let connections = text.parse().ok().filter(|connections| (1..=65_536).contains(connections));
    connections.ok_or_else(|| "a number of connections is from 1 to 65536".to_owned())
}

fn reads(text: &str) -> Result<usize, String> {
    let reads = text.parse().ok().filter(|reads| (1..=4096).contains(reads));
    reads.ok_or_else(|| "a number of reads is from 1 to 4096".to_owned())
}

fn life(text: &str) -> Result<Duration, String> {
    duration_from("1s", text)
}

fn interval(text: &str) -> Result<Duration, String> {
    duration_from("100ms", text)
}

/// Reads a duration that is neither too short nor too long.
fn duration_from(shortest: &str, text: &str) -> Result<Duration, String> {
    let limits = (go_duration::parse(shortest), go_duration::parse(LONGEST));
    match (go_duration::parse(text), limits) {
        (Some(duration), (Some(shortest), Some(longest))) if (shortest..=longest).contains(&duration) => {
            Ok(duration)
        }
        _ => Err(format!(
            "a duration is a number and a unit, such as 1m30s; here from {shortest} to {LONGEST}"
        )),
    }
}

/// Runs the program with these arguments.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(with_two_dashes(arguments)) {
        Ok(cli) => cli,
        // Help goes to standard output and is no failure; clap knows which is which.
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

/// Go's flags have one dash or two; clap would read one as a heap of short flags.
fn with_two_dashes(arguments: impl IntoIterator<Item = OsString>) -> impl Iterator<Item = OsString> {
    let mut is_gos = true;
    arguments.into_iter().map(move |argument| {
        // That subcommand is this program's own, and has short flags with values.
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

/// What is wrong with the command line, without the usage that clap adds.
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
    telemetry::start(level);
    telemetry::log_panics();
    // One thread: waking another one costs more than answering a request, and one answers far more requests than an API
    // server sends.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into(), 1),
    };
    options.limits.connections = open_files::room_for(options.limits.connections);
    match runtime.block_on(serve::run(options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error, 1),
    }
}

fn options(arguments: ServeArguments) -> Result<(Options, LogLevel)> {
    let word = arguments.log_level.clone().unwrap_or_default();
    let level = LogLevel::read(&word).map_err(|problem| anyhow!("invalid --log-level set: {problem}"))?;
    if !arguments.metrics_backend.eq_ignore_ascii_case("prometheus") {
        bail!("unsupported metrics backend: {}; it must be prometheus", arguments.metrics_backend);
    }
    // The sidecar logs as the webhook does, unless the settings say otherwise.
    let settings = arguments.settings.resolve(arguments.log_level.as_deref())?;
    arguments.certificates.check_lives()?;
    let limits = arguments.limits;
    if largest_body(limits.request_memory) < limits.max_body {
        bail!(
            "--max-body is {} bytes, but one body may have at most three quarters of --request-memory, which is {}; one of them has \
             to change",
            limits.max_body,
            limits.request_memory
        );
    }
    let namespace = std::env::var("POD_NAMESPACE").unwrap_or_else(|_| DEFAULT_NAMESPACE.to_owned());
    let options = Options {
        webhook_addr: arguments.webhook_addr,
        health_addr: arguments.health_addr,
        metrics_addr: arguments.metrics_addr,
        clients: arguments.certificates.clients(),
        certificates: arguments.certificates.source(namespace),
        tls_min_version: tls_version(&arguments.tls_min_version)?,
        kubeconfig: arguments.kubeconfig,
        lame_duck: arguments.lame_duck,
        drain: arguments.drain,
        limits: Limits {
            request_memory: limits.request_memory,
            body_bytes: limits.max_body,
            header_bytes: limits.max_header,
            header_time: limits.header_timeout,
            body_time: limits.body_timeout,
            handshake_time: limits.handshake_timeout,
            write_time: limits.write_timeout,
            connections: limits.max_connections,
            reads: limits.max_in_flight,
            read_memory: Limits::default().read_memory,
            cache_memory: limits.cache_memory,
            request_time: limits.request_timeout,
        },
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
            let checked = parsed(line).serve.certificates.check_lives();
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
