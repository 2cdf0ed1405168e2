//! Measures the webhook against a server on the same stack that always gives the same answer, in one run.

mod load;
mod peer;
mod process;
mod report;

use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::Parser;
use http::Uri;
use load::{Round, Shape, Target};
use process::Process;
use rcgen::{CertifiedKey, KeyPair};
use report::Figure;
use serde_json::json;
use tempfile::TempDir;
use test_support::api_server::ApiServer;
use test_support::tls_client::{Caller, new_certificate};
use test_support::webhook::{WebhookProcess, write_certificate};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// A review as sent by the API server, for a Deployment's pod, 5.2 KiB.
const REVIEW: &str = include_str!("../review.json");
/// Concurrent connections in every scenario.
const CONNECTIONS: usize = 8;
const CLIENT_ID: &str = "5d2e50e8-c9fc-4dad-9ab4-bc23cce71bf1";

/// Measures the webhook's cost and prints it as ratios to a server that always gives the same answer.
///
/// Servers and load share this machine, so the absolute figures mean little elsewhere; the ratios carry over.
#[derive(Parser)]
#[command(name = "azwi-bench")]
struct Arguments {
    /// The webhook's program.
    #[arg(long, value_name = "FILE")]
    webhook: PathBuf,
    /// The program of the server with the constant answer.
    #[arg(long, value_name = "FILE")]
    floor: PathBuf,
    /// File for the figures, in JSON.
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// Rounds per measurement; the median counts.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Requests per round over kept connections; a tenth of it over new connections.
    #[arg(long, default_value_t = 20_000)]
    requests: usize,
    /// Measure only scenarios whose name contains this, such as `kept_connections`.
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
    /// Another webhook to measure, such as `https://127.0.0.1:9443/mutate-v1-pod`; its certificate is not checked.
    #[arg(long, env = "PEER_URL", value_name = "URL")]
    peer_url: Option<Uri>,
    /// Its process on this machine, for CPU time and memory.
    #[arg(long, env = "PEER_PID", value_name = "PID")]
    peer_pid: Option<u32>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let run = tokio::runtime::Runtime::new()
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(run(&arguments)));
    match run {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("azwi-bench: {error:#}");
            ExitCode::from(1)
        }
    }
}

/// A way to send requests. CPU times are compared at the even pace: there every server sleeps between requests, and
/// pays for waking up and for waking its caller, as in a cluster. Unpaced requests show the throughput.
struct Scenario {
    name: &'static str,
    keeps_connections: bool,
    /// Requests per second.
    pace: Option<u32>,
    /// Maximum ratio of the CPU times.
    budget: Option<f64>,
}

const SCENARIOS: [Scenario; 4] = [
    Scenario { name: "kept_connections", keeps_connections: true, pace: Some(2000), budget: Some(1.5) },
    Scenario { name: "new_connections", keeps_connections: false, pace: Some(200), budget: Some(1.2) },
    Scenario { name: "kept_connections_saturated", keeps_connections: true, pace: None, budget: None },
    Scenario { name: "new_connections_saturated", keeps_connections: false, pace: None, budget: None },
];

impl Scenario {
    fn shape(&self, requests: usize) -> Shape {
        Shape {
            connections: CONNECTIONS,
            requests: if self.keeps_connections { requests } else { requests / 10 },
            keeps_connections: self.keeps_connections,
            pace: self.pace,
        }
    }

    /// Compares the webhook's round with another server's.
    fn figures(&self, webhook: &Round, other: &Round, suffix: &str, budget: Option<f64>) -> Vec<Figure> {
        let mut figures = Vec::new();
        let mut compare = |what: &str, unit, ours, others, budget| {
            let name = format!("{what}_{}{suffix}", self.name);
            figures.push(Figure::against(name, unit, ours, others, budget));
        };
        // A peer's is known only with its process.
        if let (Some(ours), Some(others)) = (webhook.cpu, other.cpu) {
            compare("cpu", "us/request", micros_of(ours), micros_of(others), budget);
        }
        if self.pace.is_none() {
            compare("throughput", "requests/s", webhook.throughput, other.throughput, None);
        } else {
            compare("latency_p50", "us", micros_of(webhook.median), micros_of(other.median), None);
            compare("latency_p99", "us", micros_of(webhook.p99), micros_of(other.p99), None);
        }
        figures
    }
}

