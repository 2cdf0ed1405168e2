//! What the process counts. No label grows with the cluster: namespaces and names are for the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64};

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::version::BUILD;

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(missing_docs)] // The words speak for themselves, and are the labels.
pub enum Outcome {
    Mutated,
    Untouched,
    Denied,
    Error,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    outcome: Outcome,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LookupLabels {
    source: &'static str,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ServiceName {
    service_name: &'static str,
}

/// Counters, gauges and histograms, and the registry that shows them.
pub struct Metrics {
    registry: Registry,
    mutation_seconds: Histogram,
    requests: Family<RequestLabels, Counter>,
    lookups: Family<LookupLabels, Counter>,
    reloads: Family<ResultLabel, Counter>,
    handshake_failures: Family<ReasonLabel, Counter>,
    /// Requests that were turned away because there was no memory for them, or too many reads were under way.
    pub shed: Counter,
    /// Requests that are being answered.
    pub in_flight: Gauge,
    /// Service accounts in the cache.
    pub cached_service_accounts: Gauge,
    /// Seconds since the API server last said something about service accounts.
    pub cache_age_seconds: Gauge<f64, AtomicU64>,
    /// When the serving certificate ends, in seconds since 1970; 0 when there is none.
    pub certificate_not_after: Gauge<i64, AtomicI64>,
    /// Times somebody else changed the caBundle.
    pub ca_bundle_rewrites: Counter,
    /// Memory of the process in bytes.
    pub resident_memory: Gauge,
    /// CPU time of the process in seconds.
    pub cpu_seconds: Counter<f64, AtomicU64>,
    /// Connections that had to go for others.
    pub connections_evicted: Counter,
    /// Times the watch of service accounts ended with an error.
    pub watch_interruptions: Counter,
    /// Open file descriptors.
    pub open_files: Gauge,
}

/// Upstream's buckets, in seconds.
fn buckets() -> impl Iterator<Item = f64> {
    let steps = |from: u32, to: u32, step: f64| (from..=to).map(move |n| f64::from(n) * step);
    let fine = steps(1, 10, 0.001).chain(steps(2, 10, 0.01)).chain(steps(2, 10, 0.1));
    fine.chain([1.5, 2.0, 2.5, 3.0])
}

impl Metrics {
    /// Registers everything.
    pub fn new() -> Arc<Self> {
        let mut registry = Registry::default();
        let mutations = Family::<ServiceName, Histogram>::new_with_constructor(|| Histogram::new(buckets()));
        let mutation_seconds = mutations.get_or_create_owned(&ServiceName { service_name: "webhook" });
        registry.register(
            "azwi_mutation_request",
            "Distribution of how long it took for the azure-workload-identity mutation request",
            mutations,
        );
        macro_rules! registered {
            ($name:literal, $help:literal) => {{
                let metric = Default::default();
                registry.register($name, $help, Clone::clone(&metric));
                metric
            }};
        }
        let requests: Family<RequestLabels, Counter> =
            registered!("azwi_requests", "Admission requests by outcome and reason");
        let lookups: Family<LookupLabels, Counter> =
            registered!("azwi_service_account_lookups", "Reads of service accounts by source and result");
        let reloads: Family<ResultLabel, Counter> =
            registered!("azwi_certificate_reloads", "Times the serving certificate was read anew, by result");
        let handshake_failures: Family<ReasonLabel, Counter> =
            registered!("azwi_handshake_failures", "Connections that ended before a request, by reason");
        let shed: Counter = registered!(
            "azwi_requests_shed",
            "Requests for which there was no memory, or no read of their service account"
        );
        let in_flight: Gauge = registered!("azwi_requests_in_flight", "Requests that are being answered");
        let cached_service_accounts: Gauge =
            registered!("azwi_cached_service_accounts", "Service accounts in the cache");
        let cache_age_seconds: Gauge<f64, AtomicU64> = registered!(
            "azwi_cache_age_seconds",
            "Seconds since the API server last said something about service accounts"
        );
        let certificate_not_after: Gauge<i64, AtomicI64> = registered!(
            "azwi_certificate_not_after_timestamp_seconds",
            "When the serving certificate ends, in seconds since 1970"
        );
        let ca_bundle_rewrites: Counter =
            registered!("azwi_ca_bundle_rewrites", "Times somebody else changed the caBundle");
        let resident_memory: Gauge = registered!("process_resident_memory_bytes", "Memory of the process");
        let cpu_seconds: Counter<f64, AtomicU64> =
            registered!("process_cpu_seconds", "CPU time of the process");
        let connections_evicted: Counter =
            registered!("azwi_connections_evicted", "Connections that had to go for others");
        let watch_interruptions: Counter = registered!(
            "azwi_watch_interruptions",
            "Times the watch of service accounts ended with an error"
        );
        let open_files: Gauge = registered!("process_open_fds", "Open file descriptors");
        registry.register(
            "azwi_build",
            "What this program is",
            Info::new(vec![("version", BUILD.build_version), ("commit", BUILD.git_commit)]),
        );
        Arc::new(Self {
            registry,
            mutation_seconds,
            requests,
            lookups,
            reloads,
            handshake_failures,
            shed,
            in_flight,
            cached_service_accounts,
            cache_age_seconds,
            certificate_not_after,
            ca_bundle_rewrites,
            resident_memory,
            cpu_seconds,
            connections_evicted,
            watch_interruptions,
            open_files,
        })
    }

    /// A request was answered.
    pub fn answered(&self, outcome: Outcome, reason: &'static str, seconds: f64) {
        self.requests.get_or_create(&RequestLabels { outcome, reason }).inc();
        self.mutation_seconds.observe(seconds);
    }

    /// A service account was looked up.
    pub fn looked_up(&self, source: &'static str, result: &'static str) {
        self.lookups.get_or_create(&LookupLabels { source, result }).inc();
    }

    /// The serving certificate was read anew, or could not be.
    pub fn reloaded(&self, result: &'static str) {
        self.reloads.get_or_create(&ResultLabel { result }).inc();
    }

    /// A connection ended before a request.
    pub fn handshake_failed(&self, reason: &'static str) {
        self.handshake_failures.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// The text that Prometheus reads.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
