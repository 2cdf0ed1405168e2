//! All services behind one listener, told apart by the host's name.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Form, FromRequest as _, Query, Request, State};
use axum::http::header::{AUTHORIZATION, HOST};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde_json::json;

use crate::clouds::Host;
use crate::directory::Directory;
use crate::entra::{Authority, Decision};
use crate::tokens::Tokens;
use crate::{arm, entra, key_vault};

/// Largest body of a request in bytes: a token request has an assertion of one or two kilobytes.
const LARGEST_BODY: usize = 64 * 1024;

/// The stand-in's state.
#[derive(Debug)]
pub struct Service {
    pub(crate) directory: Arc<Directory>,
    pub(crate) tokens: Arc<Tokens>,
    /// Whether it stands in for the cluster's token proxy (AKS identity binding), whose host has no name of its own.
    is_token_proxy: bool,
}

/// The parts of a request that the services read.
#[derive(Debug)]
pub(crate) struct Question {
    pub method: Method,
    pub host: String,
    pub path: String,
    pub query: BTreeMap<String, String>,
    pub form: BTreeMap<String, String>,
    /// Value of the header; empty if there is none.
    pub authorization: String,
}

impl Question {
    /// The path's segments that are not empty.
    pub(crate) fn segments(&self) -> Vec<&str> {
        self.path.split('/').filter(|segment| !segment.is_empty()).collect()
    }
}

impl Service {
    pub fn new(directory: Directory) -> Self {
        Self { directory: Arc::new(directory), tokens: Arc::default(), is_token_proxy: false }
    }

    /// A token proxy in front of this service.
    pub fn token_proxy(&self) -> Self {
        Self {
            directory: Arc::clone(&self.directory),
            tokens: Arc::clone(&self.tokens),
            is_token_proxy: true,
        }
    }

    fn answer(&self, question: &Question) -> Response {
        if self.is_token_proxy {
            return entra::answer(self, Authority::Any, question);
        }
        match Host::of(&question.host) {
            Some(Host::Login(cloud)) => entra::answer(self, Authority::Of(cloud), question),
            Some(Host::ResourceManager(cloud)) => arm::answer(self, cloud, question),
            Some(Host::Vault(cloud, vault)) => key_vault::answer(self, cloud, vault, question),
            None if self.directory.authority_hosts.contains(&question.host) => {
                entra::answer(self, Authority::Any, question)
            }
            None => not_found(),
        }
    }
}

/// Serves the stand-in. Each request is one line of JSON on standard output, without tokens.
pub fn router(service: Service) -> Router {
    Router::new().fallback(serve).with_state(Arc::new(service))
}

async fn serve(State(service): State<Arc<Service>>, request: Request) -> Response {
    let question = match read(request).await {
        Ok(question) => question,
        Err(status) => return status.into_response(),
    };
    let response = service.answer(&question);
    let decision = response.extensions().get::<Decision>();
    let line = json!({
        "listener": if service.is_token_proxy { "token proxy" } else { "azure" },
        "host": question.host,
        "method": question.method.as_str(),
        "path": question.path,
        "status": response.status().as_u16(),
        "client": question.form.get("client_id"),
        "decision": decision.map(|decision| &decision.reason),
        "tokenIssuedAt": decision.and_then(|decision| decision.token_issued_at),
    });
    println!("{line}");
    response
}

async fn read(request: Request) -> Result<Question, StatusCode> {
    let (parts, body) = request.into_parts();
    let header =
        |name| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    // HTTP/2 has no such header.
    let host = parts.uri.authority().map_or_else(|| header(HOST), ToString::to_string);
    let host = host.split_once(':').map_or(&*host, |(name, _)| name).to_owned();
    let authorization = header(AUTHORIZATION);
    let Query(query) = Query::try_from_uri(&parts.uri).map_err(|_| StatusCode::BAD_REQUEST)?;
    let (method, path) = (parts.method.clone(), parts.uri.path().to_owned());
    let body = to_bytes(body, LARGEST_BODY).await.map_err(|_| StatusCode::PAYLOAD_TOO_LARGE)?;
    let form = if method == Method::POST {
        let request = Request::from_parts(parts, Body::from(body));
        Form::from_request(request, &()).await.map_err(|_| StatusCode::UNSUPPORTED_MEDIA_TYPE)?.0
    } else {
        BTreeMap::new()
    };
    Ok(Question { method, host, path, query, form, authorization })
}

pub(crate) fn not_found() -> Response {
    error(StatusCode::NOT_FOUND, "NotFound", "the stand-in does not know this")
}

/// An error of Azure Resource Manager or Key Vault.
pub(crate) fn error(status: StatusCode, code: &str, message: &str) -> Response {
    (status, axum::Json(json!({"error": {"code": code, "message": message}}))).into_response()
}
