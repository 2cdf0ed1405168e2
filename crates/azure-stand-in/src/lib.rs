//! A stand-in for the parts of Azure that programs with a workload identity talk to: Entra ID, Azure Resource Manager
//! and Key Vault. Unmodified programs sign in to it under Azure's real names.
//!
//! It judges as Entra ID does: a service account token is exchanged only if its signature is right by the keys that the
//! cluster publishes, and its issuer, subject and audience are a federated credential of the application that asks.
//! Whatever it does not know, it refuses.

mod aadsts;
mod arm;
mod assertion;
mod clouds;
mod directory;
mod entra;
mod key_vault;
mod service;
mod tokens;

pub use directory::Directory;
pub use service::{Service, router};
