//! Attacks on the released webhook with as much memory as its container has, and on the policy: permission to create a
//! pod, or access to a port, must not be enough to stop them.
//!
//! An attack is a function that does its worst to a [`Field`] and returns its findings. Meanwhile, [`bystanders`]
//! continue their work and judge. A new attack is one function and one line in the table of its topic.

pub mod accounts;
pub mod answering;
pub mod bodies;
pub mod busy;
pub mod bystanders;
pub mod connections;
pub mod lookups;
pub mod memory;
pub mod memory_group;
pub mod policy;
pub mod process;
pub mod protocol;
pub mod report;
pub mod requests;
pub mod shapes;
pub mod waiting;
pub mod wire;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use futures_util::future::BoxFuture;
use rustls::pki_types::CertificateDer;
use serde_json::json;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio_rustls::TlsConnector;

use self::bystanders::{ADMISSION_LIMIT, Bystanders, PROBE_LIMIT};
use self::memory_group::{MemoryGroup, Usage};
use self::process::{Program, Webhook};
use self::report::Row;
use test_support::api_server::ApiServer;
use test_support::careless_tls::careless_tls;

/// Namespace of the attacking tenant.
pub const TENANT: &str = "tenant";
/// The tenant's service account, which the webhook knows.
pub const TENANT_ACCOUNT: &str = "sa";

/// Client id of every service account here.
pub const CLIENT_ID: &str = "5d2e50e8-c9fc-4dad-9ab4-bc23cce71bf1";

/// Targets of an attack.
#[derive(Clone)]
pub struct Field {
    pub webhook: SocketAddr,
    /// Its port for health.
    pub health: SocketAddr,
    /// Its port for metrics.
    pub metrics: SocketAddr,
    pub certificate: CertificateDer<'static>,
    /// TLS configuration of the attackers.
    pub tls: TlsConnector,
    /// The webhook's API server.
    pub api_server: Arc<ApiServer>,
    /// Duration of attacks without an end of their own.
    pub duration: Duration,
}

#[derive(Debug, Clone, Default)]
pub struct Findings {
    /// Violations of the requirements.
    pub defects: Vec<String>,
    /// Other remarks worth a line.
    pub notes: Vec<String>,
}

impl Findings {
    /// A remark without defects.
    pub fn note(note: impl Into<String>) -> Self {
        Self { defects: Vec::new(), notes: vec![note.into()] }
    }

    /// Adds the findings of another.
    pub fn extend(&mut self, others: Self) {
        self.defects.extend(others.defects);
        self.notes.extend(others.notes);
    }

    /// Adds a defect, if there is one.
    pub fn with(mut self, defect: Option<String>) -> Self {
        self.defects.extend(defect);
        self
    }
}

/// An attack on the webhook.
pub struct Attack {
    /// Its unique name.
    pub name: String,
    prepare: fn(&ApiServer),
    run: Run,
}

type Run = Box<dyn Fn(Field) -> BoxFuture<'static, Findings> + Send + Sync>;

impl Attack {
    pub fn new<F, Fut>(name: impl Into<String>, run: F) -> Self
    where
        F: Fn(Field) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Findings> + Send + 'static,
    {
        Self { name: name.into(), prepare: |_| {}, run: Box::new(move |field| Box::pin(run(field))) }
    }

    /// Adds objects to the API server before the webhook starts.
    pub fn prepared(self, prepare: fn(&ApiServer)) -> Self {
        Self { prepare, ..self }
    }
}

pub fn attacks() -> Vec<Attack> {
    let mut all = requests::attacks();
    all.extend(memory::attacks());
    all.extend(accounts::attacks());
    all.extend(lookups::attacks());
    all.extend(connections::attacks());
    all.extend(busy::attacks());
    all.extend(protocol::attacks());
    all.extend(waiting::attacks());
    all
}

/// Runs attacks, each against its own process.
pub struct Arena {
    pub program: Program,
    /// Duration of attacks without an end of their own.
    pub duration: Duration,
    /// Runs the API server and reads the webhook's log.
    runtime: Runtime,
}

