//! The core's settings from flags, the environment and a YAML file, in this order of precedence.

// Argument comments become help texts, where backticks would be printed.
#![allow(clippy::doc_markdown)]

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use azwi_mutation::{Config, Settings};
use clap::Args;
use serde_json::{Map, Value};

/// Upstream's environment variables and the settings that they set.
const VARIABLES: [(&str, &str); 7] = [
    ("AZURE_TENANT_ID", "tenantId"),
    ("AZURE_ENVIRONMENT", "azureEnvironment"),
    ("PROXY_IMAGE", "proxy.image"),
    ("PROXY_INIT_IMAGE", "proxy.initImage"),
    ("AZURE_KUBERNETES_TOKEN_PROXY", "tokenEndpoint.tokenProxy"),
    ("AZURE_KUBERNETES_SNI_NAME", "tokenEndpoint.sniName"),
    ("AZURE_KUBERNETES_CA_DATA", "tokenEndpoint.caData"),
];
const CA_CONFIG_MAP: &str = "AZURE_KUBERNETES_CA_CONFIGMAP_NAME";
const CA_SIGNER: &str = "AZURE_KUBERNETES_CA_CTB_SIGNER_NAME";
const CA_LABEL_SELECTOR: &str = "AZURE_KUBERNETES_CA_CTB_LABEL_SELECTOR";

/// Settings from flags, by dotted key.
type Flags = Vec<(&'static str, Value)>;

/// The configuration, and whether the user decided on the native sidecar.
#[derive(Debug)]
pub struct Resolved {
    /// The validated configuration.
    pub config: Config,
    /// `proxy.nativeSidecar` as set; `None` leaves it to the API server's version.
    pub native_sidecar: Option<bool>,
}

/// Mutation settings that flags can set; each overrides the environment and the settings file.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Mutation")]
pub struct SettingsArguments {
    /// Settings file in the policy's format, in YAML or JSON.
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// Azure tenant: a GUID or a verified domain name [env: AZURE_TENANT_ID].
    #[arg(long, value_name = "TENANT")]
    tenant_id: Option<String>,
    /// Audience of the projected token [default: api://AzureADTokenExchange].
    #[arg(long)]
    audience: Option<String>,
    /// Which pods are mutated: pod, serviceAccount, podOrServiceAccount or all [default: podOrServiceAccount].
    #[arg(long, value_name = "WHO")]
    opt_in: Option<String>,
    /// Layout of the token volume: azure-identity-token, reserved or reserved-per-pod [default: azure-identity-token].
    #[arg(long, value_name = "LAYOUT")]
    token_volume: Option<String>,
    /// Annotation suffix of the token endpoint (AKS identity binding).
    #[arg(long, value_name = "SUFFIX")]
    custom_token_endpoint_annotation_suffix: Option<String>,
    /// Audience of tokens for the token endpoint.
    #[arg(long, value_name = "AUDIENCE")]
    custom_token_endpoint_audience: Option<String>,
}

impl SettingsArguments {
    /// Merges flags, environment and settings file. `proxy_log_level` is used if nothing else sets one.
    ///
    /// # Errors
    /// A source cannot be read, or a setting is invalid: one line that names it.
    pub fn resolve(&self, proxy_log_level: Option<&str>) -> Result<Resolved> {
        let flags = [
            ("tenantId", &self.tenant_id),
            ("audience", &self.audience),
            ("optIn", &self.opt_in),
            ("tokenVolume", &self.token_volume),
            ("tokenEndpoint.annotationSuffix", &self.custom_token_endpoint_annotation_suffix),
            ("tokenEndpoint.audience", &self.custom_token_endpoint_audience),
        ];
        // Upstream's manifests pass empty flags for unset values.
        let given = flags.into_iter().filter_map(|(key, value)| {
            let value = value.as_deref().filter(|value| !value.is_empty())?;
            Some((key, Value::from(value)))
        });
        resolve(self.settings.as_deref(), |name| std::env::var_os(name), given.collect(), proxy_log_level)
    }
}

/// Like [`SettingsArguments::resolve`]; `variable` reads the environment.
fn resolve(
    file: Option<&Path>,
    variable: impl Fn(&str) -> Option<OsString>,
    flags: Flags,
    proxy_log_level: Option<&str>,
) -> Result<Resolved> {
    let mut settings = match file {
        Some(path) => read_file(path)?,
        None => Map::new(),
    };
    let text = |name: &str| text_variable(&variable, name);
    for (name, key) in VARIABLES {
        if let Some(value) = text(name)? {
            put(&mut settings, key, value.into());
        }
    }
    if let Some(name) = text(CA_CONFIG_MAP)? {
        put(&mut settings, "tokenEndpoint.caConfigMapName", name.into());
    }
    let selector = text(CA_LABEL_SELECTOR)?.filter(|selector| !selector.trim().is_empty());
    match (text(CA_SIGNER)?, selector) {
        (Some(signer), selector) => {
            put(&mut settings, "tokenEndpoint.caTrustBundle.signerName", signer.into());
            if let Some(selector) = selector {
                let selector: Value = serde_json::from_str(&selector)
                    .with_context(|| format!("{CA_LABEL_SELECTOR} is no label selector in JSON"))?;
                put(&mut settings, "tokenEndpoint.caTrustBundle.labelSelector", selector);
            }
        }
        (None, Some(_)) => bail!("{CA_SIGNER} needs to be set when {CA_LABEL_SELECTOR} is set"),
        (None, None) => {}
    }
    for (key, value) in flags {
        put(&mut settings, key, value);
    }
    let has_log_level = settings.get("proxy").is_some_and(|proxy| proxy.get("logLevel").is_some());
    if let Some(level) = proxy_log_level.filter(|_| !has_log_level) {
        put(&mut settings, "proxy.logLevel", level.into());
    }
    let stack_file = text("AZURE_ENVIRONMENT_FILEPATH")?.filter(|_| is_azure_stack(&settings));
    if let Some(path) = stack_file.filter(|_| !settings.contains_key("authorityHost")) {
        settings.insert("authorityHost".to_owned(), authority_host_of(Path::new(&path))?.into());
    }
    check_token_endpoint(&mut settings)?;
    let has_tenant = settings.contains_key("tenantId");
    // Errors in the keys that are present come first: a misspelled one may be why this one is missing.
    let settings = Settings::from_json(&Value::Object(settings).to_string())?;
    if !has_tenant {
        bail!(
            "required key AZURE_TENANT_ID missing value; set it, or --tenant-id, or tenantId in the settings file"
        );
    }
    let native_sidecar = settings.proxy.as_ref().and_then(|proxy| proxy.native_sidecar);
    Ok(Resolved { config: Config::new(&settings)?, native_sidecar })
}

/// A variable's value. Upstream also reads each with the prefix `CONFIG_`, which wins; empty ones count as absent,
/// because charts write them.
fn text_variable(variable: &impl Fn(&str) -> Option<OsString>, name: &str) -> Result<Option<String>> {
    let Some(value) = variable(&format!("CONFIG_{name}")).or_else(|| variable(name)) else { return Ok(None) };
    let value = value.into_string().map_err(|_| anyhow!("environment variable {name} is not UTF-8"))?;
    Ok((!value.is_empty()).then_some(value))
}

fn read_file(path: &Path) -> Result<Map<String, Value>> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read settings file {}", path.display()))?;
    let options = serde_saphyr::options! { with_snippet: false };
    let settings = serde_saphyr::from_str_with_options(&text, options)
        .with_context(|| format!("settings file {} cannot be read", path.display()))?;
    match settings {
        Value::Object(settings) => Ok(settings),
        Value::Null => Ok(Map::new()),
        _ => bail!("settings file {} must hold an object", path.display()),
    }
}

