//! Kubewarden policy that injects Azure Workload Identity into pods: the waPC side of [`azwi_mutation`].
//!
//! The host calls three operations: `validate`, `validate_settings` and `protocol_version`. A fresh instance serves
//! each request, so no state is kept and nothing is prepared in advance.

mod service_accounts;

use azwi_json::{JsonText, JsonValue, Shape, push_member};
use azwi_mutation::{
    AdmissionRequest, Config, Denial, MOST_REQUEST_VALUES, ServiceAccountLookup, Verdict, admit,
};
use kubewarden_policy_sdk::settings::SettingsValidationResponse;
use kubewarden_policy_sdk::wapc_guest::CallResult;
use kubewarden_policy_sdk::{protocol_version_guest, wapc_guest};
use serde::{Serialize, Serializer};

/// Registers the operations; the host calls this once per instance.
// waPC requires this name, and the lint forbids exported names.
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
pub extern "C" fn wapc_init() {
    wapc_guest::register_function("validate", |payload| validate(payload, service_accounts::get));
    wapc_guest::register_function("validate_settings", validate_settings);
    wapc_guest::register_function("protocol_version", protocol_version_guest);
}

/// The parts of the `validate` payload to index.
static PAYLOAD: Shape = Shape::Object(&[("request", AdmissionRequest::SHAPE), ("settings", &Shape::Whole)]);

/// Answers the `validate` payload: an object with the admission `request` and the policy's `settings`. `lookup` reads a
/// service account by namespace and name.
///
/// # Errors
/// The payload is not one that a Kubewarden host sends. Everything else gets an answer.
pub fn validate(payload: &[u8], lookup: impl FnOnce(&str, &str) -> ServiceAccountLookup) -> CallResult {
    let json = JsonText::parse_shaped(std::str::from_utf8(payload)?, &PAYLOAD, MOST_REQUEST_VALUES)?;
    let field = |key: &str| json.root().get(key).ok_or_else(|| format!("the payload has no {key}"));
    let request = AdmissionRequest::read(field("request")?)?;
    let verdict = match Config::read(field("settings")?) {
        Ok(config) => admit(&request, &config).finish(lookup),
        Err(error) => {
            let message = format!("the policy's settings are not valid: {error}");
            Err(Denial { code: 500, message })
        }
    };
    Ok(response(verdict, request.object)?)
}

/// Validates the policy's settings. Settings of any shape get an answer.
///
/// # Errors
/// The answer cannot be serialised.
pub fn validate_settings(payload: &[u8]) -> CallResult {
    let message = match std::str::from_utf8(payload) {
        Ok(settings) => Config::from_json(settings).err().map(|error| error.to_string()),
        Err(error) => Some(format!("the settings are not UTF-8: {error}")),
    };
    Ok(serde_json::to_vec(&SettingsValidationResponse { valid: message.is_none(), message })?)
}

/// Has the fields of the SDK's `ValidationResponse`, except that the object is added as text: the SDK's type would
/// parse and rewrite every number and key of the pod.
#[derive(Debug, Default, Serialize)]
struct ValidationResponse {
    accepted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u16>,
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "as_map")]
    audit_annotations: Vec<(&'static str, String)>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

/// The answer to a request for `object` as JSON text.
fn response(verdict: Verdict, object: Option<JsonValue<'_>>) -> Result<Vec<u8>, serde_json::Error> {
    let mutation = match verdict {
        Ok(mutation) => mutation,
        Err(denial) => return denied(denial),
    };
    let mut warnings = Vec::new();
    for warning in &mutation.warnings {
        warnings.push(warning.to_string());
    }
    let response = ValidationResponse {
        accepted: true,
        audit_annotations: mutation.audit,
        warnings,
        ..ValidationResponse::default()
    };
    let mut json = serde_json::to_string(&response)?;
    if let Some(object) = object.filter(|_| !mutation.patch.is_empty()) {
        // The object is written directly into the answer: it may be as large as the memory the guest should use.
        let mut patched = Ok(());
        push_member(&mut json, "mutated_object", |json| patched = mutation.patch.apply_onto(object, json));
        if let Err(error) = patched {
            return denied(Denial { code: 500, message: error.to_string() });
        }
    }
    Ok(json.into_bytes())
}

fn denied(denial: Denial) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&ValidationResponse {
        message: Some(denial.message),
        code: Some(denial.code),
        ..ValidationResponse::default()
    })
}

fn as_map<S: Serializer>(entries: &[(&'static str, String)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(entries.iter().map(|(key, value)| (key, value)))
}
