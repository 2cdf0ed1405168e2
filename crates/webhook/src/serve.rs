//! The process: what is started in which order, and how it stops.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use kube::Client;
use rustls::server::danger::ClientCertVerifier;
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tracing::info;

use crate::admin::{self, Observed};
use crate::admission::Admissions;
use crate::certificates::{
    CertificateStore, ClientVerifier, Objects, keep_client_authorities, keep_from_files, keep_self_managed,
};
use crate::kubernetes::{client_heard_by, has_native_sidecars, watch_service_accounts};
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
/// An address cannot be listened on, there is no usable configuration of the cluster, or something that has to go on for
/// ever has ended.
pub async fn run(options: Options) -> Result<()> {
    let mut signals = Signals::new().context("cannot wait for signals")?;
    // Before anything else, so that a port in use is told at once.
    let webhook = listen(&options.webhook_addr)?;
    let health = listen(&options.health_addr)?;
    let metrics_listener = listen(&options.metrics_addr)?;
    // Those of the sockets: port 0 asks the system for a free one.
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
    let admissions =
        Arc::new(Admissions::new(options.settings.config.clone(), service_accounts, Arc::clone(&metrics)));
    let observed = Observed { admissions: Arc::clone(&admissions), certificates: Arc::clone(&certificates) };
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
    if let Some(wanted) = options.clients {
        let verifier = Arc::new(ClientVerifier::load(wanted.ca_file, wanted.allowed_names)?);
        let counters = Arc::clone(&metrics);
        background.spawn(keep_client_authorities(Arc::clone(&verifier), counters, wanted.check_every));
        clients = Some(verifier);
    }
    if options.settings.native_sidecar.is_none() {
        background.spawn(follow_version(client, Arc::clone(&admissions)));
    }

    let (address, health, metrics) = addresses;
    let (request_memory, connections) = (limits.request_memory, limits.connections);
    info!(version = BUILD.build_version, %address, %health, %metrics, request_memory, connections, "serving");
    let tls = tls_config(options.tls_min_version, certificates, clients)?;
    let (told_to_drain, drain) = oneshot::channel();
    let drain = async { drain.await.unwrap_or_default() };
    let served = pin!(serve_tls(webhook, tls, Arc::clone(&admissions), limits, drain));
    let stopped = stop(&mut signals, &admissions, options.lame_duck, options.drain, told_to_drain);
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

/// As many connections wait to be accepted as the system allows; it takes a larger number for its own.
const BACKLOG: u32 = 65_535;
/// What the system keeps of each connection and each direction. Its own default grows to megabytes, which count as this
/// process's memory; an API server is near, so that a small window is no slow one.
const SOCKET_BUFFER: u32 = 16 * 1024;

/// Listens on an address; `:9443` is every address of the machine, as in Go.
fn listen(address: &str) -> Result<TcpListener> {
    let listen = |address: SocketAddr| {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.set_recv_buffer_size(SOCKET_BUFFER)?;
        socket.set_send_buffer_size(SOCKET_BUFFER)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    let listener = match address.strip_prefix(':') {
        Some(port) => {
            let port = port.parse().with_context(|| format!("cannot listen on {address}: no port number"))?;
            // Not every machine speaks IPv6.
            listen((Ipv6Addr::UNSPECIFIED, port).into())
                .or_else(|_| listen((Ipv4Addr::UNSPECIFIED, port).into()))
        }
        None => address.to_socket_addrs().and_then(|mut found| {
            listen(found.next().ok_or_else(|| io::Error::other("the name has no address"))?)
        }),
    };
    listener.with_context(|| format!("cannot listen on {address}"))
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
    signals: &mut Signals,
    admissions: &Admissions,
    lame_duck: Duration,
    drain: Duration,
    told_to_drain: oneshot::Sender<Duration>,
) {
    signals.next().await;
    info!(lame_duck_seconds = lame_duck.as_secs_f64(), "stopping: not ready any more, still serving");
    admissions.drain();
    tokio::select! {
        () = tokio::time::sleep(lame_duck) => {}
        () = signals.next() => return,
    }
    info!(drain_seconds = drain.as_secs_f64(), "stopping: waiting for requests in flight");
    // Nobody listens any more if the server has ended by itself.
    _ = told_to_drain.send(drain);
    signals.next().await;
}
