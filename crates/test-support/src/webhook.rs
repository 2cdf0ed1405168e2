//! The real webhook: as a process, or inside a test with a configuration that changes between cases.

use std::collections::HashMap;
use std::future::ready;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use axum::body::Body;
use axum::http::{Request, Response};
use azwi_mutation::Config;
use azwi_webhook::certificates::{CertificateStore, ServingCertificate};
use azwi_webhook::certificates::{TlsVersion, tls_config};
use azwi_webhook::limits::Limits;
use azwi_webhook::metrics::Metrics;
use azwi_webhook::reviewer::Reviewer;
use azwi_webhook::server::serve;
use azwi_webhook::service_accounts::{Cache, ServiceAccounts};
use kube::runtime::watcher::Event;
use rcgen::{CertifiedKey, KeyPair};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tower::service_fn;

use crate::api_server::{ApiServer, not_found};
use crate::tls_client::{Caller, new_certificate};

/// The webhook as a process. It is killed on drop.
pub struct WebhookProcess {
    pub child: Child,
    /// Address for reviews.
    pub address: SocketAddr,
    /// Address of its health endpoints.
    pub health: SocketAddr,
    /// Address of its metrics.
    pub metrics: SocketAddr,
    folder: TempDir,
}

impl WebhookProcess {
    /// Starts the webhook with an API server, a certificate and extra flags, and waits until it is ready.
    ///
    /// # Errors
    /// The program is not built, or does not become ready.
    pub async fn start(
        api_server: &ApiServer,
        certificate: &CertifiedKey<KeyPair>,
        flags: &[&str],
    ) -> Result<Self> {
        Self::start_program(&program()?, api_server, certificate, flags).await
    }

