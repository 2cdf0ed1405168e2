//! Cases that the fixtures cannot cover: the host's errors, kinds of requests, and the mutated object's own text.

use std::sync::Arc;

use admission_caller::cluster::{Cluster, Fault};
use admission_caller::policy::{Evaluation, HostCapabilities, Policy as _};
use admission_caller::request::pod_creation;
use serde_json::{Value, json};

use super::HOST;

const LABELLED: &str = r#"{"metadata":{"name":"p","labels":{"azure.workload.identity/use":"true"}},
                           "spec":{"serviceAccountName":"sa","containers":[{"name":"c"}]}}"#;
const UNLABELLED: &str =
    r#"{"metadata":{"name":"p"},"spec":{"serviceAccountName":"sa","containers":[{"name":"c"}]}}"#;

fn settings() -> Value {
    json!({"tenantId": "contoso.example"})
}

fn service_account() -> Value {
    json!({"metadata": {"name": "sa", "annotations": {
        "azure.workload.identity/client-id": "5d2e50e8-c9fc-4dad-9ab4-bc23cce71bf1"}}})
}

fn evaluate(request: &str, settings: &Value, fault: Option<Fault>) -> Evaluation {
    let cluster: Arc<dyn HostCapabilities> =
        Arc::new(Cluster { service_accounts: vec![service_account()], fault });
    HOST.validate(request, settings, &cluster).expect("an answer")
}

#[test]
fn host_faults_close_for_labelled_pods_and_open_for_the_rest() {
    for (fault, remedy) in [
        (Fault::Forbidden, "is not allowed to get serviceaccounts"),
        (Fault::ContextNotGranted, "is missing contextAwareResources"),
        (Fault::CapabilityNotGranted, "is missing hostCapabilities"),
        (Fault::NoClient, "kube::Client was not initialized properly"),
    ] {
        let denied = evaluate(&pod_creation("ns", LABELLED), &settings(), Some(fault)).answer;
        assert_eq!((denied.allowed, denied.code), (false, Some(500)), "{fault:?}");
        assert!(denied.message.contains(remedy), "{fault:?}: {}", denied.message);

        let open = evaluate(&pod_creation("ns", UNLABELLED), &settings(), Some(fault)).answer;
        assert!(open.allowed && open.patch.is_empty(), "{fault:?}");
        assert!(
            open.warnings.iter().any(|warning| warning.contains(remedy)),
            "{fault:?}: {:?}",
            open.warnings
        );
    }
}

#[test]
fn only_the_creation_of_pods_is_mutated_and_the_rest_costs_no_lookup() {
    let creation: Value = serde_json::from_str(&pod_creation("ns", LABELLED)).expect("a request");
    let with = |pointer: &str, value: Value| {
        let mut request = creation.clone();
        *request.pointer_mut(pointer).expect("a field") = value;
        evaluate(&request.to_string(), &settings(), None)
    };
    assert!(!with("/operation", "CREATE".into()).answer.patch.is_empty(), "the creation itself");
    let mut untouched = vec![
        with("/operation", "UPDATE".into()),
        with("/operation", "DELETE".into()),
        with("/operation", "CONNECT".into()),
        with("/kind/kind", "Service".into()),
        with("/resource/resource", "podtemplates".into()),
        with("/resource/group", "example.com".into()),
    ];
    let mut subresource = creation.clone();
    subresource["subResource"] = "ephemeralcontainers".into();
    untouched.push(evaluate(&subresource.to_string(), &settings(), None));
    for evaluation in untouched {
        assert!(evaluation.answer.allowed && evaluation.answer.patch.is_empty());
        assert_eq!((evaluation.host_calls, evaluation.mutated_object), (0, None));
    }
}

#[test]
fn the_happy_path_is_one_lookup_and_no_log_line() {
    assert_eq!(evaluate(&pod_creation("ns", LABELLED), &settings(), None).host_calls, 1);
}

#[test]
fn what_the_mutation_does_not_touch_keeps_its_text() {
    let pod = r#"{"metadata":{"name":"p","labels":{"azure.workload.identity/use":"true"}}, "later" :[1e2, 1.50,
                  9007199254740993],"spec":{"zeta":{"b":1,"a":2},"serviceAccountName":"sa","containers":[ ]}}"#;
    let evaluation = evaluate(&pod_creation("ns", pod), &settings(), None);
    let mutated = evaluation.mutated_object.expect("a mutated object");
    let at = |end: &str| pod.find(end).expect("a part of the pod");
    let untouched = &pod[..=at("]}}")];
    assert!(mutated.starts_with(untouched), "{mutated}");
    assert!(
        mutated[untouched.len()..].starts_with(r#","volumes":[{"name":"azure-identity-token","#),
        "{mutated}"
    );
}

