//! The affected parties: callers with ordinary reviews, and the kubelet. They run on their own thread, so that an
//! attack that keeps the attackers busy is not blamed on the webhook.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use hyper::body::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Field;
use admission_caller::answer::Answer;
use test_support::tls_client::{Caller, Connection, Reply};

/// How long an admission may take.
pub const ADMISSION_LIMIT: Duration = Duration::from_secs(2);
/// How long a probe may take: the kubelet's default.
pub const PROBE_LIMIT: Duration = Duration::from_secs(1);

/// Time between two admissions.
const PACE: Duration = Duration::from_millis(50);
/// Time between two probes of the same page.
const PROBE_PACE: Duration = Duration::from_millis(50);

/// Namespace of the bystanders.
pub const NAMESPACE: &str = "bystanders";
/// Their service account, which is in the webhook's cache.
pub const SERVICE_ACCOUNT: &str = "known";

/// Results of one bystander.
#[derive(Debug, Clone, Default)]
pub struct Series {
    /// How often it was served.
    pub served: usize,
    /// How often it was not served.
    pub failed: usize,
    /// Reason of the first failure.
    pub first_failure: Option<String>,
    /// The longest wait, including failed ones.
    pub worst: Duration,
    /// How often a kept connection had been closed.
    pub reconnects: usize,
}

impl Series {
    fn record(&mut self, took: Duration, result: Result<()>) {
        self.worst = self.worst.max(took);
        match result {
            Ok(()) => self.served += 1,
            Err(error) => {
                self.failed += 1;
                self.first_failure.get_or_insert_with(|| format!("{error:#}"));
            }
        }
    }
}

type SharedSeries = Arc<Mutex<Series>>;

fn lock(series: &Mutex<Series>) -> std::sync::MutexGuard<'_, Series> {
    series.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All bystanders at work.
pub struct Bystanders {
    thread: Option<JoinHandle<()>>,
    is_over: Arc<AtomicBool>,
    series: [SharedSeries; 4],
    lag: Arc<Mutex<Duration>>,
}

/// Results of all bystanders.
#[derive(Debug, Clone, Default)]
pub struct Observations {
    /// A caller that keeps its connection, like an API server.
    pub kept: Series,
    /// A caller that opens a connection each time.
    pub new: Series,
    /// The kubelet's liveness probe.
    pub livez: Series,
    /// The kubelet's readiness probe.
    pub readyz: Series,
    /// The longest delay of this thread itself.
    pub lag: Duration,
}

impl Observations {
    /// All by name.
    pub fn all(&self) -> [(&'static str, &Series); 4] {
        [
            ("bystander that keeps its connection", &self.kept),
            ("bystander with new connections", &self.new),
            ("/livez", &self.livez),
            ("/readyz", &self.readyz),
        ]
    }
}

impl Bystanders {
    /// Starts them.
    ///
    /// # Errors
    /// A thread cannot be started, or the webhook's certificate is invalid.
    pub fn start(field: &Field) -> Result<Self> {
        let caller = Caller::new(field.webhook, [field.certificate.clone()])?;
        let health = field.health;
        let is_over = Arc::new(AtomicBool::new(false));
        let series: [SharedSeries; 4] = Default::default();
        let lag = Arc::new(Mutex::new(Duration::ZERO));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let work = {
            let (is_over, lag) = (Arc::clone(&is_over), Arc::clone(&lag));
            let [kept, new, livez, readyz] = series.clone();
            move || {
                let is_over = &*is_over;
                runtime.block_on(async {
                    tokio::join!(
                        admissions(&caller, true, is_over, &kept),
                        admissions(&caller, false, is_over, &new),
                        probes(health, "/livez", is_over, &livez),
                        probes(health, "/readyz", is_over, &readyz),
                        watch_lag(is_over, &lag),
                    )
                });
            }
        };
        let thread = std::thread::Builder::new().name("bystanders".to_owned()).spawn(work)?;
        Ok(Self { thread: Some(thread), is_over, series, lag })
    }

