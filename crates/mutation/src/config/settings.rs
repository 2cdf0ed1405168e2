//! The settings as users write them: one type for the policy, the webhook host and the command line.
//!
//! Keys are camelCase and unknown keys are rejected. [`Config::new`](crate::Config::new) validates the values.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

use super::forms::{is_quantity, is_resource_name};
use azwi_json::{Inner, JsonText, JsonValue, TypeError, printable};

/// Settings as written; `docs/settings.md` explains each key.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settings {
    /// Azure tenant: a GUID or a verified domain name. Required.
    pub tenant_id: Option<String>,
    /// Cloud name as in upstream, in any case; determines the authority host. Default `AzurePublicCloud`.
    pub azure_environment: Option<String>,
    /// https URL of the authority; overrides `azure_environment`.
    pub authority_host: Option<String>,
    /// Audience of the projected token. Default `api://AzureADTokenExchange`.
    pub audience: Option<String>,
    /// Token lifetime in seconds if neither pod nor service account sets one. Default 3600.
    pub token_expiration_seconds: Option<i64>,
    /// Which pods are mutated. Default [`OptIn::PodOrServiceAccount`].
    pub opt_in: Option<OptIn>,
    /// Layout of the token volume. Default [`TokenVolumeLayout::AzureIdentityToken`].
    pub token_volume: Option<TokenVolumeLayout>,
    /// Deny, instead of warn, if an opted-in pod's service account has no client id. Default false.
    pub require_client_id: Option<bool>,
    pub proxy: Option<ProxySettings>,
    /// AKS identity binding; if absent, no pod can request it.
    pub token_endpoint: Option<TokenEndpointSettings>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct ProxySettings {
    /// Image of the sidecar.
    pub image: Option<String>,
    /// Image of the init container that redirects traffic.
    pub init_image: Option<String>,
    /// Init container with `restartPolicy: Always` (true) or a regular container (false). Default true.
    pub native_sidecar: Option<bool>,
    /// Log level of the sidecar. Default [`ProxyLogLevel::Info`].
    pub log_level: Option<ProxyLogLevel>,
    /// Resources of the sidecar. Not set by default.
    pub resources: Option<Resources>,
    /// Resources of the init container. Not set by default.
    pub init_resources: Option<Resources>,
    /// Whether the init container is privileged, as in upstream; otherwise it has only the capabilities it needs.
    /// Default true.
    pub init_privileged: Option<bool>,
}

/// Resource requirements of a container: Kubernetes' JSON, with checked limits and requests. As text, because the type would be
/// a large part of the wasm.
#[derive(Debug, Clone, PartialEq)]
pub struct Resources(pub(crate) String);

/// Settings of the token endpoint (AKS identity binding).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TokenEndpointSettings {
    /// A pod requests the endpoint with the annotation `azure.workload.identity/use-<suffix>: "true"`. Required.
    pub annotation_suffix: Option<String>,
    /// Audience of the token of such pods. Required, and different from the default audience.
    pub audience: Option<String>,
    /// https URL of the endpoint, passed to the pod as `AZURE_KUBERNETES_TOKEN_PROXY`.
    pub token_proxy: Option<String>,
    /// TLS server name, passed to the pod as `AZURE_KUBERNETES_SNI_NAME`.
    pub sni_name: Option<String>,
    /// CA certificate of the endpoint in PEM, passed to the pod as `AZURE_KUBERNETES_CA_DATA`.
    pub ca_data: Option<String>,
    /// `ConfigMap` in the pod's namespace with the CA certificate under `ca.crt`.
    pub ca_config_map_name: Option<String>,
    /// Cluster trust bundle that contains the CA certificate.
    pub ca_trust_bundle: Option<CaTrustBundleSettings>,
}

/// Selects the cluster trust bundles with the token endpoint's CA.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CaTrustBundleSettings {
    /// Signer of the bundles. Required.
    pub signer_name: Option<String>,
    /// Labels of the bundles; absent selects none, `{}` selects all.
    pub label_selector: Option<LabelSelector>,
}

