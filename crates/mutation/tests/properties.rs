//! Properties of every pod, checked on generated ones.

// The lint does not treat test helpers as tests.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod generated;
mod support;

use azwi_json::{JsonText, JsonValue};
use azwi_mutation::{
    AdmissionRequest, Config, Mutation, ServiceAccount, ServiceAccountLookup, Settings, Verdict,
};
use generated::{any_json, pod};
use k8s_openapi::api::core::v1::Pod;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config as Runs, TestCaseError, TestRunner};
use support::{creation, verdict_on_request};

/// Number of mutated pods on which the properties are checked.
const MUTATED_PODS: u32 = 10_000;
/// Number of pods that may be discarded for that: some are denied, or not opted in (two in seven of them).
const UNTOUCHED_PODS: u32 = 20_000;

const SERVICE_ACCOUNTS: &[&str] = &[
    r#"{"metadata":{"annotations":{"azure.workload.identity/client-id":"5d2e50e8-c9fc-80ad-3ab4-bc23cce71bf1"}}}"#,
    r#"{"metadata":{"labels":{"azure.workload.identity/use":"true"},"annotations":{"azure.workload.identity/tenant-id":""}}}"#,
    "{}",
];

fn configs() -> impl Strategy<Value = (&'static str, Config)> {
    let layout = select(&["azure-identity-token", "reserved", "reserved-per-pod"]);
    let opt_in =
        select(&["all", "all", "all", "all", "all", "all", "podOrServiceAccount", "pod", "serviceAccount"]);
    let ca = select(&[
        "",
        r#","caData":"PEM""#,
        r#","caConfigMapName":"ca""#,
        r#","caTrustBundle":{"signerName":"e.com/s","labelSelector":{}}"#,
    ]);
    (layout, opt_in, any::<bool>(), ca).prop_map(|(layout, opt_in, native, ca)| {
        let settings = format!(
            r#"{{"tenantId":"contoso.example","tokenVolume":"{layout}","optIn":"{opt_in}",
                "proxy":{{"nativeSidecar":{native}}},
                "tokenEndpoint":{{"annotationSuffix":"identity-binding","audience":"api://AKSIdentityBinding"{ca}}}}}"#
        );
        (layout, Config::from_json(&settings).unwrap())
    })
}

fn lookup(service_account: &str) -> ServiceAccountLookup {
    ServiceAccountLookup::Found(ServiceAccount::from_json(service_account).unwrap())
}

fn mutation_of(pod: &str, service_account: &str, config: &Config) -> Verdict {
    let request = creation("team-a", ("", "Pod", "pods"), pod);
    verdict_on_request(&request, lookup(service_account), config)
}

fn applied(mutation: &Mutation, pod: &str) -> String {
    mutation.patch.apply_to(JsonText::parse(pod).unwrap().root()).unwrap()
}

/// Whether all of `before` is still in `after`, in the same order and with the same number texts. Parts that this
/// software injected earlier under a reserved name may have been corrected, in the layouts that have one.
fn is_kept(before: JsonValue<'_>, after: JsonValue<'_>, layout: &str) -> bool {
    let is_nothing =
        |value: JsonValue<'_>| value.raw() == "null" || (value.is_array() && value.elements().count() == 0);
    if is_nothing(before) {
        return is_nothing(after) || after.is_array();
    }
    if before.is_object() {
        let mut members = after.members();
        return (layout != "azure-identity-token" && is_own(before))
            || before.members().all(|(key, value)| {
                members.any(|(other, kept)| key == other && is_kept(value, kept, layout))
            });
    }
    if before.is_array() {
        let mut elements = after.elements();
        return before.elements().all(|value| elements.any(|kept| is_kept(value, kept, layout)));
    }
    before.raw() == after.raw()
}

/// Whether this is a volume or mount with a name reserved for this software.
fn is_own(value: JsonValue<'_>) -> bool {
    let name = value.get("name").and_then(|name| name.text().ok()).unwrap_or_default();
    name.starts_with("azure-workload-identity-reserved-") && value.get("image").is_none()
}

/// Applies the API server's defaults.
fn defaulted(pod: &str) -> String {
    let mut pod: serde_json::Value = serde_json::from_str(pod).unwrap();
    let empty = Vec::new();
    let lists = ["containers", "initContainers"];
    for list in lists {
        for container in pod["spec"][list].as_array_mut().unwrap_or(&mut empty.clone()) {
            container["terminationMessagePath"] = "/dev/termination-log".into();
            for port in container["ports"].as_array_mut().unwrap_or(&mut empty.clone()) {
                port["protocol"] = "TCP".into();
            }
        }
    }
    for volume in pod["spec"]["volumes"].as_array_mut().unwrap_or(&mut empty.clone()) {
        if let Some(projected) = volume.get_mut("projected").and_then(serde_json::Value::as_object_mut) {
            projected.entry("defaultMode").or_insert(420.into());
            for source in projected.get_mut("sources").and_then(|it| it.as_array_mut()).into_iter().flatten()
            {
                if let Some(token) = source.get_mut("serviceAccountToken").and_then(|it| it.as_object_mut()) {
                    token.entry("expirationSeconds").or_insert(3600.into());
                }
            }
        }
    }
    pod["spec"]["dnsPolicy"] = "ClusterFirst".into();
    pod.to_string()
}

