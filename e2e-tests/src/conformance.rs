//! Upstream's recorded answers, and how ours compare (`e2e-tests/conformance/README.md`).

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use azwi_json::JsonText;
use azwi_mutation::{AdmissionRequest, Config, ServiceAccount, ServiceAccountLookup};
use serde::Deserialize;
use serde_json::Value;

use admission_caller::cluster::Cluster;
use admission_caller::policy::{HostCapabilities, Policy as _};

use crate::host::PolicyHost;
use admission_caller::answer::Answer;
use admission_caller::request::{creation, pod_creation, review};
use test_support::webhook::EmbeddedWebhook;

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Case {
    pub name: String,
    settings: Value,
    namespace: String,
    service_accounts: Vec<Value>,
    #[serde(flatten)]
    object: Object,
    /// Upstream's answer, by token volume layout.
    pub expect: BTreeMap<String, Expected>,
}

/// The request's object.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Object {
    Pod(Value),
    /// Such as a Deployment: never changed, only warned about.
    Workload(Value),
}

impl Object {
    /// The object itself.
    fn json(&self) -> &Value {
        match self {
            Self::Pod(object) | Self::Workload(object) => object,
        }
    }

    /// The admission request for its creation.
    fn request(&self, namespace: &str) -> String {
        match self {
            Self::Pod(pod) => pod_creation(namespace, &pod.to_string()),
            Self::Workload(object) => {
                let text = |key| object.get(key).and_then(Value::as_str).unwrap_or_default();
                let (group, _) = text("apiVersion").split_once('/').unwrap_or_default();
                let resource = format!("{}s", text("kind").to_lowercase());
                creation(namespace, (group, &resource), object)
            }
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Expected {
    #[serde(default)]
    allowed: bool,
    /// Absent if the object stays as it is.
    pod: Option<Value>,
    message: Option<String>,
    settings_error: Option<String>,
    /// All warnings, where they are compared.
    warnings: Option<Vec<String>>,
}

/// One way from a case to an answer.
pub trait Route {
    /// Name in the report.
    fn name(&self) -> &'static str;

    /// Answers a case; the inner error means that the settings were rejected.
    ///
    /// # Errors
    /// There was no answer.
    fn answer(&self, question: &Question<'_>) -> Result<Result<Answer, String>>;
}

/// A case with one layout.
#[derive(Debug)]
pub struct Question<'a> {
    /// The settings, with `tokenVolume`.
    pub settings: Value,
    /// The admission request's JSON text.
    pub request: String,
    /// Namespace of the request.
    pub namespace: &'a str,
    /// The service accounts of that namespace.
    pub service_accounts: &'a [Value],
}

/// The core alone.
#[derive(Debug)]
pub struct ThroughCore;

/// The real wasm under the embedded host.
pub struct ThroughPolicy(pub PolicyHost);

/// The webhook, over TLS.
pub struct ThroughWebhook {
    runtime: tokio::runtime::Runtime,
    webhook: EmbeddedWebhook,
}

impl ThroughWebhook {
    /// Starts a webhook.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start() -> Result<Self> {
        let runtime = tokio::runtime::Runtime::new()?;
        let config = Config::from_json(r#"{"tenantId":"contoso.example"}"#)?;
        let webhook = {
            let _inside = runtime.enter();
            EmbeddedWebhook::start(config)?
        };
        Ok(Self { runtime, webhook })
    }
}

impl Route for ThroughWebhook {
    fn name(&self) -> &'static str {
        "webhook"
    }

    fn answer(&self, question: &Question<'_>) -> Result<Result<Answer, String>> {
        let config = match Config::from_json(&question.settings.to_string()) {
            Ok(config) => config,
            Err(error) => return Ok(Err(error.to_string())),
        };
        self.webhook.set(config, question.namespace, question.service_accounts)?;
        let review = review(&question.request);
        let reply = self.runtime.block_on(self.webhook.caller().review(review))?;
        Ok(Ok(Answer::from_review(&reply.json()?)?))
    }
}

impl Route for ThroughCore {
    fn name(&self) -> &'static str {
        "core"
    }

    fn answer(&self, question: &Question<'_>) -> Result<Result<Answer, String>> {
        let config = match Config::from_json(&question.settings.to_string()) {
            Ok(config) => config,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let json = JsonText::parse(&question.request).map_err(anyhow::Error::msg)?;
        let request = AdmissionRequest::read(json.root()).map_err(anyhow::Error::msg)?;
        let answer = azwi_mutation::admit(&request, &config).finish(|_, wanted| {
            let name = |account: &Value| {
                account.pointer("/metadata/name").and_then(Value::as_str).map(str::to_owned)
            };
            let account =
                question.service_accounts.iter().find(|account| name(account).as_deref() == Some(wanted));
            match account.map(|account| ServiceAccount::from_json(&account.to_string())) {
                None => ServiceAccountLookup::Missing,
                Some(Ok(account)) => ServiceAccountLookup::Found(account),
                Some(Err(problem)) => ServiceAccountLookup::Failed(problem),
            }
        });
        Ok(Ok(match answer {
            Ok(mutation) => Answer {
                allowed: true,
                message: String::new(),
                code: None,
                patch: serde_json::from_str(&mutation.patch.to_json())?,
                warnings: mutation.warnings.iter().map(ToString::to_string).collect(),
                audit: Value::Null,
            },
            Err(denial) => Answer {
                allowed: false,
                message: denial.message,
                code: Some(denial.code.into()),
                patch: Vec::new(),
                warnings: Vec::new(),
                audit: Value::Null,
            },
        }))
    }
}

impl Route for ThroughPolicy {
    fn name(&self) -> &'static str {
        "policy"
    }

    fn answer(&self, question: &Question<'_>) -> Result<Result<Answer, String>> {
        if let Err(message) = self.0.validate_settings(&question.settings)? {
            return Ok(Err(message));
        }
        let cluster: Arc<dyn HostCapabilities> =
            Arc::new(Cluster { service_accounts: question.service_accounts.to_vec(), fault: None });
        Ok(Ok(self.0.validate(&question.request, &question.settings, &cluster)?.answer))
    }
}

/// A case with a different answer.
#[derive(Debug)]
pub struct Difference {
    /// Name of the case.
    pub case: String,
    pub layout: String,
    /// Upstream's answer.
    pub expected: String,
    /// Our answer.
    pub actual: String,
}

/// Results of a route.
#[derive(Debug, Default)]
pub struct Report {
    /// Cases read.
    pub cases: usize,
    /// Answers compared.
    pub comparisons: usize,
    pub differences: Vec<Difference>,
}

/// Reads the cases of a `.jsonl` or `.jsonl.gz` file.
///
/// # Errors
/// The file cannot be read, or a line is not a case.
pub fn read_cases(path: &Path) -> Result<Vec<Case>> {
    let file = std::fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let is_compressed = path.extension().is_some_and(|extension| extension == "gz");
    let text: Box<dyn Read> =
        if is_compressed { Box::new(flate2::read::GzDecoder::new(file)) } else { Box::new(file) };
    let mut cases = Vec::new();
    for (number, line) in BufReader::new(text).lines().enumerate() {
        let line = line.with_context(|| format!("cannot read {}", path.display()))?;
        if !line.trim().is_empty() {
            let case = serde_json::from_str(&line);
            cases.push(case.with_context(|| format!("{}:{} is not a case", path.display(), number + 1))?);
        }
    }
    Ok(cases)
}

/// Runs all cases on one route. `progress` receives the number of finished cases.
///
/// # Errors
/// A case got no answer at all.
pub fn compare(route: &dyn Route, cases: &[Case], mut progress: impl FnMut(usize)) -> Result<Report> {
    let mut report = Report::default();
    for case in cases {
        report.cases += 1;
        for (layout, expected) in &case.expect {
            report.comparisons += 1;
            let mut settings = case.settings.clone();
            if let Some(settings) = settings.as_object_mut() {
                settings.insert("tokenVolume".to_owned(), Value::String(layout.clone()));
            }
            let question = Question {
                settings,
                request: case.object.request(&case.namespace),
                namespace: &case.namespace,
                service_accounts: &case.service_accounts,
            };
            let answer = route.answer(&question).with_context(|| format!("case {} ({layout})", case.name))?;
            if let Some((expected, actual)) = difference(case, expected, answer)? {
                let (case, layout) = (case.name.clone(), layout.clone());
                report.differences.push(Difference { case, layout, expected, actual });
            }
        }
        progress(report.cases);
    }
    Ok(report)
}

/// Both sides as text, if they differ.
fn difference(
    case: &Case,
    expected: &Expected,
    answer: Result<Answer, String>,
) -> Result<Option<(String, String)>> {
    let answer = match (answer, &expected.settings_error) {
        (Err(message), Some(_)) => {
            let cloud = case.settings.get("azureEnvironment").and_then(Value::as_str).unwrap_or_default();
            let names_cloud = message.to_lowercase().contains(&cloud.to_lowercase());
            return Ok((!names_cloud).then(|| (format!("settings error that names {cloud}"), message)));
        }
        (Err(message), None) => return Ok(Some(("settings accepted".to_owned(), message))),
        (Ok(_), Some(error)) => {
            return Ok(Some((format!("settings error {error}"), "settings accepted".to_owned())));
        }
        (Ok(answer), None) => answer,
    };
    if !expected.allowed {
        let message = expected.message.clone().unwrap_or_default();
        let is_same = !answer.allowed && (message.starts_with("json:") || message == answer.message);
        let actual =
            if answer.allowed { "allowed".to_owned() } else { format!("denied: {}", answer.message) };
        return Ok((!is_same).then(|| (format!("denied: {message}"), actual)));
    }
    if !answer.allowed {
        return Ok(Some(("allowed".to_owned(), format!("denied: {}", answer.message))));
    }
    let object = case.object.json();
    let wanted = normalised(expected.pod.as_ref().unwrap_or(object));
    let actual = normalised(&answer.apply_to(object)?);
    if wanted == actual {
        let warnings = expected.warnings.as_ref().filter(|warnings| **warnings != answer.warnings);
        return Ok(warnings.map(|warnings| (warnings.join("\n"), answer.warnings.join("\n"))));
    }
    Ok(Some((serde_json::to_string_pretty(&wanted)?, serde_json::to_string_pretty(&actual)?)))
}

/// The pod without empty values and without its namespace.
fn normalised(pod: &Value) -> Value {
    let mut pod = pod.clone();
    if let Some(metadata) = pod.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("namespace");
    }
    drop_empty(&mut pod);
    pod
}

fn drop_empty(value: &mut Value) {
    let is_empty = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(elements) => elements.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(true) | Value::Number(_) => false,
    };
    match value {
        Value::Array(elements) => elements.iter_mut().for_each(drop_empty),
        Value::Object(members) => {
            members.values_mut().for_each(drop_empty);
            members.retain(|_, member| !is_empty(member));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use test_support::repository_root;

    use super::read_cases;

    /// Cases may be added, never lost. 70 recorded answers are left out: they have two volumes of the same name, which the
    /// API server refuses.
    #[test]
    fn no_recorded_case_is_lost() {
        for (file, cases, answers) in
            [("handwritten.jsonl", 68, 189), ("random.jsonl.gz", 465, 1326), ("own.jsonl", 67, 67)]
        {
            let recorded = read_cases(&repository_root().join("e2e-tests/conformance").join(file)).unwrap();
            assert!(recorded.len() >= cases, "{file}: only {} cases", recorded.len());
            let recorded_answers: usize = recorded.iter().map(|case| case.expect.len()).sum();
            assert!(recorded_answers >= answers, "{file}: only {recorded_answers} answers");
        }
    }
}
