//! The host's half of waPC, the protocol between a policy and its host, for any WebAssembly runtime. It is described at
//! <https://wapc.io/docs/spec/>.
//!
//! A runtime gives the guest these functions as imports, each with access to the guest's memory.

use std::sync::Arc;

use anyhow::{Result, anyhow, bail};

use crate::policy::{HostCapabilities, host_call};

/// One call of a guest: its input and its output.
pub struct Call {
    operation: Vec<u8>,
    payload: Vec<u8>,
    capabilities: Arc<dyn HostCapabilities>,
    host_calls: usize,
    /// The result of the guest's last call to its host.
    host_answer: Result<Vec<u8>, String>,
    response: Vec<u8>,
    error: Vec<u8>,
}

/// Address and length of a text in the guest's memory. Both are unsigned; WebAssembly's types do not say so.
pub type Text = (i32, i32);

/// A guest that is being called, in some runtime.
pub trait Guest {
    /// The guest's memory, and the call.
    ///
    /// # Errors
    /// The guest exports no memory.
    fn memory_and_call(&mut self) -> Result<(&mut [u8], &mut Call)>;
}

impl Call {
    /// Calls this operation.
    pub fn new(operation: &str, payload: &[u8], capabilities: &Arc<dyn HostCapabilities>) -> Self {
        Self {
            operation: operation.into(),
            payload: payload.into(),
            capabilities: Arc::clone(capabilities),
            host_calls: 0,
            host_answer: Ok(Vec::new()),
            response: Vec::new(),
            error: Vec::new(),
        }
    }

    /// Lengths of the operation and the payload, which the guest's function `__guest_call` takes.
    pub fn lengths(&self) -> Result<(i32, i32)> {
        Ok((length(&self.operation)?, length(&self.payload)?))
    }

    /// The guest's output and the number of its host calls, where `__guest_call` returned `result`.
    ///
    /// # Errors
    /// What the guest says of its failure.
    pub fn finish(self, result: i32) -> Result<(Vec<u8>, usize)> {
        if result != 1 {
            bail!("the policy failed: {}", String::from_utf8_lossy(&self.error));
        }
        Ok((self.response, self.host_calls))
    }
}

/// `wapc.__guest_request`
pub fn guest_request(guest: &mut impl Guest, operation: i32, payload: i32) -> Result<()> {
    let (memory, call) = guest.memory_and_call()?;
    write(memory, operation, &call.operation)?;
    write(memory, payload, &call.payload)
}

/// `wapc.__guest_response`
pub fn guest_response(guest: &mut impl Guest, text: Text) -> Result<()> {
    let (memory, call) = guest.memory_and_call()?;
    call.response = read(memory, text)?.into();
    Ok(())
}

/// `wapc.__guest_error`
pub fn guest_error(guest: &mut impl Guest, text: Text) -> Result<()> {
    let (memory, call) = guest.memory_and_call()?;
    call.error = read(memory, text)?.into();
    Ok(())
}

/// `wapc.__host_call`
pub fn call_host(guest: &mut impl Guest, name: [Text; 3], payload: Text) -> Result<i32> {
    let (memory, call) = guest.memory_and_call()?;
    let [binding, namespace, operation] = name;
    let text = |text| Ok::<_, anyhow::Error>(std::str::from_utf8(read(memory, text)?)?);
    let name = (text(binding)?, text(namespace)?, text(operation)?);
    call.host_calls += 1;
    call.host_answer = host_call(&*call.capabilities, name, read(memory, payload)?);
    Ok(i32::from(call.host_answer.is_ok()))
}

/// `wapc.__host_response_len`
pub fn host_response_length(guest: &mut impl Guest) -> Result<i32> {
    let (_, call) = guest.memory_and_call()?;
    length(call.host_answer.as_deref().unwrap_or_default())
}

/// `wapc.__host_response`
pub fn host_response(guest: &mut impl Guest, at: i32) -> Result<()> {
    let (memory, call) = guest.memory_and_call()?;
    write(memory, at, call.host_answer.as_deref().unwrap_or_default())
}

/// `wapc.__host_error_len`
pub fn host_error_length(guest: &mut impl Guest) -> Result<i32> {
    let (_, call) = guest.memory_and_call()?;
    length(call.host_answer.as_ref().err().map_or(&[], |error| error.as_bytes()))
}

/// `wapc.__host_error`
pub fn host_error(guest: &mut impl Guest, at: i32) -> Result<()> {
    let (memory, call) = guest.memory_and_call()?;
    write(memory, at, call.host_answer.as_ref().err().map_or(&[], |error| error.as_bytes()))
}

