//! Bounds on the size of requests. `docs/security.md` has a row for each that users can hit.
//!
//! The API server asks for mutations before it validates, so a user who may create pods can send anything up to 3 MiB.
//! etcd accepts objects of 1.5 MiB, and besides its part of the spec each container has a status, managed fields and
//! half a kilobyte of injected fields, so about a thousand can be stored. The other lists could exceed their bounds,
//! but none written by people comes close.

/// Containers and init containers of an opted-in pod, together.
pub(crate) const MOST_CONTAINERS: usize = 1_000;
/// Volumes of an opted-in pod.
pub(crate) const MOST_VOLUMES: usize = 1_000;
/// Sources of all projected volumes of an opted-in pod, together.
pub(crate) const MOST_SOURCES: usize = 2_000;
/// Environment variables of all containers of an opted-in pod, together.
pub(crate) const MOST_VARIABLES: usize = 10_000;
/// Volume mounts of all containers of an opted-in pod, together.
pub(crate) const MOST_MOUNTS: usize = 10_000;
/// Indexed keys and values of an opted-in pod's spec; each takes twelve bytes while the pod is planned.
pub(crate) const MOST_SPEC_VALUES: usize = 1 << 16;
/// Indexed keys and values of a request outside the pod's spec.
pub const MOST_REQUEST_VALUES: usize = 1 << 15;

/// Labels or annotations of one object with the project's prefix, keys and values together, in bytes: Kubernetes' limit
/// for all annotations.
pub(crate) const LONGEST_ENTRIES: usize = 256 * 1024;
/// A pod's name, or its prefix, in bytes: Kubernetes' limit.
pub(crate) const LONGEST_POD_NAME: usize = 253;
/// A label or annotation key without its prefix, in bytes: Kubernetes' limit.
pub(crate) const LONGEST_KEY_NAME: usize = 63;
/// An annotation of a service account, in bytes. A client id is a GUID; a tenant id is a GUID or a domain name.
pub(crate) const LONGEST_IDENTITY: usize = 256;

/// JSON added to one pod, in bytes. The answer carries it in base64, a third larger.
pub(crate) const LARGEST_PATCH: usize = 512 * 1024;
