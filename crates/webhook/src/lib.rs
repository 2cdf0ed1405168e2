//! `azwi-webhook`: a thin native host over [`azwi_mutation`], drop-in for upstream's webhook.
//!
//! ```text
//! TLS connection -> HTTP request -> review -> core: admit -> service account (cache, else one GET) -> core: answer
//! ```
//!
//! [`cli`] is what a person types, [`settings`] turns it into the core's configuration, [`serve`] runs the process and
//! [`inject`] works on manifests without a cluster.

pub mod admin;
pub mod admission;
pub mod certificates;
pub mod cli;
pub mod connections;
pub mod go_duration;
pub mod inject;
pub mod kubernetes;
pub mod limits;
pub mod memory;
pub mod metrics;
pub mod open_files;
pub mod review;
pub mod serve;
pub mod server;
pub mod service_accounts;
pub mod settings;
pub mod stream;
pub mod telemetry;
pub mod version;
