//! Creates labelled pods in a cluster at an even pace, and counts failures.

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Parser;
use k8s_openapi::api::core::v1::Pod;
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

/// Creates labelled pods (dry run on the server), and counts those that were refused or admitted without a client id.
///
/// Exits with 1 if more were refused than may be, or if one was admitted without a client id.
#[derive(Parser)]
#[command(name = "admission_load")]
struct Arguments {
    /// Namespace of the pods.
    #[arg(long)]
    namespace: String,
    /// Service account of the pods; it must have a client id.
    #[arg(long)]
    service_account: String,
    /// Creations per second.
    #[arg(long, default_value_t = 40)]
    rate: u32,
    /// Creations that wait for their answer at a time. Above it the pace slows down: the API server cannot keep up.
    #[arg(long, default_value_t = 200)]
    in_flight: usize,
    /// How many may be refused.
    #[arg(long, default_value_t = 0)]
    may_refuse: usize,
    /// Duration in seconds.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let run = tokio::runtime::Runtime::new()
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(run(&arguments)));
    match run {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("admission_load: {error:#}");
            ExitCode::from(2)
        }
    }
}

async fn run(arguments: &Arguments) -> Result<bool> {
    let api: Api<Pod> = Api::namespaced(Client::try_default().await?, &arguments.namespace);
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"generateName": "load-", "labels": {"azure.workload.identity/use": "true"}},
        "spec": {"serviceAccountName": arguments.service_account, "containers": [{"name": "c", "image": "x"}]},
    }))?;
    let took = Arc::new(Mutex::new(Vec::new()));
    let places = Arc::new(Semaphore::new(arguments.in_flight));
    let mut creations = JoinSet::new();
    let mut pace = tokio::time::interval(Duration::from_secs(1) / arguments.rate);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let end = Instant::now() + Duration::from_secs(arguments.seconds);
    while Instant::now() < end {
        pace.tick().await;
        let place = Arc::clone(&places).acquire_owned().await?;
        let (api, pod, took) = (api.clone(), pod.clone(), Arc::clone(&took));
        creations.spawn(async move {
            let _place = place;
            let start = Instant::now();
            let has_identity = create(&api, &pod).await?;
            took.lock().unwrap_or_else(PoisonError::into_inner).push(start.elapsed());
            anyhow::Ok(has_identity)
        });
    }
    let ended = creations.join_all().await;
    let refusals: Vec<_> = ended.iter().filter_map(|created| created.as_ref().err()).collect();
    for refusal in refusals.iter().take(5) {
        println!("refused: {refusal:#}");
    }
    let admitted: Vec<bool> = ended.iter().filter_map(|created| created.as_ref().ok().copied()).collect();
    let missed = admitted.iter().filter(|has_identity| !**has_identity).count();
    let mut took = std::mem::take(&mut *took.lock().unwrap_or_else(PoisonError::into_inner));
    took.sort();
    let at =
        |percent: usize| took.get(took.len().saturating_sub(1) * percent / 100).copied().unwrap_or_default();
    println!(
        "{} creations, {} refused, {missed} without an identity, p50 {:.1} ms, p99 {:.1} ms",
        ended.len(),
        refusals.len(),
        at(50).as_secs_f64() * 1e3,
        at(99).as_secs_f64() * 1e3
    );
    Ok(!admitted.is_empty() && missed == 0 && refusals.len() <= arguments.may_refuse)
}

/// Whether the pod got a client id.
async fn create(api: &Api<Pod>, pod: &Pod) -> Result<bool> {
    let created = api.create(&PostParams { dry_run: true, field_manager: None }, pod).await?;
    let containers = created.spec.map(|spec| spec.containers).unwrap_or_default();
    let mut variables = containers.iter().flat_map(|container| container.env.iter().flatten());
    Ok(variables.any(|variable| variable.name == "AZURE_CLIENT_ID"))
}
