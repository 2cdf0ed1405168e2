//! A stub API server with what the webhook and policy-server need: listing, watching and getting service accounts,
//! discovery, and a version.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, RawQuery, Request, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum_server::Handle;
use futures_util::stream::{self, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpSocket;
use tokio::sync::{broadcast, watch};

use crate::api_objects::ApiObjects;

/// The credential in its kubeconfig, which nothing checks: tests look for it where it must not be.
pub const TOKEN: &str = "the-credential-of-the-webhook";

/// A running API server. It stops on drop.
pub struct ApiServer {
    /// Its listen address.
    pub address: SocketAddr,
    /// Objects that the webhook writes.
    pub objects: ApiObjects,
    cluster: Arc<ClusterState>,
    /// Never listens; keeps the port from others while this API server is stopped.
    place: Arc<TcpSocket>,
    handle: Handle<SocketAddr>,
}

/// A socket at an address that several sockets of this program may share.
fn shared_socket(address: SocketAddr) -> Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    Ok(socket)
}

struct ClusterState {
    accounts: Mutex<BTreeMap<(String, String), Value>>,
    changes: broadcast::Sender<String>,
    /// Names that nobody may read.
    forbidden: Mutex<BTreeSet<String>>,
    /// Names whose reads are delayed.
    slow: Mutex<BTreeMap<String, Duration>>,
    gets: AtomicUsize,
    /// Each distinct request so far: method, path and query.
    requests: Mutex<BTreeSet<String>>,
    /// Whether reads of single service accounts are answered.
    answers_reads: watch::Sender<bool>,
    /// Tells the open watches to say nothing any more.
    silence: watch::Sender<()>,
}

impl ApiServer {
    /// Starts on a free loopback port.
    ///
    /// # Errors
    /// There is no free port.
    pub fn start() -> Result<Self> {
        let cluster = ClusterState {
            accounts: Mutex::default(),
            changes: broadcast::channel(1024).0,
            forbidden: Mutex::default(),
            slow: Mutex::default(),
            gets: AtomicUsize::new(0),
            requests: Mutex::default(),
            answers_reads: watch::Sender::new(true),
            silence: watch::Sender::new(()),
        };
        let place = shared_socket((Ipv4Addr::LOCALHOST, 0).into())?;
        Self::listen(Arc::new(place), Arc::new(cluster), ApiObjects::default())
    }

    fn listen(place: Arc<TcpSocket>, cluster: Arc<ClusterState>, objects: ApiObjects) -> Result<Self> {
        let address = place.local_addr()?;
        let listener = shared_socket(address)?.listen(1024)?.into_std()?;
        let handle = Handle::new();
        let router = Router::new()
            .route(
                "/version",
                get(|| async { axum_json(&json!({"major": "1", "minor": "35", "gitVersion": "v1.35.4"})) }),
            )
            .route("/api/v1", get(|| async { axum_json(&discovery()) }))
            .route("/api/v1/serviceaccounts", get(list_or_watch))
            .route("/api/v1/namespaces/{namespace}/serviceaccounts/{name}", get(read))
            .with_state(Arc::clone(&cluster))
            .merge(objects.router())
            .layer(from_fn_with_state(Arc::clone(&cluster), record));
        let server = axum_server::from_tcp(listener)?.handle(handle.clone());
        tokio::spawn(server.serve(router.into_make_service()));
        Ok(Self { address, objects, cluster, place, handle })
    }

    /// Stops; the returned function starts it again at the same address with the same content.
    pub fn stop(self) -> impl FnOnce() -> Result<Self> {
        let (place, cluster) = (Arc::clone(&self.place), Arc::clone(&self.cluster));
        let objects = self.objects.clone();
        drop(self);
        move || Self::listen(place, cluster, objects)
    }

    /// A kubeconfig for this API server.
    pub fn kubeconfig(&self) -> String {
        format!(
            "apiVersion: v1\nkind: Config\nclusters: [{{name: test, cluster: {{server: \"http://{}\"}}}}]\n\
             users: [{{name: test, user: {{token: {TOKEN}}}}}]\ncontexts: [{{name: test, context: {{cluster: test, user: test}}}}]\n\
             current-context: test\n",
            self.address
        )
    }

    /// Creates or changes a service account, and notifies the watches.
    pub fn apply(&self, namespace: &str, name: &str, metadata: &Value) {
        let object = object(namespace, name, metadata);
        let mut accounts = lock(&self.cluster.accounts);
        let is_known = accounts.insert((namespace.to_owned(), name.to_owned()), object.clone()).is_some();
        self.tell(if is_known { "MODIFIED" } else { "ADDED" }, &object);
    }

    /// Creates a service account without notifying the watches yet.
    pub fn apply_unseen(&self, namespace: &str, name: &str, metadata: &Value) {
        let mut accounts = lock(&self.cluster.accounts);
        accounts.insert((namespace.to_owned(), name.to_owned()), object(namespace, name, metadata));
    }

