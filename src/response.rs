//! The answer as the host reads it.

use azwi_mutation::{Denial, Warning};
use serde::{Serialize, Serializer};

/// The SDK's `ValidationResponse`, field for field, but with the object still as text: the SDK's would take every
/// number and key of the pod apart and put it together again.
#[derive(Debug, Serialize)]
pub struct ValidationResponse {
    accepted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u16>,
    #[serde(skip)]
    mutated_object: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "as_map")]
    audit_annotations: Vec<(&'static str, String)>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

impl ValidationResponse {
    /// The request is admitted, changed or not.
    pub fn admitted(
        mutated_object: Option<String>,
        warnings: &[Warning],
        audit_annotations: Vec<(&'static str, String)>,
    ) -> Self {
        let mut texts = Vec::new();
        for warning in warnings {
            texts.push(warning.to_string());
        }
        Self { accepted: true, message: None, code: None, mutated_object, audit_annotations, warnings: texts }
    }

    /// The request is denied.
    pub fn denied(denial: Denial) -> Self {
        Self {
            accepted: false,
            message: Some(denial.message),
            code: Some(denial.code),
            mutated_object: None,
            audit_annotations: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// The answer as JSON text.
    ///
    /// # Errors
    /// None that is known; the question is `serde_json`'s.
    pub fn into_json(self) -> Result<Vec<u8>, serde_json::Error> {
        let mut json = serde_json::to_string(&self)?;
        if let Some(object) = self.mutated_object {
            // The object is JSON text already, and the answer an object that is not empty.
            json.pop();
            json.push_str(",\"mutated_object\":");
            json.push_str(&object);
            json.push('}');
        }
        Ok(json.into_bytes())
    }
}

fn as_map<S: Serializer>(entries: &[(&'static str, String)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(entries.iter().map(|(key, value)| (key, value)))
}
