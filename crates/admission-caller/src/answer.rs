//! An admission answer from any host.

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value, json};

use crate::request::REQUEST_UID;

#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub allowed: bool,
    /// Reason for a denial.
    pub message: String,
    /// HTTP status of a denial.
    pub code: Option<u64>,
    /// RFC 6902 operations; empty if nothing changes.
    pub patch: Vec<Value>,
    /// Shown to the user who made the request.
    pub warnings: Vec<String>,
    /// Annotations for the API server's audit log.
    pub audit: Value,
}

impl Answer {
    /// Reads a webhook's `AdmissionReview`.
    ///
    /// # Errors
    /// The value is not an `AdmissionReview`.
    pub fn from_review(review: &Value) -> Result<Self> {
        let response = review.get("response").with_context(|| format!("no response in {review}"))?;
        let status = |key: &str| response.get("status").and_then(|status| status.get(key));
        let patch = match response.get("patch").and_then(Value::as_str) {
            Some(patch) => serde_json::from_slice(&BASE64_STANDARD.decode(patch)?)?,
            None => Vec::new(),
        };
        let warnings = response.get("warnings").and_then(Value::as_array).into_iter().flatten();
        Ok(Self {
            allowed: response
                .get("allowed")
                .and_then(Value::as_bool)
                .context("the response has no field allowed")?,
            message: status("message").and_then(Value::as_str).unwrap_or_default().to_owned(),
            code: status("code").and_then(Value::as_u64),
            patch,
            warnings: warnings.filter_map(Value::as_str).map(ToOwned::to_owned).collect(),
            audit: response.get("auditAnnotations").cloned().unwrap_or(Value::Null),
        })
    }

    /// The answer in the form that the API server and kwctl's users see, with the patch in base64.
    pub fn admission_response(&self) -> Value {
        let mut response = Map::new();
        let mut set = |key: &str, value: Value| response.insert(key.to_owned(), value);
        set("uid", REQUEST_UID.into());
        set("allowed", self.allowed.into());
        if !self.allowed {
            set("status", json!({"message": self.message, "code": self.code}));
        }
        if !self.patch.is_empty() {
            set("patchType", "JSONPatch".into());
            set("patch", BASE64_STANDARD.encode(Value::from(self.patch.clone()).to_string()).into());
        }
        set("auditAnnotations", self.audit.clone());
        set("warnings", if self.warnings.is_empty() { Value::Null } else { self.warnings.clone().into() });
        response.into()
    }

    /// Returns the object with the patch applied by an independent JSON Patch library.
    ///
    /// # Errors
    /// The patch does not match the object.
    pub fn apply_to(&self, object: &Value) -> Result<Value> {
        let mut patched = object.clone();
        let patch: json_patch::Patch = serde_json::from_value(Value::Array(self.patch.clone()))?;
        json_patch::patch(&mut patched, &patch).context("the patch does not fit the object")?;
        Ok(patched)
    }
}
