//! Any values of the annotations are refused with a reason, or what they ask for is in the pod.

#![no_main]

use azwi_json::JsonText;
use azwi_mutation::{AdmissionRequest, Config, ServiceAccount, ServiceAccountLookup, admit};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

/// One line of the input for each: first those of the pod, then those of the service account.
const OF_POD: [&str; 5] = [
    "azure.workload.identity/service-account-token-expiration",
    "azure.workload.identity/skip-containers",
    "azure.workload.identity/inject-proxy-sidecar",
    "azure.workload.identity/proxy-sidecar-port",
    "azure.workload.identity/use-identity-binding",
];
const OF_ACCOUNT: [&str; 3] = [
    "azure.workload.identity/client-id",
    "azure.workload.identity/tenant-id",
    "azure.workload.identity/service-account-token-expiration",
];

fuzz_target!(|text: &str| {
    let values: Vec<_> = text.split('\n').collect();
    let of_pod: Vec<_> = OF_POD.into_iter().zip(values.iter().copied()).collect();
    let of_account: Vec<_> = OF_ACCOUNT.into_iter().zip(values.iter().skip(OF_POD.len()).copied()).collect();
    let mut pod = json!({
        "metadata": {
            "labels": {"azure.workload.identity/use": "true"},
            "annotations": of_pod.iter().copied().collect::<std::collections::BTreeMap<_, _>>(),
        },
        "spec": {"serviceAccountName": "sa", "containers": [{"name": "a"}, {"name": "b"}]},
    });
    let request = json!({
        "uid": "u", "namespace": "ns", "operation": "CREATE", "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "resource": {"group": "", "version": "v1", "resource": "pods"}, "object": pod,
    })
    .to_string();
    let config = Config::from_json(r#"{"tenantId": "contoso.example"}"#).expect("settings");
    let json = JsonText::parse_shaped(&request, AdmissionRequest::SHAPE, usize::MAX).expect("JSON");
    let request = AdmissionRequest::read(json.root()).expect("a request");
    let account = ServiceAccount::new(std::iter::empty::<(&str, &str)>(), of_account.iter().copied());
    let mutation = match admit(&request, &config).finish(|_, _| ServiceAccountLookup::Found(account)) {
        Err(denial) => return assert!(!denial.to_string().is_empty()),
        Ok(mutation) => mutation,
    };
    let patch: json_patch::Patch = serde_json::from_str(&mutation.patch.to_json()).expect("a patch is JSON");
    json_patch::patch(&mut pod, &patch).expect("another implementation applies it");
    let seconds =
        &pod["spec"]["volumes"][0]["projected"]["sources"][0]["serviceAccountToken"]["expirationSeconds"];
    assert!((3600..=86_400).contains(&seconds.as_i64().expect("a lifetime")), "{seconds}");
    let value = |values: &[(&'static str, &str)], key: &str| {
        values.iter().find(|(name, _)| name.ends_with(key)).map(|(_, value)| (*value).to_owned())
    };
    let skipped = value(&of_pod, "/skip-containers").unwrap_or_default();
    let skipped: Vec<_> = skipped.split([';', ',']).map(str::trim).collect();
    let client_id = value(&of_account, "/client-id").unwrap_or_default();
    // An empty one counts, as it does for upstream.
    let tenant_id = value(&of_account, "/tenant-id").unwrap_or_else(|| "contoso.example".to_owned());
    for container in pod["spec"]["containers"].as_array().expect("containers") {
        let name = container["name"].as_str().expect("a name");
        if name != "a" && name != "b" {
            continue;
        }
        let variable = |wanted: &str| {
            let variables = container["env"].as_array()?;
            variables.iter().find(|variable| variable["name"] == wanted)?["value"].as_str()
        };
        if skipped.contains(&name) {
            assert_eq!(container.get("env"), None::<&Value>, "{container}");
            continue;
        }
        assert_eq!(variable("AZURE_CLIENT_ID").unwrap_or_default(), client_id);
        assert_eq!(variable("AZURE_TENANT_ID").unwrap_or_default(), tenant_id);
    }
});
