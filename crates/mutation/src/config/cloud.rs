//! Azure clouds and their authority hosts.

/// Name of a cloud whose authority host is in the settings.
pub(super) const AZURE_STACK_CLOUD: &str = "AzureStackCloud";

/// Names that [`authority_host`] accepts, for messages.
pub(super) const CLOUD_NAMES: &str = "AzurePublicCloud, AzureUSGovernmentCloud, AzureChinaCloud, AzureGermanCloud or AzureStackCloud (with authorityHost)";

/// Authority host of a cloud, with its trailing slash. Like upstream, accepts the names in any case, two aliases, and
/// an empty name for the public cloud.
pub(super) fn authority_host(cloud: &str) -> Option<&'static str> {
    let is = |name: &str| cloud.eq_ignore_ascii_case(name);
    if cloud.is_empty() || is("AzurePublicCloud") || is("AzureCloud") {
        Some("https://login.microsoftonline.com/")
    } else if is("AzureUSGovernmentCloud") || is("AzureUSGovernment") {
        Some("https://login.microsoftonline.us/")
    } else if is("AzureChinaCloud") {
        Some("https://login.chinacloudapi.cn/")
    } else if is("AzureGermanCloud") {
        Some("https://login.microsoftonline.de/")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::authority_host;

    #[test]
    fn names_in_any_case_and_aliases() {
        let public = Some("https://login.microsoftonline.com/");
        for name in ["", "AzurePublicCloud", "AZUREPUBLICCLOUD", "azurecloud"] {
            assert_eq!(authority_host(name), public, "{name:?}");
        }
        assert_eq!(authority_host("AzureUSGovernment"), authority_host("azureusgovernmentcloud"));
        assert_eq!(authority_host(" AzureCloud"), None);
        assert_eq!(authority_host("AzureStackCloud"), None);
    }
}