    /// Ends all watches like an API server whose watch history has expired.
    pub fn expire_watches(&self) {
        let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "too old resource version", "reason": "Expired", "code": 410});
        self.tell("ERROR", &status);
    }

    /// Sends a bookmark: nothing has changed.
    pub fn bookmark(&self) {
        // It is not an error if there are no watches.
        _ = self.cluster.changes.send(bookmark_event());
    }

    /// The watches that are open now say nothing any more, not even that they are over, as when their packets are lost.
    pub fn silence_watches(&self) {
        self.cluster.silence.send_replace(());
    }

    /// Blocks or resumes reads of single service accounts.
    pub fn answer_reads(&self, answer: bool) {
        self.cluster.answers_reads.send_replace(answer);
    }

    /// Rejects reads of service accounts with this name, like an API server whose caller has no permission.
    pub fn forbid(&self, name: &str) {
        lock(&self.cluster.forbidden).insert(name.to_owned());
    }

    /// Delays reads of service accounts with this name.
    pub fn slow_down(&self, name: &str, pause: Duration) {
        lock(&self.cluster.slow).insert(name.to_owned(), pause);
    }

    fn tell(&self, kind: &str, object: &Value) {
        // It is not an error if there are no watches.
        _ = self.cluster.changes.send(event(kind, object));
    }

    /// Number of reads of single service accounts.
    pub fn gets(&self) -> usize {
        self.cluster.gets.load(Ordering::SeqCst)
    }

    /// All requests so far, including for unknown paths: method, path and query.
    pub fn requests(&self) -> BTreeSet<String> {
        lock(&self.cluster.requests).clone()
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.handle.shutdown();
    }
}

fn object(namespace: &str, name: &str, metadata: &Value) -> Value {
    let mut whole = json!({"namespace": namespace, "name": name, "resourceVersion": "7", "uid": "u"});
    if let (Some(whole), Some(metadata)) = (whole.as_object_mut(), metadata.as_object()) {
        whole.extend(metadata.clone());
    }
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": whole})
}

/// A line of a watch.
fn event(kind: &str, object: &Value) -> String {
    format!("{}\n", json!({"type": kind, "object": object}))
}

/// Nothing has changed.
fn bookmark_event() -> String {
    let object = json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": "8"}});
    event("BOOKMARK", &object)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn discovery() -> Value {
    json!({"kind": "APIResourceList", "groupVersion": "v1", "resources": [{"name": "serviceaccounts",
        "singularName": "serviceaccount", "namespaced": true, "kind": "ServiceAccount", "verbs": ["get", "list", "watch"]}]})
}

fn axum_json(value: &Value) -> Response {
    ([(CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}

/// A page of the list; its token is the start of the next page.
fn page(accounts: &BTreeMap<(String, String), Value>, query: &str) -> Value {
    let parameter = |name: &str| -> Option<usize> {
        let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        value.and_then(|value| value.parse().ok())
    };
    let begin = parameter("continue").unwrap_or(0);
    let end = parameter("limit").map_or(accounts.len(), |limit| accounts.len().min(begin + limit));
    let items: Vec<&Value> = accounts.values().skip(begin).take(end.saturating_sub(begin)).collect();
    let next = if end < accounts.len() { end.to_string() } else { String::new() };
    json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": "7", "continue": next}, "items": items})
}

async fn record(State(cluster): State<Arc<ClusterState>>, request: Request, next: Next) -> Response {
    lock(&cluster.requests).insert(format!("{} {}", request.method(), request.uri()));
    next.run(request).await
}

async fn list_or_watch(State(cluster): State<Arc<ClusterState>>, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    if !query.contains("watch=true") {
        return axum_json(&page(&lock(&cluster.accounts), &query));
    }
    let changes = stream::unfold(cluster.changes.subscribe(), |mut changes| async {
        changes.recv().await.ok().map(|line| (line, changes))
    });
    let seconds = query.split('&').find_map(|pair| pair.strip_prefix("timeoutSeconds=")?.parse().ok());
    let over = tokio::time::sleep(Duration::from_secs(seconds.unwrap_or(300)));
    let changes = Box::pin(changes.take_until(over).chain(stream::once(async { bookmark_event() })));
    let heard = stream::unfold((changes, cluster.silence.subscribe()), |(mut changes, mut silence)| async {
        tokio::select! {
            biased;
            _ = silence.changed() => std::future::pending().await,
            line = changes.next() => Some((line?, (changes, silence))),
        }
    });
    Body::from_stream(heard.map(Ok::<_, Infallible>)).into_response()
}

async fn read(
    State(cluster): State<Arc<ClusterState>>,
    Path((namespace, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    cluster.gets.fetch_add(1, Ordering::SeqCst);
    // The sender lives as long as the cluster, so the wait ends.
    _ = cluster.answers_reads.subscribe().wait_for(|answers| *answers).await;
    let pause = lock(&cluster.slow).get(&name).copied();
    if let Some(pause) = pause {
        tokio::time::sleep(pause).await;
    }
    if lock(&cluster.forbidden).contains(&name) {
        return (StatusCode::FORBIDDEN, axum_json(&forbidden(&name))).into_response();
    }
    let only_metadata = headers
        .get(ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("as=PartialObjectMetadata"));
    match lock(&cluster.accounts).get(&(namespace, name.clone())) {
        Some(account) if only_metadata => axum_json(account),
        Some(account) => {
            let whole =
                json!({"kind": "ServiceAccount", "apiVersion": "v1", "metadata": account.get("metadata")});
            axum_json(&whole)
        }
        None => (StatusCode::NOT_FOUND, axum_json(&not_found(&name))).into_response(),
    }
}

fn forbidden(name: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "Forbidden", "code": 403,
        "message": format!("serviceaccounts \"{name}\" is forbidden: User \"test\" cannot get resource")})
}

/// An API server's answer for a service account that does not exist.
pub fn not_found(name: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": format!("serviceaccounts \"{name}\" not found"), "reason": "NotFound", "code": 404})
}
