//! The real policy under an embedded host, the real webhook over TLS, and the comparison with upstream's recorded
//! answers.

pub mod answer;
pub mod api_objects;
pub mod api_server;
#[cfg(feature = "policy-host")]
pub mod cluster;
#[cfg(feature = "policy-host")]
pub mod conformance;
pub mod documents;
#[cfg(feature = "policy-host")]
pub mod host;
pub mod hostile;
pub mod pod_diff;
pub mod request;
#[cfg(feature = "policy-host")]
pub mod session;
pub mod tls_client;
pub mod webhook;

use std::path::{Path, PathBuf};

/// The repository's root.
pub fn repository_root() -> PathBuf {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_folder.parent().unwrap_or(crate_folder).to_owned()
}
