//! The validated settings, from which pods are planned.

mod cloud;
mod forms;
mod settings;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

use crate::names::{DEFAULT_AUDIENCE, TOKEN_ENDPOINT_ANNOTATION_PREFIX};
use azwi_json::{JsonValue, printable};
use forms::{is_annotation_suffix, is_domain_name, is_host_name, is_https_url};
pub(crate) use forms::{is_dns_label, is_dns_subdomain, is_guid};
pub(crate) use settings::Choice;
pub use settings::{
    CaTrustBundleSettings, OptIn, ProxyLogLevel, ProxySettings, Resources, Settings, SettingsError,
    TokenEndpointSettings, TokenVolumeLayout,
};

/// Token lifetimes that upstream accepts, in seconds.
pub(crate) const TOKEN_EXPIRATION_SECONDS: std::ops::RangeInclusive<i64> = 3600..=86400;

const DEFAULT_TOKEN_EXPIRATION_SECONDS: i64 = 3600;
const DEFAULT_PROXY_IMAGE: &str = "mcr.microsoft.com/oss/azure/workload-identity/proxy:v1.6.0";
const DEFAULT_PROXY_INIT_IMAGE: &str = "mcr.microsoft.com/oss/azure/workload-identity/proxy-init:v1.6.0";

/// All inputs of the plan except the pod and its service account. Built once, never changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    pub(crate) tenant_id: String,
    pub(crate) authority_host: String,
    pub(crate) audience: String,
    pub(crate) token_expiration_seconds: i64,
    pub(crate) opt_in: OptIn,
    pub(crate) token_volume: TokenVolumeLayout,
    pub(crate) require_client_id: bool,
    pub(crate) proxy: ProxyConfig,
    pub(crate) token_endpoint: Option<TokenEndpointConfig>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ProxyConfig {
    pub(crate) image: String,
    pub(crate) init_image: String,
    pub(crate) native_sidecar: bool,
    pub(crate) log_level: ProxyLogLevel,
    pub(crate) resources: Option<Resources>,
    pub(crate) init_resources: Option<Resources>,
    pub(crate) init_privileged: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TokenEndpointConfig {
    /// The full annotation key.
    pub(crate) annotation: String,
    pub(crate) audience: String,
    pub(crate) token_proxy: String,
    pub(crate) sni_name: String,
    pub(crate) ca: Option<CaSource>,
}

/// Source of the token endpoint's CA certificate.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum CaSource {
    Data(String),
    ConfigMap(String),
    TrustBundle { signer_name: String, label_selector: Option<LabelSelector> },
}

impl Config {
    /// Validates the settings and fills in the defaults.
    ///
    /// # Errors
    /// The first invalid setting, with its value and the accepted values.
    pub fn new(settings: &Settings) -> Result<Self, SettingsError> {
        let tenant_id = required("tenantId", settings.tenant_id.as_deref(), TENANT_ID)?;
        if !is_guid(tenant_id) && !is_domain_name(tenant_id) {
            return Err(SettingsError::invalid("tenantId", tenant_id, TENANT_ID));
        }
        let seconds = settings.token_expiration_seconds.unwrap_or(DEFAULT_TOKEN_EXPIRATION_SECONDS);
        if !TOKEN_EXPIRATION_SECONDS.contains(&seconds) {
            return Err(SettingsError::invalid(
                "tokenExpirationSeconds",
                &seconds.to_string(),
                "a number of seconds from 3600 to 86400",
            ));
        }
        Ok(Self {
            tenant_id: tenant_id.to_owned(),
            authority_host: authority_host(
                settings.azure_environment.as_deref().unwrap_or_default(),
                settings.authority_host.as_deref(),
            )?,
            audience: one_word(
                "audience",
                settings.audience.as_deref().unwrap_or(DEFAULT_AUDIENCE),
                AUDIENCE,
            )?,
            token_expiration_seconds: seconds,
            opt_in: settings.opt_in.unwrap_or_default(),
            token_volume: settings.token_volume.unwrap_or_default(),
            require_client_id: settings.require_client_id.unwrap_or(false),
            proxy: ProxyConfig::new(settings.proxy.as_ref().unwrap_or(&ProxySettings::default()))?,
            token_endpoint: settings.token_endpoint.as_ref().map(TokenEndpointConfig::new).transpose()?,
        })
    }

