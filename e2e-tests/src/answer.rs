//! An admission answer, whichever host gave it.

use anyhow::{Context as _, Result};
use serde_json::Value;

/// What an admission host answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Whether the pod is admitted.
    pub allowed: bool,
    /// Why not.
    pub message: String,
    /// HTTP status of a denial.
    pub code: Option<u64>,
    /// RFC 6902 operations; empty when nothing changes.
    pub patch: Vec<Value>,
    /// What the person who made the request sees.
    pub warnings: Vec<String>,
    /// Entries of the API server's audit log.
    pub audit: Value,
}

impl Answer {
    /// The object with the patch applied, by a JSON Patch library that is not ours.
    ///
    /// # Errors
    /// The patch does not fit.
    pub fn apply_to(&self, object: &Value) -> Result<Value> {
        let mut patched = object.clone();
        let patch: json_patch::Patch = serde_json::from_value(Value::Array(self.patch.clone()))?;
        json_patch::patch(&mut patched, &patch).context("the patch does not fit the object")?;
        Ok(patched)
    }
}
