//! The few objects of an API server that the webhook writes: its Secret and its webhook configuration.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

/// Objects by name, with the optimistic concurrency of a real API server.
#[derive(Debug, Clone, Default)]
pub struct ApiObjects(Arc<Mutex<Stored>>);

#[derive(Debug, Default)]
struct Stored {
    version: u64,
    objects: BTreeMap<String, Value>,
}

impl Stored {
    fn store(&mut self, name: &str, mut object: Value) -> Value {
        self.version += 1;
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.insert("resourceVersion".to_owned(), self.version.to_string().into());
        }
        self.objects.insert(name.to_owned(), object.clone());
        object
    }
}

impl ApiObjects {
    /// The routes of Secrets and webhook configurations.
    pub fn router(&self) -> Router {
        let one = get(read).put(replace).patch(apply);
        Router::new()
            .route("/api/v1/namespaces/{namespace}/secrets", post(create))
            .route(
                "/api/v1/namespaces/{namespace}/secrets/{name}",
                get(read_namespaced).put(replace_namespaced),
            )
            .route("/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/{name}", one)
            .with_state(self.clone())
    }

    /// Creates or changes an object.
    pub fn put(&self, name: &str, object: Value) {
        self.state().store(name, object);
    }

    /// The bundle in a webhook configuration's first entry; empty where there is none yet.
    #[must_use]
    pub fn ca_bundle(&self, name: &str) -> Vec<u8> {
        let state = self.state();
        let bundle = state.objects.get(name).and_then(|it| it.pointer("/webhooks/0/clientConfig/caBundle"));
        let bundle = bundle.and_then(Value::as_str).unwrap_or_default();
        BASE64_STANDARD.decode(bundle).unwrap_or_default()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, Stored> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn status(code: StatusCode, reason: &str) -> Response {
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": reason, "reason": reason, "code": code.as_u16()});
    (code, Json(status)).into_response()
}

fn answer(object: &Value) -> Response {
    ([(CONTENT_TYPE, "application/json")], object.to_string()).into_response()
}

fn name_of(object: &Value) -> &str {
    object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default()
}

fn version_of(object: &Value) -> Option<&str> {
    object.pointer("/metadata/resourceVersion").and_then(Value::as_str)
}

async fn read(State(objects): State<ApiObjects>, Path(name): Path<String>) -> Response {
    match objects.state().objects.get(&name) {
        Some(object) => answer(object),
        None => status(StatusCode::NOT_FOUND, "NotFound"),
    }
}

async fn read_namespaced(objects: State<ApiObjects>, Path((_, name)): Path<(String, String)>) -> Response {
    read(objects, Path(name)).await
}

async fn create(State(objects): State<ApiObjects>, Json(object): Json<Value>) -> Response {
    let mut state = objects.state();
    let name = name_of(&object).to_owned();
    if state.objects.contains_key(&name) {
        return status(StatusCode::CONFLICT, "AlreadyExists");
    }
    answer(&state.store(&name, object))
}

async fn replace(
    State(objects): State<ApiObjects>,
    Path(name): Path<String>,
    Json(object): Json<Value>,
) -> Response {
    let mut state = objects.state();
    match state.objects.get(&name) {
        None => status(StatusCode::NOT_FOUND, "NotFound"),
        Some(known) if version_of(known) != version_of(&object) => status(StatusCode::CONFLICT, "Conflict"),
        Some(_) => answer(&state.store(&name, object)),
    }
}

async fn replace_namespaced(
    objects: State<ApiObjects>,
    Path((_, name)): Path<(String, String)>,
    object: Json<Value>,
) -> Response {
    replace(objects, Path(name), object).await
}

/// Server-side apply of bundles, entry by entry.
async fn apply(State(objects): State<ApiObjects>, Path(name): Path<String>, body: Bytes) -> Response {
    let mut state = objects.state();
    let (Ok(applied), Some(known)) = (serde_json::from_slice::<Value>(&body), state.objects.get(&name))
    else {
        return status(StatusCode::NOT_FOUND, "NotFound");
    };
    let mut object = known.clone();
    let entries = object.get_mut("webhooks").and_then(Value::as_array_mut);
    for entry in entries.into_iter().flatten() {
        let name = entry.get("name").cloned();
        let wanted = applied.get("webhooks").and_then(Value::as_array).into_iter().flatten();
        let wanted = wanted.filter(|wanted| wanted.get("name") == name.as_ref());
        for bundle in wanted.filter_map(|wanted| wanted.pointer("/clientConfig/caBundle")) {
            if let Some(config) = entry.get_mut("clientConfig").and_then(Value::as_object_mut) {
                config.insert("caBundle".to_owned(), bundle.clone());
            }
        }
    }
    answer(&state.store(&name, object))
}
