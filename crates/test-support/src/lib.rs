//! What tests share: an API server that exists in memory, callers that speak TLS as an API server does, the webhook as a process
//! or inside a test, and the requests they send. No WebAssembly runtime, so that the benchmarks can have it too.

pub mod api_objects;
pub mod api_server;
pub mod careless_tls;
pub mod setup;
pub mod tls_client;
pub mod webhook;

use std::path::{Path, PathBuf};

/// The repository's root.
pub fn repository_root() -> PathBuf {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_folder.ancestors().nth(2).unwrap_or(crate_folder).to_owned()
}
