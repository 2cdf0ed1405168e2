//! The checked form of the settings, from which pods are planned.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

use crate::cloud;
use crate::json::Value;
use crate::names::{DEFAULT_AUDIENCE, TOKEN_ENDPOINT_ANNOTATION_PREFIX};
use crate::settings::{
    OptIn, ProxyLogLevel, ProxySettings, Settings, SettingsError, TokenEndpointSettings, TokenVolumeLayout,
};

/// Shortest and longest life of a token in seconds that upstream accepts (`spec/upstream-webhook.md` 1.7).
pub const TOKEN_EXPIRATION_SECONDS: std::ops::RangeInclusive<i64> = 3600..=86400;

const DEFAULT_TOKEN_EXPIRATION_SECONDS: i64 = 3600;
const DEFAULT_PROXY_IMAGE: &str = "mcr.microsoft.com/oss/azure/workload-identity/proxy:v1.6.0";
const DEFAULT_PROXY_INIT_IMAGE: &str = "mcr.microsoft.com/oss/azure/workload-identity/proxy-init:v1.6.0";

/// Everything the plan needs to know besides the pod and its service account. Built once, never changed.
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
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TokenEndpointConfig {
    /// The whole annotation key.
    pub(crate) annotation: String,
    pub(crate) audience: String,
    pub(crate) token_proxy: String,
    pub(crate) sni_name: String,
    pub(crate) ca: Option<CaSource>,
}

/// Where a pod finds the CA certificate of the token endpoint.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum CaSource {
    Data(String),
    ConfigMap(String),
    TrustBundle { signer_name: String, label_selector: Option<LabelSelector> },
}

impl Config {
    /// Checks the settings and fills in the defaults.
    ///
    /// # Errors
    /// The first setting that cannot be used, with its value and what is accepted.
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

    /// Reads settings from JSON text and checks them.
    ///
    /// # Errors
    /// As [`Settings::from_json`] and [`Config::new`].
    pub fn from_json(json: &str) -> Result<Self, SettingsError> {
        Self::new(&Settings::from_json(json)?)
    }

    /// Reads settings from a JSON value and checks them.
    ///
    /// # Errors
    /// As [`Settings::read`] and [`Config::new`].
    pub fn read(settings: Value<'_>) -> Result<Self, SettingsError> {
        Self::new(&Settings::read(settings)?)
    }

    /// Who is mutated.
    #[must_use]
    pub fn opt_in(&self) -> OptIn {
        self.opt_in
    }

    /// The same configuration with the other decision about native sidecars, for a host that knows the API server's
    /// version.
    #[must_use]
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

/// Refuses what the API server would refuse later.
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
        // Upstream's words, for those who search for them.
        let shown = crate::text::printable(cloud_name, 100).to_ascii_uppercase();
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

/// The value, empty where there is none.
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

/// A value that ends up in a pod as one word: not empty, without white space or control characters.
fn one_word(key: &str, value: &str, accepted: &str) -> Result<String, SettingsError> {
    if value.is_empty() || value.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(SettingsError::invalid(key, value, accepted));
    }
    Ok(value.to_owned())
}

/// 8-4-4-4-12 hexadecimal digits.
pub(crate) fn is_guid(text: &str) -> bool {
    let is_hyphen = |position| matches!(position, 8 | 13 | 18 | 23);
    let is_right = |(position, byte): (usize, u8)| {
        if is_hyphen(position) { byte == b'-' } else { byte.is_ascii_hexdigit() }
    };
    text.len() == 36 && text.bytes().enumerate().all(is_right)
}

/// At least two DNS labels.
fn is_domain_name(text: &str) -> bool {
    text.contains('.') && is_host_name(text)
}

fn is_host_name(text: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(is_label)
}

/// The form of names of namespaces (RFC 1123).
pub(crate) fn is_dns_label(text: &str) -> bool {
    text.len() <= 63 && is_dns_label_of_any_length(text)
}

fn is_dns_label_of_any_length(text: &str) -> bool {
    let is_alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.as_bytes().first().is_some_and(is_alphanumeric)
        && text.as_bytes().last().is_some_and(is_alphanumeric)
        && text.as_bytes().iter().all(|byte| is_alphanumeric(byte) || *byte == b'-')
}

/// The form of names of `ConfigMap`s and service accounts (RFC 1123, as Kubernetes has it: without a bound for each label).
pub(crate) fn is_dns_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_dns_label_of_any_length)
}

fn is_https_url(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_at_checked("https://".len()) else { return false };
    let authority = rest.split('/').next().unwrap_or_default();
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !authority.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let is_ip6_host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).is_some_and(is_ip6);
    scheme.eq_ignore_ascii_case("https://")
        && (is_host_name(host) || is_ip6_host)
        && port.is_none_or(is_port)
        && !rest.chars().any(|c| {
            c.is_whitespace() || c.is_control() || matches!(c, '?' | '#' | '@' | '\\' | '"' | '<' | '>')
        })
}

/// Digits only: the number's parser would take a sign.
fn is_port(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u16>().is_ok_and(|port| port != 0)
}

/// The characters of an IPv6 address; the standard library's parser would be a noticeable part of the wasm.
fn is_ip6(text: &str) -> bool {
    text.bytes().filter(|b| *b == b':').count() >= 2
        && text.bytes().all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.'))
}

/// What may follow `use-` in the name part of an annotation key, which has at most 63 characters.
fn is_annotation_suffix(text: &str) -> bool {
    (1..=59).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && text.ends_with(|c: char| c.is_ascii_alphanumeric())
}