/// Sets the name that the API server generates from the prefix.
fn named(pod: &str) -> String {
    let mut pod: serde_json::Value = serde_json::from_str(pod).unwrap();
    let metadata = &mut pod["metadata"];
    if metadata["name"].as_str().unwrap_or_default().is_empty() {
        metadata["name"] = format!("{}x7k2p", metadata["generateName"].as_str().unwrap_or_default()).into();
    }
    pod.to_string()
}

/// Checks the properties for one pod; returns whether it was mutated.
fn check_laws(
    pod: &str,
    service_account: &str,
    layout: &str,
    config: &Config,
) -> Result<bool, TestCaseError> {
    let Ok(mutation) = mutation_of(pod, service_account, config) else { return Ok(false) };
    let mutated = applied(&mutation, pod);

    // Nothing is lost, reordered or reformatted.
    let kept =
        is_kept(JsonText::parse(pod).unwrap().root(), JsonText::parse(&mutated).unwrap().root(), layout);
    prop_assert!(kept, "lost: {mutated}");

    // The patch matches the result of a JSON Patch library, and only adds, except for reserved names.
    let mut patched: serde_json::Value = serde_json::from_str(pod).unwrap();
    let patch: json_patch::Patch = serde_json::from_str(&mutation.patch.to_json()).unwrap();
    json_patch::patch(&mut patched, &patch).unwrap();
    prop_assert_eq!(&patched, &serde_json::from_str::<serde_json::Value>(&mutated).unwrap());
    let only_adds = patch.0.iter().all(|operation| matches!(operation, json_patch::PatchOperation::Add(_)));
    prop_assert!(only_adds || layout != "azure-identity-token", "replaces: {:?}", patch);

    // The API accepts it.
    prop_assert!(serde_json::from_str::<Pod>(&mutated).is_ok(), "no pod: {mutated}");

    // A second mutation changes nothing, even if the API server has set defaults and a name in between.
    for again in [mutated.clone(), defaulted(&mutated), named(&mutated), named(&defaulted(&mutated))] {
        let second = mutation_of(&again, service_account, config).unwrap();
        prop_assert!(second.patch.is_empty(), "mutated again: {:?} of {again}", second.patch);
        prop_assert_eq!(&applied(&second, &again), &again);
    }

    // The same input gives the same bytes.
    let repeated = mutation_of(pod, service_account, config).unwrap();
    prop_assert_eq!(mutation.patch.to_json(), repeated.patch.to_json());
    Ok(!mutation.patch.is_empty())
}

#[test]
fn laws_of_a_mutation() {
    let inputs = (pod().prop_map(|pod| pod.text()), select(SERVICE_ACCOUNTS), configs());
    let checked = TestRunner::new(runs()).run(&inputs, |(pod, service_account, (layout, config))| {
        if check_laws(&pod, service_account, layout, &config)? {
            Ok(())
        } else {
            // Checked as well, but not counted; the runner generates another one.
            Err(TestCaseError::reject("not mutated"))
        }
    });
    if let Err(failure) = checked {
        panic!("{failure}");
    }
}

fn runs() -> Runs {
    Runs {
        cases: MUTATED_PODS,
        max_global_rejects: UNTOUCHED_PODS,
        failure_persistence: None,
        ..Runs::default()
    }
}

proptest! {
    #![proptest_config(runs())]

    #[test]
    fn arbitrary_json_gets_an_answer(json in any_json()) {
        let text = json.to_string();
        let config = Config::from_json(r#"{"tenantId":"contoso.example","optIn":"all"}"#).unwrap();
        if let Err(denial) = mutation_of(&text, "{}", &config) {
            prop_assert!(!denial.message.is_empty());
        }
        for (group, kind, resource) in [("apps", "Deployment", "deployments"), ("batch", "CronJob", "cronjobs")] {
            let request = creation("team-a", (group, kind, resource), &text);
            let verdict = verdict_on_request(&request, lookup("{}"), &config);
            prop_assert!(verdict.is_ok_and(|mutation| mutation.patch.is_empty()));
        }
        // It only matters that these return.
        _ = AdmissionRequest::read(JsonText::parse(&text).unwrap().root());
        _ = Settings::from_json(&text).and_then(|settings| Config::new(&settings));
        _ = ServiceAccount::from_json(&text);
    }

    #[test]
    fn arbitrary_text_gets_an_answer(text in ".{0,64}", cut in 0..200_usize) {
        _ = JsonText::parse(&text);
        _ = Settings::from_json(&text);
        // A truncated request.
        let whole = creation("team-a", ("", "Pod", "pods"), r#"{"metadata":{"labels":{"é":"\ud83d"}}}"#);
        let cut = whole.floor_char_boundary(cut.min(whole.len() - 1));
        prop_assert!(JsonText::parse(&whole[..cut]).is_err());
    }
}
