//! What the recorded answers and the generated pods do not show: each with its exact patch.

// Helpers of tests are tests to a reader, but not to the lint.
#![allow(clippy::unwrap_used)]

mod support;

use azwi_json::JsonText;
use azwi_mutation::{AdmissionRequest, ServiceAccountLookup, Verdict, admit};
use serde_json::{Value, json};
use support::{config, found, verdict};

fn labelled_account() -> Value {
    json!({"metadata": {
        "labels": {"azure.workload.identity/use": "true"},
        "annotations": {"azure.workload.identity/client-id": "id"},
    }})
}

/// Settings with a token endpoint that gets its CA in this way.
fn with_endpoint(ca: &str, source: &Value) -> Value {
    json!({"optIn": "all", "tokenVolume": "reserved", "tokenEndpoint": {
        "annotationSuffix": "x",
        "audience": "api://x",
        "tokenProxy": "https://p.example",
        "sniName": "s",
        ca: source,
    }})
}

fn answer(pod: &Value, account: &Value, settings: &Value) -> Verdict {
    verdict(&pod.to_string(), found(account), &config(settings))
}

/// The pod after the mutation.
fn mutated(pod: &Value, settings: &Value) -> Value {
    let mutation = answer(pod, &labelled_account(), settings).unwrap();
    let text = pod.to_string();
    let patched = mutation.patch.apply_to(JsonText::parse(&text).unwrap().root()).unwrap();
    serde_json::from_str(&patched).unwrap()
}

