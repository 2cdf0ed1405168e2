//! One admission request: from the body's bytes to the answer's text.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use azwi_json::printable;
use azwi_mutation::{Admission, Config, Denial, PendingAdmission, ServiceAccountLookup, Verdict};
use prometheus_client::metrics::gauge::Gauge;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::connections::{Connection, Share};
use crate::metrics::{Metrics, Outcome, Reason};
use crate::review::{Review, answer_size, index, write_answer};
use crate::service_accounts::{Lookup, ServiceAccounts};
use crate::telemetry::Throttle;

/// Time reserved for the answer's way back to the API server.
const MARGIN: Duration = Duration::from_millis(250);

/// How long a second look at a known account may take: an API server that is slow must not make all such pods slow.
const SECOND_LOOK: Duration = Duration::from_secs(1);

/// Reserves the part of `bytes` that exceeds the share.
fn beyond(share: &Share, bytes: usize, connection: &Arc<Connection>) -> Result<Option<Share>, Unanswered> {
    match bytes.saturating_sub(share.bytes()) {
        0 => Ok(None),
        more => connection.reserve_now(more).map(Some).ok_or(Unanswered::NoMemory),
    }
}

fn reason_of(found: &ServiceAccountLookup) -> Reason {
    match found {
        ServiceAccountLookup::Found(_) => Reason::Found,
        ServiceAccountLookup::Missing => Reason::Missing,
        ServiceAccountLookup::Failed(_) => Reason::Failed,
    }
}

/// Counts as one in a gauge until dropped.
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

/// Why a review gets no answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// The body is not a review; the sentence says why.
    Unreadable(String),
    /// The request would have to wait, and there is no memory to keep it.
    NoMemory,
}

pub struct Reviewer {
    /// The configuration, which can be replaced while requests are answered.
    pub config: ArcSwap<Config>,
    pub service_accounts: Arc<ServiceAccounts>,
    pub metrics: Arc<Metrics>,
    /// Keeps callers from filling the log.
    pub refusals: Throttle,
    is_draining: AtomicBool,
}

impl Reviewer {
    pub fn new(config: Config, service_accounts: Arc<ServiceAccounts>, metrics: Arc<Metrics>) -> Self {
        Self {
            config: ArcSwap::from_pointee(config),
            service_accounts,
            metrics,
            refusals: Throttle::default(),
            is_draining: AtomicBool::new(false),
        }
    }

    /// Answers a review. `patience` is how long the API server waits, counted from `arrival`.
    ///
    /// `share` is the memory reserved for the body and the data made from it. Memory for the answer beyond that is
    /// returned with the answer: it was reserved before the answer was written, without waiting, because the data for
    /// the answer is already in memory.
    ///
    /// # Errors
    /// The body is not a review, or there is no memory for it.
    pub async fn answer(
        &self,
        body: &[u8],
        share: &Share,
        connection: &Arc<Connection>,
        arrival: Instant,
        patience: Duration,
    ) -> Result<(String, Option<Share>), Unanswered> {
        let text = std::str::from_utf8(body)
            .map_err(|error| Unanswered::Unreadable(format!("the body is not UTF-8: {error}")))?;
        let json = index(text).map_err(|problem| Unanswered::Unreadable(format!("the body is {problem}")))?;
        let review = Review::read(json.root()).map_err(Unanswered::Unreadable)?;
        connection.has_sent_review();
        let config = self.config.load();
        let deadline = arrival + patience.saturating_sub(MARGIN).max(patience / 2);
        let (answer, reason) = match azwi_mutation::admit(&review.request, &config) {
            Admission::Decided(answer) => (answer, Reason::NoLookup),
            Admission::Pending(pending) => {
                let (namespace, name) = (pending.namespace(), pending.service_account_name());
                match self.service_accounts.find(namespace, name) {
                    Lookup::Known(account) => {
                        self.metrics.looked_up("cache", Reason::Found);
                        // Planned once, after the second look: otherwise such pods would cost twice the time.
                        let again = if pending.is_doubtful(&account) {
                            let kept = body.len() + json.index_bytes() + pending.heap_bytes();
                            self.read_again(&pending, share, kept, connection, deadline).await
                        } else {
                            None
                        };
                        let found = again.unwrap_or(ServiceAccountLookup::Found(account));
                        let reason = reason_of(&found);
                        (pending.resume(found), reason)
                    }
                    Lookup::Read(_) | Lookup::TooMany => {
                        // This request keeps the data made from its body while others are answered.
                        let kept = body.len() + json.index_bytes() + pending.heap_bytes();
                        let _more = beyond(share, kept, connection)?;
                        let _waiting = connection.wait().ok_or(Unanswered::NoMemory)?;
                        self.wait_for_account(&pending, deadline).await
                    }
                }
            }
        };
        let more = beyond(share, body.len() + answer_size(&answer), connection)?;
        self.record(&review, connection, &answer, reason, arrival);
        let text = write_answer(&review.api_version, &review.request.uid, &answer)
            .map_err(|error| Unanswered::Unreadable(error.to_string()))?;
        Ok((text, more))
    }

