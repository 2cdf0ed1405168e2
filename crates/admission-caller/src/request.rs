//! Admission requests in the API server's format.

use serde_json::{Value, json};

/// Id of every request built here.
pub const REQUEST_UID: &str = "705ab4f5-6393-11e8-b7cc-42010a800002";

/// Wraps a request in the review that an API server sends to a webhook.
pub fn review(request: &str) -> String {
    format!(r#"{{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{request}}}"#)
}

/// A pod with one container and the opt-in label.
pub fn labelled_pod(service_account: &str) -> Value {
    json!({
        "metadata": {"name": "p", "labels": {"azure.workload.identity/use": "true"}},
        "spec": {"serviceAccountName": service_account, "containers": [{"name": "c"}]},
    })
}

/// The API server's admission request for creating a pod.
pub fn pod_creation(namespace: &str, pod: &str) -> String {
    request(namespace, ("", "Pod", "pods"), pod)
}

/// The admission request for creating any object.
pub fn creation(namespace: &str, (group, resource): (&str, &str), object: &Value) -> String {
    let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default();
    request(namespace, (group, kind, resource), &object.to_string())
}

fn request(namespace: &str, (group, kind, resource): (&str, &str, &str), object: &str) -> String {
    let kind = json!({"group": group, "version": "v1", "kind": kind});
    let resource = json!({"group": group, "version": "v1", "resource": resource});
    let request = json!({
        "uid": REQUEST_UID,
        "kind": kind,
        "resource": resource,
        "requestKind": kind,
        "requestResource": resource,
        "operation": "CREATE",
        "namespace": namespace,
        "userInfo": {"username": "admin"},
        "dryRun": false,
    })
    .to_string();
    // As text, so that the object is not rewritten.
    let open = request.strip_suffix('}').unwrap_or(&request);
    format!("{open},\"object\":{object}}}")
}
