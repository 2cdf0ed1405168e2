//! What Azure Workload Identity adds to a pod, as pure functions.
//!
//! ```text
//! AdmissionRequest -> admit -> PendingAdmission + ServiceAccountLookup -> plan -> Mutation { patch, warnings, audit }
//!      (view)                                                 (view, config)  (plan)              (patch)
//! ```
//!
//! The crate does no I/O and keeps no state. A host reads the request with [`AdmissionRequest::read`], calls
//! [`admit`], reads the service account it is asked for, and gets a [`Verdict`]. It sends [`Mutation::patch`] as it is,
//! or the patched object that [`Patch::apply_to`] makes.

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
    CaTrustBundleSettings, Config, OptIn, ProxyLogLevel, ProxySettings, Settings, SettingsError,
    TokenEndpointSettings, TokenVolumeLayout,
};
pub use denial::Denial;
pub use names::ANNOTATION_PREFIX;
pub use patch::{Patch, PatchError};
pub use plan::Mutation;
pub use view::{AdmissionRequest, MisplacedKeys, ServiceAccount, ServiceAccountLookup, pod_template_path};
pub use warning::{Warning, WarningCode};