impl Arena {
    /// Prepares the runtime.
    ///
    /// # Errors
    /// Threads cannot be started.
    pub fn new(program: Program, duration: Duration) -> Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        Ok(Self { program, duration, runtime })
    }

    /// Runs an attack and judges the result.
    pub fn run(&self, attack: &Attack) -> Row {
        let mut row = Row::new(&attack.name);
        let (took, result) = self.runtime.block_on(timed(self.fight(attack, &mut row)));
        row.took = took;
        if let Err(error) = result {
            row.findings.defects.push(format!("{error:#}"));
        }
        row
    }

    async fn fight(&self, attack: &Attack, row: &mut Row) -> Result<()> {
        let api_server = Arc::new(ApiServer::start()?);
        for (namespace, account) in
            [(bystanders::NAMESPACE, bystanders::SERVICE_ACCOUNT), (TENANT, TENANT_ACCOUNT)]
        {
            api_server.apply(namespace, account, &account_metadata());
        }
        (attack.prepare)(&api_server);
        let mut webhook = Webhook::start(&self.program, &api_server).await?;
        // Kept alive after the attack, which drops its field.
        let _there_to_the_end = Arc::clone(&api_server);
        let field = Field {
            webhook: webhook.address,
            health: webhook.health,
            metrics: webhook.metrics,
            certificate: webhook.certificate.clone(),
            tls: TlsConnector::from(Arc::new(careless_tls()?)),
            api_server,
            duration: self.duration,
        };
        let memory = MemoryWatch::start(&webhook);
        let bystanders = Bystanders::start(&field)?;
        // So that the first handshakes are not part of the attack.
        bystanders.wait_for_rounds(2, Duration::from_secs(5)).await;
        let findings = self.attack(attack, field, &mut webhook).await;
        // Every bystander must be served once more after the attack.
        bystanders.wait_for_rounds(2, ADMISSION_LIMIT * 2 + PROBE_LIMIT).await;
        let observations = bystanders.stop();
        row.judge(&mut webhook, memory.stop(), self.program.memory, observations);
        row.findings.extend(findings);
        webhook.stop().await;
        Ok(())
    }

    /// Runs an attack until it or the webhook ends.
    async fn attack(&self, attack: &Attack, field: Field, webhook: &mut Webhook) -> Findings {
        // A separate runtime, which drops everything that an attack leaves behind.
        let runtime = match attackers_runtime() {
            Ok(runtime) => runtime,
            Err(error) => return Findings::default().with(Some(format!("{error:#}"))),
        };
        let limit = self.duration * 4 + Duration::from_secs(30);
        let work = runtime.spawn(tokio::time::timeout(limit, (attack.run)(field)));
        let findings = tokio::select! {
            done = work => match done {
                Ok(Ok(findings)) => findings,
                Ok(Err(_)) => {
                    let late = format!("the attack did not end within {} s", limit.as_secs());
                    Findings::default().with(Some(late))
                }
                Err(error) => Findings::default().with(Some(format!("the attack failed: {error}"))),
            },
            // The judge reports more about it.
            _ = webhook.ended() => Findings::default(),
        };
        runtime.shutdown_background();
        findings
    }
}

/// Low-priority threads, as if the attackers were on another machine.
fn attackers_runtime() -> Result<Runtime> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("attackers")
        .on_thread_start(|| {
            // Only fails where it is not needed.
            _ = rustix::process::nice(10);
        })
        .enable_all()
        .build();
    runtime.context("there is no thread for the attackers")
}

fn account_metadata() -> serde_json::Value {
    json!({"annotations": {"azure.workload.identity/client-id": CLIENT_ID}})
}

/// Samples the webhook's memory.
struct MemoryWatch {
    group: Arc<MemoryGroup>,
    most: Arc<Mutex<Most>>,
    looking: tokio::task::JoinHandle<()>,
}

/// Peak memory values.
#[derive(Debug, Clone, Copy, Default)]
pub struct Most {
    /// By the group's own count, including files.
    pub peak: u64,
    /// Pages of the process itself, in bytes.
    pub resident: u64,
    /// Without files, and with socket buffers.
    pub usage: Usage,
    /// How many processes the kernel has killed.
    pub kills: u64,
}

impl MemoryWatch {
    fn start(webhook: &Webhook) -> Self {
        const EVERY: Duration = Duration::from_millis(20);
        let (group, most) = (Arc::clone(&webhook.group), Arc::new(Mutex::new(Most::default())));
        let (watched, seen, id) = (Arc::clone(&group), Arc::clone(&most), webhook.id());
        let looking = Handle::current().spawn(async move {
            loop {
                let (usage, resident) = (watched.usage(), id.map_or(0, resident_peak));
                {
                    let mut most = seen.lock().unwrap_or_else(PoisonError::into_inner);
                    most.resident = most.resident.max(resident);
                    if usage.all > most.usage.all {
                        most.usage = usage;
                    }
                }
                tokio::time::sleep(EVERY).await;
            }
        });
        Self { group, most, looking }
    }

    fn stop(self) -> Most {
        self.looking.abort();
        let most = *self.most.lock().unwrap_or_else(PoisonError::into_inner);
        Most { peak: self.group.peak(), kills: self.group.kills(), ..most }
    }
}

/// Peak memory of a process in bytes; 0 after it has ended.
fn resident_peak(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kilobytes.unwrap_or_default() * 1024
}

/// Raises the open file limit of this process and its children to the allowed maximum.
pub fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // With a lower limit, some attacks are smaller.
    _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// Measures how long something takes.
pub async fn timed<T>(work: impl Future<Output = T>) -> (Duration, T) {
    let start = Instant::now();
    let result = work.await;
    (start.elapsed(), result)
}
