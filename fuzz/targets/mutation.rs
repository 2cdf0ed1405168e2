//! Any pod gets an answer. The patch applied to its text equals the patch applied by another implementation, and mutating the
//! result again changes nothing that was injected.

#![no_main]

use std::sync::LazyLock;

use azwi_json::JsonText;
use azwi_mutation::{AdmissionRequest, Config, Mutation, ServiceAccount, ServiceAccountLookup, admit};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

static CONFIGS: LazyLock<Vec<Config>> = LazyLock::new(|| {
    let endpoint = r#"{"annotationSuffix": "x", "audience": "api://x", "tokenProxy": "https://t.example", "caConfigMapName": "m"}"#;
    ["azure-identity-token", "reserved", "reserved-per-pod"]
        .into_iter()
        .flat_map(|layout| ["podOrServiceAccount", "all"].map(|opt_in| (layout, opt_in)))
        .filter_map(|(layout, opt_in)| {
            let settings = format!(
                r#"{{"tenantId": "contoso.example", "tokenVolume": "{layout}", "optIn": "{opt_in}", "tokenEndpoint": {endpoint}}}"#
            );
            Config::from_json(&settings).ok()
        })
        .collect()
});

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, pod)) = bytes.split_first() else { return };
    let Ok(pod) = std::str::from_utf8(pod) else { return };
    let Some(config) = CONFIGS.get(usize::from(*choice) % CONFIGS.len()) else { return };
    let Some(mutation) = mutate(pod, config) else { return };
    let Ok(mut object) = serde_json::from_str::<Value>(pod) else { return };
    let json = JsonText::parse(pod).expect("it was read before");
    let patched = mutation.patch.apply_to(json.root()).expect("the plan's patch fits");
    let operations: json_patch::Patch =
        serde_json::from_str(&mutation.patch.to_json()).expect("a patch is JSON");
    json_patch::patch(&mut object, &operations).expect("another implementation applies it");
    let reread: Value = serde_json::from_str(&patched).expect("the result is JSON");
    assert_eq!(reread, object);
    mutate(&patched, config).expect("the result can be mutated");
});

/// The mutation of a created pod, if it is admitted.
fn mutate(pod: &str, config: &Config) -> Option<Mutation> {
    let request = format!(
        r#"{{"uid": "u", "namespace": "ns", "operation": "CREATE", "kind": {{"group": "", "version": "v1", "kind": "Pod"}},
        "resource": {{"group": "", "version": "v1", "resource": "pods"}}, "object": {pod}}}"#
    );
    let json = JsonText::parse_shaped(&request, AdmissionRequest::SHAPE, usize::MAX).ok()?;
    let request = AdmissionRequest::read(json.root()).ok()?;
    let account = ServiceAccount::new(
        [("azure.workload.identity/use", "true")],
        [("azure.workload.identity/client-id", "5d2e50e8-c9fc-4dad-9ab4-bc23cce71bf1")],
    );
    admit(&request, config).finish(|_, _| ServiceAccountLookup::Found(account)).ok()
}
