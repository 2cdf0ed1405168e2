//! A waPC host on an interpreter: it calls one operation of a fresh instance of the policy, and answers what that asks.
//! The protocol is described at <https://wapc.io/docs/spec/>; the policy's few imports of WASI are answered with nothing.

use std::path::Path;
use std::sync::Arc;

use admission_caller::policy::{HostCapabilities, Policy, host_call};
use anyhow::{Context as _, Result, anyhow, bail};
use wasmi::{Caller, Engine, Error, Extern, Linker, Memory, Module, Store};

/// A policy that is interpreted.
pub(crate) struct InterpretedPolicy {
    engine: Engine,
    module: Module,
}

/// One call: what the guest gets to see, and what it left.
struct Call {
    operation: Vec<u8>,
    payload: Vec<u8>,
    capabilities: Arc<dyn HostCapabilities>,
    host_calls: usize,
    /// What the last call of the guest to its host gave.
    host_answer: Result<Vec<u8>, String>,
    response: Vec<u8>,
    error: Vec<u8>,
}

impl InterpretedPolicy {
    /// Reads a module.
    pub(crate) fn load(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).with_context(|| {
            format!("cannot read the policy {}; `make policy.wasm` builds it", path.display())
        })?;
        let engine = Engine::default();
        let module = Module::new(&engine, bytes)
            .map_err(|error| anyhow!("{} is not a WebAssembly policy: {error}", path.display()))?;
        Ok(Self { engine, module })
    }
}

impl Policy for InterpretedPolicy {
    fn call(
        &self,
        operation: &str,
        payload: &[u8],
        capabilities: &Arc<dyn HostCapabilities>,
    ) -> Result<(Vec<u8>, usize)> {
        let call = Call {
            operation: operation.into(),
            payload: payload.into(),
            capabilities: Arc::clone(capabilities),
            host_calls: 0,
            host_answer: Ok(Vec::new()),
            response: Vec::new(),
            error: Vec::new(),
        };
        let mut store = Store::new(&self.engine, call);
        let instance = linker(&self.engine)?
            .instantiate_and_start(&mut store, &self.module)
            .context("the module is not a policy")?;
        instance.get_typed_func::<(), ()>(&store, "wapc_init")?.call(&mut store, ())?;
        let guest_call = instance.get_typed_func::<(i32, i32), i32>(&store, "__guest_call")?;
        let lengths = (length(operation.as_bytes())?, length(payload)?);
        let has_succeeded = guest_call.call(&mut store, lengths).context("the policy stopped")? == 1;
        let call = store.into_data();
        if !has_succeeded {
            bail!("the policy failed: {}", String::from_utf8_lossy(&call.error));
        }
        Ok((call.response, call.host_calls))
    }
}

/// What the guest imports.
fn linker(engine: &Engine) -> Result<Linker<Call>> {
    let mut linker = Linker::new(engine);
    linker
        .func_wrap("wapc", "__guest_request", |mut guest: Caller<'_, Call>, operation: i32, payload: i32| {
            let (texts, call) = memory(&guest)?.data_and_store_mut(&mut guest);
            write(texts, operation, &call.operation)?;
            write(texts, payload, &call.payload)
        })?
        .func_wrap("wapc", "__guest_response", |mut guest: Caller<'_, Call>, at: i32, length: i32| {
            guest.data_mut().response = read(&guest, at, length)?;
            Ok::<_, Error>(())
        })?
        .func_wrap("wapc", "__guest_error", |mut guest: Caller<'_, Call>, at: i32, length: i32| {
            guest.data_mut().error = read(&guest, at, length)?;
            Ok::<_, Error>(())
        })?
        .func_wrap("wapc", "__host_call", ask_host)?
        .func_wrap("wapc", "__host_response_len", |guest: Caller<'_, Call>| {
            length(guest.data().host_answer.as_deref().unwrap_or_default())
        })?
        .func_wrap("wapc", "__host_response", |mut guest: Caller<'_, Call>, at: i32| {
            let (texts, call) = memory(&guest)?.data_and_store_mut(&mut guest);
            write(texts, at, call.host_answer.as_deref().unwrap_or_default())
        })?
        .func_wrap("wapc", "__host_error_len", |guest: Caller<'_, Call>| {
            let error = guest.data().host_answer.as_ref().err();
            length(error.map_or(&[], |error| error.as_bytes()))
        })?
        .func_wrap("wapc", "__host_error", |mut guest: Caller<'_, Call>, at: i32| {
            let (texts, call) = memory(&guest)?.data_and_store_mut(&mut guest);
            let error = call.host_answer.as_ref().err();
            write(texts, at, error.map_or(&[], |error| error.as_bytes()))
        })?;
    wasi(&mut linker)?;
    Ok(linker)
}