    async fn wait_for_account(&self, pending: &PendingAdmission<'_>, deadline: Instant) -> (Verdict, Reason) {
        let (namespace, name) = (pending.namespace(), pending.service_account_name());
        let found = match self.service_accounts.find_or_wait(namespace, name, deadline).await {
            Lookup::Known(account) => ServiceAccountLookup::Found(account),
            Lookup::Read(read) => {
                // Also decremented when the caller hangs up and this is dropped.
                let _in_flight = Counted::new(&self.metrics.in_flight);
                ServiceAccounts::wait_for(read, deadline).await
            }
            Lookup::TooMany => return (self.shed(pending), Reason::Shed),
        };
        let reason = reason_of(&found);
        self.metrics.looked_up("api_server", reason);
        (pending.resume(found), reason)
    }

    /// What the API server says now of an account that the cache knows: it may have been annotated right before the pod was
    /// made. Returns `None` if it does not say so soon, or there is no room to wait; then the cache is believed.
    async fn read_again(
        &self,
        pending: &PendingAdmission<'_>,
        share: &Share,
        kept: usize,
        connection: &Arc<Connection>,
        deadline: Instant,
    ) -> Option<ServiceAccountLookup> {
        let (namespace, name) = (pending.namespace(), pending.service_account_name());
        let _more = beyond(share, kept, connection).ok()?;
        let _waiting = connection.wait()?;
        let Lookup::Read(read) = self.service_accounts.read_live(namespace, name) else { return None };
        let _in_flight = Counted::new(&self.metrics.in_flight);
        let found = ServiceAccounts::wait_for(read, deadline.min(Instant::now() + SECOND_LOOK)).await;
        self.metrics.looked_up("api_server", reason_of(&found));
        (!matches!(found, ServiceAccountLookup::Failed(_))).then_some(found)
    }

    fn shed(&self, pending: &PendingAdmission<'_>) -> Verdict {
        self.metrics.shed.inc();
        let overloaded =
            ServiceAccountLookup::Failed("the webhook has too many requests to answer".to_owned());
        pending.resume(overloaded).map_err(|denial| Denial { code: 503, ..denial })
    }

    fn record(
        &self,
        review: &Review<'_>,
        connection: &Connection,
        answer: &Verdict,
        reason: Reason,
        arrival: Instant,
    ) {
        let outcome = match answer {
            Ok(mutation) if mutation.patch.is_empty() => Outcome::Untouched,
            Ok(_) => Outcome::Mutated,
            Err(denial) if denial.code >= 500 => Outcome::Error,
            Err(_) => Outcome::Denied,
        };
        self.metrics.answered(outcome, reason, arrival.elapsed().as_secs_f64());
        // All of it is text from the caller.
        let uid = || printable(&review.request.uid, 64);
        let namespace = || printable(&review.request.namespace, 63);
        match answer {
            Err(denial) => {
                let Some(unlogged) = self.refusals.next() else { return };
                let (uid, namespace, address) = (uid(), namespace(), connection.address());
                let (code, message) = (denial.code, printable(&denial.message, 512));
                if denial.code >= 500 {
                    warn!(uid, namespace, code, message, %address, unlogged, "pod denied");
                } else {
                    info!(uid, namespace, code, message, %address, unlogged, "pod denied");
                }
            }
            Ok(mutation) => {
                let warnings = mutation.warnings.len();
                debug!(uid = uid(), namespace = namespace(), ?outcome, warnings, "answered");
            }
        }
    }

    /// Whether the process is about to stop.
    pub fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed)
    }

    /// From now on, connections are closed after their next answer, and readiness fails.
    pub fn drain(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
    }
}
