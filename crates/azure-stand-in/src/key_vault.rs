//! Key Vault: reading a secret, after a challenge.

use axum::Json;
use axum::http::header::WWW_AUTHENTICATE;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde_json::json;

use crate::clouds::Cloud;
use crate::directory::Tenant;
use crate::service::{Question, Service, error, not_found};

/// Versions of the protocol that programs use.
const API_VERSIONS: [&str; 4] = ["7.4", "7.6", "2025-07-01", "2026-04-01"];
/// The only version of each secret.
const SECRET_VERSION: &str = "00000000000000000000000000000001";

/// Answers a request to a vault.
pub(crate) fn answer(service: &Service, cloud: Cloud, vault: &str, question: &Question) -> Response {
    let Some((tenant, subscription, vault)) = service.directory.vault(cloud, vault) else {
        return not_found();
    };
    let resource = cloud.vault_resource();
    if question.authorization.is_empty() {
        return challenge(cloud, tenant, "AKV10000: Request is missing a Bearer or PoP token.");
    }
    let grant = service.tokens.grant_of(&question.authorization);
    let Some(grant) = grant.filter(|grant| grant.resource == resource && grant.tenant == tenant.id) else {
        return challenge(cloud, tenant, "AKV10022: Invalid audience or issuer of the token.");
    };
    if !subscription.readers.contains(&grant.client_id) {
        return error(
            StatusCode::FORBIDDEN,
            "Forbidden",
            "Caller is not authorized to perform action on resource.",
        );
    }
    let version = question.query.get("api-version").map_or("", String::as_str);
    if !API_VERSIONS.contains(&version) {
        let message = format!("Invalid 'api-version' in request: '{version}'.");
        return error(StatusCode::BAD_REQUEST, "BadParameter", &message);
    }
    let segments = question.segments();
    let name = match (&question.method, segments.as_slice()) {
        (&Method::GET, ["secrets", name] | ["secrets", name, SECRET_VERSION]) => *name,
        _ => return not_found(),
    };
    let Some(value) = vault.secrets.get(name) else {
        let message = format!("A secret with (name/id) {name} was not found in this key vault.");
        return error(StatusCode::NOT_FOUND, "SecretNotFound", &message);
    };
    Json(json!({
        "value": value,
        "id": format!("https://{}/secrets/{name}/{SECRET_VERSION}", question.host),
        "attributes": {"enabled": true, "created": 1, "updated": 1, "recoveryLevel": "Recoverable+Purgeable"},
    }))
    .into_response()
}

/// Tells the program where to get a token, and for what.
fn challenge(cloud: Cloud, tenant: &Tenant, message: &str) -> Response {
    let login = cloud.login_hosts().first().copied().unwrap_or_default();
    let challenge = format!(
        "Bearer authorization=\"https://{login}/{}\", resource=\"{}\"",
        tenant.id,
        cloud.vault_resource()
    );
    let mut response = error(StatusCode::UNAUTHORIZED, "Unauthorized", message);
    if let Ok(challenge) = challenge.parse() {
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    response
}