/// Whether the error comes from the guest itself, not from a trap or the deadline.
fn is_an_answer(error: &anyhow::Error) -> bool {
    let text = format!("{error:#}");
    !["wasm backtrace", "wasm trap", "unreachable", "interrupt"].iter().any(|sign| text.contains(sign))
}

#[test]
fn a_payload_that_is_no_request_gets_an_error_and_not_a_trap() {
    let nothing: Arc<dyn HostCapabilities> = Arc::new(Cluster::default());
    for payload in ["", "{", "[]", r#"{"request":{}}"#, r#"{"request":5,"settings":{}}"#, "\u{0}"] {
        let error = HOST.call("validate", payload.as_bytes(), &nothing).expect_err(payload);
        assert!(is_an_answer(&error), "{payload}: {error:#}");
    }
    let error = HOST.call("validate", &[0xff, 0xfe], &nothing).expect_err("bytes that are no text");
    assert!(is_an_answer(&error), "{error:#}");
    // An example of a trap, to show that the checks above can fail.
    let trap = HOST.call("no such operation", b"", &nothing).expect_err("an unknown operation");
    assert!(format!("{trap:#}").contains("no such operation"), "{trap:#}");
}

#[test]
fn a_pod_with_a_field_of_the_wrong_type_is_denied_with_its_path() {
    for (pod, path) in [
        (
            r#"{"metadata":{"labels":{"azure.workload.identity/use":true}}}"#,
            "metadata.labels.azure.workload.identity/use",
        ),
        (
            r#"{"spec":{"serviceAccountName":"sa","containers":[{"name":"c"},{"env":{}}]}}"#,
            "spec.containers[1].env",
        ),
        (
            r#"{"spec":{"serviceAccountName":"sa","volumes":[{"projected":{"sources":[{"serviceAccountToken":{"path":5}}]}}]}}"#,
            "spec.volumes[0].projected.sources[0].serviceAccountToken.path",
        ),
        (r#"{"spec":{"serviceAccountName":"sa","hostNetwork":"yes"}}"#, "spec.hostNetwork"),
    ] {
        let opted_in = json!({"tenantId": "contoso.example", "optIn": "all"});
        let answer = evaluate(&pod_creation("ns", pod), &opted_in, None).answer;
        assert_eq!((answer.allowed, answer.code), (false, Some(400)), "{pod}");
        assert!(answer.message.contains(path), "{}", answer.message);
    }
}

#[test]
fn a_pod_that_nobody_opted_in_is_not_judged_by_its_spec() {
    let pod = r#"{"spec":{"serviceAccountName":"sa","hostNetwork":"yes"}}"#;
    for opt_in in ["pod", "serviceAccount", "podOrServiceAccount"] {
        let settings = json!({"tenantId": "contoso.example", "optIn": opt_in});
        let answer = evaluate(&pod_creation("ns", pod), &settings, None).answer;
        assert!(answer.allowed && answer.patch.is_empty(), "{opt_in}: {}", answer.message);
    }
}

#[test]
fn a_list_without_end_makes_no_answer_without_end() {
    let names = "wbe;".repeat(50_000);
    let pod = format!(
        r#"{{"metadata":{{"labels":{{"azure.workload.identity/use":"true"}},
            "annotations":{{"azure.workload.identity/skip-containers":"{names}"}}}},"spec":{{"serviceAccountName":"sa","containers":[{{"name":"web"}}]}}}}"#
    );
    let answer = evaluate(&pod_creation("ns", &pod), &settings(), None).answer;
    assert_eq!(answer.warnings.len(), 1, "{:?}", answer.warnings.first());
}

#[test]
fn settings_that_are_not_valid_deny_rather_than_let_pods_through() {
    let answer = evaluate(&pod_creation("ns", LABELLED), &json!({}), None).answer;
    assert_eq!((answer.allowed, answer.code), (false, Some(500)));
    assert!(answer.message.contains("tenantId"), "{}", answer.message);
}
