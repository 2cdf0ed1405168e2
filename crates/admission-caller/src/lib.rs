//! The API server's and Kubewarden's part of an admission, without a network and without a WebAssembly runtime: builds
//! requests from manifests, calls a policy, and reads and applies answers.

pub mod answer;
pub mod cluster;
pub mod diff;
pub mod manifests;
pub mod policy;
pub mod request;
pub mod wapc;
