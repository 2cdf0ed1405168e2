//! The process: what is started in which order, and how it stops.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use arc_swap::ArcSwap;
use axum_server::Handle;
use kube::Client;
use rustls::server::danger::ClientCertVerifier;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::admin::{Readiness, health_router, metrics_router};
use crate::admission::Admissions;
use crate::certificates::{
    CertificateStore, ClientVerifier, Objects, keep_client_authorities, keep_from_files, keep_self_managed,
};
use crate::kubernetes::{client, has_native_sidecars, watch_service_accounts};
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::server::{TlsVersion, serve as serve_tls, tls_config};
use crate::service_accounts::{Cache, ServiceAccounts};
use crate::settings::Resolved;
use crate::version::BUILD;

/// How often the API server's version is asked for.
const VERSION_INTERVAL: Duration = Duration::from_mins(10);
/// How soon it is asked again while it has not answered.
const VERSION_RETRY: Duration = Duration::from_secs(5);

/// Everything that a process needs to be told.
#[derive(Debug)]
pub struct Options {
    /// Where the API server calls.
    pub webhook_addr: String,
    /// Where the kubelet asks for health.
    pub health_addr: String,
    /// Where Prometheus reads metrics.
    pub metrics_addr: String,
    /// Where the serving certificate comes from.
    pub certificates: CertificateSource,
    /// Who may call, if not everyone.
    pub clients: Option<Clients>,
    /// Oldest version of TLS.
    pub tls_min_version: TlsVersion,
    /// The kubeconfig, if not the usual one.
    pub kubeconfig: Option<PathBuf>,
    /// How long the process goes on serving after it was told to stop.
    pub lame_duck: Duration,
    /// How long requests in flight may take after that.
    pub drain: Duration,
    /// Limits of the server.
    pub limits: Limits,
    /// The core's configuration.
    pub settings: Resolved,
}

/// Whose certificates callers have to show.
#[derive(Debug)]
pub struct Clients {
    /// File with their authorities, in PEM.
    pub ca_file: PathBuf,
    /// Common names or DNS names that may call; empty for all.
    pub allowed_names: Vec<String>,
    /// How often the file is looked at.
    pub check_every: Duration,
}

/// Where the serving certificate comes from.
#[derive(Debug)]
pub enum CertificateSource {
    /// `tls.crt` and `tls.key` in a folder, looked at every so often.
    Files(PathBuf, Duration),
    /// An authority of the webhook's own.
    SelfManaged(Objects),
}

/// Runs until a signal stops it.
///
/// # Errors
/// An address cannot be listened on, or there is no usable configuration of the cluster.
pub async fn run(options: Options) -> Result<()> {
    let signals = Signals::new().context("cannot wait for signals")?;
    // Before anything else, so that a port in use is told at once.
    let webhook = listen(&options.webhook_addr)?;
    let health = listen(&options.health_addr)?;
    let metrics_listener = listen(&options.metrics_addr)?;
    // Those of the sockets: port 0 asks the system for a free one.
    let addresses = (webhook.local_addr()?, health.local_addr()?, metrics_listener.local_addr()?);
    let client = client(options.kubeconfig.as_deref()).await.context("cannot connect to the cluster")?;

    let metrics = Metrics::new();
    let cache = Arc::new(Cache::default());
    let certificates = Arc::new(CertificateStore::default());
    let admissions = Arc::new(Admissions {
        config: ArcSwap::from_pointee(options.settings.config.clone()),
        service_accounts: Arc::new(ServiceAccounts::new(Arc::clone(&cache), client.clone())),
        metrics: Arc::clone(&metrics),
        places: Semaphore::new(options.limits.in_flight),
        is_draining: AtomicBool::new(false),
    });
    let readiness =
        Readiness { admissions: Arc::clone(&admissions), certificates: Arc::clone(&certificates) };

    let mut background = JoinSet::new();
    background.spawn(serve_plain(health, health_router(readiness), options.limits));
    background.spawn(serve_plain(
        metrics_listener,
        metrics_router(Arc::clone(&metrics), Arc::clone(&admissions)),
        options.limits,
    ));
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
    if let Some(wanted) = options.clients {
        let verifier = Arc::new(ClientVerifier::load(wanted.ca_file, wanted.allowed_names)?);
        let counters = Arc::clone(&metrics);
        background.spawn(keep_client_authorities(Arc::clone(&verifier), counters, wanted.check_every));
        clients = Some(verifier);
    }
    if options.settings.native_sidecar.is_none() {
        background.spawn(follow_version(client, Arc::clone(&admissions)));
    }

    let handle = Handle::new();
    let stopper = tokio::spawn(stop(
        signals,
        Arc::clone(&admissions),
        handle.clone(),
        options.lame_duck,
        options.drain,
    ));
    let (address, health, metrics) = addresses;
    info!(version = BUILD.build_version, %address, %health, %metrics, "serving");
    let tls = tls_config(options.tls_min_version, certificates, clients)?;
    serve_tls(webhook, tls, admissions, options.limits, handle).await.context("the server ended")?;
    stopper.abort();
    info!("stopped");
    Ok(())
}

/// Listens on an address; `:9443` is every address of the machine, as in Go.
fn listen(address: &str) -> Result<TcpListener> {
    let listener = match address.strip_prefix(':') {
        // Not every machine speaks IPv6.
        Some(port) => TcpListener::bind(format!("[::]:{port}"))
            .or_else(|_| TcpListener::bind(format!("0.0.0.0:{port}"))),
        None => TcpListener::bind(address),
    };
    listener.with_context(|| format!("cannot listen on {address}"))
}

async fn serve_plain(listener: TcpListener, router: axum::Router, limits: Limits) {
    let served = async {
        let mut server =
            axum_server::from_tcp(listener)?.http1_only().first_request_timeout(limits.header_time);
        // As well how long a connection may be idle.
        server.http_builder().http1().header_read_timeout(limits.header_time);
        server.serve(router.into_make_service()).await
    };
    if let Err(error) = served.await {
        warn!(%error, "health or metrics are not served any more");
    }
}

/// Keeps the decision about native sidecars in step with the API server, which may be upgraded under this process.
async fn follow_version(client: Client, admissions: Arc<Admissions>) {
    loop {
        let answered = has_native_sidecars(&client).await;
        if let Some(native) = answered {
            let config = admissions.config.load();
            let followed = azwi_mutation::Config::clone(&config).with_native_sidecar(native);
            if followed != **config {
                info!(native_sidecar = native, "the API server's version decides about sidecars");
                admissions.config.store(Arc::new(followed));
            }
        }
        tokio::time::sleep(if answered.is_some() { VERSION_INTERVAL } else { VERSION_RETRY }).await;
    }
}

/// What asks the process to stop.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// The first signal fails readiness and goes on serving, so that nobody is sent here any more; then requests in flight
/// are waited for. A second signal ends at once.
async fn stop(
    mut signals: Signals,
    admissions: Arc<Admissions>,
    handle: Handle<SocketAddr>,
    lame_duck: Duration,
    drain: Duration,
) {
    signals.next().await;
    info!(lame_duck_seconds = lame_duck.as_secs_f64(), "stopping: not ready any more, still serving");
    admissions.is_draining.store(true, Ordering::Relaxed);
    tokio::select! {
        () = tokio::time::sleep(lame_duck) => {}
        () = signals.next() => return handle.shutdown(),
    }
    info!(drain_seconds = drain.as_secs_f64(), "stopping: waiting for requests in flight");
    handle.graceful_shutdown(Some(drain));
    signals.next().await;
    handle.shutdown();
}
