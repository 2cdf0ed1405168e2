//! Metrics of the process. No label grows with the cluster: namespaces and names belong in the log.

use std::sync::atomic::{AtomicI64, AtomicU64};
use std::sync::{Arc, OnceLock};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::version::BUILD;

/// Result of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Mutated,
    Untouched,
    Denied,
    Error,
}

/// Reason for a request's outcome; `docs/webhook.md` lists the labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// No service account was needed.
    NoLookup,
    /// The service account was found.
    Found,
    /// The service account does not exist.
    Missing,
    /// The service account could not be read.
    Failed,
    /// There was no memory, or no free slot to read the service account.
    Shed,
    /// The content type is not JSON.
    MediaType,
    /// The body's length is missing.
    Length,
    TooLarge,
    /// The body did not arrive in time.
    SlowBody,
    /// The connection broke while the body was being sent.
    BrokenBody,
    /// The body is not an admission review.
    Unreadable,
    /// The webhook panicked.
    Panic,
}

impl Outcome {
    fn label(self) -> &'static str {
        match self {
            Self::Mutated => "mutated",
            Self::Untouched => "untouched",
            Self::Denied => "denied",
            Self::Error => "error",
        }
    }
}

impl Reason {
    fn label(self) -> &'static str {
        match self {
            Self::NoLookup => "no_lookup",
            Self::Found => "found",
            Self::Missing => "missing",
            Self::Failed => "failed",
            Self::Shed => "shed",
            Self::MediaType => "media_type",
            Self::Length => "length",
            Self::TooLarge => "too_large",
            Self::SlowBody => "slow_body",
            Self::BrokenBody => "broken_body",
            Self::Unreadable => "unreadable",
            Self::Panic => "panic",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    outcome: &'static str,
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

/// Counters, gauges and histograms, and the registry that exports them.
#[derive(Default)]
pub struct Metrics {
    registry: Registry,
    mutation_seconds: OnceLock<Histogram>,
    requests: Family<RequestLabels, Counter>,
    lookups: Family<LookupLabels, Counter>,
    reloads: Family<ResultLabel, Counter>,
    handshake_failures: Family<ReasonLabel, Counter>,
    /// Requests rejected because memory or reads had run out.
    pub shed: Counter,
    /// Requests whose service account is being read.
    pub in_flight: Gauge,
    /// Service accounts in the cache.
    pub cached_service_accounts: Gauge,
    /// Times the cache had no room for a service account.
    pub service_accounts_without_room: Counter,
    /// Seconds since the API server last reported on service accounts.
    pub cache_age_seconds: Gauge<f64, AtomicU64>,
    /// End of the serving certificate's validity, in seconds since 1970; 0 if there is none.
    pub certificate_not_after: Gauge<i64, AtomicI64>,
    /// Times someone else changed the caBundle.
    pub ca_bundle_rewrites: Counter,
    /// Resident memory of the process in bytes.
    pub resident_memory: Gauge,
    /// CPU time of the process in seconds.
    pub cpu_seconds: Counter<f64, AtomicU64>,
    /// Connections evicted for others.
    pub connections_evicted: Counter,
    /// Times the service account watch ended with an error.
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
    /// Creates and registers all metrics.
    pub fn new() -> Arc<Self> {
        let mut metrics = Self::default();
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        metrics.registry = registry;
        Arc::new(metrics)
    }

    /// Names in the registry; counters get the suffix `_total`.
    fn register(&self, to: &mut Registry) {
        let mutations = Family::<ServiceName, Histogram>::new_with_constructor(|| Histogram::new(buckets()));
        self.mutation_seconds
            .get_or_init(|| mutations.get_or_create_owned(&ServiceName { service_name: "webhook" }));
        to.register(
            "azwi_mutation_request",
            "Distribution of how long it took for the azure-workload-identity mutation request",
            mutations,
        );
        to.register("azwi_requests", "Admission requests by outcome and reason", self.requests.clone());
        to.register(
            "azwi_service_account_lookups",
            "Reads of service accounts by source and result",
            self.lookups.clone(),
        );
        to.register(
            "azwi_certificate_reloads",
            "Times the serving certificate was read again, by result",
            self.reloads.clone(),
        );
        to.register(
            "azwi_handshake_failures",
            "Connections that ended before a request, by reason",
            self.handshake_failures.clone(),
        );
        to.register(
            "azwi_requests_shed",
            "Requests for which there was no memory, or no read of their service account",
            self.shed.clone(),
        );
        to.register(
            "azwi_requests_in_flight",
            "Requests whose service account is being read",
            self.in_flight.clone(),
        );
        to.register(
            "azwi_cached_service_accounts",
            "Service accounts in the cache",
            self.cached_service_accounts.clone(),
        );
        to.register(
            "azwi_service_accounts_without_room",
            "Times the cache had no room for a service account",
            self.service_accounts_without_room.clone(),
        );
        to.register(
            "azwi_cache_age_seconds",
            "Seconds since the API server last said something about service accounts",
            self.cache_age_seconds.clone(),
        );
        to.register(
            "azwi_certificate_not_after_timestamp_seconds",
            "When the serving certificate ends, in seconds since 1970",
            self.certificate_not_after.clone(),
        );
        to.register(
            "azwi_ca_bundle_rewrites",
            "Times somebody else changed the caBundle",
            self.ca_bundle_rewrites.clone(),
        );
        to.register("process_resident_memory_bytes", "Memory of the process", self.resident_memory.clone());
        to.register("process_cpu_seconds", "CPU time of the process", self.cpu_seconds.clone());
        to.register(
            "azwi_connections_evicted",
            "Connections that had to go for others",
            self.connections_evicted.clone(),
        );
        to.register(
            "azwi_watch_interruptions",
            "Times the watch of service accounts ended with an error",
            self.watch_interruptions.clone(),
        );
        to.register("process_open_fds", "Open file descriptors", self.open_files.clone());
        let build = vec![("version", BUILD.build_version), ("commit", BUILD.git_commit)];
        to.register("azwi_build", "What this program is", Info::new(build));
    }

    /// Records the answer to a request.
    pub fn answered(&self, outcome: Outcome, reason: Reason, seconds: f64) {
        let labels = RequestLabels { outcome: outcome.label(), reason: reason.label() };
        self.requests.get_or_create(&labels).inc();
        if let Some(histogram) = self.mutation_seconds.get() {
            histogram.observe(seconds);
        }
    }

    /// Records a service account lookup.
    pub fn looked_up(&self, source: &'static str, result: Reason) {
        self.lookups.get_or_create(&LookupLabels { source, result: result.label() }).inc();
    }

    /// Records a reload of the serving certificate, successful or not.
    pub fn reloaded(&self, result: &'static str) {
        self.reloads.get_or_create(&ResultLabel { result }).inc();
    }

    /// Records a connection that ended before a request.
    pub fn handshake_failed(&self, reason: &'static str) {
        self.handshake_failures.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// The text that Prometheus scrapes.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
