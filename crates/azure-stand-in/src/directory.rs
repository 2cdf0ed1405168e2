//! What exists in the stand-in: a YAML file that a test writes.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use jsonwebtoken::jwk::JwkSet;
use serde::Deserialize;

use crate::clouds::Cloud;

/// Everything that a test has registered. Unknown fields are refused.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Directory {
    /// Keys of each token issuer (a cluster), as published at `/openid/v1/jwks`.
    pub issuers: BTreeMap<String, JwkSet>,
    pub tenants: Vec<Tenant>,
    /// Names of other hosts where tokens are given, for settings with an authority host of their own.
    #[serde(default)]
    pub authority_hosts: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tenant {
    /// A GUID.
    pub id: String,
    #[serde(default)]
    pub cloud: Cloud,
    pub applications: Vec<Application>,
    #[serde(default)]
    pub subscriptions: Vec<Subscription>,
}

/// An application, or a user-assigned managed identity: Entra ID treats both the same here.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Application {
    /// A GUID.
    pub client_id: String,
    #[serde(default)]
    pub federated_credentials: Vec<FederatedCredential>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FederatedCredential {
    pub name: String,
    pub issuer: String,
    pub subject: String,
    /// Exactly one, as in Entra ID.
    pub audiences: [String; 1],
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Subscription {
    /// A GUID.
    pub id: String,
    /// Client ids that may read it and its vaults' secrets.
    pub readers: Vec<String>,
    #[serde(default)]
    pub vaults: Vec<Vault>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Vault {
    /// First label of its host name.
    pub name: String,
    pub resource_group: String,
    pub location: String,
    /// Secrets by name.
    pub secrets: BTreeMap<String, String>,
}

impl Directory {
    /// Reads the YAML text.
    ///
    /// # Errors
    /// The text is not as above, or a credential's issuer has no keys.
    pub fn read(text: &str) -> Result<Self> {
        let directory: Self = serde_saphyr::from_str(text).context("the directory cannot be read")?;
        for credential in directory.credentials() {
            if !directory.issuers.contains_key(&credential.issuer) {
                bail!("issuer {} of federated credential {} has no keys", credential.issuer, credential.name);
            }
        }
        Ok(directory)
    }

    fn credentials(&self) -> impl Iterator<Item = &FederatedCredential> {
        let applications = self.tenants.iter().flat_map(|tenant| &tenant.applications);
        applications.flat_map(|application| &application.federated_credentials)
    }

    pub(crate) fn tenant(&self, id: &str) -> Option<&Tenant> {
        self.tenants.iter().find(|tenant| tenant.id.eq_ignore_ascii_case(id))
    }

    /// The vault with this name in a cloud, its subscription and tenant. Names are unique in a cloud.
    pub(crate) fn vault(&self, cloud: Cloud, name: &str) -> Option<(&Tenant, &Subscription, &Vault)> {
        self.tenants.iter().filter(|tenant| tenant.cloud == cloud).find_map(|tenant| {
            tenant.subscriptions.iter().find_map(|subscription| {
                let vault = subscription.vaults.iter().find(|vault| vault.name == name)?;
                Some((tenant, subscription, vault))
            })
        })
    }
}

impl Tenant {
    pub(crate) fn application(&self, client_id: &str) -> Option<&Application> {
        self.applications.iter().find(|application| application.client_id.eq_ignore_ascii_case(client_id))
    }
}
