use std::fmt;

use azwi_json::printable;

use crate::text::object_name;

/// A denial of the whole request: the pod is not created.
///
/// `message` is one sentence for the user who created the pod; where upstream has a text, it is upstream's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// HTTP status of the answer: 400 for an invalid pod, 404 for a missing service account, 500 if a retry may
    /// succeed.
    pub code: u16,
    pub message: String,
}

impl Denial {
    /// The request can only succeed after someone changes the pod, its service account or the settings.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self { code: 400, message: message.into() }
    }

    /// The service account does not exist. The text is the API server's, as passed on by upstream.
    pub fn service_account_not_found(name: &str) -> Self {
        Self { code: 404, message: format!("serviceaccounts \"{}\" not found", printable(name, 253)) }
    }

    /// The service account could not be read; controllers retry after such an answer.
    pub fn service_account_unreadable(namespace: &str, name: &str, reason: &str) -> Self {
        let name = object_name(namespace, name);
        Self { code: 500, message: format!("cannot read service account {name}: {}", printable(reason, 512)) }
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Denial {}
