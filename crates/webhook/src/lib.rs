//! `azwi-webhook`: a thin native host for [`azwi_mutation`], a drop-in replacement for upstream's webhook.
//!
//! ```text
//! TLS connection -> HTTP request -> review -> core: admit -> service account (cache, else one GET) -> core: answer
//! ```
//!
//! [`cli`] parses the command line, [`settings`] turns it into the core's configuration, [`process`] runs it, and
//! [`inject`] works on manifests without a cluster.

pub mod admin;
mod arguments;
pub mod certificates;
pub mod cli;
pub mod connections;
pub mod go_duration;
pub mod inject;
pub mod kubernetes;
pub mod limits;
mod listen;
pub mod memory;
pub mod metrics;
mod native_sidecars;
mod open_files;
mod permissions;
pub mod process;
pub mod review;
pub mod reviewer;
pub mod server;
pub mod service_accounts;
pub mod settings;
mod shutdown;
pub mod stream;
pub mod telemetry;
pub mod version;
