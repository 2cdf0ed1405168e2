//! Computes the Azure Workload Identity additions to a pod, with pure functions.
//!
//! ```text
//! AdmissionRequest -> admit -> PendingAdmission + ServiceAccountLookup -> plan -> Mutation { patch, warnings, audit }
//!      (view)                                                 (view, config)  (plan)              (patch)
//! ```
//!
//! The crate does no I/O and keeps no state. A host reads the request with [`AdmissionRequest::read`], calls [`admit`],
//! reads the requested service account, and gets a [`Verdict`]. It sends [`Mutation::patch`] as it is, or the patched
//! object from [`Patch::apply_to`].

mod admission;
mod bounds;
mod config;
mod denial;
mod names;
mod patch;
mod plan;
mod text;
mod view;
mod warning;

pub use admission::{Admission, PendingAdmission, Verdict, admit};
pub use bounds::MOST_REQUEST_VALUES;
pub use config::{
    CaTrustBundleSettings, Config, OptIn, ProxyLogLevel, ProxySettings, Resources, Settings, SettingsError,
    TokenEndpointSettings, TokenVolumeLayout,
};
pub use denial::Denial;
pub use names::ANNOTATION_PREFIX;
pub use patch::{Patch, PatchError};
pub use plan::Mutation;
pub use view::{AdmissionRequest, ServiceAccount, ServiceAccountLookup, pod_template_path};
pub use warning::{Warning, WarningCode};
