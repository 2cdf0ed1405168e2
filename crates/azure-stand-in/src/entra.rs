//! Entra ID: instance discovery, the metadata of a tenant, and tokens for a federated credential.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::http::Method;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use crate::aadsts::Refusal;
use crate::assertion::{Accepted, judge};
use crate::clouds::{Cloud, Host};
use crate::directory::{Directory, Tenant};
use crate::service::{Question, Service, not_found};
use crate::tokens::Grant;

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// Lifetime of an access token in seconds.
const LIFETIME: u32 = 3599;

/// Who gives the tokens: the hosts of a cloud, or one that the directory names, or the cluster's token proxy.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Authority {
    Of(Cloud),
    Any,
}

/// Why a token was given or refused, for the log.
#[derive(Debug, Clone)]
pub(crate) struct Decision {
    pub reason: String,
    /// When the service account token was issued, in seconds since 1970, if it was accepted.
    pub token_issued_at: Option<i64>,
}

/// Answers a request to a login host.
pub(crate) fn answer(service: &Service, authority: Authority, question: &Question) -> Response {
    let segments = question.segments();
    match (&question.method, segments.as_slice()) {
        (&Method::GET, ["common", "discovery", "instance"]) => discovery(&service.directory, question),
        (&Method::GET, [tenant, "v2.0", ".well-known", "openid-configuration"]) => {
            metadata(&service.directory, authority, question, tenant, "/v2.0")
        }
        (&Method::GET, [tenant, ".well-known", "openid-configuration"]) => {
            metadata(&service.directory, authority, question, tenant, "")
        }
        (&Method::POST, [tenant, "oauth2", "v2.0", "token"]) => {
            token(service, authority, question, tenant, scope_resource)
        }
        (&Method::POST, [tenant, "oauth2", "token"]) => {
            token(service, authority, question, tenant, |form| parameter(form, "resource").map(str::to_owned))
        }
        _ => not_found(),
    }
}

/// Tells whether an authority can be trusted, and its other names.
fn discovery(directory: &Directory, question: &Question) -> Response {
    let endpoint = question.query.get("authorization_endpoint").map_or("", String::as_str);
    let host = endpoint.strip_prefix("https://").and_then(|rest| rest.split('/').next()).unwrap_or_default();
    let (aliases, preferred): (Vec<&str>, &str) = match Host::of(host) {
        Some(Host::Login(cloud)) => {
            let hosts = cloud.login_hosts();
            (hosts.to_vec(), hosts.first().copied().unwrap_or(host))
        }
        _ if directory.authority_hosts.iter().any(|known| known == host) => (vec![host], host),
        _ => return Refusal::instance_unknown().into_response(),
    };
    let tenant = endpoint.split('/').nth(3).unwrap_or("common");
    Json(json!({
        "tenant_discovery_endpoint": format!("https://{host}/{tenant}/v2.0/.well-known/openid-configuration"),
        "api-version": "1.1",
        "metadata": [{"preferred_network": preferred, "preferred_cache": preferred, "aliases": aliases}],
    }))
    .into_response()
}

fn metadata(
    directory: &Directory,
    authority: Authority,
    question: &Question,
    tenant: &str,
    version: &str,
) -> Response {
    let tenant = match tenant_of(directory, authority, tenant) {
        Ok(tenant) => &tenant.id,
        Err(refusal) => return refusal.into_response(),
    };
    let base = format!("https://{}/{tenant}", question.host);
    Json(json!({
        "issuer": format!("{base}{version}"),
        "authorization_endpoint": format!("{base}/oauth2{version}/authorize"),
        "token_endpoint": format!("{base}/oauth2{version}/token"),
        // Opaque tokens need no keys, but some programs refuse metadata without their address.
        "jwks_uri": format!("{base}/discovery{version}/keys"),
        "response_types_supported": ["code", "id_token"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
    }))
    .into_response()
}

/// The tenant, if this authority is one of its cloud.
fn tenant_of<'d>(
    directory: &'d Directory,
    authority: Authority,
    tenant: &str,
) -> Result<&'d Tenant, Refusal> {
    let is_here = |found: &&Tenant| match authority {
        Authority::Of(cloud) => found.cloud == cloud,
        Authority::Any => true,
    };
    directory.tenant(tenant).filter(is_here).ok_or_else(|| Refusal::tenant_unknown(tenant))
}

type Form = BTreeMap<String, String>;

fn token(
    service: &Service,
    authority: Authority,
    question: &Question,
    tenant: &str,
    resource: fn(&Form) -> Result<String, Refusal>,
) -> Response {
    match exchange(service, authority, question, tenant, resource) {
        Ok((token, accepted)) => {
            let body: Value = json!({
                "token_type": "Bearer", "expires_in": LIFETIME, "ext_expires_in": LIFETIME, "access_token": token,
            });
            let reason = format!("federated credential {}", accepted.credential.name);
            decided(Json(body).into_response(), Decision { reason, token_issued_at: accepted.issued_at })
        }
        Err(refusal) => {
            let reason = format!("AADSTS{}", refusal.code);
            decided(refusal.into_response(), Decision { reason, token_issued_at: None })
        }
    }
}

fn decided(mut response: Response, decision: Decision) -> Response {
    response.extensions_mut().insert(decision);
    response
}

/// Exchanges a service account token for an access token.
fn exchange<'s>(
    service: &'s Service,
    authority: Authority,
    question: &Question,
    tenant: &str,
    resource: fn(&Form) -> Result<String, Refusal>,
) -> Result<(String, Accepted<'s>), Refusal> {
    let form = &question.form;
    let tenant = tenant_of(&service.directory, authority, tenant)?;
    supported(form, "grant_type", "client_credentials")?;
    let client_id = parameter(form, "client_id")?;
    supported(form, "client_assertion_type", ASSERTION_TYPE)?;
    // Some programs send the file as it is.
    let assertion = parameter(form, "client_assertion")?.trim_end();
    let resource = resource(form)?;
    let application =
        tenant.application(client_id).ok_or_else(|| Refusal::application_unknown(client_id, &tenant.id))?;
    let accepted = judge(assertion, application, &service.directory, seconds_since_1970())?;
    if !tenant.cloud.knows_resource(&resource) {
        return Err(Refusal::resource_unknown(&resource, &tenant.id));
    }
    let grant = Grant { tenant: tenant.id.clone(), client_id: application.client_id.clone(), resource };
    Ok((service.tokens.give(grant), accepted))
}

fn parameter<'f>(form: &'f Form, name: &str) -> Result<&'f str, Refusal> {
    form.get(name).map(String::as_str).ok_or_else(|| Refusal::parameter_missing(name))
}

fn supported(form: &Form, name: &str, wanted: &str) -> Result<(), Refusal> {
    match parameter(form, name)? {
        value if value == wanted => Ok(()),
        value => Err(Refusal::parameter_unsupported(name, value)),
    }
}

/// The resource of the scope, which ends in `/.default`. Only that is cut off: a resource may end in a slash.
fn scope_resource(form: &Form) -> Result<String, Refusal> {
    let scope = parameter(form, "scope")?;
    let mut others =
        scope.split(' ').filter(|word| !matches!(*word, "openid" | "offline_access" | "profile"));
    match (others.next().and_then(|word| word.strip_suffix("/.default")), others.next()) {
        (Some(resource), None) => Ok(resource.to_owned()),
        _ => Err(Refusal::scope_invalid(scope)),
    }
}

fn seconds_since_1970() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}
