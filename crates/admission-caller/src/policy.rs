//! Kubewarden's role around a policy: it validates settings, evaluates requests, and answers the policy's host calls.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, bail};
use azwi_json::JsonText;
use serde_json::Value;

use crate::answer::Answer;

/// Capabilities that a policy may call.
pub trait HostCapabilities: Send + Sync {
    /// Answers a `kubernetes/get_resource` request.
    ///
    /// # Errors
    /// The text that the guest sees, without waPC's prefix.
    fn get_resource(&self, request: &Value) -> Result<Vec<u8>, String>;
}

/// Answers a guest's host call, identified by binding, namespace and operation.
pub fn host_call(
    capabilities: &dyn HostCapabilities,
    name: (&str, &str, &str),
    payload: &[u8],
) -> Result<Vec<u8>, String> {
    match name {
        ("kubewarden", "kubernetes", "get_resource") => {
            let request = serde_json::from_slice(payload).map_err(|error| error.to_string())?;
            capabilities.get_resource(&request)
        }
        other => Err(format!("unknown host capability {other:?}")),
    }
}

/// Reads the bytes of a policy's module.
///
/// # Errors
/// The file cannot be read; the error says how to build it.
pub fn read_module(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path)
        .with_context(|| format!("cannot read the policy {}; `make policy.wasm` builds it", path.display()))
}

/// A policy in any WebAssembly runtime.
pub trait Policy {
    /// Calls an operation of a fresh instance. Returns its output and the number of host calls.
    ///
    /// # Errors
    /// The guest trapped, ran out of time or answered with an error.
    fn call(
        &self,
        operation: &str,
        payload: &[u8],
        capabilities: &Arc<dyn HostCapabilities>,
    ) -> Result<(Vec<u8>, usize)>;

    /// Lets the policy validate its settings. The inner result is its verdict.
    fn validate_settings(&self, settings: &Value) -> Result<Result<(), String>> {
        let nothing: Arc<dyn HostCapabilities> = Arc::new(NoCapabilities);
        let (output, _) = self.call("validate_settings", settings.to_string().as_bytes(), &nothing)?;
        let output: Value = serde_json::from_slice(&output)?;
        match output.get("valid").and_then(Value::as_bool) {
            Some(true) => Ok(Ok(())),
            Some(false) => Ok(Err(text(&output, "message"))),
            None => bail!("the answer has no field valid: {output}"),
        }
    }

    /// Lets the policy answer an admission request, passed as JSON text so that it is not rewritten on the way.
    fn validate(
        &self,
        request: &str,
        settings: &Value,
        capabilities: &Arc<dyn HostCapabilities>,
    ) -> Result<Evaluation> {
        let payload = format!(r#"{{"request":{request},"settings":{settings}}}"#);
        let (output, host_calls) = self.call("validate", payload.as_bytes(), capabilities)?;
        let mutated_object = mutated_object(&output)?;
        let request: Value = serde_json::from_str(request)?;
        let output: Value = serde_json::from_slice(&output)?;
        let patch = match output.get("mutated_object") {
            Some(mutated) => {
                let object = request.get("object").context("a request without an object was mutated")?;
                let patch = serde_json::to_value(json_patch::diff(object, mutated))?;
                patch.as_array().cloned().unwrap_or_default()
            }
            None => Vec::new(),
        };
        let allowed = output.get("accepted").and_then(Value::as_bool);
        let warnings = output.get("warnings").and_then(Value::as_array);
        let answer = Answer {
            allowed: allowed.context("the answer has no field accepted")?,
            message: text(&output, "message"),
            code: output.get("code").and_then(Value::as_u64),
            patch,
            warnings: warnings
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .map(ToOwned::to_owned)
                .collect(),
            audit: output.get("audit_annotations").cloned().unwrap_or(Value::Null),
        };
        Ok(Evaluation { answer, mutated_object, host_calls })
    }
}

/// An answer and details of its evaluation.
#[derive(Debug)]
pub struct Evaluation {
    pub answer: Answer,
    /// The object after the mutation, as the guest wrote it.
    pub mutated_object: Option<String>,
    /// Number of the guest's host calls.
    pub host_calls: usize,
}

/// Settings are validated without host calls.
struct NoCapabilities;

impl HostCapabilities for NoCapabilities {
    fn get_resource(&self, _: &Value) -> Result<Vec<u8>, String> {
        Err("there are no resources while settings are checked".to_owned())
    }
}

/// The original text of the mutated object, which parsing would rewrite.
fn mutated_object(output: &[u8]) -> Result<Option<String>> {
    let output = std::str::from_utf8(output)?;
    let json = JsonText::parse(output).map_err(|error| anyhow!(error))?;
    Ok(json.root().get("mutated_object").map(|object| object.raw().to_owned()))
}

fn text(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}
