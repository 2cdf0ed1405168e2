//! The environment variables, in upstream's order.

use k8s_openapi::api::core::v1::EnvVar;

use crate::config::{CaSource, TokenEndpointConfig};
use crate::names::{
    AUTHORITY_HOST_ENV, CA_DATA_ENV, CA_FILE_ENV, CLIENT_ID_ENV, SNI_NAME_ENV, TENANT_ID_ENV, TOKEN_FILE_ENV,
    TOKEN_PROXY_ENV,
};
use crate::patch::{Fragment, Patch, Pointer, fragment, list_of};
use crate::view::{Container, Variable as OwnVariable};

/// Variables for every container that does not set them itself.
#[derive(Debug)]
pub(crate) struct Environment<'a> {
    variables: Vec<Variable<'a>>,
    /// All of them as a list, because most containers have none yet.
    list: Fragment,
}

#[derive(Debug)]
struct Variable<'a> {
    name: &'static str,
    value: &'a str,
    json: Fragment,
}

/// The values of the variables; empty ones are not injected.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EnvironmentValues<'a> {
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
            match &endpoint.ca {
                Some(CaSource::Data(data)) => variables.push((CA_DATA_ENV, data)),
                // Only these sources create a file there, and Azure SDKs reject a path without a file.
                Some(CaSource::ConfigMap(_) | CaSource::TrustBundle { .. }) => {
                    variables.push((CA_FILE_ENV, values.ca_file));
                }
                None => {}
            }
        }
        // Not with iterators: copies of their machinery would be one percent of the wasm.
        let (mut injected, mut texts) = (Vec::new(), Vec::new());
        for (name, value) in variables {
            if !value.is_empty() {
                let json = fragment(&variable(name, value));
                texts.push(Fragment::clone(&json));
                injected.push(Variable { name, value, json });
            }
        }
        Self { variables: injected, list: list_of(&texts) }
    }

    /// Adds the variables that a container does not have yet, regardless of the values of the others.
    pub(crate) fn add_to(&self, container: &Container<'_>, place: Pointer, patch: &mut Patch) {
        if container.has_no_env() {
            if !self.variables.is_empty() {
                patch.add(place, Fragment::clone(&self.list));
            }
            return;
        }
        // One bit per variable, so that a container's list is read only once.
        let mut present = 0_u32;
        for own in container.env() {
            if let Some(known) = self.variables.iter().position(|variable| own.is_named(variable.name)) {
                present |= 1 << known;
            }
        }
        for (index, variable) in self.variables.iter().enumerate() {
            if present & (1 << index) == 0 {
                patch.add(place.end(), Fragment::clone(&variable.json));
            }
        }
    }

    /// The API's own type, for an injected container.
    pub(crate) fn variables(&self) -> Vec<EnvVar> {
        let mut variables = Vec::with_capacity(self.variables.len());
        for injected in &self.variables {
            variables.push(variable(injected.name, injected.value));
        }
        variables
    }

    /// Name and value of the injected variable that a container's own variable overrides.
    pub(super) fn counterpart(&self, own: &OwnVariable<'_>) -> Option<(&'static str, &'a str)> {
        let found = self.variables.iter().find(|variable| own.is_named(variable.name));
        found.map(|variable| (variable.name, variable.value))
    }
}

pub(super) fn variable(name: &str, value: &str) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value.to_owned()), value_from: None }
}
