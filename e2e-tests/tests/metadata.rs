//! The policy's metadata and its settings form, which nothing else would check: hosts ignore unknown fields.

// The lint does not treat test helpers as tests.
#![allow(clippy::expect_used, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};

use admission_caller::manifests::read_document;
use azwi_mutation::Config;
use serde::Deserialize;
use serde_json::{Value, json};
use test_support::repository_root;

/// The keys that policy-evaluator knows. Some fields are only listed as known and not checked.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Metadata {
    rules: Vec<Rule>,
    mutating: bool,
    context_aware_resources: Value,
    host_capabilities: Vec<String>,
    background_audit: bool,
    #[serde(rename = "executionMode")]
    _execution_mode: String,
    #[serde(rename = "policyType")]
    _policy_type: String,
    minimum_kubewarden_version: String,
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rule {
    api_groups: Vec<String>,
    api_versions: Vec<String>,
    resources: Vec<String>,
    operations: Vec<String>,
}

#[derive(Deserialize)]
struct Questions {
    questions: Vec<Question>,
}

#[derive(Deserialize)]
struct Question {
    variable: String,
    label: String,
    description: String,
    #[serde(rename = "type")]
    kind: String,
    default: Option<Value>,
    #[serde(default)]
    options: Vec<String>,
}

fn metadata() -> Metadata {
    let document = read_document(&repository_root().join("policy-metadata/metadata.yml")).expect("metadata");
    serde_json::from_value(document).expect("known keys only")
}

fn questions() -> Vec<Question> {
    let document =
        read_document(&repository_root().join("policy-metadata/questions-ui.yml")).expect("questions");
    let document: Questions = serde_json::from_value(document).expect("questions");
    document.questions.into_iter().filter(|question| question.variable != "description").collect()
}

/// The existing settings, as listed by the software in its error about an unknown key.
fn setting_keys(parent: &str) -> BTreeSet<String> {
    let mut settings = json!({"tenantId": "contoso.example"});
    put(&mut settings, &format!("{parent}{}noSuchKey", if parent.is_empty() { "" } else { "." }), json!(0));
    let refusal = Config::from_json(&settings.to_string()).expect_err("an unknown key").to_string();
    let (_, keys) = refusal.split_once("the keys here are ").expect("a list of keys");
    let prefix = if parent.is_empty() { String::new() } else { format!("{parent}.") };
    keys.split(' ').map(|key| format!("{prefix}{key}")).collect()
}

fn put(settings: &mut Value, path: &str, value: Value) {
    let mut place = settings;
    for key in path.split('.') {
        if place.is_null() {
            *place = json!({});
        }
        place = &mut place[key];
    }
    *place = value;
}

#[test]
fn metadata_says_what_the_policy_needs_and_no_more() {
    let metadata = metadata();
    assert!(metadata.mutating && !metadata.background_audit);
    assert_eq!(metadata.context_aware_resources, json!([{"apiVersion": "v1", "kind": "ServiceAccount"}]));
    assert_eq!(metadata.host_capabilities, ["kubernetes/get_resource"]);
    assert_eq!(metadata.minimum_kubewarden_version.split('.').count(), 3);
    for rule in &metadata.rules {
        let lists = [&rule.api_groups, &rule.api_versions, &rule.resources, &rule.operations];
        assert!(lists.iter().all(|list| !list.is_empty() && !list.iter().any(|entry| entry == "*")));
        let is_pods = rule.resources.iter().any(|resource| resource == "pods");
        assert!(!is_pods || rule.operations == ["CREATE"], "a pod's spec does not change after its creation");
    }
}

