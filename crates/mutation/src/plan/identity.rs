//! Whose identity a pod gets.

use crate::view::ServiceAccount;

/// The service account of a pod, by name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NamedServiceAccount<'a> {
    /// Namespace of the request.
    pub namespace: &'a str,
    pub name: &'a str,
    /// What was read of it.
    pub account: &'a ServiceAccount,
}
