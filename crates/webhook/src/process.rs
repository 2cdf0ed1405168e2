//! The process: startup order and shutdown.

use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustls::server::danger::ClientCertVerifier;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tracing::info;

use crate::admin::{self, Observed};
use crate::certificates::{
    CallerChecks, CallerVerifier, CertificateSource, CertificateStore, TlsVersion, keep_caller_authorities,
    keep_from_files, keep_self_managed, tls_config,
};
use crate::kubernetes::client_heard_by;
use crate::limits::Limits;
use crate::listen::listen;
use crate::metrics::Metrics;
use crate::native_sidecars::follow_version;
use crate::reviewer::Reviewer;
use crate::server;
use crate::service_accounts::{Cache, ServiceAccounts, watch_service_accounts};
use crate::settings::Resolved;
use crate::shutdown::{Signals, stop};
use crate::telemetry::LogControl;
use crate::version::BUILD;

/// Options of the process.
#[derive(Debug)]
pub struct Options {
    /// Address that the API server calls.
    pub webhook_addr: String,
    /// Address of the health endpoints.
    pub health_addr: String,
    /// Address that Prometheus scrapes.
    pub metrics_addr: String,
    pub certificates: CertificateSource,
    /// Required client certificates; `None` allows everyone.
    pub callers: Option<CallerChecks>,
    /// Minimum TLS version.
    pub tls_min_version: TlsVersion,
    /// Path of the kubeconfig, if not the default one.
    pub kubeconfig: Option<PathBuf>,
    /// How long to keep serving after the stop signal.
    pub lame_duck: Duration,
    /// How long requests in flight may take after that.
    pub drain: Duration,
    pub limits: Limits,
    /// The core's configuration.
    pub settings: Resolved,
}

/// Runs until a signal stops it.
///
/// # Errors
/// An address cannot be listened on, there is no usable cluster configuration, or a task that must run forever has
/// ended.
pub async fn run(options: Options, log: LogControl) -> Result<()> {
    let mut signals = Signals::new().context("cannot wait for signals")?;
    // First, so that a port in use is reported at once.
    let webhook = listen(&options.webhook_addr)?;
    let health = listen(&options.health_addr)?;
    let metrics_listener = listen(&options.metrics_addr)?;
    // Read from the sockets: port 0 asks the system for a free port.
    let addresses = (webhook.local_addr()?, health.local_addr()?, metrics_listener.local_addr()?);
    let limits = options.limits;
    let cache = Arc::new(Cache::new(limits.cache_memory));
    let client = client_heard_by(&cache, options.kubeconfig.as_deref())
        .await
        .context("cannot connect to the cluster")?;

    let metrics = Metrics::new();
    let certificates = Arc::new(CertificateStore::default());
    let service_accounts =
        ServiceAccounts::new(Arc::clone(&cache), client.clone(), limits.reads, limits.read_memory);
    let service_accounts = Arc::new(service_accounts);
    let reviewer =
        Arc::new(Reviewer::new(options.settings.config.clone(), service_accounts, Arc::clone(&metrics)));
    let observed = Observed { reviewer: Arc::clone(&reviewer), certificates: Arc::clone(&certificates), log };
    let observers_ended = admin::start(health.into_std()?, metrics_listener.into_std()?, observed)
        .context("cannot serve health and metrics")?;

    // None of these ends by itself.
    let mut background = JoinSet::new();
    background.spawn(watch_service_accounts(client.clone(), cache, Arc::clone(&metrics)));
    let (store, counters) = (Arc::clone(&certificates), Arc::clone(&metrics));
    match options.certificates {
        CertificateSource::Files(folder, interval) => {
            background.spawn(keep_from_files(folder, store, counters, interval));
        }
        CertificateSource::SelfManaged(objects) => {
            background.spawn(keep_self_managed(objects, client.clone(), store, counters));
        }
    }
    let mut clients: Option<Arc<dyn ClientCertVerifier>> = None;
    if let Some(wanted) = options.callers {
        let verifier = Arc::new(CallerVerifier::load(wanted.ca_file, wanted.allowed_names)?);
        let counters = Arc::clone(&metrics);
        background.spawn(keep_caller_authorities(Arc::clone(&verifier), counters, wanted.check_every));
        clients = Some(verifier);
    }
    if options.settings.native_sidecar.is_none() {
        background.spawn(follow_version(client, Arc::clone(&reviewer)));
    }

    let (address, health, metrics) = addresses;
    let (request_memory, connections) = (limits.request_memory, limits.connections);
    info!(version = BUILD.build_version, %address, %health, %metrics, request_memory, connections, "serving");
    let tls = tls_config(options.tls_min_version, certificates, clients)?;
    let (told_to_drain, drain) = oneshot::channel();
    let drain = async { drain.await.unwrap_or_default() };
    let served = pin!(server::serve(webhook, tls, Arc::clone(&reviewer), limits, drain));
    let stopped = stop(&mut signals, &reviewer, options.lame_duck, options.drain, told_to_drain);
    tokio::select! {
        () = served => {}
        () = stopped => {}
        ended = background.join_next() => bail!(
            "a background task ended, which none does by itself: {}",
            ended.and_then(Result::err).map_or_else(|| "it gave up".to_owned(), |error| error.to_string())
        ),
        _ = observers_ended => bail!("the thread of health and metrics ended"),
    }
    info!("stopped");
    Ok(())
}
