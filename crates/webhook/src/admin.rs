//! Health and metrics, on ports of their own and without TLS.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;

use crate::admission::Admissions;
use crate::certificates::CertificateStore;
use crate::metrics::Metrics;

/// What readiness depends on.
#[derive(Clone)]
pub struct Readiness {
    /// The cache, and whether the process is draining.
    pub admissions: Arc<Admissions>,
    /// The serving certificate.
    pub certificates: Arc<CertificateStore>,
}

impl Readiness {
    /// Each check by name, and whether it holds.
    #[must_use]
    pub fn checks(&self) -> [(&'static str, bool); 3] {
        [
            ("cache-synced", self.admissions.service_accounts.cache().is_synced()),
            ("certificate-valid", self.certificates.is_valid_at(seconds_since_1970())),
            ("not-draining", !self.admissions.is_draining()),
        ]
    }
}

fn seconds_since_1970() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

/// `/livez` and `/healthz` say only that the process is alive, `/readyz` that it can answer; `?verbose` names each check.
pub fn health_router(readiness: Readiness) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok" }))
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(readyz))
        .with_state(readiness)
}

async fn readyz(State(readiness): State<Readiness>, RawQuery(query): RawQuery) -> Response {
    let checks = readiness.checks();
    let is_ready = checks.iter().all(|(_, holds)| *holds);
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let is_verbose =
        query.is_some_and(|query| query.split('&').any(|parameter| parameter.starts_with("verbose")));
    if is_ready && !is_verbose {
        return (status, "ok").into_response();
    }
    let lines = checks
        .iter()
        .map(|(name, holds)| if *holds { format!("[+]{name} ok\n") } else { format!("[-]{name} failed\n") });
    (status, lines.collect::<String>()).into_response()
}

/// `/metrics` in the text format of `OpenMetrics`.
pub fn metrics_router(metrics: Arc<Metrics>, admissions: Arc<Admissions>) -> Router {
    Router::new().route("/metrics", get(show_metrics)).with_state((metrics, admissions))
}

async fn show_metrics(State((metrics, admissions)): State<(Arc<Metrics>, Arc<Admissions>)>) -> Response {
    let cache = admissions.service_accounts.cache();
    metrics.cached_service_accounts.set(i64::try_from(cache.len()).unwrap_or(i64::MAX));
    metrics.cache_age_seconds.set(cache.last_change().map_or(f64::NAN, |last| last.elapsed().as_secs_f64()));
    if let Some(process) = process::Usage::read() {
        metrics.resident_memory.set(process.resident_bytes);
        metrics.cpu_seconds.inner().store(process.cpu_seconds.to_bits(), Ordering::Relaxed);
        metrics.open_files.set(process.open_files);
    }
    match metrics.text() {
        Ok(text) => {
            let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(CONTENT_TYPE, content_type)], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// What Linux says of this process.
mod process {
    /// Ticks a second in `/proc`, the same on every Linux that is shipped for.
    const TICKS_PER_SECOND: f64 = 100.0;
    const PAGE_BYTES: i64 = 4096;

    /// Memory, CPU time and files.
    pub struct Usage {
        pub resident_bytes: i64,
        pub cpu_seconds: f64,
        pub open_files: i64,
    }

    impl Usage {
        /// None where `/proc` is not what it is on Linux.
        pub fn read() -> Option<Self> {
            let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
            // Behind the name, which may hold spaces, the first field is the third of proc(5).
            let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
            let field = |number: usize| fields.get(number - 3)?.parse::<u32>().ok();
            let pages = std::fs::read_to_string("/proc/self/statm").ok()?;
            let pages: i64 = pages.split_whitespace().nth(1)?.parse().ok()?;
            let open_files = std::fs::read_dir("/proc/self/fd").ok()?.count();
            Some(Self {
                resident_bytes: pages * PAGE_BYTES,
                cpu_seconds: f64::from(field(14)? + field(15)?) / TICKS_PER_SECOND,
                open_files: i64::try_from(open_files).ok()?,
            })
        }
    }
}
