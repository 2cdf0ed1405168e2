//! The webhook's endurance: load for a long time, and one fault after another.

mod fault;
mod load;
mod replica;
mod report;
mod service;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::json;
use test_support::api_server::ApiServer;
use tokio::time::sleep;

use crate::hostile::bystanders::{NAMESPACE, SERVICE_ACCOUNT};
use fault::Fault;
use load::{Load, capacity};
use replica::Replica;
use report::Event;
use service::Service;

pub use report::Report;

/// Name of the webhook configuration, whose bundle callers trust.
const CONFIGURATION: &str = "azure-wi-webhook-mutating-webhook-configuration";
/// Time between two faults.
const PAUSE: Duration = Duration::from_secs(5);

/// What to run, and for how long.
#[derive(Debug, Clone)]
pub struct Plan {
    pub program: PathBuf,
    pub duration: Duration,
    /// Memory of a replica in bytes.
    pub memory: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Cluster {
    plan: Plan,
    /// `None` while it is away.
    api_server: Option<ApiServer>,
    service: Arc<Service>,
    load: Arc<Load>,
    /// Creations per second: half of what the replicas could do.
    rate: u32,
    /// Runs from the beginning to the end.
    steady: Replica,
    /// Is replaced and killed; `None` while there is none.
    restarted: Option<Replica>,
    /// What must not have happened.
    defects: Vec<String>,
}

impl Cluster {
    fn api_server(&self) -> Result<&ApiServer> {
        self.api_server.as_ref().context("the API server is away")
    }

    async fn start_second(&mut self) -> Result<()> {
        let replica = Replica::start(&self.plan, self.api_server()?).await?;
        self.service.add(replica.process.address, replica.process.health);
        self.restarted = Some(replica);
        Ok(())
    }
}

/// Why it cannot run here, if it cannot.
pub fn obstacle(plan: &Plan) -> Option<String> {
    Replica::prerequisites(plan).err().map(|problem| format!("{problem:#}"))
}

/// Runs it.
///
/// # Errors
/// A replica does not start, or this user cannot limit its memory.
pub async fn endure(plan: &Plan) -> Result<Report> {
    let api_server = ApiServer::start()?;
    let metadata =
        json!({"annotations": {"azure.workload.identity/client-id": "5d2e50e8-c9fc-4dad-9ab4-bc23cce71bf1"}});
    api_server.apply(NAMESPACE, SERVICE_ACCOUNT, &metadata);
    api_server.objects.put(CONFIGURATION, configuration());
    let service = Arc::new(Service::new(api_server.objects.clone()));
    let steady = Replica::start(plan, &api_server).await?;
    service.add(steady.process.address, steady.process.health);
    let load = Load::new();
    let mut cluster = Cluster {
        plan: plan.clone(),
        api_server: Some(api_server),
        service,
        load,
        rate: 0,
        steady,
        restarted: None,
        defects: Vec::new(),
    };
    cluster.start_second().await?;
    let probes = Arc::clone(&cluster.service);
    let probes = tokio::spawn(async move { probes.probe().await });
    let capacity = capacity(&cluster.service).await;
    cluster.rate = capacity / 2;
    println!("capacity: {capacity} reviews a second; load: {} a second", cluster.rate);
    let sent = tokio::spawn(Arc::clone(&cluster.load).run(Arc::clone(&cluster.service)));
    cluster.load.set_rate(cluster.rate);
    let report = go_on(&mut cluster).await;
    sent.abort();
    probes.abort();
    report
}

/// Lets faults happen until the time is over; measures the replica that stays each second.
async fn go_on(cluster: &mut Cluster) -> Result<Report> {
    let meter = cluster.steady.meter();
    let samples = Arc::new(Mutex::new(Vec::new()));
    let (kept, load) = (Arc::clone(&samples), Arc::clone(&cluster.load));
    let measuring = tokio::spawn(async move {
        loop {
            lock(&kept).push((load.now(), meter.read()));
            sleep(Duration::from_secs(1)).await;
        }
    });
    let mut events = Vec::new();
    for fault in Fault::ALL.into_iter().cycle() {
        let begin = cluster.load.now();
        if begin >= cluster.plan.duration {
            break;
        }
        fault.happen(cluster).await.with_context(|| format!("while {}", fault.name()))?;
        sleep(PAUSE).await;
        if let Some(how) = cluster.steady.has_ended() {
            bail!("the replica that should stay has ended while {}: {how}", fault.name());
        }
        let end = cluster.load.now();
        println!("{:>6} s  {}", end.as_secs(), fault.name());
        events.push(Event { fault, begin, end });
    }
    measuring.abort();
    for replica in [Some(&cluster.steady), cluster.restarted.as_ref()].into_iter().flatten() {
        cluster.defects.extend(replica.defects());
    }
    Ok(Report {
        rate: cluster.rate,
        seconds: cluster.load.seconds(),
        failures: cluster.load.failures(),
        samples: std::mem::take(&mut *lock(&samples)),
        defects: std::mem::take(&mut cluster.defects),
        events,
    })
}

fn configuration() -> serde_json::Value {
    json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": CONFIGURATION}, "webhooks": [{"name": "a.example", "sideEffects": "None",
        "admissionReviewVersions": ["v1"], "clientConfig": {"service": {"name": "webhook", "namespace": "test"}}}]})
}