    /// Waits until each has been served or refused this many more times, but not longer than `limit`.
    pub async fn wait_for_rounds(&self, rounds: usize, limit: Duration) {
        let count = |series: &SharedSeries| {
            let series = lock(series);
            series.served + series.failed
        };
        let goals: Vec<usize> = self.series.iter().map(|series| count(series) + rounds).collect();
        let end = Instant::now() + limit;
        while self.series.iter().zip(&goals).any(|(series, goal)| count(series) < *goal) {
            if Instant::now() > end {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Stops them, and returns the results.
    pub fn stop(mut self) -> Observations {
        self.end();
        let [kept, new, livez, readyz] = self.series.each_ref().map(|series| lock(series).clone());
        let lag = *self.lag.lock().unwrap_or_else(PoisonError::into_inner);
        Observations { kept, new, livez, readyz, lag }
    }

    fn end(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed, and leaves too few answers.
            _ = thread.join();
        }
    }
}

impl Drop for Bystanders {
    fn drop(&mut self) {
        self.end();
    }
}

/// The review of a typical pod: labelled, with two containers.
pub fn review() -> Bytes {
    let variables = |count: usize| {
        let all: Vec<_> = (0..count)
            .map(|i| serde_json::json!({"name": format!("SETTING_{i}"), "value": "x".repeat(20)}))
            .collect();
        all
    };
    let container = |name: &str| {
        serde_json::json!({"name": name, "image": "registry.example/team/web:1.2.3", "env": variables(20),
            "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
            "volumeMounts": [{"name": "kube-api-access-x", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
                "readOnly": true}]})
    };
    let pod = serde_json::json!({"kind": "Pod", "apiVersion": "v1",
        "metadata": {"generateName": "web-", "labels": {"azure.workload.identity/use": "true", "app": "web"}},
        "spec": {"serviceAccountName": SERVICE_ACCOUNT, "containers": [container("web"), container("sidecar")]}});
    super::wire::review(&admission_caller::request::pod_creation(NAMESPACE, &pod.to_string()))
}

async fn admissions(caller: &Caller, keeps: bool, is_over: &AtomicBool, series: &Mutex<Series>) {
    let body = review();
    let mut kept = None;
    while !is_over.load(Ordering::Relaxed) {
        let start = Instant::now();
        let asked = async {
            if keeps {
                ask_kept(caller, &mut kept, &body, series).await
            } else {
                caller.review(body.clone()).await
            }
        };
        let result = match timeout(ADMISSION_LIMIT, asked).await {
            Ok(reply) => reply.and_then(|reply| check(&reply)),
            Err(_) => Err(anyhow::anyhow!("no answer within {} s", ADMISSION_LIMIT.as_secs())),
        };
        if result.is_err() {
            kept = None;
        }
        lock(series).record(start.elapsed(), result);
        tokio::time::sleep_until((start + PACE).into()).await;
    }
}

/// Like Go's client: a connection that turns out to be closed is replaced by a new one, once.
async fn ask_kept(
    caller: &Caller,
    kept: &mut Option<Connection>,
    body: &Bytes,
    series: &Mutex<Series>,
) -> Result<Reply> {
    if let Some(mut open) = kept.take() {
        if !open.is_closed()
            && let Ok(reply) = open.review(body.clone()).await
        {
            *kept = (!reply.closes).then_some(open);
            return Ok(reply);
        }
        lock(series).reconnects += 1;
    }
    let mut open = caller.connect().await.context("cannot connect")?;
    let reply = open.review(body.clone()).await?;
    *kept = (!reply.closes).then_some(open);
    Ok(reply)
}

/// Whether the pod was admitted and changed.
///
/// # Errors
/// It was not, or there is no answer that can be read.
pub fn check(reply: &Reply) -> Result<()> {
    let text = String::from_utf8_lossy(&reply.body);
    ensure!(reply.status == 200, "status {}: {text}", reply.status);
    let answer = Answer::from_review(&reply.json()?)?;
    ensure!(answer.allowed, "denied: {}", answer.message);
    ensure!(!answer.patch.is_empty(), "admitted without its identity: {text}");
    Ok(())
}

async fn probes(address: SocketAddr, path: &str, is_over: &AtomicBool, series: &Mutex<Series>) {
    while !is_over.load(Ordering::Relaxed) {
        let start = Instant::now();
        let result = match timeout(PROBE_LIMIT, probe(address, path)).await {
            Ok(Ok(200)) => Ok(()),
            Ok(Ok(status)) => Err(anyhow::anyhow!("status {status}")),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(anyhow::anyhow!("no answer within {} s", PROBE_LIMIT.as_secs())),
        };
        lock(series).record(start.elapsed(), result);
        tokio::time::sleep_until((start + PROBE_PACE).into()).await;
    }
}

/// Requests a page like the kubelet, on a new connection. Returns the status.
///
/// # Errors
/// There was no answer.
pub async fn probe(address: SocketAddr, path: &str) -> Result<u16> {
    let mut stream = TcpStream::connect(address).await.context("cannot connect")?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(64 * 1024).read_to_end(&mut answer).await?;
    super::wire::status_of(&answer).context("no answer before the connection was closed")
}

/// Measures how late a timer is: the delay that the harness adds to the other times.
async fn watch_lag(is_over: &AtomicBool, lag: &Mutex<Duration>) {
    const TICK: Duration = Duration::from_millis(10);
    while !is_over.load(Ordering::Relaxed) {
        let start = Instant::now();
        tokio::time::sleep(TICK).await;
        let late = start.elapsed().saturating_sub(TICK);
        let mut lag = lag.lock().unwrap_or_else(PoisonError::into_inner);
        *lag = (*lag).max(late);
    }
}