/// `wasi_snapshot_preview1.environ_sizes_get`: there is no environment.
pub fn environment_sizes(guest: &mut impl Guest, count: i32, bytes: i32) -> Result<i32> {
    let (memory, _) = guest.memory_and_call()?;
    write(memory, count, &[0; 4])?;
    write(memory, bytes, &[0; 4])?;
    Ok(0)
}

fn read(memory: &[u8], (at, length): Text) -> Result<&[u8]> {
    let text = memory.get(unsigned(at)?..).and_then(|rest| rest.get(..unsigned(length).ok()?));
    text.ok_or_else(|| anyhow!("outside of the policy's memory"))
}

fn write(memory: &mut [u8], at: i32, bytes: &[u8]) -> Result<()> {
    let place = memory.get_mut(unsigned(at)?..).and_then(|rest| rest.get_mut(..bytes.len()));
    place.ok_or_else(|| anyhow!("outside of the policy's memory"))?.copy_from_slice(bytes);
    Ok(())
}

fn unsigned(value: i32) -> Result<usize> {
    Ok(usize::try_from(value.cast_unsigned())?)
}

fn length(bytes: &[u8]) -> Result<i32> {
    Ok(i32::try_from(bytes.len())?)
}

/// Gives a runtime's linker what a policy imports. `$host` is what the runtime hands to a function of the host, `$guest` makes
/// a [`Guest`] of it, `$trap` makes the runtime's error of ours.
///
/// A macro, because the runtimes' APIs look alike but share no trait. Of WASI the guest gets no environment, output or
/// randomness: nobody is there to guess the seed of a hash table.
#[macro_export]
macro_rules! link_policy_imports {
    ($linker:ident, $host:ty, $guest:path, $trap:path) => {{
        use $crate::wapc;
        $linker
            .func_wrap("wapc", "__guest_request", |host: $host, operation: i32, payload: i32| {
                wapc::guest_request(&mut $guest(host), operation, payload).map_err($trap)
            })?
            .func_wrap("wapc", "__guest_response", |host: $host, at: i32, length: i32| {
                wapc::guest_response(&mut $guest(host), (at, length)).map_err($trap)
            })?
            .func_wrap("wapc", "__guest_error", |host: $host, at: i32, length: i32| {
                wapc::guest_error(&mut $guest(host), (at, length)).map_err($trap)
            })?
            .func_wrap(
                "wapc",
                "__host_call",
                |host: $host,
                 b: i32,
                 b_len: i32,
                 n: i32,
                 n_len: i32,
                 o: i32,
                 o_len: i32,
                 p: i32,
                 p_len: i32| {
                    let name = [(b, b_len), (n, n_len), (o, o_len)];
                    wapc::call_host(&mut $guest(host), name, (p, p_len)).map_err($trap)
                },
            )?
            .func_wrap("wapc", "__host_response_len", |host: $host| {
                wapc::host_response_length(&mut $guest(host)).map_err($trap)
            })?
            .func_wrap("wapc", "__host_response", |host: $host, at: i32| {
                wapc::host_response(&mut $guest(host), at).map_err($trap)
            })?
            .func_wrap("wapc", "__host_error_len", |host: $host| {
                wapc::host_error_length(&mut $guest(host)).map_err($trap)
            })?
            .func_wrap("wapc", "__host_error", |host: $host, at: i32| {
                wapc::host_error(&mut $guest(host), at).map_err($trap)
            })?
            .func_wrap(
                "wasi_snapshot_preview1",
                "environ_sizes_get",
                |host: $host, count: i32, bytes: i32| {
                    wapc::environment_sizes(&mut $guest(host), count, bytes).map_err($trap)
                },
            )?
            .func_wrap("wasi_snapshot_preview1", "environ_get", |_: i32, _: i32| 0)?
            .func_wrap("wasi_snapshot_preview1", "random_get", |_: i32, _: i32| 0)?
            .func_wrap("wasi_snapshot_preview1", "fd_write", |_: i32, _: i32, _: i32, _: i32| 0)?
            .func_wrap("wasi_snapshot_preview1", "proc_exit", |code: i32| {
                Err::<(), _>($trap($crate::wapc::exit(code)))
            })?;
    }};
}

/// `wasi_snapshot_preview1.proc_exit`: policies do not exit.
pub fn exit(code: i32) -> anyhow::Error {
    anyhow!("the policy ended its process with code {code}")
}
