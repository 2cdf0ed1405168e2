//! Cases that the recorded answers and the generated pods do not cover, each with its exact patch.

// The lint does not treat test helpers as tests.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use azwi_json::JsonText;
use azwi_mutation::{Admission, AdmissionRequest, Mutation, ServiceAccountLookup, Verdict, admit};
use serde_json::{Value, json};
use support::{config, found, verdict};

fn labelled_account() -> Value {
    json!({"metadata": {
        "labels": {"azure.workload.identity/use": "true"},
        "annotations": {"azure.workload.identity/client-id": "id"},
    }})
}

/// Settings with a token endpoint that gets its CA from this source.
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
fn a_volume_of_our_name_that_cannot_hold_the_token_is_refused() {
    let other = json!({"items": [{"key": "k", "path": "other"}]});
    for (volume, kind) in [
        (json!({"emptyDir": {}}), "emptyDir"),
        (json!({}), "emptyDir"),
        (json!({"image": {"reference": "x"}}), "image"),
        (json!({"downwardAPI": other}), "downwardAPI"),
        (json!({"secret": other}), "secret"),
        (json!({"projected": {"sources": [{"configMap": other}]}}), "projected"),
    ] {
        let mut volume = volume;
        volume["name"] = json!("azure-identity-token");
        let pod = json!({"spec": {"containers": [{"name": "c"}], "volumes": [volume]}});
        let denial = answer(&pod, &labelled_account(), &json!({})).unwrap_err();
        let message = format!(
            "pod volume azure-identity-token ({kind}) cannot hold the token, but its name is needed for the token volume; rename it"
        );
        assert_eq!((denial.code, denial.message), (400, message));
    }
}

#[test]
fn a_volume_of_our_name_is_admitted_where_the_containers_find_a_token_without_it() {
    let pod = |container: Value, volume: Value| {
        let mut volume = volume;
        volume["name"] = json!("azure-identity-token");
        json!({"spec": {"containers": [container], "volumes": [volume]}})
    };
    let path_of_their_own = json!({
        "name": "c", "env": [{"name": "AZURE_FEDERATED_TOKEN_FILE", "value": "/tokens/azure"}],
    });
    let mount = |mount: Value| {
        let mut mount = mount;
        mount["name"] = json!("azure-identity-token");
        json!({"name": "c", "volumeMounts": [mount]})
    };
    let above = json!({"mountPath": "/var/run/secrets/azure"});
    let part = json!({"mountPath": "/var/run/secrets/azure", "subPath": "x"});
    let token_below =
        json!({"projected": {"sources": [{"serviceAccountToken": {"path": "tokens/azure-identity-token"}}]}});
    let is_admitted = |pod: &Value| answer(pod, &labelled_account(), &json!({})).is_ok();
    assert!(is_admitted(&pod(path_of_their_own, json!({"emptyDir": {}}))));
    assert!(is_admitted(&pod(mount(above.clone()), token_below.clone())));
    assert!(!is_admitted(&pod(mount(above), json!({"emptyDir": {}}))));
    assert!(!is_admitted(&pod(mount(part), token_below)));
}

#[test]
fn a_volume_of_our_name_is_not_needed_where_no_container_gets_anything() {
    let pod = json!({
        "metadata": {"annotations": {"azure.workload.identity/skip-containers": "c"}},
        "spec": {"containers": [{"name": "c"}], "volumes": [{"name": "azure-identity-token", "emptyDir": {}}]},
    });
    assert_eq!(mutated(&pod, &json!({})), pod);
}

#[test]
fn a_volume_of_our_name_that_may_hold_the_token_is_mounted() {
    let volume = json!({"name": "azure-identity-token", "csi": {"driver": "d"}});
    let pod = json!({"spec": {"containers": [{"name": "c"}], "volumes": [volume]}});
    let after = mutated(&pod, &json!({}));
    assert_eq!(after.pointer("/spec/volumes"), pod.pointer("/spec/volumes"));
    let mount = after.pointer("/spec/containers/0/volumeMounts/0/name");
    assert_eq!(mount, Some(&json!("azure-identity-token")));
}

#[test]
fn mirror_pods_stay_as_they_are_without_a_lookup() {
    for opt_in in ["pod", "serviceAccount", "podOrServiceAccount", "all"] {
        for value in [json!("hash"), json!(""), Value::Null] {
            let pod = json!({
                "metadata": {
                    "labels": {"azure.workload.identity/use": "true"},
                    "annotations": {"kubernetes.io/config.mirror": value},
                },
                "spec": {"containers": [{"name": "c"}]},
            })
            .to_string();
            let (json, config) = (JsonText::parse(&pod).unwrap(), config(&json!({"optIn": opt_in})));
            let admission = admit(&AdmissionRequest::pod_creation("team", json.root()), &config);
            let Admission::Decided(Ok(mutation)) = admission else { panic!("{opt_in}: {admission:?}") };
            assert_eq!(mutation, Mutation::default(), "{opt_in}");
        }
    }
}

#[test]
fn the_proxys_containers_have_resources_and_privileges_as_set() {
    let resources = json!({"requests": {"cpu": "10m"}, "limits": {"memory": "64Mi"}});
    let init_resources = json!({"limits": {"cpu": 1}});
    let pod = json!({
        "metadata": {"annotations": {"azure.workload.identity/inject-proxy-sidecar": "true"}},
        "spec": {"containers": [{"name": "c"}]},
    });
    let proxy = |proxy: Value| mutated(&pod, &json!({"proxy": proxy}));
    let set =
        proxy(json!({"resources": resources, "initResources": init_resources, "initPrivileged": false}));
    assert_eq!(set.pointer("/spec/initContainers/0/resources"), Some(&resources));
    assert_eq!(set.pointer("/spec/initContainers/1/resources"), Some(&init_resources));
    let context = set.pointer("/spec/initContainers/1/securityContext").unwrap();
    assert_eq!(context["privileged"], json!(false));
    assert_eq!(context["capabilities"]["add"], json!(["NET_ADMIN", "NET_RAW"]));
    let unset = proxy(json!({}));
    assert_eq!(unset.pointer("/spec/initContainers/0/resources"), None);
    assert_eq!(unset.pointer("/spec/initContainers/1/securityContext/privileged"), Some(&json!(true)));
}

#[test]
fn another_kind_of_object_is_no_pod() {
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment"});
    let denial = answer(&deployment, &json!({}), &json!({"optIn": "all"})).unwrap_err();
    assert_eq!(denial.message, "unable to decode apps/v1, Kind=Deployment into *v1.Pod");
}
