//! A waPC host that runs the real wasm as policy-server does: a fresh instance per request, an epoch deadline, the
//! patch made by comparing two objects.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::Value;
use wapc::WapcHost;
use wasmtime_provider::{
    EpochDeadlines, ResourceLimits, WasmtimeEngineProviderBuilder, WasmtimeEngineProviderPre, wasmtime,
};

use test_support::answer::Answer;

/// How long an evaluation may take, as policy-server's default.
const TIMEOUT: Duration = Duration::from_secs(2);
const TICK: Duration = Duration::from_millis(100);
const TICKS: EpochDeadlines = EpochDeadlines { wapc_init: 20, wapc_func: 20 };

/// What the host answers when the policy asks for something.
pub trait HostCapabilities: Send + Sync {
    /// Answers a `kubernetes/get_resource` request.
    ///
    /// # Errors
    /// The text that the guest gets to see, without the prefix that waPC adds.
    fn get_resource(&self, request: &Value) -> Result<Vec<u8>, String>;
}

/// A host that gives nothing: settings are checked without asking for anything.
struct NoCapabilities;

impl HostCapabilities for NoCapabilities {
    fn get_resource(&self, _: &Value) -> Result<Vec<u8>, String> {
        Err("there are no resources while settings are checked".to_owned())
    }
}

/// A compiled policy, ready to answer.
pub struct PolicyHost {
    policy: WasmtimeEngineProviderPre,
    module: wasmtime::Module,
    /// Dropping the last one ends the clock.
    clock: Arc<mpsc::Sender<()>>,
}

/// An answer and how it came about.
#[derive(Debug)]
pub struct Evaluation {
    /// The answer.
    pub answer: Answer,
    /// The object after the mutation, as the guest wrote it.
    pub mutated_object: Option<String>,
    /// How many calls the guest made to the host.
    pub host_calls: usize,
}

impl PolicyHost {
    /// Compiles a module.
    ///
    /// # Errors
    /// The file cannot be read, or is no policy.
    pub fn load(path: &Path) -> Result<Self> {
        let module = std::fs::read(path).with_context(|| {
            format!("cannot read the policy {}; `make policy.wasm` builds it", path.display())
        })?;
        let mut config = wasmtime::Config::new();
        config.epoch_interruption(true);
        let engine = wasmtime::Engine::new(&config).map_err(|error| anyhow!("{error}"))?;
        let module = wasmtime::Module::new(&engine, &module)
            .map_err(|error| anyhow!("{} is not a WebAssembly policy: {error}", path.display()))?;
        let policy = instances(&module, ResourceLimits::default())?;
        debug_assert_eq!(TIMEOUT.as_millis(), TICK.as_millis() * u128::from(TICKS.wapc_func));
        let (clock, stopped) = mpsc::channel::<()>();
        std::thread::spawn(move || {
            while stopped.recv_timeout(TICK) == Err(mpsc::RecvTimeoutError::Timeout) {
                engine.increment_epoch();
            }
        });
        Ok(Self { policy, module, clock: Arc::new(clock) })
    }

    /// The same policy, whose instances get no more memory than so many bytes.
    pub fn with_memory_limit(&self, bytes: usize) -> Result<Self> {
        let limits = ResourceLimits { max_memory_size: Some(bytes), ..ResourceLimits::default() };
        let policy = instances(&self.module, limits)?;
        Ok(Self { policy, module: self.module.clone(), clock: Arc::clone(&self.clock) })
    }

    /// Calls an operation of a fresh instance. Returns its output and the number of host calls.
    ///
    /// # Errors
    /// The guest trapped, ran out of time or answered with an error.
    pub fn call(
        &self,
        operation: &str,
        payload: &[u8],
        capabilities: &Arc<dyn HostCapabilities>,
    ) -> Result<(Vec<u8>, usize)> {
        let instance = self.policy.rehydrate(Some(TICKS)).map_err(|error| anyhow!("{error}"))?;
        let calls = Arc::new(AtomicUsize::new(0));
        let (capabilities, counter) = (Arc::clone(capabilities), Arc::clone(&calls));
        let host = WapcHost::new(
            Box::new(instance),
            Some(Box::new(move |_, binding, namespace, operation, payload| {
                counter.fetch_add(1, Ordering::Relaxed);
                match (binding, namespace, operation) {
                    ("kubewarden", "kubernetes", "get_resource") => {
                        let request = serde_json::from_slice(payload)?;
                        capabilities.get_resource(&request).map_err(Into::into)
                    }
                    other => Err(format!("unknown host capability {other:?}").into()),
                }
            })),
        )?;
        let output = host.call(operation, payload)?;
        Ok((output, calls.load(Ordering::Relaxed)))
    }

    /// Has the policy check its settings. The inner result is its verdict.
    ///
    /// # Errors
    /// The policy did not answer.
    pub fn validate_settings(&self, settings: &Value) -> Result<Result<(), String>> {
        let nothing: Arc<dyn HostCapabilities> = Arc::new(NoCapabilities);
        let (output, _) = self.call("validate_settings", settings.to_string().as_bytes(), &nothing)?;
        let output: Value = serde_json::from_slice(&output)?;
        match output.get("valid").and_then(Value::as_bool) {
            Some(true) => Ok(Ok(())),
            Some(false) => Ok(Err(text(&output, "message"))),
            None => bail!("the answer has no field valid: {output}"),
        }
    }

    /// Has the policy answer an admission request, given as JSON text so that nothing of it is rewritten on the way.
    ///
    /// # Errors
    /// The policy did not answer.
    pub fn validate(
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
        let warnings = output.get("warnings").and_then(Value::as_array);
        let answer = Answer {
            allowed: output
                .get("accepted")
                .and_then(Value::as_bool)
                .context("the answer has no field accepted")?,
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

/// What makes instances of a module.
fn instances(module: &wasmtime::Module, limits: ResourceLimits) -> Result<WasmtimeEngineProviderPre> {
    WasmtimeEngineProviderBuilder::new()
        .engine(module.engine().clone())
        .module(module.clone())
        .enable_epoch_interruptions(TICKS)
        .enable_resource_limits(limits)
        .build_pre()
        .context("the module is no policy")
}

/// The mutated object's own text, which parsing would rewrite.
fn mutated_object(output: &[u8]) -> Result<Option<String>> {
    let output = std::str::from_utf8(output)?;
    let json = azwi_json::JsonText::parse(output).map_err(|error| anyhow!(error))?;
    Ok(json.root().get("mutated_object").map(|object| object.raw().to_owned()))
}

fn text(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}