    /// Reads settings from JSON text and validates them.
    pub fn from_json(json: &str) -> Result<Self, SettingsError> {
        Self::new(&Settings::from_json(json)?)
    }

    /// Reads settings from a JSON value and validates them.
    pub fn read(settings: JsonValue<'_>) -> Result<Self, SettingsError> {
        Self::new(&Settings::read(settings)?)
    }

    /// Returns the configuration with another native sidecar decision, for a host that knows the API server's version.
    pub fn with_native_sidecar(mut self, native_sidecar: bool) -> Self {
        self.proxy.native_sidecar = native_sidecar;
        self
    }
}

impl ProxyConfig {
    fn new(settings: &ProxySettings) -> Result<Self, SettingsError> {
        let image = settings.image.as_deref().unwrap_or(DEFAULT_PROXY_IMAGE);
        let init_image = settings.init_image.as_deref().unwrap_or(DEFAULT_PROXY_INIT_IMAGE);
        Ok(Self {
            image: one_word("proxy.image", image, IMAGE)?,
            init_image: one_word("proxy.initImage", init_image, IMAGE)?,
            native_sidecar: settings.native_sidecar.unwrap_or(true),
            log_level: settings.log_level.unwrap_or_default(),
            resources: settings.resources.clone(),
            init_resources: settings.init_resources.clone(),
            init_privileged: settings.init_privileged.unwrap_or(true),
        })
    }
}

impl TokenEndpointConfig {
    fn new(settings: &TokenEndpointSettings) -> Result<Self, SettingsError> {
        const SUFFIX_KEY: &str = "tokenEndpoint.annotationSuffix";
        const AUDIENCE_KEY: &str = "tokenEndpoint.audience";
        let suffix = required(SUFFIX_KEY, settings.annotation_suffix.as_deref(), ANNOTATION_SUFFIX)?;
        if !is_annotation_suffix(suffix) {
            return Err(SettingsError::invalid(SUFFIX_KEY, suffix, ANNOTATION_SUFFIX));
        }
        let audience = required(AUDIENCE_KEY, settings.audience.as_deref(), TOKEN_ENDPOINT_AUDIENCE)?;
        if audience.eq_ignore_ascii_case(DEFAULT_AUDIENCE) {
            return Err(SettingsError::invalid(AUDIENCE_KEY, audience, TOKEN_ENDPOINT_AUDIENCE));
        }
        let token_proxy = settings.token_proxy.as_deref();
        let sni_name = settings.sni_name.as_deref();
        Ok(Self {
            annotation: format!("{TOKEN_ENDPOINT_ANNOTATION_PREFIX}{suffix}"),
            audience: one_word(AUDIENCE_KEY, audience, TOKEN_ENDPOINT_AUDIENCE)?,
            token_proxy: optional("tokenEndpoint.tokenProxy", token_proxy, is_https_url, HTTPS_URL)?,
            sni_name: optional("tokenEndpoint.sniName", sni_name, is_host_name, "a DNS name")?,
            ca: ca_source(settings)?,
        })
    }
}

fn ca_source(settings: &TokenEndpointSettings) -> Result<Option<CaSource>, SettingsError> {
    match (&settings.ca_data, &settings.ca_config_map_name, &settings.ca_trust_bundle) {
        (None, None, None) => Ok(None),
        (Some(data), None, None) if data.trim().is_empty() => {
            Err(SettingsError::invalid("tokenEndpoint.caData", data, "a PEM certificate"))
        }
        (Some(data), None, None) => Ok(Some(CaSource::Data(data.clone()))),
        (None, Some(name), None) if is_dns_subdomain(name) => Ok(Some(CaSource::ConfigMap(name.clone()))),
        (None, Some(name), None) => {
            Err(SettingsError::invalid("tokenEndpoint.caConfigMapName", name, "the name of a ConfigMap"))
        }
        (None, None, Some(bundle)) => {
            const KEY: &str = "tokenEndpoint.caTrustBundle.signerName";
            const SIGNER_NAME: &str = "a signer name, such as example.com/signer";
            let signer_name =
                one_word(KEY, required(KEY, bundle.signer_name.as_deref(), SIGNER_NAME)?, SIGNER_NAME)?;
            bundle.label_selector.as_ref().map(check_label_selector).transpose()?;
            Ok(Some(CaSource::TrustBundle { signer_name, label_selector: bundle.label_selector.clone() }))
        }
        _ => Err(SettingsError::sentence(
            "setting tokenEndpoint has more than one CA; only one of caData, caConfigMapName or caTrustBundle can be set",
        )),
    }
}

