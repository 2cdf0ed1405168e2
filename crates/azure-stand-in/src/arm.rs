//! Azure Resource Manager: the subscriptions that a client may read, and the vaults in them.

use axum::Json;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use crate::clouds::Cloud;
use crate::directory::{Subscription, Tenant};
use crate::service::{Question, Service, error, not_found};

const VAULTS_ONLY: &str = "resourceType eq 'Microsoft.KeyVault/vaults'";

/// Answers a request to Azure Resource Manager.
pub(crate) fn answer(service: &Service, cloud: Cloud, question: &Question) -> Response {
    let grant = service.tokens.grant_of(&question.authorization);
    let grant = grant.filter(|grant| cloud.resource_manager_resources().contains(&&*grant.resource));
    let Some(grant) = grant else {
        return error(
            StatusCode::UNAUTHORIZED,
            "AuthenticationFailed",
            "Authentication failed. The 'Authorization' header is missing or invalid.",
        );
    };
    let Some(tenant) = service.directory.tenant(&grant.tenant).filter(|tenant| tenant.cloud == cloud) else {
        return error(
            StatusCode::UNAUTHORIZED,
            "InvalidAuthenticationTokenTenant",
            "The token is from another cloud.",
        );
    };
    if question.method != Method::GET {
        return not_found();
    }
    let readable =
        || tenant.subscriptions.iter().filter(|subscription| subscription.readers.contains(&grant.client_id));
    let segments = question.segments();
    let versions: &[&str] = match segments.as_slice() {
        ["subscriptions" | "tenants"] => &["2022-12-01", "2019-11-01"],
        ["subscriptions", _, "resources"] => &["2015-11-01"],
        _ => return not_found(),
    };
    if let Some(refused) = refused_version(question, versions) {
        return refused;
    }
    match segments.as_slice() {
        ["subscriptions"] => {
            let list: Vec<Value> =
                readable().map(|subscription| of_subscription(tenant, subscription)).collect();
            Json(json!({"value": list, "count": {"type": "Total", "value": list.len()}})).into_response()
        }
        ["tenants"] => {
            Json(json!({"value": [{"id": format!("/tenants/{}", tenant.id), "tenantId": tenant.id}]}))
                .into_response()
        }
        ["subscriptions", id, "resources"] => {
            let Some(subscription) = readable().find(|subscription| subscription.id.eq_ignore_ascii_case(id))
            else {
                return error(
                    StatusCode::FORBIDDEN,
                    "AuthorizationFailed",
                    "The client does not have authorization to perform action 'Microsoft.Resources/subscriptions/resources/read'.",
                );
            };
            match question.query.get("$filter").map(String::as_str) {
                Some(VAULTS_ONLY) => Json(json!({"value": vaults(subscription)})).into_response(),
                filter => {
                    let message = format!("The filter '{}' is not supported.", filter.unwrap_or_default());
                    error(StatusCode::BAD_REQUEST, "InvalidFilterInQueryString", &message)
                }
            }
        }
        _ => not_found(),
    }
}

/// The refusal of a version of the protocol, unless it is known.
fn refused_version(question: &Question, known: &[&str]) -> Option<Response> {
    let Some(version) = question.query.get("api-version") else {
        let message = "The api-version query parameter (?api-version=) is required for all requests.";
        return Some(error(StatusCode::BAD_REQUEST, "MissingApiVersionParameter", message));
    };
    if known.contains(&&**version) {
        return None;
    }
    let message =
        format!("The api-version '{version}' is invalid. The supported versions are '{}'.", known.join(","));
    Some(error(StatusCode::BAD_REQUEST, "InvalidApiVersionParameter", &message))
}

fn of_subscription(tenant: &Tenant, subscription: &Subscription) -> Value {
    json!({
        "id": format!("/subscriptions/{}", subscription.id),
        "subscriptionId": subscription.id,
        "tenantId": tenant.id,
        "displayName": "Stand-in",
        "state": "Enabled",
        "managedByTenants": [],
        "authorizationSource": "RoleBased",
        "subscriptionPolicies": {},
    })
}

fn vaults(subscription: &Subscription) -> Vec<Value> {
    let of_vault = |vault: &crate::directory::Vault| {
        let group = format!("/subscriptions/{}/resourceGroups/{}", subscription.id, vault.resource_group);
        json!({
            "id": format!("{group}/providers/Microsoft.KeyVault/vaults/{}", vault.name),
            "name": vault.name,
            "type": "Microsoft.KeyVault/vaults",
            "location": vault.location,
            "tags": {},
        })
    };
    subscription.vaults.iter().map(of_vault).collect()
}
