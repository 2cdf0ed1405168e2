//! Recorded host calls in kwctl's format (`kwctl run --record-host-capabilities-interactions`), replayed like kwctl
//! does: in the recorded order, and only for exactly the same request.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Mutex;

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde_json::Value;

use admission_caller::policy::HostCapabilities;

/// A recorded session.
#[derive(Debug)]
pub struct Session(Mutex<VecDeque<Exchange>>);

#[derive(Debug, Deserialize)]
struct Exchange {
    request: String,
    response: Response,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type")]
enum Response {
    Success { payload: String },
    Error { message: String },
}

/// The requests that can be replayed; the name of the variant is the YAML tag.
#[derive(Debug, Deserialize)]
enum Request {
    KubernetesGetResource(GetResource),
}

#[derive(Debug, PartialEq, Deserialize)]
struct GetResource {
    api_version: String,
    kind: String,
    name: String,
    namespace: Option<String>,
    disable_cache: bool,
    #[serde(default)]
    field_masks: Option<Vec<String>>,
}

impl Session {
    /// Reads a session file.
    ///
    /// # Errors
    /// The file cannot be read, or is not a session.
    pub fn read(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let exchanges =
            serde_saphyr::from_str(&text).with_context(|| format!("{} is no session", path.display()))?;
        Ok(Self(Mutex::new(exchanges)))
    }

    /// How many exchanges have not been replayed.
    pub fn remaining(&self) -> usize {
        self.0.lock().map_or(0, |exchanges| exchanges.len())
    }
}

impl HostCapabilities for Session {
    fn get_resource(&self, request: &Value) -> Result<Vec<u8>, String> {
        let replayed = || {
            let asked: GetResource = serde_json::from_value(request.clone())?;
            let exchange = self.0.lock().ok().and_then(|mut exchanges| exchanges.pop_front());
            let exchange = exchange.context("the list of recorded responses is empty")?;
            let Request::KubernetesGetResource(expected) = serde_saphyr::from_str(&exchange.request)?;
            anyhow::ensure!(
                asked == expected,
                "Replay error: unexpected request. Was expecting {expected:?}, got {asked:?}"
            );
            match exchange.response {
                Response::Success { payload } => Ok(payload.into_bytes()),
                Response::Error { message } => Err(anyhow::Error::msg(message)),
            }
        };
        replayed().map_err(|error| format!("Callback evaluation failure: {error}"))
    }
}
