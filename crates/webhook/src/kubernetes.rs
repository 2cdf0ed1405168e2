//! The connection to the API server.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::{Result, anyhow};
use futures_util::future::BoxFuture;
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Bytes;
use hyper::{Request, Response};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::client::{Body, ClientBuilder};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config, Resource as _};
use tower::{Service, layer::layer_fn};

use crate::service_accounts::{Cache, WATCH_SECONDS};

/// Longest silence on a connection. Longer than a watch.
const READ_TIMEOUT: Duration = Duration::from_secs(WATCH_SECONDS as u64 + 5);

/// Connects to the API server: with the given kubeconfig, or else the one from `KUBECONFIG`, the home folder or the
/// pod.
///
/// # Errors
/// There is no usable configuration.
pub async fn client(kubeconfig: Option<&std::path::Path>) -> Result<Client> {
    Ok(ClientBuilder::try_from(config(kubeconfig).await?)?.build())
}

/// Like [`client`]; also tells `cache` whenever the API server reports on all service accounts, including watch
/// bookmarks.
pub async fn client_heard_by(cache: &Arc<Cache>, kubeconfig: Option<&std::path::Path>) -> Result<Client> {
    let layer = layer_fn(|inner| Hearing { inner, cache: Arc::clone(cache) });
    Ok(ClientBuilder::try_from(config(kubeconfig).await?)?.with_layer(&layer).build())
}

async fn config(kubeconfig: Option<&std::path::Path>) -> Result<Config> {
    let mut config = match kubeconfig {
        Some(path) => {
            // These errors repeat their causes in their own text.
            let file = Kubeconfig::read_from(path).map_err(|error| anyhow!("{error}"))?;
            Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?
        }
        None => Config::infer()
            .await
            .map_err(|error| anyhow!("no kubeconfig, and not inside a cluster: {error}"))?,
    };
    // A hanging connection must not outlast the next attempt; watches have their own, longer timeout.
    config.connect_timeout = Some(Duration::from_secs(5));
    // For an API server that accepts but never answers; it ends a watch itself before that.
    config.read_timeout = Some(READ_TIMEOUT);
    Ok(config)
}

/// A client service that observes incoming data.
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