    /// Like [`WebhookProcess::start`], with any build of the program.
    ///
    /// # Errors
    /// The program cannot be started, or does not become ready.
    pub async fn start_program(
        program: &Path,
        api_server: &ApiServer,
        certificate: &CertifiedKey<KeyPair>,
        flags: &[&str],
    ) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        write_certificate(folder.path(), certificate)?;
        let mut command = Command::new(program);
        command.args(["--disable-cert-rotation", "--webhook-cert-dir"]).arg(folder.path()).args(flags);
        Self::spawn(command, folder, api_server).await
    }

    /// Starts the webhook with its own authority, which it keeps in the API server's namespace `test`.
    ///
    /// # Errors
    /// The program is not built, or does not become ready.
    pub async fn start_self_managed(api_server: &ApiServer, flags: &[&str]) -> Result<Self> {
        Self::start_self_managed_program(&program()?, api_server, flags).await
    }

    /// Like [`WebhookProcess::start_self_managed`], with any build of the program.
    ///
    /// # Errors
    /// The program cannot be started, or does not become ready.
    pub async fn start_self_managed_program(
        program: &Path,
        api_server: &ApiServer,
        flags: &[&str],
    ) -> Result<Self> {
        let mut command = Command::new(program);
        // Together with the namespace, this is the name that callers use.
        command.args(["--service-name", "webhook"]).args(flags).env("POD_NAMESPACE", "test");
        Self::spawn(command, tempfile::tempdir()?, api_server).await
    }

    async fn spawn(mut command: Command, folder: TempDir, api_server: &ApiServer) -> Result<Self> {
        let kubeconfig = folder.path().join("kubeconfig");
        std::fs::write(&kubeconfig, api_server.kubeconfig())?;
        // Ports that the system picks: one picked here could be taken before the webhook binds it.
        let any = "127.0.0.1:0";
        let child = command
            .args(["--webhook-addr", any, "--health-addr", any, "--metrics-addr", any])
            .arg("--kubeconfig")
            .arg(&kubeconfig)
            .env("AZURE_TENANT_ID", "contoso.example")
            .env_remove("KUBECONFIG")
            .stderr(std::fs::File::create(folder.path().join("log"))?)
            .kill_on_drop(true)
            .spawn()?;
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut process = Self { child, address: any, health: any, metrics: any, folder };
        process.wait_until("serving", async |webhook| webhook.log().contains(SERVING)).await?;
        [process.address, process.health, process.metrics] = addresses(&process.log())?;
        process
            .wait_until("ready", async |webhook| {
                // Including its cache, so that tests know the source of answers.
                let ready = webhook.get(webhook.health, "/readyz?verbose").await;
                ready.is_ok_and(|(status, text)| status == 200 && text.contains("[+]cache-synced"))
            })
            .await?;
        Ok(process)
    }

    /// Replaces the certificate like the kubelet does: the folder's content changes at once.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn swap_certificate(&self, certificate: &CertifiedKey<KeyPair>) -> Result<()> {
        write_certificate(self.folder.path(), certificate)
    }

    /// Replaces the certificate with any text.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn spoil_certificate(&self, text: &str) -> Result<()> {
        Ok(std::fs::write(self.folder.path().join("tls.crt"), text)?)
    }

    /// Sends SIGTERM.
    ///
    /// # Errors
    /// The process is gone.
    pub async fn terminate(&self) -> Result<()> {
        let id = self.child.id().context("the webhook has ended")?;
        let status = Command::new("kill").args(["-TERM", &id.to_string()]).status().await?;
        if status.success() { Ok(()) } else { bail!("kill failed") }
    }

    /// Status and body of a page without TLS.
    ///
    /// # Errors
    /// There was no answer.
    pub async fn get(&self, address: SocketAddr, path: &str) -> Result<(u16, String)> {
        self.send(address, "GET", path).await
    }

    /// Status and body of the answer to a request without TLS and without a body.
    ///
    /// # Errors
    /// There was no answer.
    pub async fn send(&self, address: SocketAddr, method: &str, path: &str) -> Result<(u16, String)> {
        use http_body_util::{BodyExt as _, Empty};
        let stream = tokio::net::TcpStream::connect(address).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "test")
            .body(Empty::<hyper::body::Bytes>::new())?;
        let response = sender.send_request(request).await?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await?.to_bytes();
        Ok((status, String::from_utf8(body.to_vec())?))
    }

    /// Value of a metric whose line starts with this text; 0 if there is none.
    ///
    /// # Errors
    /// The metrics cannot be read.
    pub async fn metric(&self, line_start: &str) -> Result<f64> {
        let (_, text) = self.get(self.metrics, "/metrics").await?;
        let line = text.lines().find(|line| line.starts_with(line_start));
        Ok(line
            .and_then(|line| line.rsplit_once(' '))
            .and_then(|(_, value)| value.parse().ok())
            .unwrap_or(0.0))
    }

    /// Waits up to ten seconds for a condition to become true.
    ///
    /// # Errors
    /// It did not become true; the error contains the webhook's log.
    pub async fn wait_until(&self, what: &str, holds: impl AsyncFn(&Self) -> bool) -> Result<()> {
        let waited = async {
            while !holds(self).await {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(Duration::from_secs(10), waited).await.is_err() {
            bail!("the webhook did not become {what}; its log:\n{}", self.log());
        }
        Ok(())
    }

    /// The webhook's log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

/// Writes `tls.crt` and `tls.key`, each completely or not at all.
///
/// # Errors
/// A file cannot be written.
pub fn write_certificate(folder: &Path, certificate: &CertifiedKey<KeyPair>) -> Result<()> {
    for (name, text) in
        [("tls.crt", certificate.cert.pem()), ("tls.key", certificate.signing_key.serialize_pem())]
    {
        let new = folder.join(format!("{name}.new"));
        std::fs::write(&new, text)?;
        std::fs::rename(new, folder.join(name))?;
    }
    Ok(())
}

/// End of the log line with the addresses.
const SERVING: &str = "\"message\":\"serving\"";

/// A webhook's addresses for reviews, health and metrics, from its log.
pub fn addresses(log: &str) -> Result<[SocketAddr; 3]> {
    let line = log.lines().find(|line| line.contains(SERVING)).context("the log names no addresses")?;
    let line: Value = serde_json::from_str(line)?;
    let address = |name: &str| -> Result<SocketAddr> {
        let text = line.get(name).and_then(Value::as_str).context("the log lacks an address")?;
        Ok(text.parse()?)
    };
    Ok([address("address")?, address("health")?, address("metrics")?])
}

/// The webhook's program, next to the tests' own.
///
/// # Errors
/// It is not built.
pub fn program() -> Result<PathBuf> {
    let tests = std::env::current_exe()?;
    let folder = tests.ancestors().nth(2).context("the tests are in no target folder")?;
    let program = folder.join("azwi-webhook");
    if !program.exists() {
        bail!("{} is not built; `make build-tests` builds it", program.display());
    }
    Ok(program)
}

/// The webhook inside this process, with a configuration and service accounts that change between requests.
pub struct EmbeddedWebhook {
    reviewer: Arc<Reviewer>,
    cache: Arc<Cache>,
    /// For what is read again although the cache knows it.
    accounts: Accounts,
    caller: Caller,
    server: JoinHandle<()>,
}

impl EmbeddedWebhook {
    /// Serves on a free loopback port. Only service accounts that are set exist.
    ///
    /// # Errors
    /// There is no free port.
    pub fn start(config: Config) -> Result<Self> {
        let certificate = new_certificate()?;
        let certificates = Arc::new(CertificateStore::default());
        certificates.set(ServingCertificate::from_pem(
            certificate.cert.pem().as_bytes(),
            certificate.signing_key.serialize_pem().as_bytes(),
        )?);
        let cache = Arc::new(Cache::default());
        let accounts = Accounts::default();
        let known = Arc::clone(&accounts);
        let client = kube::Client::new(service_fn(move |request| ready(read(&known, &request))), "default");
        let limits = Limits::default();
        let service_accounts =
            Arc::new(ServiceAccounts::new(Arc::clone(&cache), client, limits.reads, limits.read_memory));
        let reviewer = Arc::new(Reviewer::new(config, service_accounts, Metrics::new()));
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let caller = Caller::new(listener.local_addr()?, [certificate.cert.der().clone()])?;
        let tls = tls_config(TlsVersion::V1_3, certificates, None)?;
        let server =
            tokio::spawn(serve(listener, tls, Arc::clone(&reviewer), limits, std::future::pending()));
        Ok(Self { reviewer, cache, accounts, caller, server })
    }

    /// Sets the configuration and the service accounts of `namespace`.
    ///
    /// # Errors
    /// A service account is invalid.
    pub fn set(&self, config: Config, namespace: &str, service_accounts: &[Value]) -> Result<()> {
        self.reviewer.config.store(Arc::new(config));
        self.cache.apply(Event::Init);
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        accounts.clear();
        for account in service_accounts {
            let mut account = account.clone();
            if let Some(metadata) = account.get_mut("metadata").and_then(Value::as_object_mut) {
                metadata.insert("namespace".to_owned(), namespace.into());
            }
            let name = account.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
            let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}");
            accounts.insert(path, account.clone());
            self.cache.apply(Event::InitApply(serde_json::from_value(account)?));
        }
        self.cache.apply(Event::InitDone);
        Ok(())
    }

    pub fn caller(&self) -> &Caller {
        &self.caller
    }
}

impl Drop for EmbeddedWebhook {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// The service accounts of an API server by their paths.
type Accounts = Arc<Mutex<HashMap<String, Value>>>;

/// An API server that has these service accounts.
fn read(accounts: &Accounts, request: &Request<kube::client::Body>) -> Result<Response<Body>> {
    let path = request.uri().path();
    let account = accounts.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned();
    let name = path.rsplit('/').next().unwrap_or_default();
    let (status, object) = account.map_or_else(|| (404, not_found(name)), |account| (200, account));
    Ok(Response::builder().status(status).body(Body::from(object.to_string()))?)
}
