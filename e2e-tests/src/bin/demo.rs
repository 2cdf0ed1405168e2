//! Shows what the policy does to a pod: the response, the decoded patch, and the pod before and after.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result};
use clap::Parser;
use e2e_tests::fake_host::Cluster;
use e2e_tests::host::{HostCapabilities, PolicyHost};
use e2e_tests::pod_diff;
use serde_json::Value;
use test_support::documents::{
    pod_of, read_document, read_documents, read_pod_or_workload, workload_resource,
};
use test_support::repository_root;
use test_support::request::{creation, pod_creation};

/// Runs the policy on a pod and shows what it does. Needs no cluster and no kwctl.
///
/// Exits with 0 when the pod is admitted, with 1 when it is denied, with 2 when there was no answer.
#[derive(Parser)]
#[command(
    name = "demo",
    after_help = "Example:\n  demo --pod my-deployment.yaml --service-account sa.yaml --settings settings.yaml"
)]
struct Arguments {
    /// Pod, or workload object whose pods are meant; YAML or JSON.
    #[arg(long, value_name = "FILE", default_value_os_t = demo_file("pod.yaml"))]
    pod: PathBuf,
    /// Service accounts that exist; YAML or JSON, one or several documents.
    #[arg(long, value_name = "FILE", default_value_os_t = demo_file("service-account.yaml"))]
    service_account: PathBuf,
    /// Settings of the policy; YAML or JSON.
    #[arg(long, value_name = "FILE", default_value_os_t = demo_file("settings.yaml"))]
    settings: PathBuf,
    /// The policy module; `make policy.wasm` builds it.
    #[arg(long, value_name = "FILE", default_value_os_t = repository_root().join("policy.wasm"))]
    policy: PathBuf,
}

fn demo_file(name: &str) -> PathBuf {
    Path::new("e2e-tests/demo").join(name)
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool> {
    let object = read_pod_or_workload(&arguments.pod)?;
    let pod = pod_of(&object).with_context(|| format!("{} has no pod template", arguments.pod.display()))?;
    let service_accounts = read_service_accounts(&arguments.service_account)?;
    let settings = read_document(&arguments.settings)?;
    if settings.get("kind").is_some() {
        anyhow::bail!(
            "{} is a manifest; only what is under its spec.settings is meant",
            arguments.settings.display()
        );
    }

    heading("Policy");
    let started = Instant::now();
    let host = PolicyHost::load(&arguments.policy)?;
    println!("{} compiled in {} ms", arguments.policy.display(), started.elapsed().as_millis());
    if let Err(problem) = host.validate_settings(&settings)? {
        anyhow::bail!("the policy refuses {}: {problem}", arguments.settings.display());
    }
    println!("settings of {} accepted", arguments.settings.display());

    let namespace = pod.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or("default");
    let cluster: Arc<dyn HostCapabilities> = Arc::new(Cluster { service_accounts, fault: None });
    if let Some((group, resource)) = workload_resource(&object) {
        heading("Warnings at kubectl apply of the workload object");
        let request = creation(namespace, (group, resource), &object);
        let warnings = host.validate(&request, &settings, &cluster)?.answer.warnings;
        println!("{}", if warnings.is_empty() { "none".to_owned() } else { warnings.join("\n") });
    }
    let account = pod.pointer("/spec/serviceAccountName").and_then(Value::as_str).unwrap_or("default");
    println!("its pod runs in namespace {namespace} as service account {account}");
    let request = pod_creation(namespace, &pod.to_string());
    let evaluation = host.validate(&request, &settings, &cluster)?;
    let answer = evaluation.answer;

    heading("Response to the pod's creation, as the API server gets it");
    println!("{}", serde_json::to_string_pretty(&answer.admission_response())?);
    println!("calls to the host: {}", evaluation.host_calls);
    if !answer.allowed {
        return Ok(false);
    }
    heading("Patch, decoded");
    if answer.patch.is_empty() {
        println!("none: the pod stays as it is");
        return Ok(true);
    }
    for operation in &answer.patch {
        println!("{operation}");
    }
    heading("Pod, before and after");
    let (before, after) = (serde_yaml::to_string(&pod)?, serde_yaml::to_string(&answer.apply_to(&pod)?)?);
    print!("{}", pod_diff::unified(&before, &after, has_colours()));
    Ok(true)
}

/// The service accounts of a file; other objects in it are no mistake, but none at all is.
fn read_service_accounts(path: &Path) -> Result<Vec<Value>> {
    let mut objects = read_documents(path)?;
    objects.retain(|object| object.get("kind").and_then(Value::as_str) == Some("ServiceAccount"));
    if objects.is_empty() {
        anyhow::bail!("{} holds no object of kind ServiceAccount", path.display());
    }
    Ok(objects)
}

fn heading(text: &str) {
    if has_colours() {
        println!("\n\u{1b}[1m{text}\u{1b}[0m");
    } else {
        println!("\n{text}");
    }
}

fn has_colours() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}
