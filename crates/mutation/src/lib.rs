//! What Azure Workload Identity adds to a pod, as pure functions.
//!
//! ```text
//! AdmissionRequest -> admit -> PendingAdmission + ServiceAccountLookup -> plan -> Mutation { patch, warnings, audit }
//! ```
//!
//! The crate does no I/O and keeps no state. A host reads the request with [`AdmissionRequest::read`], calls
//! [`admit`], reads the service account it is asked for, and gets an [`Answer`]. It sends [`Mutation::patch`] as it is,
//! or the patched object that [`Patch::apply_to`] makes.
//!
//! References in these docs to `spec/upstream-webhook.md` mean the description of upstream's webhook from which the
//! rules, names and texts were taken; `docs/behaviour.md` repeats what matters of it.

mod admission;
mod bounds;
mod cloud;
mod config;
mod denial;
mod environment;
mod expiration;
mod go_int;
mod json;
mod names;
mod patch;
mod plan;
mod pod_view;
mod proxy;
mod request;
mod service_account;
mod settings;
mod skip_list;
mod splice;
mod text;
mod token_volume;
mod warning;
mod workload;

pub use admission::{Admission, Answer, PendingAdmission, admit};
pub use bounds::MOST_REQUEST_VALUES;
pub use config::Config;
pub use denial::Denial;
pub use json::{Json, Member, Shape, TypeError, Value};
pub use names::{ANNOTATION_PREFIX, OPT_IN_LABEL};
pub use patch::Patch;
pub use plan::Mutation;
pub use request::AdmissionRequest;
pub use service_account::{MisplacedKeys, ServiceAccount, ServiceAccountLookup};
pub use settings::{
    CaTrustBundleSettings, Choice, OptIn, ProxyLogLevel, ProxySettings, Settings, SettingsError,
    TokenEndpointSettings, TokenVolumeLayout,
};
pub use splice::PatchError;
pub use text::printable;
pub use warning::{Warning, WarningCode};
