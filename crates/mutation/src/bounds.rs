//! How large what a caller sends may be. `docs/security.md` has a row for each.
//!
//! The API server asks for mutations before it validates, so whoever may create a pod sends whatever he likes, up to 3 MiB.
//! etcd takes objects of 1.5 MiB, and beside its part of the spec each container has a status, managed fields and half a
//! kilobyte of what is injected, so that a thousand are about what can be stored. The other lists could be longer than their
//! bounds; none that people write comes near.

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
/// Keys and values of an opted-in pod's spec that are looked at; each takes twelve bytes while the pod is planned.
pub(crate) const MOST_SPEC_VALUES: usize = 1 << 16;
/// Keys and values of a request outside of the pod's spec that are looked at.
pub const MOST_REQUEST_VALUES: usize = 1 << 15;

/// Labels or annotations of one object whose keys have the project's prefix, keys and values together, in bytes: Kubernetes'
/// bound for all annotations.
pub(crate) const LONGEST_ENTRIES: usize = 256 * 1024;
/// A pod's name, or the prefix from which it is made, in bytes: Kubernetes' bound.
pub(crate) const LONGEST_POD_NAME: usize = 253;
/// An annotation of a service account, in bytes. A client id is a GUID; a tenant id, if it is no GUID, is a domain name.
pub(crate) const LONGEST_IDENTITY: usize = 256;

/// What is added to one pod, in bytes of JSON. The answer carries it in base64, a third larger.
pub(crate) const LARGEST_PATCH: usize = 512 * 1024;
