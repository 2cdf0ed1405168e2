//! A waPC host that runs the real wasm as policy-server does: compiled by wasmtime, a fresh instance per request, an epoch
//! deadline.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use admission_caller::policy::{HostCapabilities, Policy, host_call};
use anyhow::{Context as _, Result, anyhow};
use wapc::WapcHost;
use wasmtime_provider::{
    EpochDeadlines, ResourceLimits, WasmtimeEngineProviderBuilder, WasmtimeEngineProviderPre, wasmtime,
};

/// How long an evaluation may take, as policy-server's default.
const TIMEOUT: Duration = Duration::from_secs(2);
const TICK: Duration = Duration::from_millis(100);
const TICKS: EpochDeadlines = EpochDeadlines { wapc_init: 20, wapc_func: 20 };

/// A compiled policy, ready to answer.
pub struct PolicyHost {
    policy: WasmtimeEngineProviderPre,
    module: wasmtime::Module,
    /// Dropping the last one ends the clock.
    clock: Arc<mpsc::Sender<()>>,
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
}

impl Policy for PolicyHost {
    fn call(
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
                host_call(&*capabilities, (binding, namespace, operation), payload).map_err(Into::into)
            })),
        )?;
        let output = host.call(operation, payload)?;
        Ok((output, calls.load(Ordering::Relaxed)))
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
