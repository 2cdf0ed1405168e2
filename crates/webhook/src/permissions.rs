//! Missing permissions in messages.

/// The usual reason for a missing permission that was there before. It comes before the API server's own words, because
/// warnings are truncated.
pub(crate) const TAKEN_OVER: &str =
    "another installation, such as the AKS add-on, may have replaced the ClusterRole";
