//! The identity of a pod.

use crate::view::ServiceAccount;

/// The service account of a pod, by name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NamedServiceAccount<'a> {
    /// Namespace of the request.
    pub namespace: &'a str,
    pub name: &'a str,
    pub account: &'a ServiceAccount,
}
