//! The API server's and Kubewarden's half of an admission, without a network and without a WebAssembly runtime: manifests
//! become requests, a policy is asked, answers are read and applied.

pub mod answer;
pub mod cluster;
pub mod diff;
pub mod manifests;
pub mod policy;
pub mod request;
