//! Health and metrics, on their own ports and without TLS. They run on their own thread, so they are answered even when
//! the main thread is busy.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use crate::certificates::CertificateStore;
use crate::connections::{Allowance, Connection, Connections, State};
use crate::reviewer::Reviewer;
use crate::telemetry::{LogControl, LogLevel};

/// Connections per port. The callers are the kubelet and one or two Prometheus servers. More places give a caller more
/// time for its request while others open connections; each takes 2 KiB, or 12 KiB after it has sent something.
pub const MOST_CONNECTIONS: usize = 128;
const ALLOWANCE: Allowance = Allowance {
    connections: MOST_CONNECTIONS,
    memory: 0,
    patience: Duration::from_secs(10),
    write_time: Duration::from_secs(10),
};
/// Maximum size of a request head in bytes.
const LARGEST_HEAD: usize = 8 * 1024;

/// State that the health and metrics pages report.
#[derive(Clone)]
pub struct Observed {
    /// The cache, the metrics, and whether the process is draining.
    pub reviewer: Arc<Reviewer>,
    pub certificates: Arc<CertificateStore>,
    /// The log level.
    pub log: LogControl,
}

/// A readiness condition: its name, and whether it is met.
pub type Check = (&'static str, bool);

impl Observed {
    /// Conditions that must be met for the process to be ready.
    pub fn checks(&self) -> [Check; 3] {
        [
            ("api-server-answered", self.reviewer.service_accounts.cache().last_heard().is_some()),
            ("certificate-valid", self.certificates.is_valid_at(seconds_since_1970())),
            ("not-draining", !self.reviewer.is_draining()),
        ]
    }
}

fn seconds_since_1970() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

/// Starts a thread that serves both listeners. The receiver resolves if the thread ends.
///
/// # Errors
/// The system cannot start a thread.
pub fn start(health: TcpListener, metrics: TcpListener, observed: Observed) -> Result<oneshot::Receiver<()>> {
    let (alive, ended) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let health = listener(&runtime, health)?;
    let metrics = listener(&runtime, metrics)?;
    let serve = move || {
        let _alive = alive;
        runtime.block_on(async {
            let counter = &observed.reviewer.metrics.connections_evicted;
            let ports =
                [(health, health_page as Page), (metrics, metrics_page as Page)].map(|(listener, page)| {
                    let observed = observed.clone();
                    let serve = move |stream, connection| serve(stream, connection, observed.clone(), page);
                    Connections::new(ALLOWANCE, counter.clone()).accept(listener, serve, |_| ())
                });
            futures_util::future::join_all(ports).await;
        });
    };
    std::thread::Builder::new().name("health-and-metrics".to_owned()).spawn(serve)?;
    Ok(ended)
}

fn listener(runtime: &tokio::runtime::Runtime, listener: TcpListener) -> Result<tokio::net::TcpListener> {
    let _inside = runtime.enter();
    listener.set_nonblocking(true)?;
    tokio::net::TcpListener::from_std(listener).context("cannot listen for health and metrics")
}

/// Renders a page from its path and query.
type Page = fn(&Observed, &Question<'_>) -> Answer;

/// What is asked for.
struct Question<'a> {
    method: &'a Method,
    path: &'a str,
    query: &'a str,
    /// Whether the caller is in the pod, as with `kubectl port-forward`.
    is_local: bool,
}

struct Answer {
    status: StatusCode,
    media_type: &'static str,
    text: String,
}

impl Answer {
    fn plain(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, media_type: "text/plain; charset=utf-8", text: text.into() }
    }
}

async fn serve(stream: TcpStream, connection: Arc<Connection>, observed: Observed, page: Page) {
    let service = service_fn(async |request: Request<Incoming>| {
        let question = Question {
            method: request.method(),
            path: request.uri().path(),
            query: request.uri().query().unwrap_or_default(),
            is_local: [Ipv4Addr::LOCALHOST.into(), IpAddr::from(Ipv6Addr::LOCALHOST)]
                .contains(&connection.address()),
        };
        let answer = page(&observed, &question);
        let mut response = Response::new(Full::new(Bytes::from(answer.text)));
        *response.status_mut() = answer.status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(answer.media_type));
        // One page per connection: metrics cost the thread that answers probes, and requests could be pipelined.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        // Starts the timeout for the next request, which also covers reading this answer.
        connection.enter(State::Idle);
        Ok::<_, Infallible>(response)
    });
    let mut http = http1::Builder::new();
    http.header_read_timeout(None).max_buf_size(LARGEST_HEAD);
    let served = async {
        // No buffer is needed until then.
        connection.first_bytes(&stream).await?;
        http.serve_connection(TokioIo::new(stream), service).await.map_err(std::io::Error::other)
    };
    tokio::select! {
        // Errors concern only this caller's connection.
        _ = served => {}
        () = connection.overdue() => {}
    }
}

/// `/livez` and `/healthz` only report that the process is alive, `/readyz` that it can answer; `?verbose` names each
/// check.
fn health_page(observed: &Observed, question: &Question<'_>) -> Answer {
    match question.path {
        "/livez" | "/healthz" => Answer::plain(StatusCode::OK, "ok"),
        "/readyz" => {
            let cache = observed.reviewer.service_accounts.cache();
            let is_verbose = question.query.split('&').any(|parameter| parameter.starts_with("verbose"));
            readiness(&observed.checks(), cache.is_synced(), cache.last_heard(), is_verbose)
        }
        "/log-level" => log_level(&observed.log, question),
        _ => Answer::plain(StatusCode::NOT_FOUND, "there is nothing here; try /livez or /readyz?verbose\n"),
    }
}