/// WASI as far as the policy imports it: no environment, no output.
fn wasi(linker: &mut Linker<Call>) -> Result<()> {
    const MODULE: &str = "wasi_snapshot_preview1";
    linker
        // It seeds hash tables. With one pod there is nobody to guess the seed.
        .func_wrap(MODULE, "random_get", |_: i32, _: i32| 0)?
        .func_wrap(MODULE, "environ_get", |_: i32, _: i32| 0)?
        .func_wrap(MODULE, "environ_sizes_get", |mut guest: Caller<'_, Call>, count: i32, bytes: i32| {
            let texts = memory(&guest)?.data_mut(&mut guest);
            write(texts, count, &[0; 4])?;
            write(texts, bytes, &[0; 4])?;
            Ok::<_, Error>(0)
        })?
        .func_wrap(MODULE, "fd_write", |_: i32, _: i32, _: i32, _: i32| {
            Err::<i32, _>(Error::new("no output"))
        })?
        .func_wrap(MODULE, "proc_exit", |code: i32| Err::<(), _>(Error::i32_exit(code)))?;
    Ok(())
}

/// Binding, namespace, operation and payload are texts of the guest, each as address and length.
#[allow(clippy::too_many_arguments)]
fn ask_host(
    mut guest: Caller<'_, Call>,
    binding: i32,
    binding_length: i32,
    namespace: i32,
    namespace_length: i32,
    operation: i32,
    operation_length: i32,
    payload: i32,
    payload_length: i32,
) -> Result<i32, Error> {
    let text =
        |at, length| read(&guest, at, length).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let (binding, namespace, operation) = (
        text(binding, binding_length)?,
        text(namespace, namespace_length)?,
        text(operation, operation_length)?,
    );
    let payload = read(&guest, payload, payload_length)?;
    let call = guest.data_mut();
    call.host_calls += 1;
    call.host_answer = host_call(&*call.capabilities, (&binding, &namespace, &operation), &payload);
    Ok(i32::from(call.host_answer.is_ok()))
}

fn memory(guest: &Caller<'_, Call>) -> Result<Memory, Error> {
    let memory = guest.get_export("memory").and_then(Extern::into_memory);
    memory.ok_or_else(|| Error::new("the policy exports no memory"))
}

fn read(guest: &Caller<'_, Call>, at: i32, length: i32) -> Result<Vec<u8>, Error> {
    let (at, length) = (address(at)?, address(length)?);
    let bytes = memory(guest)?.data(guest).get(at..).and_then(|rest| rest.get(..length));
    bytes.map(Into::into).ok_or_else(|| Error::new("outside of the policy's memory"))
}

fn write(memory: &mut [u8], at: i32, bytes: &[u8]) -> Result<(), Error> {
    let place = memory.get_mut(address(at)?..).and_then(|rest| rest.get_mut(..bytes.len()));
    place.ok_or_else(|| Error::new("outside of the policy's memory"))?.copy_from_slice(bytes);
    Ok(())
}

/// Addresses are unsigned; the binary format does not say so.
fn address(value: i32) -> Result<usize, Error> {
    usize::try_from(value.cast_unsigned()).map_err(|error| Error::new(error.to_string()))
}

fn length(bytes: &[u8]) -> Result<i32, Error> {
    i32::try_from(bytes.len()).map_err(|error| Error::new(error.to_string()))
}
