//! Stubs the host's `kubernetes/get_resource`: service accounts from manifests, and the real host's errors.

use serde_json::{Value, json};

use crate::policy::HostCapabilities;

/// The existing service accounts, and an error for all reads.
#[derive(Debug, Clone, Default)]
pub struct Cluster {
    /// Manifests; one without `metadata.namespace` exists in every namespace.
    pub service_accounts: Vec<Value>,
    /// The error for every read.
    pub fault: Option<Fault>,
}

/// Errors of the real host, with its exact texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The policy server's service account does not have the permission.
    Forbidden,
    /// `contextAwareResources` does not list service accounts.
    ContextNotGranted,
    /// `hostCapabilities` does not list the capability.
    CapabilityNotGranted,
    /// The host has no connection to an API server.
    NoClient,
}

impl HostCapabilities for Cluster {
    fn get_resource(&self, request: &Value) -> Result<Vec<u8>, String> {
        let field = |key: &str| request.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (name, namespace) = (field("name"), field("namespace"));
        match self.fault {
            Some(Fault::ContextNotGranted) => {
                return Err(
                    "Policy has not been granted access to Kubernetes v1/ServiceAccount resources. The \
                            violation has been reported."
                        .to_owned(),
                );
            }
            Some(Fault::CapabilityNotGranted) => {
                return Err("Policy has not been granted access to the 'kubernetes/get_resource' host capability. The \
                            violation has been reported."
                    .to_owned());
            }
            Some(Fault::Forbidden) => {
                let message = format!(
                    "serviceaccounts \"{name}\" is forbidden: User \
                     \"system:serviceaccount:kubewarden:policy-server\" cannot get resource \"serviceaccounts\" in \
                     API group \"\" in the namespace \"{namespace}\""
                );
                return Err(format!(
                    "Callback evaluation failure: ApiError: {message}: Forbidden (Status {{ status: Some(Failure), \
                     code: 403, message: \"{message}\", metadata: None, reason: \"Forbidden\", details: None }})\n\n\
                     Caused by:\n    {message}: Forbidden"
                ));
            }
            Some(Fault::NoClient) => {
                return Err(
                    "Callback evaluation failure: kube::Client was not initialized properly".to_owned()
                );
            }
            None => {}
        }
        let is_wanted = |account: &&Value| {
            let metadata = account.get("metadata").unwrap_or(&Value::Null);
            let is = |key: &str, wanted: &str| {
                metadata.get(key).and_then(Value::as_str).is_none_or(|it| it == wanted)
            };
            metadata.get("name").is_some() && is("name", &name) && is("namespace", &namespace)
        };
        let Some(account) = self.service_accounts.iter().find(is_wanted) else {
            return Err(format!(
                "Callback evaluation failure: Cannot find v1/ServiceAccount named '{name}' inside of namespace \
                 'Some(\"{namespace}\")'"
            ));
        };
        let mut object = json!({"apiVersion": "v1", "kind": "ServiceAccount"});
        if let (Some(object), Some(account)) = (object.as_object_mut(), account.as_object()) {
            object.extend(account.clone());
        }
        Ok(object.to_string().into_bytes())
    }
}
