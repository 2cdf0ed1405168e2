//! The released webhook as a process with as much memory as its container has.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustls::pki_types::CertificateDer;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStderr, Command};

use super::memory_group::MemoryGroup;
use test_support::api_server::ApiServer;
use test_support::tls_client::new_certificate;
use test_support::webhook::{addresses, write_certificate};

/// How long the webhook may take until it serves.
const STARTS_WITHIN: Duration = Duration::from_secs(10);
/// How many lines are kept from the end of the log.
const KEPT_LINES: usize = 50;
/// How much of a line is kept.
const KEPT_LENGTH: usize = 600;

/// How to start the webhook.
#[derive(Debug, Clone)]
pub struct Program {
    pub path: PathBuf,
    /// Extra flags for it.
    pub flags: Vec<String>,
    /// Its memory in bytes.
    pub memory: u64,
}

/// A running webhook. It is killed on drop.
pub struct Webhook {
    /// Address for reviews.
    pub address: SocketAddr,
    /// Address of its health endpoints.
    pub health: SocketAddr,
    /// Address of its metrics.
    pub metrics: SocketAddr,
    pub certificate: CertificateDer<'static>,
    /// The group that limits its memory.
    pub group: Arc<MemoryGroup>,
    child: Child,
    log: Arc<Mutex<Log>>,
    /// Holds its files for as long as it runs.
    _folder: TempDir,
}

/// The part of the log that is kept.
#[derive(Debug, Default)]
struct Log {
    serving: Option<String>,
    /// Lines in which a thread reports a panic.
    panics: Vec<String>,
    last: Vec<String>,
}

impl Webhook {
    /// Starts the program with an API server, and waits until it is ready.
    ///
    /// # Errors
    /// It cannot be started, or does not become ready.
    pub async fn start(program: &Program, api_server: &ApiServer) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let certificate = new_certificate()?;
        write_certificate(folder.path(), &certificate)?;
        let kubeconfig = folder.path().join("kubeconfig");
        std::fs::write(&kubeconfig, api_server.kubeconfig())?;
        let group = Arc::new(MemoryGroup::new(program.memory)?);
        let mut child = command(program, &group, folder.path(), &kubeconfig).spawn()?;
        let log = Arc::new(Mutex::new(Log::default()));
        let errors = child.stderr.take().context("the webhook has no standard error")?;
        tokio::spawn(read_log(errors, Arc::clone(&log)));
        let [address, health, metrics] = serving(&mut child, &log).await?;
        let certificate = certificate.cert.der().clone();
        let mut webhook = Self { address, health, metrics, certificate, group, child, log, _folder: folder };
        webhook.wait_until_ready().await?;
        Ok(webhook)
    }

    async fn wait_until_ready(&mut self) -> Result<()> {
        let health = self.health;
        let ready = async {
            while !super::bystanders::probe(health, "/readyz").await.is_ok_and(|status| status == 200) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let problem = tokio::select! {
            () = ready => return Ok(()),
            status = self.child.wait() => format!("ended ({})", status?),
            () = tokio::time::sleep(STARTS_WITHIN) => "did not become ready".to_owned(),
        };
        if self.group.kills() > 0 {
            bail!("the kernel killed the webhook for its memory before it was ready");
        }
        bail!("the webhook {problem}; its log ends with:\n{}", self.last_lines())
    }

    /// Waits until the process has ended, and returns how.
    pub async fn ended(&mut self) -> String {
        match self.child.wait().await {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        }
    }

    /// How the process has ended, if it has.
    pub fn has_ended(&mut self) -> Option<String> {
        match self.child.try_wait() {
            Ok(status) => status.map(|status| status.to_string()),
            Err(error) => Some(error.to_string()),
        }
    }

    /// The process id; `None` after it has ended.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Its panic messages.
    pub fn panics(&self) -> Vec<String> {
        lock(&self.log).panics.clone()
    }

    /// The end of the log.
    pub fn last_lines(&self) -> String {
        lock(&self.log).last.join("\n")
    }

    /// Kills the process and waits for it.
    pub async fn stop(&mut self) {
        // It may have ended already.
        _ = self.child.kill().await;
    }
}

fn lock(log: &Mutex<Log>) -> std::sync::MutexGuard<'_, Log> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The shell enters the group before it becomes the webhook, so that no page is counted elsewhere.
fn command(program: &Program, group: &MemoryGroup, folder: &Path, kubeconfig: &Path) -> Command {
    let any = "127.0.0.1:0";
    let mut command = Command::new("sh");
    command
        .args(["-c", r#"echo $$ >"$0" && exec "$@""#])
        .arg(group.entrance())
        .arg(&program.path)
        .args(["--webhook-addr", any, "--health-addr", any, "--metrics-addr", any])
        .args(["--disable-cert-rotation", "--webhook-cert-dir"])
        .arg(folder)
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .args(&program.flags)
        .env("AZURE_TENANT_ID", "contoso.example")
        // As in the image.
        .env("MIMALLOC_ARENA_EAGER_COMMIT", "0")
        .env("MIMALLOC_PURGE_DELAY", "0")
        .env_remove("KUBECONFIG")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Waits until the log contains the webhook's addresses.
async fn serving(child: &mut Child, log: &Mutex<Log>) -> Result<[SocketAddr; 3]> {
    let end = Instant::now() + STARTS_WITHIN;
    loop {
        if let Some(line) = &lock(log).serving {
            return addresses(line);
        }
        let ended = child.try_wait()?;
        if ended.is_some() || Instant::now() > end {
            let how = ended.map_or_else(|| "it runs".to_owned(), |status| status.to_string());
            bail!("the webhook does not serve ({how}); its log ends with:\n{}", lock(log).last.join("\n"));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn read_log(errors: ChildStderr, log: Arc<Mutex<Log>>) {
    let mut lines = BufReader::new(errors).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        let mut line = String::from_utf8_lossy(&line).into_owned();
        let mut log = lock(&log);
        if log.serving.is_none() && line.contains("\"message\":\"serving\"") {
            log.serving = Some(line.clone());
        }
        line.truncate(line.floor_char_boundary(KEPT_LENGTH));
        if line.contains("panicked") && log.panics.len() < KEPT_LINES {
            log.panics.push(line.clone());
        }
        if log.last.len() >= KEPT_LINES {
            log.last.remove(0);
        }
        log.last.push(line);
    }
}