/// Which pods are mutated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OptIn {
    /// Pods with the label (upstream since v1.0).
    Pod,
    /// Pods whose service account has the label (upstream up to v0.15).
    ServiceAccount,
    /// Either.
    #[default]
    PodOrServiceAccount,
    /// Every pod that the webhook's selectors match.
    All,
}

impl OptIn {
    /// Whether the pod's own label counts.
    pub(crate) fn reads_pod_label(self) -> bool {
        matches!(self, Self::Pod | Self::PodOrServiceAccount)
    }
}

/// Name and paths of the token volume (`docs/behaviour.md`, What is added).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TokenVolumeLayout {
    /// One fixed name, mounted at `/var/run/secrets/azure/tokens` (upstream v0.8 to v1.5).
    #[default]
    AzureIdentityToken,
    /// A name derived from the pod's name, mounted at `/var/run/secrets/azure/wi` (upstream v1.6.0).
    Reserved,
    /// A name and a mount path derived from the pod's name (upstream after v1.6.0).
    ReservedPerPod,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ProxyLogLevel {
    /// An empty `--log-level=`, which upstream passes on if it has none itself.
    Unset,
    #[default]
    Info,
    Debug,
    Trace,
    All,
}

/// A setting with a fixed set of values.
pub(crate) trait Choice: Copy + PartialEq + 'static {
    /// The words and their values.
    const WORDS: &'static [(&'static str, Self)];
    /// The words in a sentence.
    const ACCEPTED: &'static str;

    /// The value of a word.
    fn from_word(word: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(written, _)| *written == word).map(|(_, choice)| *choice)
    }

    fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, choice)| *choice == self).map_or("", |(written, _)| written)
    }
}

impl Choice for OptIn {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("pod", Self::Pod),
        ("serviceAccount", Self::ServiceAccount),
        ("podOrServiceAccount", Self::PodOrServiceAccount),
        ("all", Self::All),
    ];
    const ACCEPTED: &'static str = "pod, serviceAccount, podOrServiceAccount or all";
}

impl Choice for TokenVolumeLayout {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("azure-identity-token", Self::AzureIdentityToken),
        ("reserved", Self::Reserved),
        ("reserved-per-pod", Self::ReservedPerPod),
    ];
    const ACCEPTED: &'static str = "azure-identity-token, reserved or reserved-per-pod";
}

impl Choice for ProxyLogLevel {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("", Self::Unset),
        ("info", Self::Info),
        ("debug", Self::Debug),
        ("trace", Self::Trace),
        ("all", Self::All),
    ];
    const ACCEPTED: &'static str = "empty, info, debug, trace or all";
}

impl Settings {
    /// Reads settings from JSON text.
    ///
    /// # Errors
    /// The text is not JSON, or see [`Settings::read`].
    pub fn from_json(text: &str) -> Result<Self, SettingsError> {
        let json = JsonText::parse(text)
            .map_err(|problem| SettingsError::sentence(format!("the settings are {problem}")))?;
        Self::read(json.root())
    }

    /// Reads settings from a JSON value.
    ///
    /// # Errors
    /// A key is unknown or a value has the wrong type; the error names the key, the value and the accepted values.
    pub fn read(settings: JsonValue<'_>) -> Result<Self, SettingsError> {
        let mut reader = Reader { settings, error: None };
        let read = reader.settings(settings);
        match reader.error {
            None => Ok(read),
            Some(error) => Err(error),
        }
    }
}

/// Reads settings and keeps the first error. Unreadable values are absent in the result, which is then not used.
struct Reader<'a> {
    settings: JsonValue<'a>,
    error: Option<SettingsError>,
}

/// An object of the settings. It records the keys that are read and rejects all others.
struct Section<'r, 'a> {
    reader: &'r mut Reader<'a>,
    object: JsonValue<'a>,
    asked: Vec<&'static str>,
}

impl<'a> Reader<'a> {
    /// Starts reading an object.
    fn section(&mut self, object: JsonValue<'a>) -> Section<'_, 'a> {
        if let Err(error) = object.object() {
            self.keep_type_error(error);
        }
        Section { reader: self, object, asked: Vec::new() }
    }