fn say(what: &str) {
    eprintln!("bench: {what}");
}

async fn run(arguments: &Arguments) -> Result<()> {
    let certificate = new_certificate()?;
    let mut figures = Vec::new();

    say("start to ready, memory");
    let webhook = measure_starts(arguments, &certificate, &mut figures).await?;
    let webhook_target = target(&webhook, &certificate)?;
    let answer = webhook_target.caller.review(REVIEW).await?;
    let floor = Floor::start(&arguments.floor, &answer.body, &certificate).await?;
    let memory = |process: Process| Ok::<_, anyhow::Error>(mebibytes(process.resident_memory()?));
    figures.push(Figure::alone("memory_of_floor_idle", "MiB", memory(floor.process()?)?, None));

    let mut servers = vec![webhook_target, floor.target(&certificate)?];
    if let Some(url) = &arguments.peer_url {
        servers.push(peer::target(url, arguments.peer_pid.map(Process))?);
    }
    for scenario in SCENARIOS.iter().filter(|scenario| scenario.name.contains(&arguments.only)) {
        say(scenario.name);
        let rounds = measure(&servers, scenario.shape(arguments.requests), arguments.rounds).await?;
        if let [webhook, others @ ..] = &*rounds {
            let kinds = [("", scenario.budget), ("_to_peer", None)];
            for (other, (suffix, budget)) in others.iter().zip(kinds) {
                figures.extend(scenario.figures(webhook, other, suffix, budget));
            }
        }
    }
    println!();
    report::print(&figures);
    report::write(&figures, &arguments.output)?;
    say(&format!("written to {}", arguments.output.display()));
    Ok(())
}

/// The median of the rounds, in which the servers take turns so that other load on the machine affects all equally.
async fn measure(servers: &[Target], shape: Shape, rounds: usize) -> Result<Vec<Round>> {
    let warm_up = Shape { requests: shape.requests / 10, ..shape };
    for server in servers {
        server.round(warm_up, REVIEW).await?;
    }
    let mut measured: Vec<Vec<Round>> = servers.iter().map(|_| Vec::new()).collect();
    for _ in 0..rounds {
        for (server, rounds) in servers.iter().zip(&mut measured) {
            rounds.push(server.round(shape, REVIEW).await?);
        }
    }
    Ok(measured.iter().map(|rounds| median(rounds)).collect())
}

fn median(rounds: &[Round]) -> Round {
    fn middle<T: PartialOrd + Copy>(values: impl Iterator<Item = T>) -> Option<T> {
        let mut values: Vec<T> = values.collect();
        values.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
        values.get(values.len() / 2).copied()
    }
    Round {
        cpu: middle(rounds.iter().filter_map(|round| round.cpu)),
        throughput: middle(rounds.iter().map(|round| round.throughput)).unwrap_or_default(),
        median: middle(rounds.iter().map(|round| round.median)).unwrap_or_default(),
        p99: middle(rounds.iter().map(|round| round.p99)).unwrap_or_default(),
    }
}

/// Starts the webhook with more and more service accounts; keeps the one that knows only the review's running.
async fn measure_starts(
    arguments: &Arguments,
    certificate: &CertifiedKey<KeyPair>,
    figures: &mut Vec<Figure>,
) -> Result<WebhookProcess> {
    let mut starts = Vec::new();
    for _ in 0..arguments.rounds {
        let begin = Instant::now();
        let webhook = start(&arguments.webhook, 0, certificate).await?;
        starts.push(begin.elapsed());
        drop(webhook);
    }
    starts.sort_unstable();
    let typical = starts.get(starts.len() / 2).copied().unwrap_or_default();
    figures.push(Figure::alone("start_to_ready", "ms", typical.as_secs_f64() * 1e3, None));

    let webhook = start(&arguments.webhook, 0, certificate).await?;
    let idle = settled_memory(process_of(&webhook.child)?).await?;
    figures.push(Figure::alone("memory_idle", "MiB", mebibytes(idle), Some(12.0)));
    for (name, count) in
        [("memory_per_service_account_10000", 10_000_u32), ("memory_per_service_account_100000", 100_000)]
    {
        let large = start(&arguments.webhook, count, certificate).await?;
        let more = settled_memory(process_of(&large.child)?).await?.saturating_sub(idle);
        figures.push(Figure::alone(name, "bytes", bytes(more) / f64::from(count), Some(300.0)));
    }
    Ok(webhook)
}