/// Rejects selectors that the API server would reject later.
fn check_label_selector(selector: &LabelSelector) -> Result<(), SettingsError> {
    const KEY: &str = "tokenEndpoint.caTrustBundle.labelSelector.matchExpressions";
    const REQUIREMENT: &str =
        "a key with operator In or NotIn and values, or with Exists or DoesNotExist and none";
    for LabelSelectorRequirement { key, operator, values } in selector.match_expressions.iter().flatten() {
        let is_complete = match operator.as_str() {
            "In" | "NotIn" => values.is_some(),
            "Exists" | "DoesNotExist" => values.is_none(),
            _ => false,
        };
        if key.is_empty() || !is_complete {
            return Err(SettingsError::invalid(KEY, &format!("{key} {operator}"), REQUIREMENT));
        }
    }
    Ok(())
}

fn authority_host(cloud_name: &str, host: Option<&str>) -> Result<String, SettingsError> {
    let of_cloud = cloud::authority_host(cloud_name);
    if of_cloud.is_none() && !cloud_name.eq_ignore_ascii_case(cloud::AZURE_STACK_CLOUD) {
        // Upstream's error text, so that users can search for it.
        let shown = printable(cloud_name, 100).to_ascii_uppercase();
        let accepted =
            format!("{}: there is no cloud environment matching the name \"{shown}\"", cloud::CLOUD_NAMES);
        return Err(SettingsError::invalid("azureEnvironment", cloud_name, &accepted));
    }
    match (host, of_cloud) {
        (Some(host), _) if is_https_url(host) => Ok(format!("{}/", host.trim_end_matches('/'))),
        (Some(host), _) => Err(SettingsError::invalid("authorityHost", host, HTTPS_URL)),
        (None, Some(host)) => Ok(host.to_owned()),
        (None, None) => Err(SettingsError::sentence(format!(
            "setting authorityHost is missing; with azureEnvironment {} it must be {HTTPS_URL}",
            cloud::AZURE_STACK_CLOUD
        ))),
    }
}

const AUDIENCE: &str = "the audience of the token, such as api://AzureADTokenExchange";
const IMAGE: &str = "an image reference, such as registry.example/proxy:v1.6.0";
const TENANT_ID: &str = "a tenant's GUID or verified domain name";
const HTTPS_URL: &str =
    "an https URL without user, query or fragment, such as https://login.microsoftonline.com/";
const ANNOTATION_SUFFIX: &str =
    "1 to 59 letters, digits, '-', '_' or '.', ending in a letter or digit, such as identity-binding";
const TOKEN_ENDPOINT_AUDIENCE: &str =
    "an audience other than api://AzureADTokenExchange, such as api://AKSIdentityBinding";

fn required<'a>(key: &str, value: Option<&'a str>, accepted: &str) -> Result<&'a str, SettingsError> {
    value.ok_or_else(|| SettingsError::sentence(format!("setting {key} is missing; it must be {accepted}")))
}

/// The value, or an empty string.
fn optional(
    key: &str,
    value: Option<&str>,
    is_accepted: fn(&str) -> bool,
    accepted: &str,
) -> Result<String, SettingsError> {
    match value {
        Some(value) if !is_accepted(value) => Err(SettingsError::invalid(key, value, accepted)),
        value => Ok(value.unwrap_or_default().to_owned()),
    }
}

/// A value that becomes one word in a pod: not empty, without white space or control characters.
fn one_word(key: &str, value: &str, accepted: &str) -> Result<String, SettingsError> {
    if value.is_empty() || value.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(SettingsError::invalid(key, value, accepted));
    }
    Ok(value.to_owned())
}
