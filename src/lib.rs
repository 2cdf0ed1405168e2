//! Kubewarden policy that injects Azure Workload Identity into pods: the waPC side of [`azwi_mutation`].
//!
//! The host calls three operations: `validate`, `validate_settings` and `protocol_version`. A fresh instance serves
//! each request, so nothing is kept and nothing is set up ahead.

mod response;
mod service_accounts;
mod validation;

pub use service_accounts::lookup_from_host_error;
pub use validation::{validate, validate_settings};

use kubewarden_policy_sdk::{protocol_version_guest, wapc_guest};

/// Registers the operations; the host calls this once per instance.
// The name is the waPC convention, and exporting a name is what the lint is about.
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
pub extern "C" fn wapc_init() {
    wapc_guest::register_function("validate", |payload| validate(payload, service_accounts::get));
    wapc_guest::register_function("validate_settings", validate_settings);
    wapc_guest::register_function("protocol_version", protocol_version_guest);
}
