//! Azure's clouds: the host names of their services, and the resources for which they give tokens.

use serde::Deserialize;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum Cloud {
    #[default]
    #[serde(rename = "AzurePublicCloud")]
    Public,
    #[serde(rename = "AzureUSGovernment")]
    UsGovernment,
    #[serde(rename = "AzureChinaCloud")]
    China,
}

/// The service that a host name belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Host<'a> {
    Login(Cloud),
    ResourceManager(Cloud),
    /// The vault with this name.
    Vault(Cloud, &'a str),
}

impl Cloud {
    const ALL: [Self; 3] = [Self::Public, Self::UsGovernment, Self::China];

    /// Hosts where tokens are given. The first is the one that programs prefer.
    pub(crate) fn login_hosts(self) -> &'static [&'static str] {
        match self {
            Self::Public => {
                &["login.microsoftonline.com", "login.windows.net", "login.microsoft.com", "sts.windows.net"]
            }
            Self::UsGovernment => &["login.microsoftonline.us", "login.usgovcloudapi.net"],
            Self::China => &["login.partner.microsoftonline.cn", "login.chinacloudapi.cn"],
        }
    }

    fn resource_manager_host(self) -> &'static str {
        match self {
            Self::Public => "management.azure.com",
            Self::UsGovernment => "management.usgovcloudapi.net",
            Self::China => "management.chinacloudapi.cn",
        }
    }

    fn vault_domain(self) -> &'static str {
        match self {
            Self::Public => "vault.azure.net",
            Self::UsGovernment => "vault.usgovcloudapi.net",
            Self::China => "vault.azure.cn",
        }
    }

    /// Audience of tokens for Key Vault.
    pub(crate) fn vault_resource(self) -> String {
        format!("https://{}", self.vault_domain())
    }

    /// Audiences of tokens for Azure Resource Manager.
    pub(crate) fn resource_manager_resources(self) -> &'static [&'static str] {
        match self {
            Self::Public => &[
                "https://management.core.windows.net/",
                "https://management.azure.com/",
                "https://management.azure.com",
            ],
            Self::UsGovernment => {
                &["https://management.core.usgovcloudapi.net/", "https://management.usgovcloudapi.net/"]
            }
            Self::China => {
                &["https://management.core.chinacloudapi.cn/", "https://management.chinacloudapi.cn/"]
            }
        }
    }

    pub(crate) fn knows_resource(self, resource: &str) -> bool {
        resource == self.vault_resource() || self.resource_manager_resources().contains(&resource)
    }
}

impl<'a> Host<'a> {
    /// Tells by the `Host` header, with or without a port.
    pub(crate) fn of(name: &'a str) -> Option<Self> {
        let name = name.split_once(':').map_or(name, |(name, _)| name);
        Cloud::ALL.into_iter().find_map(|cloud| {
            if cloud.login_hosts().contains(&name) {
                return Some(Self::Login(cloud));
            }
            if cloud.resource_manager_host() == name {
                return Some(Self::ResourceManager(cloud));
            }
            let (vault, domain) = name.split_once('.')?;
            (domain == cloud.vault_domain()).then_some(Self::Vault(cloud, vault))
        })
    }
}