    fn settings(&mut self, value: JsonValue<'a>) -> Settings {
        let mut settings = self.section(value);
        let read = Settings {
            tenant_id: settings.text("tenantId"),
            azure_environment: settings.text("azureEnvironment"),
            authority_host: settings.text("authorityHost"),
            audience: settings.text("audience"),
            token_expiration_seconds: settings.integer("tokenExpirationSeconds"),
            opt_in: settings.choice("optIn"),
            token_volume: settings.choice("tokenVolume"),
            require_client_id: settings.flag("requireClientId"),
            proxy: settings.member("proxy").map(|value| settings.reader.proxy(value)),
            token_endpoint: settings
                .member("tokenEndpoint")
                .map(|value| settings.reader.token_endpoint(value)),
        };
        settings.refuse_others();
        read
    }

    fn proxy(&mut self, value: JsonValue<'a>) -> ProxySettings {
        let mut proxy = self.section(value);
        let read = ProxySettings {
            image: proxy.text("image"),
            init_image: proxy.text("initImage"),
            native_sidecar: proxy.flag("nativeSidecar"),
            log_level: proxy.choice("logLevel"),
            resources: proxy.member("resources").map(|value| proxy.reader.resources(value)),
            init_resources: proxy.member("initResources").map(|value| proxy.reader.resources(value)),
            init_privileged: proxy.flag("initPrivileged"),
        };
        proxy.refuse_others();
        read
    }

    fn resources(&mut self, value: JsonValue<'a>) -> Resources {
        let mut resources = self.section(value);
        for key in ["limits", "requests"] {
            if let Some(amounts) = resources.object(key) {
                for (resource, amount) in amounts.members() {
                    resources.reader.check_amount(&resource, amount);
                }
            }
        }
        resources.refuse_others();
        Resources(value.raw().to_owned())
    }

    /// Refuses an amount of a resource that the API server would refuse in every pod.
    fn check_amount(&mut self, resource: &str, amount: JsonValue<'a>) {
        let accepted = if !is_resource_name(resource) {
            "for a resource, such as cpu, memory or example.com/device"
        } else if !is_quantity(amount.raw().trim_matches('"')) {
            "a quantity, such as 100m or 64Mi"
        } else {
            return;
        };
        self.typed(amount.wrong::<()>(accepted));
    }

    fn token_endpoint(&mut self, value: JsonValue<'a>) -> TokenEndpointSettings {
        let mut endpoint = self.section(value);
        let read = TokenEndpointSettings {
            annotation_suffix: endpoint.text("annotationSuffix"),
            audience: endpoint.text("audience"),
            token_proxy: endpoint.text("tokenProxy"),
            sni_name: endpoint.text("sniName"),
            ca_data: endpoint.text("caData"),
            ca_config_map_name: endpoint.text("caConfigMapName"),
            ca_trust_bundle: endpoint
                .member("caTrustBundle")
                .map(|value| endpoint.reader.trust_bundle(value)),
        };
        endpoint.refuse_others();
        read
    }

    fn trust_bundle(&mut self, value: JsonValue<'a>) -> CaTrustBundleSettings {
        let mut bundle = self.section(value);
        let read = CaTrustBundleSettings {
            signer_name: bundle.text("signerName"),
            label_selector: bundle.member("labelSelector").map(|value| bundle.reader.label_selector(value)),
        };
        bundle.refuse_others();
        read
    }

    fn label_selector(&mut self, value: JsonValue<'a>) -> LabelSelector {
        let mut selector = self.section(value);
        let mut match_labels = BTreeMap::new();
        if let Some(labels) = selector.object("matchLabels") {
            for (key, value) in labels.members() {
                let value = selector.reader.typed(value.text()).unwrap_or_default();
                match_labels.insert(key.into_owned(), value.into_owned());
            }
        }
        let mut requirements = Vec::new();
        for element in selector.elements("matchExpressions") {
            requirements.push(selector.reader.requirement(element));
        }
        selector.refuse_others();
        LabelSelector {
            match_labels: (!match_labels.is_empty()).then_some(match_labels),
            match_expressions: (!requirements.is_empty()).then_some(requirements),
        }
    }

