//! The connection to the API server: the client, the watch, and the server's version.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Bytes;
use hyper::{Request, Response};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::client::{Body, ClientBuilder};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::PartialObjectMeta;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, Config, Resource as _};
use tower::{Service, layer::layer_fn};
use tracing::{info, warn};

use crate::metrics::Metrics;
use crate::service_accounts::Cache;

/// Service accounts in one answer to a list. Each may have annotations of 256 KiB, and the client builds all of a page, several
/// times over.
const PAGE_SIZE: u32 = 10;

/// How long its version may take.
const VERSION_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an API server may say nothing; watches last five minutes at most.
const READ_TIMEOUT: Duration = Duration::from_secs(305);

/// Native sidecars are on by default from this minor version of Kubernetes 1 on, as upstream decides it.
const NATIVE_SIDECAR_SINCE_MINOR: u32 = 32;

/// Connects to the API server: by the kubeconfig if one is named, else as `KUBECONFIG`, the home folder or the pod say.
///
/// # Errors
/// There is no usable configuration.
pub async fn client(kubeconfig: Option<&std::path::Path>) -> Result<Client> {
    Ok(ClientBuilder::try_from(config(kubeconfig).await?)?.build())
}

/// As [`client`]; tells `cache` whenever the API server says something about all service accounts, bookmarks of a watch
/// included.
pub async fn client_heard_by(cache: &Arc<Cache>, kubeconfig: Option<&std::path::Path>) -> Result<Client> {
    let layer = layer_fn(|inner| Hearing { inner, cache: Arc::clone(cache) });
    Ok(ClientBuilder::try_from(config(kubeconfig).await?)?.with_layer(&layer).build())
}

async fn config(kubeconfig: Option<&std::path::Path>) -> Result<Config> {
    let mut config = match kubeconfig {
        Some(path) => {
            let file =
                Kubeconfig::read_from(path).with_context(|| format!("cannot read {}", path.display()))?;
            Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?
        }
        None => Config::infer().await.context("no kubeconfig, and not inside a cluster")?,
    };
    // A connection that hangs must not outlast the next try; watches have their own, longer time.
    config.connect_timeout = Some(Duration::from_secs(5));
    // An API server that accepts and says nothing; it ends a watch itself before that.
    config.read_timeout = Some(READ_TIMEOUT);
    Ok(config)
}

/// A client's service that listens to what comes in.
struct Hearing<S> {
    inner: S,
    cache: Arc<Cache>,
}

impl<S, B> Service<Request<Body>> for Hearing<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    B: hyper::body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Response<UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let is_of_all = request.uri().path() == ServiceAccount::url_path(&(), None);
        let cache = Arc::clone(&self.cache);
        let called = self.inner.call(request);
        Box::pin(async move {
            let response = called.await?;
            let hears = is_of_all && response.status().is_success();
            Ok(response.map(|body| {
                let heard = body.map_frame(move |frame| {
                    if hears {
                        cache.hear();
                    }
                    frame
                });
                heard.map_err(Into::into).boxed_unsync()
            }))
        })
    }
}

/// Keeps the cache up to date until the task is dropped. The cache stays as it is while the API server is away.
pub async fn watch_service_accounts(client: Client, cache: Arc<Cache>, metrics: Arc<Metrics>) {
    let api: Api<PartialObjectMeta<ServiceAccount>> = Api::all(client);
    let config = watcher::Config::default().page_size(PAGE_SIZE);
    let events = watcher::watcher(api, config).default_backoff();
    let mut events = std::pin::pin!(events);
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
                // The client reads a refusal as if it were events, so its words do not help.
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

/// Whether the API server is new enough for native sidecars; none when it does not say.
pub async fn has_native_sidecars(client: &Client) -> Option<bool> {
    let version = tokio::time::timeout(VERSION_TIMEOUT, client.apiserver_version()).await.ok()?.ok()?;
    is_native_sidecar_version(&version.major, &version.minor)
}

/// Minor versions may carry a suffix, such as `31+`.
fn is_native_sidecar_version(major: &str, minor: &str) -> Option<bool> {
    let number = |text: &str| -> Option<u32> {
        let digits = text.find(|c: char| !c.is_ascii_digit()).map_or(text, |end| &text[..end]);
        digits.parse().ok()
    };
    let (major, minor) = (number(major)?, number(minor)?);
    Some((major, minor) >= (1, NATIVE_SIDECAR_SINCE_MINOR))
}

#[cfg(test)]
mod tests {
    use super::is_native_sidecar_version;

    #[test]
    fn versions_are_compared_by_number() {
        assert_eq!(is_native_sidecar_version("1", "32"), Some(true));
        assert_eq!(is_native_sidecar_version("1", "35+"), Some(true));
        assert_eq!(is_native_sidecar_version("1", "9"), Some(false));
        assert_eq!(is_native_sidecar_version("2", "0"), Some(true));
        assert_eq!(is_native_sidecar_version("1", ""), None);
    }
}
