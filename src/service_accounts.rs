//! Service accounts, read through the host.

use azwi_mutation::{ServiceAccount, ServiceAccountLookup};
use kubewarden_policy_sdk::host_capabilities::kubernetes::GetResourceRequest;
use kubewarden_policy_sdk::wapc_guest::host_call;

/// Reads a service account. The host may answer from its cache, which is at most five seconds old.
pub(crate) fn get(namespace: &str, name: &str) -> ServiceAccountLookup {
    let request = GetResourceRequest {
        api_version: "v1".to_owned(),
        kind: "ServiceAccount".to_owned(),
        name: name.to_owned(),
        namespace: Some(namespace.to_owned()),
        disable_cache: false,
        field_masks: None,
    };
    let payload = match serde_json::to_vec(&request) {
        Ok(payload) => payload,
        Err(error) => return ServiceAccountLookup::Failed(error.to_string()),
    };
    // Not with the SDK's `get_resource`: it deserialises into a type, but the text is needed.
    match host_call("kubewarden", "kubernetes", "get_resource", &payload) {
        Ok(manifest) => match std::str::from_utf8(&manifest) {
            Ok(manifest) => match ServiceAccount::from_json(manifest) {
                Ok(account) => ServiceAccountLookup::Found(account),
                Err(problem) => ServiceAccountLookup::Failed(problem),
            },
            Err(error) => ServiceAccountLookup::Failed(error.to_string()),
        },
        Err(error) => lookup_from_host_error(name, &error.to_string()),
    }
}

/// Distinguishes the host's errors. They have no code, and a backtrace may follow, so they are matched by part of the
/// text (`docs/kubewarden.md` lists the texts).
fn lookup_from_host_error(name: &str, error: &str) -> ServiceAccountLookup {
    // Not `str::contains`, whose search algorithm would be one percent of the wasm.
    let says = |words: &str| error.as_bytes().windows(words.len()).any(|window| window == words.as_bytes());
    if says(&format!("Cannot find v1/ServiceAccount named '{name}'")) {
        return ServiceAccountLookup::Missing;
    }
    ServiceAccountLookup::Failed(if says("host capability. The violation has been reported") {
        "the policy is missing hostCapabilities: kubernetes/get_resource".to_owned()
    } else if says("has not been granted access to Kubernetes v1/ServiceAccount") {
        "the policy is missing contextAwareResources: v1 ServiceAccount".to_owned()
    } else if says(": Forbidden") || says("code: 403") {
        "the policy server's own service account is not allowed to get serviceaccounts".to_owned()
    } else {
        let first_line = error.lines().next().unwrap_or_default();
        let text = first_line.strip_prefix("Host error: ").unwrap_or(first_line);
        text.strip_prefix("Callback evaluation failure: ").unwrap_or(text).to_owned()
    })
}

#[cfg(test)]
mod tests {
    use azwi_mutation::ServiceAccountLookup;

    use super::lookup_from_host_error;

    fn reason(error: &str) -> String {
        match lookup_from_host_error("sa", error) {
            ServiceAccountLookup::Failed(reason) => reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn missing_is_only_this_account_missing() {
        let text = "error invoking host capability kubernetes.get_resource: Host error: Callback evaluation failure: \
                    Cannot find v1/ServiceAccount named 'sa' inside of namespace 'Some(\"team-a\")'";
        assert_eq!(lookup_from_host_error("sa", text), ServiceAccountLookup::Missing);
        assert!(
            reason("Callback evaluation failure: Cannot find resource v1/ServiceAccount")
                .contains("Cannot find")
        );
    }

    #[test]
    fn each_other_error_names_its_remedy() {
        let gate = "Host error: Policy has not been granted access to Kubernetes v1/ServiceAccount resources. \
                    The violation has been reported.";
        assert!(reason(gate).contains("contextAwareResources"));
        let capability = "Host error: Policy has not been granted access to the 'kubernetes/get_resource' host \
                          capability. The violation has been reported.";
        assert!(reason(capability).contains("hostCapabilities"));
        let forbidden = "Callback evaluation failure: ApiError: serviceaccounts \"sa\" is forbidden: User \"x\" \
                         cannot get: Forbidden (Status { code: 403 })\n\nCaused by:\n    long";
        assert!(reason(forbidden).contains("is not allowed to get serviceaccounts"));
        let other = "Host error: Callback evaluation failure: kube::Client was not initialized properly\n\nCaused by:";
        assert_eq!(reason(other), "kube::Client was not initialized properly");
    }
}
