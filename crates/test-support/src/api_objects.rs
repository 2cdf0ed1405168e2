//! The few API server objects that the webhook writes: its Secret and its webhook configuration.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
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
    /// Forbidden verbs.
    forbidden: BTreeSet<&'static str>,
    /// A concurrent write by someone else.
    late: Option<(String, Value)>,
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

    /// Lets someone else write before the current writer.
    fn interfere(&mut self, name: &str) {
        if let Some((_, object)) = self.late.take_if(|(late, _)| late == name) {
            self.store(name, object);
        }
    }

    /// Stores an object that someone has changed.
    fn change(&mut self, name: &str, mut object: Value, manager: &str) -> Value {
        let before = self.objects.get(name).cloned().unwrap_or_default();
        keep_managed_fields(&before, &mut object);
        own_bundles(&before, &mut object, manager);
        self.store(name, object)
    }
}

impl ApiObjects {
    /// The routes of Secrets and webhook configurations.
    pub fn router(&self) -> Router {
        let one = get(read).put(replace).patch(patch);
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

    /// Stores an object right before its next write, so that the writer has not seen it.
    pub fn put_before_next_write(&self, name: &str, object: Value) {
        self.state().late = Some((name.to_owned(), object));
    }

    /// Changes an object with an update by this manager.
    pub fn update(&self, name: &str, manager: &str, change: impl FnOnce(&mut Value)) {
        let mut state = self.state();
        let mut object = state.objects.get(name).cloned().unwrap_or_default();
        change(&mut object);
        state.change(name, object, manager);
    }

    /// The current object; null if there is none.
    pub fn object(&self, name: &str) -> Value {
        self.state().objects.get(name).cloned().unwrap_or_default()
    }

    pub fn remove(&self, name: &str) {
        self.state().objects.remove(name);
    }

    /// Forbids a verb to everyone: `patch` or `update`.
    pub fn forbid(&self, verb: &'static str) {
        self.state().forbidden.insert(verb);
    }

    /// The bundle in a webhook configuration's first entry; empty if there is none yet.
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

type Parameters = Query<HashMap<String, String>>;

/// The field manager of a request.
fn manager(parameters: &Parameters) -> &str {
    parameters.get("fieldManager").map_or("unknown", String::as_str)
}

async fn replace(
    State(objects): State<ApiObjects>,
    Path(name): Path<String>,
    parameters: Parameters,
    Json(object): Json<Value>,
) -> Response {
    let mut state = objects.state();
    if state.forbidden.contains("update") {
        return status(StatusCode::FORBIDDEN, "Forbidden");
    }
    state.interfere(&name);
    match state.objects.get(&name) {
        None => status(StatusCode::NOT_FOUND, "NotFound"),
        Some(known) if version_of(known) != version_of(&object) => status(StatusCode::CONFLICT, "Conflict"),
        Some(_) => answer(&state.change(&name, object, manager(&parameters))),
    }
}

async fn replace_namespaced(
    objects: State<ApiObjects>,
    Path((_, name)): Path<(String, String)>,
    parameters: Parameters,
    object: Json<Value>,
) -> Response {
    replace(objects, Path(name), parameters, object).await
}

/// A JSON Patch, applied completely or not at all.
async fn patch(
    State(objects): State<ApiObjects>,
    Path(name): Path<String>,
    parameters: Parameters,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut state = objects.state();
    if state.forbidden.contains("patch") {
        return status(StatusCode::FORBIDDEN, "Forbidden");
    }
    if headers.get(CONTENT_TYPE).is_none_or(|it| it != "application/json-patch+json") {
        return status(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType");
    }
    state.interfere(&name);
    let Some(known) = state.objects.get(&name) else { return status(StatusCode::NOT_FOUND, "NotFound") };
    let Ok(patch) = serde_json::from_slice::<json_patch::Patch>(&body) else {
        return status(StatusCode::BAD_REQUEST, "BadRequest");
    };
    let mut object = known.clone();
    if json_patch::patch(&mut object, &patch).is_err() {
        return status(StatusCode::UNPROCESSABLE_ENTITY, "Invalid");
    }
    if version_of(&object) != version_of(known) {
        return status(StatusCode::CONFLICT, "Conflict");
    }
    answer(&state.change(&name, object, manager(&parameters)))
}

/// A write without managed fields leaves ownership unchanged; one empty entry clears it.
fn keep_managed_fields(before: &Value, object: &mut Value) {
    let told = object.pointer("/metadata/managedFields").and_then(Value::as_array);
    let fields = match told.map(Vec::as_slice) {
        None | Some([]) => before.pointer("/metadata/managedFields").cloned().unwrap_or_else(|| json!([])),
        Some([entry]) if *entry == json!({}) => json!([]),
        Some(_) => return,
    };
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("managedFields".to_owned(), fields);
    }
}

/// Makes the writer that changes an entry's bundle its only owner. Other fields are not tracked.
fn own_bundles(before: &Value, object: &mut Value, manager: &str) {
    let bundle = |entry: &Value| entry.pointer("/clientConfig/caBundle").cloned();
    let entries =
        |object: &Value| object.get("webhooks").and_then(Value::as_array).cloned().unwrap_or_default();
    let before = entries(before);
    for entry in entries(object) {
        let known = before.iter().find(|known| known.get("name") == entry.get("name"));
        let name = entry.get("name").and_then(Value::as_str).unwrap_or_default();
        if known.and_then(bundle) == bundle(&entry) {
            continue;
        }
        let key = format!("k:{{\"name\":\"{name}\"}}");
        let managed = object.pointer_mut("/metadata/managedFields").and_then(Value::as_array_mut);
        let Some(managed) = managed else { continue };
        for owner in managed.iter_mut() {
            let owned = owner.pointer_mut("/fieldsV1/f:webhooks").and_then(|it| it.get_mut(&key));
            if let Some(owned) =
                owned.and_then(|it| it.get_mut("f:clientConfig")).and_then(Value::as_object_mut)
            {
                owned.remove("f:caBundle");
            }
        }
        if bundle(&entry).is_none() {
            continue;
        }
        let is_updater = |owner: &Value| {
            owner.get("manager").is_some_and(|it| it == manager)
                && owner.get("operation").is_some_and(|it| it == "Update")
        };
        if !managed.iter().any(is_updater) {
            managed.push(
                json!({"manager": manager, "operation": "Update", "fieldsType": "FieldsV1", "fieldsV1": {}}),
            );
        }
        let fields = managed.iter_mut().find(|owner| is_updater(owner)).and_then(|it| it.get_mut("fieldsV1"));
        if let Some(fields) = fields {
            let owned = json!({"f:webhooks": {key: {"f:clientConfig": {"f:caBundle": {}}}}});
            json_patch::merge(fields, &owned);
        }
    }
}
