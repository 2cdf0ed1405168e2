//! A waPC host that runs the real wasm like policy-server: compiled by wasmtime, a fresh instance per request, and an
//! epoch deadline.

use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use admission_caller::link_policy_imports;
use admission_caller::policy::{HostCapabilities, Policy, read_module};
use admission_caller::wapc::{Call, Guest};
use anyhow::{Context as _, Result, anyhow};
use wasmtime::{
    Caller, Config, Engine, Extern, InstancePre, Linker, Module, Store, StoreLimits, StoreLimitsBuilder,
};

const TICK: Duration = Duration::from_millis(100);
/// Timeout of an evaluation, policy-server's default: two seconds.
const TICKS: u64 = 20;

/// A compiled policy, ready to answer.
pub struct PolicyHost {
    policy: InstancePre<State>,
    most_memory: usize,
    /// Dropping the last one stops the clock.
    clock: Arc<mpsc::Sender<()>>,
}

/// What an instance of the policy is given.
struct State {
    call: Call,
    limits: StoreLimits,
}

impl PolicyHost {
    /// Compiles a module.
    ///
    /// # Errors
    /// The file cannot be read, or is not a policy.
    pub fn load(path: &Path) -> Result<Self> {
        let mut config = Config::new();
        config.epoch_interruption(true);
        let engine = Engine::new(&config)?;
        let module = Module::new(&engine, read_module(path)?)
            .map_err(|error| anyhow!("{} is not a WebAssembly policy: {error}", path.display()))?;
        let mut linker = Linker::new(&engine);
        link_policy_imports!(linker, Caller<'_, State>, Wasmtime, trap);
        let policy = linker.instantiate_pre(&module);
        let policy = policy.map_err(anyhow::Error::from).context("the module is not a policy")?;
        let (clock, stopped) = mpsc::channel::<()>();
        std::thread::spawn(move || {
            while stopped.recv_timeout(TICK) == Err(mpsc::RecvTimeoutError::Timeout) {
                engine.increment_epoch();
            }
        });
        Ok(Self { policy, most_memory: usize::MAX, clock: Arc::new(clock) })
    }

    /// The same policy with a memory limit per instance, in bytes.
    pub fn with_memory_limit(&self, bytes: usize) -> Self {
        Self { policy: self.policy.clone(), most_memory: bytes, clock: Arc::clone(&self.clock) }
    }
}

impl Policy for PolicyHost {
    fn call(
        &self,
        operation: &str,
        payload: &[u8],
        capabilities: &Arc<dyn HostCapabilities>,
    ) -> Result<(Vec<u8>, usize)> {
        let call = Call::new(operation, payload, capabilities);
        let lengths = call.lengths()?;
        let limits = StoreLimitsBuilder::new().memory_size(self.most_memory).build();
        let mut store = Store::new(self.policy.module().engine(), State { call, limits });
        store.limiter(|state| &mut state.limits);
        store.set_epoch_deadline(TICKS);
        let instance = self.policy.instantiate(&mut store)?;
        instance.get_typed_func::<(), ()>(&mut store, "wapc_init")?.call(&mut store, ())?;
        store.set_epoch_deadline(TICKS);
        let guest_call = instance.get_typed_func::<(i32, i32), i32>(&mut store, "__guest_call")?;
        let result = guest_call.call(&mut store, lengths);
        let result = result.map_err(anyhow::Error::from).context("the policy stopped")?;
        store.into_data().call.finish(result)
    }
}

struct Wasmtime<'a>(Caller<'a, State>);

impl Guest for Wasmtime<'_> {
    fn memory_and_call(&mut self) -> Result<(&mut [u8], &mut Call)> {
        let memory = self.0.get_export("memory").and_then(Extern::into_memory);
        let memory = memory.context("the policy exports no memory")?;
        let (memory, state) = memory.data_and_store_mut(&mut self.0);
        Ok((memory, &mut state.call))
    }
}

// The signature that `map_err` needs.
#[allow(clippy::needless_pass_by_value)]
fn trap(error: anyhow::Error) -> wasmtime::Error {
    wasmtime::Error::msg(format!("{error:#}"))
}
