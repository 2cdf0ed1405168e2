//! Shared by tests: an in-memory API server, TLS callers that behave like an API server, the webhook as a process or
//! inside a test, and requests. No WebAssembly runtime, so that the benchmarks can use it too.

pub mod api_objects;
pub mod api_server;
pub mod careless_tls;
pub mod setup;
pub mod tls_client;
pub mod webhook;

use std::path::{Path, PathBuf};

pub fn repository_root() -> PathBuf {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_folder.ancestors().nth(2).unwrap_or(crate_folder).to_owned()
}
