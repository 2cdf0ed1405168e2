use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::core::PartialObjectMeta;
use kube::runtime::utils::{Backoff, ResetTimerBackoff};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use tracing::{info, warn};

use super::Cache;
use crate::metrics::Metrics;
use crate::permissions::TAKEN_OVER;

/// Service accounts per page of a list. Each may have annotations of 256 KiB, and the client builds a whole page,
/// several times over.
const PAGE_SIZE: u32 = 10;

/// How long one watch lasts, in seconds. A connection may die without being closed, so the API server has to say something that
/// often: it ends the watch, with a bookmark.
pub(crate) const WATCH_SECONDS: u32 = 20;
/// Shortest and longest pause between two attempts; up to as much again is added, so that replicas do not come all at once.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_millis(2500));
/// After this long without an error the pauses are short again.
const CALM: Duration = Duration::from_mins(1);

/// The pauses between attempts of the watch. The client's own grow to half a minute and more.
struct Pauses {
    left: ExponentialBackoff,
}

impl Pauses {
    fn new() -> Self {
        let (shortest, longest) = PAUSES;
        let pauses = ExponentialBuilder::default().with_min_delay(shortest).with_max_delay(longest);
        Self { left: pauses.with_factor(2.0).without_max_times().with_jitter().build() }
    }
}

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.left.next()
    }
}

impl Backoff for Pauses {
    fn reset(&mut self) {
        *self = Self::new();
    }
}

/// Watches all service accounts until the task is dropped. The cache stays as it is while the API server is
/// unavailable.
pub(crate) async fn watch_service_accounts(client: Client, cache: Arc<Cache>, metrics: Arc<Metrics>) {
    let api: Api<PartialObjectMeta<ServiceAccount>> = Api::all(client);
    let config = watcher::Config::default().page_size(PAGE_SIZE).timeout(WATCH_SECONDS);
    let events = watcher::watcher(api, config).backoff(ResetTimerBackoff::new(Pauses::new(), CALM));
    let mut events = pin!(events);
    let mut was_synced = false;
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                cache.apply(event);
                if !was_synced && cache.is_synced() {
                    was_synced = true;
                    info!(service_accounts = cache.len(), "service accounts are known");
                }
            }
            Err(error) => {
                metrics.watch_interruptions.inc();
                // The client parses a refusal as events, so its error text does not help.
                if matches!(error, watcher::Error::WatchFailed(kube::Error::SerdeError(_))) {
                    warn!(
                        %error,
                        "the watch of service accounts gives no events and is tried again; \
                         is there the permission to watch serviceaccounts in all namespaces? If there was, {TAKEN_OVER}"
                    );
                } else {
                    let is_forbidden = error.to_string().contains("forbidden");
                    let hint = if is_forbidden { TAKEN_OVER } else { "" };
                    warn!(%error, hint, "the watch of service accounts was interrupted and is resumed");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_stay_below_five_seconds_and_differ() {
        let pauses = || Pauses::new().take(20).collect::<Vec<_>>();
        let longest = pauses().into_iter().max().unwrap_or_default();
        assert!(longest > Duration::from_millis(2400) && longest <= Duration::from_secs(5), "{longest:?}");
        assert_ne!(pauses(), pauses());
    }
}
