//! A waPC host on an interpreter, wasmi. The tests have one on wasmtime, as Kubewarden has.

use std::path::Path;
use std::sync::Arc;

use admission_caller::link_policy_imports;
use admission_caller::policy::{HostCapabilities, Policy, read_module};
use admission_caller::wapc::{Call, Guest};
use anyhow::{Context as _, Result, anyhow};
use wasmi::{Caller, Engine, Error, Extern, Linker, Module, Store};

/// A policy that is interpreted.
pub(crate) struct InterpretedPolicy {
    engine: Engine,
    module: Module,
    linker: Linker<Call>,
}

impl InterpretedPolicy {
    /// Reads a module.
    pub(crate) fn load(path: &Path) -> Result<Self> {
        let engine = Engine::default();
        let module = Module::new(&engine, read_module(path)?)
            .map_err(|error| anyhow!("{} is not a WebAssembly policy: {error}", path.display()))?;
        let linker = linker(&engine)?;
        Ok(Self { engine, module, linker })
    }
}

impl Policy for InterpretedPolicy {
    fn call(
        &self,
        operation: &str,
        payload: &[u8],
        capabilities: &Arc<dyn HostCapabilities>,
    ) -> Result<(Vec<u8>, usize)> {
        let call = Call::new(operation, payload, capabilities);
        let lengths = call.lengths()?;
        let mut store = Store::new(&self.engine, call);
        let instance = self.linker.instantiate_and_start(&mut store, &self.module);
        let instance = instance.context("the module is not a policy")?;
        instance.get_typed_func::<(), ()>(&store, "wapc_init")?.call(&mut store, ())?;
        let guest_call = instance.get_typed_func::<(i32, i32), i32>(&store, "__guest_call")?;
        let result = guest_call.call(&mut store, lengths).context("the policy stopped")?;
        store.into_data().finish(result)
    }
}

struct Wasmi<'a>(Caller<'a, Call>);

impl Guest for Wasmi<'_> {
    fn memory_and_call(&mut self) -> Result<(&mut [u8], &mut Call)> {
        let memory = self.0.get_export("memory").and_then(Extern::into_memory);
        Ok(memory.context("the policy exports no memory")?.data_and_store_mut(&mut self.0))
    }
}

fn linker(engine: &Engine) -> Result<Linker<Call>> {
    let mut linker = Linker::new(engine);
    link_policy_imports!(linker, Caller<'_, Call>, Wasmi, trap);
    Ok(linker)
}

// The signature that `map_err` needs.
#[allow(clippy::needless_pass_by_value)]
fn trap(error: anyhow::Error) -> Error {
    Error::new(format!("{error:#}"))
}
