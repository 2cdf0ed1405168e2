//! The manifests for clusters with Kubewarden match one another and the policy's metadata.

// The lint does not treat test helpers as tests.
#![allow(clippy::expect_used, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};

use admission_caller::manifests::{read_document, read_documents};
use serde_json::{Value, json};
use test_support::repository_root;

fn manifests(path: &str) -> Vec<Value> {
    read_documents(&repository_root().join("deploy/kubewarden").join(path)).expect(path)
}

fn of_kind(path: &str, kind: &str) -> Value {
    let mut found = manifests(path).into_iter().filter(|manifest| manifest["kind"] == kind);
    let manifest = found.next().expect(kind);
    assert_eq!(found.next(), None);
    manifest
}

/// The three policies by name.
fn policies() -> BTreeMap<String, Value> {
    ["base/labelled-pods.yaml", "base/service-accounts.yaml", "advice/workload-objects.yaml"]
        .map(|path| of_kind(path, "ClusterAdmissionPolicy"))
        .map(|policy| {
            (policy["metadata"]["name"].as_str().expect("a name").to_owned(), policy["spec"].clone())
        })
        .into()
}

fn metadata() -> Value {
    read_document(&repository_root().join("policy-metadata/metadata.yml")).expect("metadata")
}

#[test]
fn the_policies_together_are_sent_what_the_metadata_names() {
    let resources = |rules: &Value| -> BTreeSet<String> {
        let rules = rules.as_array().expect("rules").iter();
        rules
            .flat_map(|rule| {
                let resources = rule["resources"].as_array().expect("resources").clone();
                resources.into_iter().map(move |resource| {
                    json!([rule["apiGroups"], rule["apiVersions"], resource, rule["operations"]]).to_string()
                })
            })
            .collect()
    };
    let sent: BTreeSet<String> = policies().values().flat_map(|policy| resources(&policy["rules"])).collect();
    assert_eq!(sent, resources(&metadata()["rules"]));
}

#[test]
fn every_policy_has_what_it_needs() {
    let metadata = metadata();
    let server = of_kind("base/policy-server.yaml", "PolicyServer");
    for (name, policy) in policies() {
        assert_eq!(policy["contextAwareResources"], metadata["contextAwareResources"], "{name}");
        assert_eq!(policy["backgroundAudit"], metadata["backgroundAudit"], "{name}");
        assert_eq!(policy["policyServer"], server["metadata"]["name"], "{name}");
        // The controller silently drops matchLabels.
        assert_eq!(policy["namespaceSelector"]["matchLabels"], Value::Null, "{name}");
    }
}

#[test]
fn only_labelled_pods_wait_for_the_policy_server() {
    let policies = policies();
    let failing: Vec<&String> = policies
        .iter()
        .filter(|(_, policy)| policy["failurePolicy"] == "Fail")
        .map(|(name, _)| name)
        .collect();
    assert_eq!(failing, ["azure-workload-identity"]);
    let labelled = &policies["azure-workload-identity"]["objectSelector"];
    assert_eq!(*labelled, json!({"matchLabels": {"azure.workload.identity/use": "true"}}));
    // Each policy covers the pods that the other excludes, so that no pod is evaluated twice.
    let others = &policies["azure-workload-identity-service-accounts"]["objectSelector"];
    let expression = json!({"key": "azure.workload.identity/use", "operator": "NotIn", "values": ["true"]});
    assert_eq!(*others, json!({"matchExpressions": [expression]}));
}

#[test]
fn the_policy_server_may_get_service_accounts_and_nothing_else() {
    let role = of_kind("base/permissions.yaml", "ClusterRole");
    assert_eq!(
        role["rules"],
        json!([{"apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["get"]}])
    );
    let binding = of_kind("base/permissions.yaml", "ClusterRoleBinding");
    let account = of_kind("base/permissions.yaml", "ServiceAccount");
    assert_eq!(binding["roleRef"]["name"], role["metadata"]["name"]);
    assert_eq!(binding["subjects"][0]["name"], account["metadata"]["name"]);
    assert_eq!(binding["subjects"][0]["namespace"], account["metadata"]["namespace"]);
    let server = of_kind("base/policy-server.yaml", "PolicyServer");
    assert_eq!(server["spec"]["serviceAccountName"], account["metadata"]["name"]);
}

#[test]
fn policies_without_a_controller_are_the_same() {
    let file =
        read_document(&repository_root().join("deploy/kubewarden/policies.yml")).expect("policies.yml");
    let file: BTreeMap<String, Value> = serde_json::from_value(file).expect("policies by name");
    let policies = policies();
    assert_eq!(file.keys().collect::<Vec<_>>(), policies.keys().collect::<Vec<_>>());
    for (name, entry) in file {
        let policy = &policies[&name];
        for key in ["module", "settings", "contextAwareResources"] {
            assert_eq!(entry[key], policy[key], "{name}: {key}");
        }
        assert_eq!(entry["allowedToMutate"].as_bool().unwrap_or(false), policy["mutating"], "{name}");
        assert_eq!(entry["hostCapabilities"], metadata()["hostCapabilities"], "{name}");
    }
}