#[test]
fn metadata_has_what_artifact_hub_is_told() {
    let annotations = metadata().annotations;
    for key in [
        "title",
        "version",
        "description",
        "ociUrl",
        "author",
        "url",
        "source",
        "license",
        "severity",
        "category",
    ] {
        let value = annotations.get(&format!("io.kubewarden.policy.{key}"));
        assert!(value.is_some_and(|value| !value.trim().is_empty()), "io.kubewarden.policy.{key}");
    }
    for key in ["displayName", "resources", "keywords"] {
        assert!(annotations.contains_key(&format!("io.artifacthub.{key}")), "io.artifacthub.{key}");
    }
    assert_eq!(annotations["io.kubewarden.policy.version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn every_setting_has_a_question_and_every_question_a_setting() {
    let parents = [
        "proxy",
        "proxy.resources",
        "proxy.initResources",
        "tokenEndpoint",
        "tokenEndpoint.caTrustBundle",
        "tokenEndpoint.caTrustBundle.labelSelector",
    ];
    let mut settings = setting_keys("");
    for parent in parents {
        assert!(settings.remove(parent), "{parent} is no setting");
        settings.extend(setting_keys(parent));
    }
    // The form does not support a list of conditions; users write it in the YAML editor.
    assert!(settings.remove("tokenEndpoint.caTrustBundle.labelSelector.matchExpressions"));
    let asked: BTreeSet<String> = questions().into_iter().map(|question| question.variable).collect();
    assert_eq!(asked, settings);
}

#[test]
fn questions_explain_themselves_and_their_defaults_are_valid() {
    let mut settings = json!({"tenantId": "contoso.example"});
    for question in questions() {
        assert!(!question.label.is_empty() && question.description.len() > 20, "{}", question.variable);
        assert_eq!(question.kind == "enum", !question.options.is_empty(), "{}", question.variable);
        if let Some(default) = question.default {
            let is_option = |default: &str| question.options.iter().any(|option| option == default);
            assert!(
                question.options.is_empty() || default.as_str().is_some_and(is_option),
                "{}",
                question.variable
            );
            put(&mut settings, &question.variable, default);
        }
        for option in question.options.iter().filter(|option| *option != "AzureStackCloud") {
            let mut chosen = json!({"tenantId": "contoso.example"});
            put(&mut chosen, &question.variable, option.as_str().into());
            assert!(Config::from_json(&chosen.to_string()).is_ok(), "{}: {option:?}", question.variable);
        }
    }
    assert!(Config::from_json(&settings.to_string()).is_ok(), "{settings}");
}

#[test]
fn artifact_hub_is_told_what_the_metadata_says() {
    let document =
        read_document(&repository_root().join("artifacthub/artifacthub-pkg.yml")).expect("package");
    let Metadata { rules, annotations, context_aware_resources, .. } = metadata();
    let policy = |key: &str| annotations[&format!("io.kubewarden.policy.{key}")].clone();
    let (version, source, image) = (policy("version"), policy("source"), policy("ociUrl"));
    let fields = ["version", "name", "displayName", "description", "license", "homeURL"];
    let told: Vec<&str> = fields.iter().filter_map(|field| document[*field].as_str()).collect();
    let said = [policy("title"), annotations["io.artifacthub.displayName"].clone(), policy("description")];
    let [title, display_name, description] = said;
    assert_eq!(told, [&version, &title, &display_name, &description, &policy("license"), &policy("url")]);
    assert_eq!(
        document["containersImages"],
        json!([{"name": "policy", "image": format!("{image}:v{version}")}])
    );
    let download = format!("{source}/releases/download/v{version}/policy.wasm");
    assert_eq!(
        document["links"],
        json!([{"name": "policy", "url": download}, {"name": "source", "url": source}])
    );
    let yaml = |key: &str| -> Value {
        let text = document["annotations"][format!("kubewarden/{key}")].as_str().expect("an annotation");
        serde_saphyr::from_str(text).expect("YAML")
    };
    assert_eq!(yaml("contextAwareResources"), context_aware_resources);
    assert_eq!(yaml("mutation"), json!(true));
    let resources: Vec<Value> =
        yaml("rules").as_array().expect("rules").iter().map(|rule| rule["resources"].clone()).collect();
    assert_eq!(resources, rules.iter().map(|rule| json!(rule.resources)).collect::<Vec<_>>());
    assert_eq!(yaml("questions-ui")["questions"].as_array().map(Vec::len), Some(questions().len() + 1));
}
