//! What the recorded answers and the generated pods do not show: each with its exact patch.

// Helpers of tests are tests to a reader, but not to the lint.
#![allow(clippy::unwrap_used)]

use azwi_mutation::{
    Admission, AdmissionRequest, Answer, Config, Json, ServiceAccount, ServiceAccountLookup,
};
use serde_json::{Value, json};

const LABELLED_ACCOUNT: &str = r#"{"metadata":{"labels":{"azure.workload.identity/use":"true"},
    "annotations":{"azure.workload.identity/client-id":"id"}}}"#;
const ENDPOINT: &str =
    r#""annotationSuffix":"x","audience":"api://x","tokenProxy":"https://p.example","sniName":"s""#;

fn answer(pod: &str, account: &str, settings: &str) -> Answer {
    let request = format!(
        r#"{{"operation":"CREATE","namespace":"ns","kind":{{"kind":"Pod"}},"resource":{{"resource":"pods"}},"object":{pod}}}"#
    );
    let config = Config::from_json(&format!(r#"{{"tenantId":"contoso.example",{settings}}}"#)).unwrap();
    let json = Json::parse(&request).unwrap();
    match azwi_mutation::admit(&AdmissionRequest::read(json.root()).unwrap(), &config) {
        Admission::Answered(answer) => answer,
        Admission::Pending(pending) => {
            pending.answer(ServiceAccountLookup::Found(ServiceAccount::from_json(account).unwrap()))
        }
    }
}

/// The pod after the mutation.
fn mutated(pod: &str, settings: &str) -> Value {
    let mutation = answer(pod, LABELLED_ACCOUNT, settings).unwrap();
    serde_json::from_str(&mutation.patch.apply_to(Json::parse(pod).unwrap().root()).unwrap()).unwrap()
}

fn variables(pod: &Value) -> Vec<(&str, &str)> {
    let variables = pod.pointer("/spec/containers/0/env").unwrap().as_array().unwrap();
    let text = |variable: &'_ Value, key: &str| {
        variable.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let pairs = variables.iter().map(|variable| (text(variable, "name"), text(variable, "value")));
    pairs.map(|(name, value)| (&*name.leak(), &*value.leak())).collect()
}

const ASKS: &str = r#"{"metadata":{"name":"p","annotations":{"azure.workload.identity/use-x":"TRUE"}},
    "spec":{"containers":[{"name":"c"}]}}"#;

#[test]
fn ca_data_is_a_variable_and_no_file() {
    let settings =
        format!(r#""optIn":"all","tokenVolume":"reserved","tokenEndpoint":{{{ENDPOINT},"caData":"PEM"}}"#);
    let pod = mutated(ASKS, &settings);
    let endpoint: Vec<_> = variables(&pod).into_iter().skip(4).collect();
    assert_eq!(
        endpoint,
        [
            ("AZURE_KUBERNETES_TOKEN_PROXY", "https://p.example"),
            ("AZURE_KUBERNETES_SNI_NAME", "s"),
            ("AZURE_KUBERNETES_CA_DATA", "PEM")
        ]
    );
    let sources = pod.pointer("/spec/volumes/0/projected/sources").unwrap();
    assert_eq!(
        *sources,
        json!([{"serviceAccountToken": {"audience": "api://x", "expirationSeconds": 3600,
        "path": "token/azure-identity-token"}}])
    );
}

#[test]
fn a_trust_bundle_is_projected_beside_the_token() {
    let bundle = r#""caTrustBundle":{"signerName":"e.com/s","labelSelector":{"matchLabels":{"a":"b"}}}"#;
    let settings =
        format!(r#""optIn":"all","tokenVolume":"reserved","tokenEndpoint":{{{ENDPOINT},{bundle}}}"#);
    let pod = mutated(ASKS, &settings);
    let file = ("AZURE_KUBERNETES_CA_FILE", "/var/run/secrets/azure/wi/ca-cert/ca.crt");
    assert_eq!(variables(&pod).last(), Some(&file));
    let source = pod.pointer("/spec/volumes/0/projected/sources/1/clusterTrustBundle").unwrap();
    assert_eq!(
        *source,
        json!({"signerName": "e.com/s", "labelSelector": {"matchLabels": {"a": "b"}},
        "path": "ca-cert/ca.crt", "optional": false})
    );
}

#[test]
fn a_service_account_opts_in_whatever_the_pod_says() {
    let pod = r#"{"metadata":{"name":"p","labels":{"azure.workload.identity/use":"false"}},"spec":{"containers":[{"name":"c"}]}}"#;
    for opt_in in ["serviceAccount", "podOrServiceAccount"] {
        let settings = format!(r#""optIn":"{opt_in}""#);
        assert_eq!(variables(&mutated(pod, &settings)).first(), Some(&("AZURE_CLIENT_ID", "id")), "{opt_in}");
        let mutation = answer(pod, "{}", &settings).unwrap();
        assert!(mutation.patch.is_empty(), "{opt_in}");
    }
}

#[test]
fn a_pod_without_a_spec_gets_one() {
    let pod = mutated(r#"{"metadata":{"name":"p"}}"#, r#""optIn":"all""#);
    assert_eq!(pod.pointer("/spec/volumes/0/name"), Some(&json!("azure-identity-token")));
    assert_eq!(pod.pointer("/spec").and_then(Value::as_object).map(serde_json::Map::len), Some(1));
}

#[test]
fn an_earlier_volume_keeps_its_place_so_that_its_variables_stay_right() {
    let name = "azure-workload-identity-reserved-f19ff678f2cb1dbea8d2f468a5897c";
    let token = r#"{"serviceAccountToken":{"audience":"api://AzureADTokenExchange","expirationSeconds":3600,"path":"token/azure-identity-token"}}"#;
    for mount_path in
        ["/var/run/secrets/azure/wi", "/var/run/secrets/azure/wi/f19ff678f2cb1dbea8d2f468a5897c"]
    {
        let pod = format!(
            r#"{{"metadata":{{"name":"p"}},"spec":{{"containers":[{{"name":"c",
                "env":[{{"name":"AZURE_FEDERATED_TOKEN_FILE","value":"{mount_path}/token/azure-identity-token"}}],
                "volumeMounts":[{{"name":"{name}","mountPath":"{mount_path}","readOnly":true}}]}}],
                "volumes":[{{"name":"{name}","projected":{{"sources":[{token}]}}}}]}}}}"#
        );
        for layout in ["reserved", "reserved-per-pod"] {
            let after = mutated(&pod, &format!(r#""optIn":"all","tokenVolume":"{layout}""#));
            assert_eq!(
                after.pointer("/spec/containers/0/volumeMounts/0/mountPath"),
                Some(&json!(mount_path))
            );
            assert_eq!(after.pointer("/spec/volumes").and_then(Value::as_array).map(Vec::len), Some(1));
        }
    }
}

#[test]
fn another_kind_of_object_is_no_pod() {
    let denial =
        answer(r#"{"apiVersion":"apps/v1","kind":"Deployment"}"#, "{}", r#""optIn":"all""#).unwrap_err();
    assert_eq!(denial.message, "unable to decode apps/v1, Kind=Deployment into *v1.Pod");
}