/// Sets the value at a dotted key; leaves a non-object on the way for the settings check to report.
fn put(settings: &mut Map<String, Value>, key: &str, value: Value) {
    match key.split_once('.') {
        None => _ = settings.insert(key.to_owned(), value),
        Some((first, rest)) => {
            let inner = settings.entry(first).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(inner) = inner {
                put(inner, rest, value);
            }
        }
    }
}

fn is_azure_stack(settings: &Map<String, Value>) -> bool {
    let cloud = settings.get("azureEnvironment").and_then(Value::as_str).unwrap_or_default();
    cloud.eq_ignore_ascii_case("AzureStackCloud")
}

/// `activeDirectoryEndpoint` from the file that describes an Azure Stack.
fn authority_host_of(path: &Path) -> Result<String> {
    let failed = || format!("failed to get AAD endpoint: AZURE_ENVIRONMENT_FILEPATH {}", path.display());
    let text = std::fs::read_to_string(path).with_context(failed)?;
    let environment: Value = serde_json::from_str(&text).with_context(failed)?;
    let endpoint = environment.get("activeDirectoryEndpoint").and_then(Value::as_str);
    endpoint.map(ToOwned::to_owned).with_context(|| format!("{} has no activeDirectoryEndpoint", failed()))
}

/// Upstream's rules for its two flags, with its error text. Without them, its other variables have no effect.
fn check_token_endpoint(settings: &mut Map<String, Value>) -> Result<()> {
    let Some(Value::Object(endpoint)) = settings.get("tokenEndpoint") else { return Ok(()) };
    match (endpoint.contains_key("annotationSuffix"), endpoint.contains_key("audience")) {
        (true, true) => {}
        (false, true) => {
            bail!("custom token endpoint annotation suffix cannot be empty when audience is set")
        }
        (true, false) => {
            bail!("custom token endpoint audience cannot be empty when annotation suffix is set")
        }
        (false, false) => _ = settings.remove("tokenEndpoint"),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::io::Write as _;

    use serde_json::json;

    use super::{Flags, Resolved, resolve};

    fn resolved(variables: &[(&str, &str)], flags: Flags) -> Result<Resolved, String> {
        let variable = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
        };
        resolve(None, variable, flags, None).map_err(|error| format!("{error:#}"))
    }

    fn config_text(variables: &[(&str, &str)], flags: Flags) -> String {
        format!("{:?}", resolved(variables, flags).unwrap().config)
    }

    #[test]
    fn the_webhooks_log_level_is_the_proxys_only_where_nothing_is_said() {
        let level = |said: Option<&str>| {
            let flags = said.map(|said| ("proxy.logLevel", said.into())).into_iter().collect();
            let tenant = |name: &str| (name == "AZURE_TENANT_ID").then(|| OsString::from("a.example"));
            format!("{:?}", resolve(None, tenant, flags, Some("debug")).unwrap().config).contains("Debug")
        };
        assert!(level(None) && !level(Some("trace")));
    }

    #[test]
    fn flags_go_before_the_environment_and_the_prefix_before_the_bare_name() {
        let variables = [("AZURE_TENANT_ID", "a.example"), ("CONFIG_AZURE_TENANT_ID", "b.example")];
        assert!(config_text(&variables, vec![]).contains("b.example"));
        assert!(config_text(&variables, vec![("tenantId", json!("c.example"))]).contains("c.example"));
    }

    #[test]
    fn the_environment_goes_before_the_file() {
        let mut file = tempfile();
        writeln!(file.1, "tenantId: file.example\nproxy: {{nativeSidecar: false}}").unwrap();
        let variable = |name: &str| (name == "PROXY_IMAGE").then(|| OsString::from("r.example/proxy:1"));
        let resolved = resolve(Some(&file.0), variable, vec![], None).unwrap();
        let text = format!("{:?}", resolved.config);
        assert!(text.contains("file.example") && text.contains("r.example/proxy:1"), "{text}");
        assert_eq!(resolved.native_sidecar, Some(false));
        std::fs::remove_file(file.0).unwrap();
    }

    fn tempfile() -> (std::path::PathBuf, std::fs::File) {
        let path = std::env::temp_dir().join(format!("azwi-settings-{}.yaml", std::process::id()));
        (path.clone(), std::fs::File::create(path).unwrap())
    }

    #[test]
    fn upstreams_mistakes_get_upstreams_words() {
        let tenant = ("AZURE_TENANT_ID", "a.example");
        for (variables, flags, words) in [
            (vec![], vec![], "required key AZURE_TENANT_ID missing value"),
            (vec![("AZURE_TENANT_ID", "")], vec![], "required key AZURE_TENANT_ID missing value"),
            (
                vec![tenant, ("AZURE_ENVIRONMENT", "Moon")],
                vec![],
                "there is no cloud environment matching the name \"MOON\"",
            ),
            (
                vec![tenant, ("AZURE_ENVIRONMENT", "AzureStackCloud")],
                vec![],
                "setting authorityHost is missing",
            ),
            (
                vec![
                    tenant,
                    ("AZURE_ENVIRONMENT", "AzureStackCloud"),
                    ("AZURE_ENVIRONMENT_FILEPATH", "/none"),
                ],
                vec![],
                "failed to get AAD endpoint: AZURE_ENVIRONMENT_FILEPATH /none",
            ),
            (
                vec![tenant],
                vec![("tokenEndpoint.audience", json!("api://x"))],
                "annotation suffix cannot be empty when audience is set",
            ),
            (
                vec![tenant],
                vec![("tokenEndpoint.annotationSuffix", json!("x"))],
                "audience cannot be empty when annotation suffix is set",
            ),
            (
                vec![tenant, ("AZURE_KUBERNETES_CA_CTB_LABEL_SELECTOR", "{}")],
                vec![],
                "AZURE_KUBERNETES_CA_CTB_SIGNER_NAME needs to be set",
            ),
        ] {
            let error = resolved(&variables, flags).unwrap_err();
            assert!(error.contains(words) && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn endpoint_variables_mean_nothing_without_the_flags() {
        let variables = [("AZURE_TENANT_ID", "a.example"), ("AZURE_KUBERNETES_SNI_NAME", "sni.example")];
        assert!(config_text(&variables, vec![]).contains("token_endpoint: None"));
    }
}
