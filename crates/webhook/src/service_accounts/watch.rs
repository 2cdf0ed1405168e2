use std::pin::pin;
use std::sync::Arc;

use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::core::PartialObjectMeta;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use tracing::{info, warn};

use super::Cache;
use crate::metrics::Metrics;

/// Service accounts per page of a list. Each may have annotations of 256 KiB, and the client builds a whole page,
/// several times over.
const PAGE_SIZE: u32 = 10;

/// Watches all service accounts until the task is dropped. The cache stays as it is while the API server is
/// unavailable.
pub(crate) async fn watch_service_accounts(client: Client, cache: Arc<Cache>, metrics: Arc<Metrics>) {
    let api: Api<PartialObjectMeta<ServiceAccount>> = Api::all(client);
    let config = watcher::Config::default().page_size(PAGE_SIZE);
    let events = watcher::watcher(api, config).default_backoff();
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
                         is there the permission to watch serviceaccounts in all namespaces?"
                    );
                } else {
                    warn!(%error, "the watch of service accounts was interrupted and is resumed");
                }
            }
        }
    }
}