/// The memory once it no longer shrinks: an allocator returns pages some time after they were freed.
async fn settled_memory(process: Process) -> Result<u64> {
    let mut last = process.resident_memory()?;
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = process.resident_memory()?;
        if now >= last {
            return Ok(now);
        }
        last = now;
    }
}

async fn start(program: &Path, accounts: u32, certificate: &CertifiedKey<KeyPair>) -> Result<WebhookProcess> {
    let api_server = ApiServer::start()?;
    let metadata = json!({
        "labels": {"azure.workload.identity/use": "true", "app.kubernetes.io/managed-by": "Helm"},
        "annotations": {"azure.workload.identity/client-id": CLIENT_ID, "meta.helm.sh/release-name": "orders"},
        "creationTimestamp": "2026-01-01T00:00:00Z",
    });
    api_server.apply("shop", "orders", &metadata);
    for number in 0..accounts {
        // Ten in each namespace; all opted in, because the cache keeps the most for those.
        api_server.apply(&format!("team-{}", number / 10), &format!("workload-{number}"), &metadata);
    }
    // All of them must be cached, which does not fit in the usual memory.
    let flags = ["--cache-memory", "1073741824"];
    let webhook = WebhookProcess::start_program(program, &api_server, certificate, &flags).await?;
    // It continues from its cache; the API server would only take memory.
    drop(api_server);
    Ok(webhook)
}

fn process_of(child: &Child) -> Result<Process> {
    Ok(Process(child.id().context("a server has ended")?))
}

fn target(webhook: &WebhookProcess, certificate: &CertifiedKey<KeyPair>) -> Result<Target> {
    Ok(Target {
        caller: Caller::new(webhook.address, [certificate.cert.der().clone()])?,
        path: Uri::from_static("/mutate-v1-pod?timeout=10s"),
        process: Some(process_of(&webhook.child)?),
    })
}

/// The server with the constant answer. It is killed on drop.
struct Floor {
    child: Child,
    address: std::net::SocketAddr,
    _folder: TempDir,
}

impl Floor {
    async fn start(program: &Path, answer: &[u8], certificate: &CertifiedKey<KeyPair>) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        write_certificate(folder.path(), certificate)?;
        let answer_file = folder.path().join("answer.json");
        std::fs::write(&answer_file, answer)?;
        let mut child = Command::new(program)
            .args(["--address", "127.0.0.1:0", "--cert-dir"])
            .arg(folder.path())
            .arg("--answer")
            .arg(answer_file)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = child.stdout.take().context("the floor has no output")?;
        let line = BufReader::new(stdout).lines().next_line().await?;
        let line = line.with_context(|| format!("{} does not listen", program.display()))?;
        Ok(Self { child, address: line.parse()?, _folder: folder })
    }

    fn process(&self) -> Result<Process> {
        process_of(&self.child)
    }

    fn target(&self, certificate: &CertifiedKey<KeyPair>) -> Result<Target> {
        Ok(Target {
            caller: Caller::new(self.address, [certificate.cert.der().clone()])?,
            path: Uri::from_static("/mutate-v1-pod?timeout=10s"),
            process: Some(self.process()?),
        })
    }
}

/// For display; the loss of precision is far below a page of memory.
#[allow(clippy::cast_precision_loss)]
fn bytes(count: u64) -> f64 {
    count as f64
}

fn mebibytes(count: u64) -> f64 {
    bytes(count) / f64::from(1 << 20)
}

fn micros_of(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
