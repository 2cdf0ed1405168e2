//! The parts of a request that are read, borrowed from its text; everything else is ignored.

mod metadata;
mod pod;
mod request;
mod room;
mod service_account;
mod spec;
mod volume;
mod windows;
mod workload;

pub(crate) use metadata::KeyKind;
pub(crate) use pod::PodHead;
pub use request::AdmissionRequest;
pub use service_account::{ServiceAccount, ServiceAccountLookup};
pub(crate) use spec::{Container, Mount, PodSpec, SPEC, Variable, index_spec};
pub(crate) use volume::{Holds, Projection, Volume};
pub use workload::pod_template_path;
pub(crate) use workload::{Workload, prefixed_keys};