/// Shows or changes the log level, for callers in the pod only: whoever could make the webhook write more could fill a disk.
fn log_level(log: &LogControl, question: &Question<'_>) -> Answer {
    if !question.is_local {
        return Answer::plain(StatusCode::FORBIDDEN, "only from inside the pod: use kubectl port-forward\n");
    }
    if question.method != Method::PUT {
        return Answer::plain(StatusCode::OK, format!("{}\n", log.level()));
    }
    let word = question.query.split('&').find_map(|parameter| parameter.strip_prefix("level="));
    match word.ok_or_else(|| "PUT /log-level?level=debug".to_owned()).and_then(LogLevel::read) {
        Ok(level) if log.set(level) => Answer::plain(StatusCode::OK, format!("{level}\n")),
        Ok(_) => Answer::plain(StatusCode::INTERNAL_SERVER_ERROR, "the log level cannot be changed\n"),
        Err(problem) => Answer::plain(StatusCode::BAD_REQUEST, format!("{problem}\n")),
    }
}

fn readiness(checks: &[Check], is_synced: bool, heard: Option<Instant>, is_verbose: bool) -> Answer {
    let is_ready = checks.iter().all(|(_, holds)| *holds);
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    if is_ready && !is_verbose {
        return Answer::plain(status, "ok");
    }
    let mut text = String::new();
    for (name, holds) in checks {
        // Writing to a String cannot fail.
        _ = if *holds { writeln!(text, "[+]{name} ok") } else { writeln!(text, "[-]{name} failed") };
    }
    // Not a condition: until the cache is synced, service accounts are read one by one, which is slower but works.
    text.push_str(if is_synced {
        "[+]cache-synced ok"
    } else {
        "[ ]cache-synced not yet, accounts are read one by one"
    });
    // Writing to a String cannot fail.
    _ = match heard {
        Some(heard) => writeln!(text, "; the API server was heard {} s ago", heard.elapsed().as_secs()),
        None => writeln!(text, "; the API server was not heard yet"),
    };
    Answer::plain(status, text)
}

/// `/metrics` in the `OpenMetrics` text format.
fn metrics_page(observed: &Observed, question: &Question<'_>) -> Answer {
    if question.path != "/metrics" {
        return Answer::plain(StatusCode::NOT_FOUND, "there is nothing here; try /metrics\n");
    }
    let metrics = &observed.reviewer.metrics;
    let cache = observed.reviewer.service_accounts.cache();
    metrics.cached_service_accounts.set(i64::try_from(cache.len()).unwrap_or(i64::MAX));
    metrics.service_accounts_without_room.inner().store(cache.without_room(), Ordering::Relaxed);
    metrics.cache_age_seconds.set(cache.last_heard().map_or(f64::NAN, |last| last.elapsed().as_secs_f64()));
    metrics.certificate_not_after.set(observed.certificates.not_after().unwrap_or_default());
    if let Some(process) = process::Usage::read() {
        metrics.resident_memory.set(process.resident_bytes);
        metrics.cpu_seconds.inner().store(process.cpu_seconds.to_bits(), Ordering::Relaxed);
        metrics.open_files.set(process.open_files);
    }
    match metrics.text() {
        Ok(text) => {
            let media_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            Answer { status: StatusCode::OK, media_type, text }
        }
        Err(error) => Answer::plain(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

/// Usage of this process as reported by Linux.
mod process {
    /// Clock ticks per second in `/proc`, the same on every supported Linux.
    const TICKS_PER_SECOND: f64 = 100.0;

    pub(super) struct Usage {
        pub resident_bytes: i64,
        pub cpu_seconds: f64,
        pub open_files: i64,
    }

    impl Usage {
        /// Returns `None` if `/proc` does not have the Linux format.
        pub(super) fn read() -> Option<Self> {
            let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
            // After the name, which may contain spaces, the first field is the third of proc(5).
            let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
            let field = |number: usize| fields.get(number - 3)?.parse::<u32>().ok();
            let status = std::fs::read_to_string("/proc/self/status").ok()?;
            // Not counted in pages, whose size differs between kernels.
            let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
            let kibibytes: i64 = resident.trim().strip_suffix(" kB")?.parse().ok()?;
            let open_files = std::fs::read_dir("/proc/self/fd").ok()?.count();
            Some(Self {
                resident_bytes: kibibytes * 1024,
                cpu_seconds: f64::from(field(14)? + field(15)?) / TICKS_PER_SECOND,
                open_files: i64::try_from(open_files).ok()?,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_names_what_fails_and_does_not_wait_for_the_cache() {
        let ready = readiness(&[("a", true), ("b", true)], false, None, false);
        assert_eq!((ready.status, &*ready.text), (StatusCode::OK, "ok"));
        let verbose = readiness(&[("a", true)], false, None, true);
        assert_eq!(verbose.status, StatusCode::OK);
        assert_eq!(
            verbose.text,
            "[+]a ok\n[ ]cache-synced not yet, accounts are read one by one; the API server was not heard yet\n"
        );
        let failed = readiness(&[("a", true), ("b", false)], true, Some(Instant::now()), false);
        assert_eq!(failed.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(
            failed.text,
            "[+]a ok\n[-]b failed\n[+]cache-synced ok; the API server was heard 0 s ago\n"
        );
    }
}
