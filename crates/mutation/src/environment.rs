//! The environment variables, in upstream's order (`spec/upstream-webhook.md` 1.6).

use k8s_openapi::api::core::v1::EnvVar;

use crate::config::{CaSource, TokenEndpointConfig};
use crate::names::{
    AUTHORITY_HOST_ENV, CA_DATA_ENV, CA_FILE_ENV, CLIENT_ID_ENV, SNI_NAME_ENV, TENANT_ID_ENV, TOKEN_FILE_ENV,
    TOKEN_PROXY_ENV,
};
use crate::pod_view::EnvView;

/// What every container gets unless it sets the variable itself.
#[derive(Debug)]
pub struct Environment<'a>(Vec<(&'static str, &'a str)>);

/// The values of the variables; an empty one is not injected.
#[derive(Debug, Clone, Copy)]
pub struct EnvironmentValues<'a> {
    /// Client id of the service account.
    pub client_id: &'a str,
    /// Tenant id of the service account or the settings.
    pub tenant_id: &'a str,
    /// Path of the token.
    pub token_file: &'a str,
    /// Path of the token endpoint's CA certificate.
    pub ca_file: &'a str,
    /// URL of the authority.
    pub authority_host: &'a str,
}

impl<'a> Environment<'a> {
    pub(crate) fn new(
        values: EnvironmentValues<'a>,
        token_endpoint: Option<&'a TokenEndpointConfig>,
    ) -> Self {
        let mut variables = vec![
            (CLIENT_ID_ENV, values.client_id),
            (TENANT_ID_ENV, values.tenant_id),
            (TOKEN_FILE_ENV, values.token_file),
            (AUTHORITY_HOST_ENV, values.authority_host),
        ];
        if let Some(endpoint) = token_endpoint {
            variables.push((TOKEN_PROXY_ENV, &endpoint.token_proxy));
            variables.push((SNI_NAME_ENV, &endpoint.sni_name));
            // Clients refuse to start when both are set, so the file's path goes away for the data. Without any CA
            // source the path stays, as upstream's recorded answers have it.
            variables.push(match &endpoint.ca {
                Some(CaSource::Data(data)) => (CA_DATA_ENV, data),
                Some(CaSource::ConfigMap(_) | CaSource::TrustBundle { .. }) | None => {
                    (CA_FILE_ENV, values.ca_file)
                }
            });
        }
        variables.retain(|(_, value)| !value.is_empty());
        Self(variables)
    }

    /// The variables that are not `present` yet, whatever value those have there.
    #[must_use]
    pub fn missing(&self, present: &[EnvView<'_>]) -> Vec<EnvVar> {
        let mut missing = Vec::with_capacity(self.0.len());
        for (name, value) in &self.0 {
            if !present.iter().any(|variable| variable.name == *name) {
                missing.push(variable(name, value));
            }
        }
        missing
    }

    /// The value that is injected under `name`.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(variable, _)| *variable == name).map(|(_, value)| *value)
    }
}

/// A variable with a literal value.
#[must_use]
pub fn variable(name: &str, value: &str) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value.to_owned()), value_from: None }
}
