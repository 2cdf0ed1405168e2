//! Shared by the core's tests: settings, lookups and verdicts in one line each.

// Each test file uses only some of these.
#![allow(dead_code, clippy::unwrap_used, clippy::missing_panics_doc)]

use azwi_json::JsonText;
use azwi_mutation::{
    AdmissionRequest, Config, MOST_REQUEST_VALUES, ServiceAccount, ServiceAccountLookup, Verdict, admit,
};
use serde_json::{Value, json};

/// A configuration with a tenant and these settings.
pub(crate) fn config(settings: &Value) -> Config {
    let mut all = json!({"tenantId": "contoso.example"});
    let members = settings.as_object().unwrap().clone();
    all.as_object_mut().unwrap().extend(members);
    Config::from_json(&all.to_string()).unwrap()
}

/// A lookup that finds this service account.
pub(crate) fn found(manifest: &Value) -> ServiceAccountLookup {
    ServiceAccountLookup::Found(ServiceAccount::from_json(&manifest.to_string()).unwrap())
}

/// The verdict on the creation of a pod in namespace `team`, from text that need not be JSON.
pub(crate) fn verdict(pod: &str, lookup: ServiceAccountLookup, config: &Config) -> Verdict {
    let json = JsonText::parse(pod).unwrap();
    admit(&AdmissionRequest::pod_creation("team", json.root()), config).finish(|_, _| lookup)
}

/// The verdict on an API server's request.
pub(crate) fn verdict_on_request(request: &str, lookup: ServiceAccountLookup, config: &Config) -> Verdict {
    let json = JsonText::parse_shaped(request, AdmissionRequest::SHAPE, MOST_REQUEST_VALUES).unwrap();
    admit(&AdmissionRequest::read(json.root()).unwrap(), config).finish(|_, _| lookup)
}

/// An API server's request to create an object, whose text is not changed.
pub(crate) fn creation(namespace: &str, (group, kind, resource): (&str, &str, &str), object: &str) -> String {
    let head = json!({
        "uid": "u",
        "operation": "CREATE",
        "namespace": namespace,
        "kind": {"group": group, "version": "v1", "kind": kind},
        "resource": {"group": group, "version": "v1", "resource": resource},
    })
    .to_string();
    azwi_json::with_member(head, "object", object)
}
