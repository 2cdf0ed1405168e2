//! One admission request: from the body's bytes to the answer's text.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use azwi_mutation::{Admission, Answer, Config, Denial, PendingAdmission, ServiceAccountLookup};
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::metrics::{Metrics, Outcome};
use crate::review::{Review, index, write_answer};
use crate::service_accounts::ServiceAccounts;

/// What is left of the API server's patience for the way back.
const MARGIN: Duration = Duration::from_millis(250);

/// One in a gauge, for as long as this lives.
struct Counted<'a>(&'a Gauge);

impl<'a> Counted<'a> {
    fn new(gauge: &'a Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Everything that answering needs.
pub struct Admissions {
    /// The configuration; another one may take its place while requests are answered.
    pub config: ArcSwap<Config>,
    /// The service accounts.
    pub service_accounts: Arc<ServiceAccounts>,
    /// The counters.
    pub metrics: Arc<Metrics>,
    /// Places for requests that look something up.
    pub places: Semaphore,
    /// Whether connections are to be closed after their next answer.
    pub is_draining: AtomicBool,
}

impl Admissions {
    /// Answers a review. `patience` is how long the API server waits from `arrival` on.
    ///
    /// # Errors
    /// The body is no review; the sentence says why.
    pub async fn answer(&self, body: &[u8], arrival: Instant, patience: Duration) -> Result<String, String> {
        let text = std::str::from_utf8(body).map_err(|error| format!("the body is not UTF-8: {error}"))?;
        let json = index(text).map_err(|problem| format!("the body is {problem}"))?;
        let review = Review::read(json.root())?;
        let config = self.config.load();
        let deadline = arrival + patience.saturating_sub(MARGIN).max(patience / 2);
        let (answer, reason) = match azwi_mutation::admit(&review.request, &config) {
            Admission::Answered(answer) => (answer, "no_lookup"),
            Admission::Pending(pending) => self.look_up(pending, deadline).await,
        };
        self.record(&review, &answer, reason, arrival);
        write_answer(&review.api_version, &review.request.uid, &answer).map_err(|error| error.to_string())
    }

    async fn look_up(&self, pending: PendingAdmission<'_>, deadline: Instant) -> (Answer, &'static str) {
        let Ok(_place) = self.places.try_acquire() else {
            self.metrics.shed.inc();
            let overloaded =
                ServiceAccountLookup::Failed("the webhook has too many requests to answer".to_owned());
            let answer = pending.answer(overloaded);
            return (answer.map_err(|denial| Denial { code: 503, ..denial }), "shed");
        };
        // Counted down also when the caller hangs up and this is dropped.
        let in_flight = Counted::new(&self.metrics.in_flight);
        let (found, source) =
            self.service_accounts.lookup(pending.namespace(), pending.service_account_name(), deadline).await;
        drop(in_flight);
        let reason = match &found {
            ServiceAccountLookup::Found(_) => "found",
            ServiceAccountLookup::Missing => "missing",
            ServiceAccountLookup::Failed(_) => "failed",
        };
        self.metrics.looked_up(source, reason);
        (pending.answer(found), reason)
    }

    fn record(&self, review: &Review<'_>, answer: &Answer, reason: &'static str, arrival: Instant) {
        let outcome = match answer {
            Ok(mutation) if mutation.patch.is_empty() => Outcome::Untouched,
            Ok(_) => Outcome::Mutated,
            Err(denial) if denial.code >= 500 => Outcome::Error,
            Err(_) => Outcome::Denied,
        };
        self.metrics.answered(outcome, reason, arrival.elapsed().as_secs_f64());
        let (uid, namespace) = (&*review.request.uid, &*review.request.namespace);
        match answer {
            Err(denial) if denial.code >= 500 => {
                warn!(uid, namespace, code = denial.code, message = denial.message, "pod denied");
            }
            Err(denial) => info!(uid, namespace, code = denial.code, message = denial.message, "pod denied"),
            Ok(mutation) => debug!(uid, namespace, ?outcome, warnings = mutation.warnings.len(), "answered"),
        }
    }

    /// Whether the process is about to stop.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed)
    }
}
