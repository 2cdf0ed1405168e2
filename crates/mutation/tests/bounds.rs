//! Requests are bounded, and errors name the bound that was exceeded.

// The lint does not treat test helpers as tests.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use azwi_json::JsonText;
use azwi_mutation::{
    Admission, AdmissionRequest, Config, MOST_REQUEST_VALUES, ServiceAccount, ServiceAccountLookup, Verdict,
};
use serde_json::{Value, json};
use support::{creation, verdict_on_request};

const LABELS: &str = r#"{"azure.workload.identity/use":"true"}"#;

fn config() -> Config {
    Config::from_json(r#"{"tenantId":"contoso.example","tokenVolume":"reserved"}"#).unwrap()
}

fn request(namespace: &str, pod: &str) -> String {
    creation(namespace, ("", "Pod", "pods"), pod)
}

fn answer_with(request: &str, account: ServiceAccount) -> Verdict {
    verdict_on_request(request, ServiceAccountLookup::Found(account), &config())
}

fn answer(spec: &str) -> Verdict {
    let pod = format!(r#"{{"metadata":{{"name":"p","labels":{LABELS}}},"spec":{spec}}}"#);
    answer_with(&request("ns", &pod), ServiceAccount::default())
}

fn list(element: &str, count: usize) -> String {
    format!("[{}]", vec![element; count].join(","))
}

#[test]
fn lists_have_bounds_that_the_denial_names() {
    let containers = |list: String| format!(r#"{{"containers":{list}}}"#);
    let in_one = |field: &str, list: String| containers(format!(r#"[{{"name":"c","{field}":{list}}}]"#));
    let sources =
        |list: String| format!(r#"{{"volumes":[{{"name":"v","projected":{{"sources":{list}}}}}]}}"#);
    for (at_most, spec) in [
        (1_000, &(|count| containers(list("{}", count))) as &dyn Fn(usize) -> String),
        (1_000, &|count| format!(r#"{{"volumes":{}}}"#, list("{}", count))),
        (2_000, &|count| sources(list("{}", count))),
        (10_000, &|count| in_one("env", list(r#"{"name":"A"}"#, count))),
        (10_000, &|count| in_one("volumeMounts", list("{}", count))),
    ] {
        assert!(answer(&spec(at_most)).is_ok(), "{at_most}");
        let denial = answer(&spec(at_most + 1)).unwrap_err();
        assert_eq!(denial.code, 400);
        assert!(denial.message.contains(&format!("a list of at most {at_most} ")), "{denial}");
    }
}

#[test]
fn lists_of_all_containers_count_together() {
    let half = list("{}", 501);
    let denial = answer(&format!(r#"{{"initContainers":{half},"containers":{half}}}"#)).unwrap_err();
    assert!(denial.message.contains("spec.containers must be a list of at most 1000 containers"), "{denial}");
    let container = format!(r#"{{"env":{}}}"#, list("{}", 5_001));
    let denial = answer(&format!(r#"{{"containers":[{container},{container}]}}"#)).unwrap_err();
    assert!(denial.message.contains("spec.containers[1].env must be a list of at most 10000"), "{denial}");
}

#[test]
fn what_is_looked_at_of_a_spec_has_a_bound() {
    let items = list("1", 70_000);
    let source = json!({"configMap": {"items": "ITEMS"}}).to_string().replace("\"ITEMS\"", &items);
    let volume = format!(r#"{{"name":"v","projected":{{"sources":[{source}]}}}}"#);
    let denial = answer(&format!(r#"{{"volumes":[{volume}]}}"#)).unwrap_err();
    assert_eq!(denial.message, "pod field spec is too large: it has more than 65536 keys and values");
}

#[test]
fn what_is_added_has_a_bound() {
    let container = r#"{"name":"c","env":[{"name":"A"}]}"#;
    let denial = answer(&format!(r#"{{"containers":{}}}"#, list(container, 1_000))).unwrap_err();
    assert!(denial.message.contains("at most 524288 bytes"), "{denial}");
    assert!(answer(&format!(r#"{{"containers":{}}}"#, list(container, 700))).is_ok());
}

#[test]
fn depth_has_a_bound() {
    let deep = r#"{"a":"#.repeat(200) + "1" + &"}".repeat(200);
    let request = request("ns", &format!(r#"{{"x":{deep}}}"#));
    let refused = JsonText::parse_shaped(&request, AdmissionRequest::SHAPE, MOST_REQUEST_VALUES);
    assert_eq!(refused.unwrap_err(), "nested deeper than 128 levels");
}

#[test]
fn names_and_annotations_have_bounds() {
    let pod = |metadata: Value| {
        let mut metadata = metadata;
        metadata["labels"] = serde_json::from_str(LABELS).unwrap();
        let pod = json!({"metadata": metadata, "spec": {"containers": [{"name": "c"}]}});
        answer_with(&request("ns", &pod.to_string()), ServiceAccount::default())
    };
    assert!(pod(json!({"name": "x".repeat(253)})).is_ok());
    let denial = pod(json!({"name": "x".repeat(254)})).unwrap_err();
    assert_eq!(denial.message, "pod field metadata.name must be at most 253 bytes long");
    let denial = pod(json!({"generateName": "x".repeat(254)})).unwrap_err();
    assert_eq!(denial.message, "pod field metadata.generateName must be at most 253 bytes long");
    let skip_list =
        |length| json!({"annotations": {"azure.workload.identity/skip-containers": ";".repeat(length)}});
    assert!(pod(skip_list(262_000)).is_ok());
    let denial = pod(skip_list(262_144)).unwrap_err();
    assert!(denial.message.contains("metadata.annotations must be at most 262144 bytes"), "{denial}");
}

#[test]
fn annotations_of_a_service_account_have_a_bound() {
    let pod = format!(r#"{{"metadata":{{"name":"p","labels":{LABELS}}},"spec":{{"containers":[{{}}]}}}}"#);
    let with = |length: usize| {
        let tenant = "é".repeat(length / 2);
        let account = ServiceAccount::new([], [("azure.workload.identity/tenant-id", tenant.as_str())]);
        assert!(account.tenant_id.as_ref().is_some_and(|kept| kept.len() <= 260), "caches keep it");
        answer_with(&request("ns", &pod), account)
    };
    assert!(with(256).is_ok());
    let denial = with(300_000).unwrap_err();
    assert_eq!(
        denial.message,
        "annotation azure.workload.identity/tenant-id of service account ns/default must be at most 256 bytes long"
    );
}

#[test]
fn names_that_no_service_account_can_have_are_never_asked_for() {
    let ask = |namespace: &str, account: &str| {
        let pod = json!({"metadata": {"name": "p", "labels": serde_json::from_str::<Value>(LABELS).unwrap()},
            "spec": {"serviceAccountName": account, "containers": [{"name": "c"}]}});
        let request = request(namespace, &pod.to_string());
        let json = JsonText::parse(&request).unwrap();
        match azwi_mutation::admit(&AdmissionRequest::read(json.root()).unwrap(), &config()) {
            Admission::Decided(answer) => Some(answer.unwrap_err().code),
            Admission::Pending(_) => None,
        }
    };
    let long = "a".repeat(253);
    for account in ["default", "a.b-c.1", &long, ""] {
        assert_eq!(ask("team-a", account), None, "{account}");
    }
    let longer = "a".repeat(254);
    for account in
        ["?watch=true&n=1", "../../secrets/z", "a/b", "A", "a_b", "-a", "a.", "a%2fb", "a\0", "ä", &longer]
    {
        assert_eq!(ask("team-a", account), Some(404), "{account}");
    }
    for namespace in ["x/secrets/azure-wi-webhook-ca?x=", "..", "a.b", "", "A", &"a".repeat(64)] {
        assert_eq!(ask(namespace, "default"), Some(400), "{namespace}");
    }
}

#[test]
fn long_lists_meet_long_lists_without_a_product() {
    // Many names, each of which is like that of a container: the first few are compared, and only with some containers.
    let names: Vec<String> = (0..30_000).map(|number| format!("c{number:03}k")).collect();
    let containers: Vec<Value> = (0..700).map(|number| json!({"name": format!("c{number:03}")})).collect();
    let pod = json!({"metadata": {"name": "p", "labels": serde_json::from_str::<Value>(LABELS).unwrap(),
        "annotations": {"azure.workload.identity/skip-containers": names.join(";")}},
        "spec": {"containers": containers}});
    let mutation = answer_with(&request("ns", &pod.to_string()), ServiceAccount::default()).unwrap();
    let unknown = mutation.warnings.iter().filter(|warning| warning.to_string().starts_with("AZWI006"));
    assert_eq!(unknown.count(), 8);
}

#[test]
fn skip_names_that_print_alike_are_one_warning_and_no_search() {
    let letters: Vec<char> = ('\u{1}'..='\u{8}').collect();
    let name = |number: usize| (0..5).map(|place| letters[number >> (3 * place) & 7]).collect::<String>();
    let names: Vec<String> = (0..30_000).map(name).collect();
    let pod = json!({"metadata": {"name": "p", "labels": serde_json::from_str::<Value>(LABELS).unwrap(),
        "annotations": {"azure.workload.identity/skip-containers": names.join(";")}},
        "spec": {"containers": [{"name": "\u{1}\u{1}\u{1}\u{1}x"}]}});
    let mutation = answer_with(&request("ns", &pod.to_string()), ServiceAccount::default()).unwrap();
    let unknown = mutation.warnings.iter().filter(|warning| warning.to_string().starts_with("AZWI006"));
    assert_eq!(unknown.count(), 1);
}

#[test]
fn an_expiration_of_the_service_account_that_does_not_count_may_be_anything() {
    let pod = format!(
        r#"{{"metadata":{{"name":"p","labels":{LABELS},"annotations":{{"azure.workload.identity/service-account-token-expiration":"4000"}}}},"spec":{{"containers":[{{}}]}}}}"#
    );
    let long = "1".repeat(10_000);
    let account = ServiceAccount::new(
        [],
        [("azure.workload.identity/service-account-token-expiration", long.as_str())],
    );
    assert!(answer_with(&request("ns", &pod), account).is_ok());
}
