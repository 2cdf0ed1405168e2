//! The answer as the host reads it.

use azwi_mutation::{Answer, Denial, Value};
use serde::{Serialize, Serializer};

/// The SDK's `ValidationResponse`, field for field, but for the object, which is put behind it as text: the SDK's would
/// take every number and key of the pod apart and put it together again.
#[derive(Debug, Serialize)]
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

/// The answer to a request about `object` as JSON text.
///
/// # Errors
/// None that is known; the question is `serde_json`'s.
pub fn response(answer: Answer, object: Option<Value<'_>>) -> Result<Vec<u8>, serde_json::Error> {
    let mutation = match answer {
        Ok(mutation) => mutation,
        Err(denial) => return denied(denial),
    };
    let mut warnings = Vec::new();
    for warning in &mutation.warnings {
        warnings.push(warning.to_string());
    }
    let response = ValidationResponse {
        accepted: true,
        message: None,
        code: None,
        audit_annotations: mutation.audit,
        warnings,
    };
    let mut json = serde_json::to_string(&response)?;
    if let Some(object) = object.filter(|_| !mutation.patch.is_empty()) {
        // The object goes into the answer as it is made: it may be as large as all that the guest is to use.
        json.pop();
        json.push_str(",\"mutated_object\":");
        if let Err(error) = mutation.patch.apply_onto(object, &mut json) {
            return denied(Denial { code: 500, message: error.to_string() });
        }
        json.push('}');
    }
    Ok(json.into_bytes())
}

/// The answer that a request is denied, as JSON text.
///
/// # Errors
/// As [`response`].
pub fn denied(denial: Denial) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&ValidationResponse {
        accepted: false,
        message: Some(denial.message),
        code: Some(denial.code),
        audit_annotations: Vec::new(),
        warnings: Vec::new(),
    })
}

fn as_map<S: Serializer>(entries: &[(&'static str, String)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(entries.iter().map(|(key, value)| (key, value)))
}
