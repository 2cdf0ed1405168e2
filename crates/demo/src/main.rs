//! Shows the policy's effect on a pod: the response, the decoded patch, and the pod before and after.

mod interpreter;

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use admission_caller::cluster::Cluster;
use admission_caller::diff;
use admission_caller::manifests::{
    pod_of, read_document, read_documents, read_pods_and_workloads, workload_resource,
};
use admission_caller::policy::{HostCapabilities, Policy as _};
use admission_caller::request::{creation, pod_creation};
use anyhow::{Context as _, Result};
use clap::Parser;
use interpreter::InterpretedPolicy;
use serde_json::{Value, json};

/// Runs the policy on a pod and shows the result. Needs no cluster and no kwctl.
///
/// Exits with 0 if the pod is admitted, 1 if it is denied, 2 if there was no answer.
#[derive(Parser)]
#[command(
    name = "demo",
    after_help = "Example:\n  demo --pod my-deployment.yaml --service-account sa.yaml --settings settings.yaml"
)]
struct Arguments {
    /// Pod, or workload object with a pod template; YAML or JSON.
    #[arg(long, value_name = "FILE", default_value_os_t = manifest("azure-wi-demo.yaml"))]
    pod: PathBuf,
    /// Existing service accounts; YAML or JSON, one or more documents.
    #[arg(long, value_name = "FILE", default_value_os_t = manifest("service-account.yaml"))]
    service_account: PathBuf,
    /// Settings of the policy; YAML or JSON.
    #[arg(long, value_name = "FILE", default_value_os_t = manifest("settings.yaml"))]
    settings: PathBuf,
    /// The policy module; `make policy.wasm` builds it.
    #[arg(long, value_name = "FILE", default_value = "policy.wasm")]
    policy: PathBuf,
}

fn manifest(name: &str) -> PathBuf {
    Path::new("crates/demo/manifests").join(name)
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
    let mut objects = read_pods_and_workloads(&arguments.pod)?.into_iter();
    let object = objects.next().unwrap_or_default();
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
    let policy = InterpretedPolicy::load(&arguments.policy)?;
    println!("{}, interpreted", arguments.policy.display());
    if let Err(problem) = policy.validate_settings(&settings)? {
        anyhow::bail!("the policy refuses {}: {problem}", arguments.settings.display());
    }
    println!("settings of {} accepted", arguments.settings.display());

    let namespace = pod.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or("default");
    let cluster: Arc<dyn HostCapabilities> = Arc::new(Cluster { service_accounts, fault: None });
    if let Some((group, resource)) = workload_resource(&object) {
        heading("Warnings at kubectl apply of the workload object");
        let request = creation(namespace, (group, &resource), &object);
        let warnings = policy.validate(&request, &settings, &cluster)?.answer.warnings;
        println!("{}", if warnings.is_empty() { "none".to_owned() } else { warnings.join("\n") });
    }
    heading("Its pod");
    match objects.len() {
        0 => {}
        others => println!("the first in {}; ignored: {others} more", arguments.pod.display()),
    }
    let account = ["/spec/serviceAccountName", "/spec/serviceAccount"]
        .into_iter()
        .find_map(|path| pod.pointer(path)?.as_str().filter(|name| !name.is_empty()));
    let account = account.unwrap_or("default");
    println!("runs in namespace {namespace} as service account {account}");
    if cluster.get_resource(&json!({"namespace": namespace, "name": account})).is_err() {
        let known = arguments.service_account.display();
        println!("which is not in {known}: name a file that has it with SA= (--service-account)");
    }
    let request = pod_creation(namespace, &pod.to_string());
    let evaluation = policy.validate(&request, &settings, &cluster)?;
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
    let (before, after) = (to_yaml(&pod)?, to_yaml(&answer.apply_to(&pod)?)?);
    print!("{}", diff::unified(&before, &after, has_colours()));
    Ok(true)
}

/// Reads the service accounts of a file; other objects in it are ignored, but having no service account is an error.
fn read_service_accounts(path: &Path) -> Result<Vec<Value>> {
    let mut objects = read_documents(path)?;
    objects.retain(|object| object.get("kind").and_then(Value::as_str) == Some("ServiceAccount"));
    if objects.is_empty() {
        anyhow::bail!("{} holds no object of kind ServiceAccount", path.display());
    }
    Ok(objects)
}

/// In the style in which kubectl shows objects.
fn to_yaml(object: &Value) -> Result<String> {
    azwi_manifest::json_to_yaml(&object.to_string())
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