/// The variables of the first container.
fn variables(pod: &Value) -> Vec<(String, String)> {
    let variables = pod.pointer("/spec/containers/0/env").unwrap().as_array().unwrap();
    let text = |variable: &Value, key: &str| {
        variable.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    variables.iter().map(|variable| (text(variable, "name"), text(variable, "value"))).collect()
}

fn variable(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

#[test]
fn the_service_account_is_the_one_that_kubernetes_would_fill_in() {
    for (spec, expected) in [
        (json!({"serviceAccountName": "new"}), "new"),
        (json!({"serviceAccountName": "new", "serviceAccount": "old"}), "new"),
        (json!({"serviceAccountName": "", "serviceAccount": "old"}), "old"),
        (json!({"serviceAccount": "old"}), "old"),
        (json!({"serviceAccountName": null, "serviceAccount": null}), "default"),
        (json!({}), "default"),
    ] {
        let pod = json!({"spec": spec}).to_string();
        let (json, config) = (JsonText::parse(&pod).unwrap(), config(&json!({})));
        let mut asked_for = String::new();
        _ = admit(&AdmissionRequest::pod_creation("team", json.root()), &config).finish(|_, name| {
            name.clone_into(&mut asked_for);
            ServiceAccountLookup::Missing
        });
        assert_eq!(asked_for, expected, "{pod}");
    }
}

fn pod_that_asks_for_the_endpoint() -> Value {
    json!({
        "metadata": {"name": "p", "annotations": {"azure.workload.identity/use-x": "TRUE"}},
        "spec": {"containers": [{"name": "c"}]},
    })
}

#[test]
fn ca_data_is_a_variable_and_no_file() {
    let pod = mutated(&pod_that_asks_for_the_endpoint(), &with_endpoint("caData", &json!("PEM")));
    let endpoint: Vec<_> = variables(&pod).into_iter().skip(4).collect();
    assert_eq!(
        endpoint,
        [
            variable("AZURE_KUBERNETES_TOKEN_PROXY", "https://p.example"),
            variable("AZURE_KUBERNETES_SNI_NAME", "s"),
            variable("AZURE_KUBERNETES_CA_DATA", "PEM")
        ]
    );
    let token =
        json!({"audience": "api://x", "expirationSeconds": 3600, "path": "token/azure-identity-token"});
    assert_eq!(
        pod.pointer("/spec/volumes/0/projected/sources"),
        Some(&json!([{"serviceAccountToken": token}]))
    );
}

#[test]
fn a_trust_bundle_is_projected_beside_the_token() {
    let selector = json!({"matchLabels": {"a": "b"}});
    let bundle = json!({"signerName": "e.com/s", "labelSelector": selector});
    let pod = mutated(&pod_that_asks_for_the_endpoint(), &with_endpoint("caTrustBundle", &bundle));
    let file = variable("AZURE_KUBERNETES_CA_FILE", "/var/run/secrets/azure/wi/ca-cert/ca.crt");
    assert_eq!(variables(&pod).last(), Some(&file));
    assert_eq!(
        pod.pointer("/spec/volumes/0/projected/sources/1/clusterTrustBundle"),
        Some(&json!({
            "signerName": "e.com/s", "labelSelector": selector, "path": "ca-cert/ca.crt", "optional": false
        }))
    );
}

#[test]
fn a_service_account_opts_in_whatever_the_pod_says() {
    let pod = json!({
        "metadata": {"name": "p", "labels": {"azure.workload.identity/use": "false"}},
        "spec": {"containers": [{"name": "c"}]},
    });
    for opt_in in ["serviceAccount", "podOrServiceAccount"] {
        let settings = json!({"optIn": opt_in});
        let variables = variables(&mutated(&pod, &settings));
        assert_eq!(variables.first(), Some(&variable("AZURE_CLIENT_ID", "id")), "{opt_in}");
        let mutation = answer(&pod, &json!({}), &settings).unwrap();
        assert!(mutation.patch.is_empty(), "{opt_in}");
    }
}

#[test]
fn a_pod_without_a_spec_gets_one() {
    let pod = mutated(&json!({"metadata": {"name": "p"}}), &json!({"optIn": "all"}));
    assert_eq!(pod.pointer("/spec/volumes/0/name"), Some(&json!("azure-identity-token")));
    assert_eq!(pod.pointer("/spec").and_then(Value::as_object).map(serde_json::Map::len), Some(1));
}

#[test]
fn an_earlier_volume_keeps_its_place_so_that_its_variables_stay_right() {
    let name = "azure-workload-identity-reserved-f19ff678f2cb1dbea8d2f468a5897c";
    let token = json!({"serviceAccountToken": {
        "audience": "api://AzureADTokenExchange", "expirationSeconds": 3600, "path": "token/azure-identity-token",
    }});
    for mount_path in
        ["/var/run/secrets/azure/wi", "/var/run/secrets/azure/wi/f19ff678f2cb1dbea8d2f468a5897c"]
    {
        let token_file = format!("{mount_path}/token/azure-identity-token");
        let pod = json!({
            "metadata": {"name": "p"},
            "spec": {
                "containers": [{
                    "name": "c",
                    "env": [{"name": "AZURE_FEDERATED_TOKEN_FILE", "value": token_file}],
                    "volumeMounts": [{"name": name, "mountPath": mount_path, "readOnly": true}],
                }],
                "volumes": [{"name": name, "projected": {"sources": [token]}}],
            },
        });
        for layout in ["reserved", "reserved-per-pod"] {
            let after = mutated(&pod, &json!({"optIn": "all", "tokenVolume": layout}));
            let mounted = after.pointer("/spec/containers/0/volumeMounts/0/mountPath");
            assert_eq!(mounted, Some(&json!(mount_path)), "{layout}");
            let volumes = after.pointer("/spec/volumes").and_then(Value::as_array).map(Vec::len);
            assert_eq!(volumes, Some(1), "{layout}");
        }
    }
}

#[test]
fn another_kind_of_object_is_no_pod() {
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment"});
    let denial = answer(&deployment, &json!({}), &json!({"optIn": "all"})).unwrap_err();
    assert_eq!(denial.message, "unable to decode apps/v1, Kind=Deployment into *v1.Pod");
}
