//! What is read of a request, borrowed from its text; everything else is ignored.

mod metadata;
mod pod;
mod request;
mod room;
mod service_account;
mod spec;
mod volume;
mod workload;

pub(crate) use pod::PodHead;
pub use request::AdmissionRequest;
pub use service_account::{MisplacedKeys, ServiceAccount, ServiceAccountLookup};
pub(crate) use spec::{Container, PodSpec, SPEC, Variable, index_spec};
pub(crate) use volume::{Projection, Volume};
pub(crate) use workload::Workload;
pub use workload::pod_template_path;