    fn requirement(&mut self, value: JsonValue<'a>) -> LabelSelectorRequirement {
        let mut requirement = self.section(value);
        let (key, operator) = (requirement.text("key"), requirement.text("operator"));
        let mut values = Vec::new();
        for value in requirement.elements("values") {
            values.push(requirement.reader.typed(value.text()).unwrap_or_default().into_owned());
        }
        requirement.refuse_others();
        LabelSelectorRequirement {
            key: key.unwrap_or_default(),
            operator: operator.unwrap_or_default(),
            values: (!values.is_empty()).then_some(values),
        }
    }

    fn typed<T>(&mut self, result: Result<T, TypeError<'a>>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.keep_type_error(error);
                None
            }
        }
    }

    fn keep_type_error(&mut self, error: TypeError<'a>) {
        let path = error.path_in(self.settings);
        let subject =
            if path.is_empty() { "the settings are".to_owned() } else { format!("setting {path} is") };
        self.keep(SettingsError::sentence(format!(
            "{subject} {}; it must be {}",
            error.shown(),
            error.expected
        )));
    }

    fn keep(&mut self, error: SettingsError) {
        if self.error.is_none() {
            self.error = Some(error);
        }
    }
}

impl<'a> Section<'_, 'a> {
    /// The value under `key`, if there is one.
    fn member(&mut self, key: &'static str) -> Option<JsonValue<'a>> {
        self.asked.push(key);
        self.object.get(key)
    }

    fn text(&mut self, key: &'static str) -> Option<String> {
        let text = self.member(key).map(JsonValue::text).transpose();
        self.reader.typed(text).flatten().map(Cow::into_owned)
    }

    fn integer(&mut self, key: &'static str) -> Option<i64> {
        self.asked.push(key);
        self.reader.typed(self.object.optional_integer(key)).flatten()
    }

    fn flag(&mut self, key: &'static str) -> Option<bool> {
        self.asked.push(key);
        self.reader.typed(self.object.optional_flag(key)).flatten()
    }

    fn object(&mut self, key: &'static str) -> Option<JsonValue<'a>> {
        let object = self.member(key).map(JsonValue::object).transpose();
        self.reader.typed(object).flatten()
    }

    fn elements(&mut self, key: &'static str) -> Inner<'a> {
        let list = self.member(key).map(JsonValue::array).transpose();
        // Anything but a list has no elements.
        self.reader.typed(list).flatten().unwrap_or(self.object).elements()
    }

    fn choice<T: Choice>(&mut self, key: &'static str) -> Option<T> {
        let word = self.text(key)?;
        let choice = T::from_word(&word);
        if choice.is_none() {
            let path = self.object.get(key).map(|value| value.path_in(self.reader.settings));
            self.reader.keep(SettingsError::invalid(&path.unwrap_or_default(), &word, T::ACCEPTED));
        }
        choice
    }

    fn refuse_others(self) {
        for (key, member) in self.object.members() {
            if !self.asked.contains(&&*key) {
                let parent = self.object.path_in(self.reader.settings);
                let separator = if parent.is_empty() { "" } else { "." };
                self.reader.keep(SettingsError::sentence(format!(
                    "setting {parent}{separator}{} (with value {}) is unknown; the keys here are{}",
                    printable(&key, 63),
                    printable(member.raw(), 100),
                    listed(&self.asked)
                )));
            }
        }
    }
}

/// The words, each preceded by a space.
fn listed(words: &[&str]) -> String {
    let mut list = String::new();
    for word in words {
        list.push(' ');
        list.push_str(word);
    }
    list
}

/// An invalid setting: one sentence with the key, the value and the accepted values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsError(String);

impl SettingsError {
    /// `key` has the value `value`, which is not `accepted`.
    pub(crate) fn invalid(key: &str, value: &str, accepted: &str) -> Self {
        Self(format!("setting {key} is \"{}\"; it must be {accepted}", printable(value, 100)))
    }

    /// A complete sentence.
    pub(crate) fn sentence(sentence: impl Into<String>) -> Self {
        Self(sentence.into())
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SettingsError {}
