//! The stand-in accepts what Entra ID accepts, and refuses the rest with Entra ID's codes.

// The lint does not treat test helpers as tests.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use azure_stand_in::{Directory, Service, router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::{KeyPair, PublicKeyData as _};
use serde_json::{Value, json};
use tower::ServiceExt as _;

const ISSUER: &str = "https://cluster.example";
const TENANT: &str = "72f988bf-86f1-41ef-91ab-2d7cd011db47";
const CLIENT: &str = "5d2e50e8-c9fc-4dad-9ab4-bc23cce71bf1";
const SUBSCRIPTION: &str = "00000000-0000-0000-0000-000000000005";

/// A cluster's signing key.
struct Cluster(KeyPair);

impl Cluster {
    fn new() -> Self {
        Self(KeyPair::generate().unwrap())
    }

    fn keys(&self) -> Value {
        let point = self.0.der_bytes();
        let coordinate = |range: std::ops::Range<usize>| URL_SAFE_NO_PAD.encode(&point[range]);
        json!({"keys": [{"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "k",
            "x": coordinate(1..33), "y": coordinate(33..65)}]})
    }

    /// A service account token with these claims instead of the right ones.
    fn token(&self, changed: &Value) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let mut claims = json!({"iss": ISSUER, "sub": "system:serviceaccount:ns:sa",
            "aud": ["api://AzureADTokenExchange"], "iat": now, "nbf": now, "exp": now + 3600});
        claims.as_object_mut().unwrap().extend(changed.as_object().unwrap().clone());
        let header = Header { kid: Some("k".to_owned()), ..Header::new(Algorithm::ES256) };
        encode(&header, &claims, &EncodingKey::from_ec_der(&self.0.serialize_der())).unwrap()
    }
}

fn stand_in(cluster: &Cluster) -> Router {
    let directory = json!({
        "issuers": {ISSUER: cluster.keys()},
        "tenants": [{
            "id": TENANT,
            "applications": [{"clientId": CLIENT, "federatedCredentials": [{
                "name": "sa", "issuer": ISSUER, "subject": "system:serviceaccount:ns:sa",
                "audiences": ["api://AzureADTokenExchange"],
            }]}],
            "subscriptions": [{"id": SUBSCRIPTION, "readers": [CLIENT], "vaults": [{
                "name": "v", "resourceGroup": "rg", "location": "westeurope", "secrets": {"s": "secret value"},
            }]}],
        }],
    });
    router(Service::new(Directory::read(&directory.to_string()).unwrap()))
}

async fn send(stand_in: &Router, request: Request<Body>) -> (StatusCode, Value, String) {
    let response = stand_in.clone().oneshot(request).await.unwrap();
    let challenge =
        response.headers().get("www-authenticate").map(|value| value.to_str().unwrap().to_owned());
    let status = response.status();
    let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap_or_default(), challenge.unwrap_or_default())
}

async fn get(stand_in: &Router, host: &str, path: &str, token: Option<&str>) -> (StatusCode, Value, String) {
    let mut request = Request::get(path).header("host", host);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    send(stand_in, request.body(Body::empty()).unwrap()).await
}

/// A token request with these fields.
async fn post(stand_in: &Router, host: &str, tenant: &str, fields: &[(&str, &str)]) -> (StatusCode, Value) {
    let escape =
        |text: &str| text.replace('%', "%25").replace(':', "%3A").replace('/', "%2F").replace(' ', "+");
    let body: Vec<String> = fields.iter().map(|(key, value)| format!("{key}={}", escape(value))).collect();
    let request = Request::post(format!("/{tenant}/oauth2/v2.0/token"))
        .header("host", host)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from(body.join("&")))
        .unwrap();
    let (status, body, _) = send(stand_in, request).await;
    (status, body)
}

fn fields<'a>(client: &'a str, token: &'a str, scope: &'a str) -> Vec<(&'static str, &'a str)> {
    vec![
        ("grant_type", "client_credentials"),
        ("client_id", client),
        ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
        ("client_assertion", token),
        ("scope", scope),
    ]
}

const LOGIN: &str = "login.microsoftonline.com";
const VAULT_SCOPE: &str = "https://vault.azure.net/.default";

#[tokio::test]
async fn a_service_account_token_leads_to_a_secret_and_a_list_of_vaults() {
    let cluster = Cluster::new();
    let stand_in = stand_in(&cluster);
    let path = "/secrets/s/?api-version=7.4";
    let (status, _, challenge) = get(&stand_in, "v.vault.azure.net", path, None).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert_eq!(
        challenge,
        format!("Bearer authorization=\"https://{LOGIN}/{TENANT}\", resource=\"https://vault.azure.net\"")
    );
    let token = cluster.token(&json!({}));
    // As Go and Java send it, in any order.
    let scope = format!("openid {VAULT_SCOPE} offline_access profile");
    let (status, body) = post(&stand_in, LOGIN, TENANT, &fields(CLIENT, &token, &scope)).await;
    assert_eq!((status, body["expires_in"].as_u64()), (StatusCode::OK, Some(3599)), "{body}");
    let for_vault = body["access_token"].as_str().unwrap();
    let (status, body, _) = get(&stand_in, "v.vault.azure.net", path, Some(for_vault)).await;
    assert_eq!((status, &body["value"]), (StatusCode::OK, &json!("secret value")), "{body}");

    let scope = "https://management.core.windows.net//.default";
    let (_, body) = post(&stand_in, LOGIN, TENANT, &fields(CLIENT, &token, scope)).await;
    let for_arm = body["access_token"].as_str().unwrap();
    let list = "/subscriptions?api-version=2022-12-01";
    let (_, body, _) = get(&stand_in, "management.azure.com", list, Some(for_arm)).await;
    assert_eq!(body["value"][0]["subscriptionId"], SUBSCRIPTION);
    let vaults = format!(
        "/subscriptions/{SUBSCRIPTION}/resources?$filter=resourceType%20eq%20%27Microsoft.KeyVault%2Fvaults%27&api-version=2015-11-01"
    );
    let (_, body, _) = get(&stand_in, "management.azure.com", &vaults, Some(for_arm)).await;
    assert_eq!(body["value"][0]["name"], "v");
    // A token for one service is none for the other.
    assert_eq!(
        get(&stand_in, "management.azure.com", list, Some(for_vault)).await.0,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(get(&stand_in, "v.vault.azure.net", path, Some(for_arm)).await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn each_mistake_has_entra_ids_code() {
    let cluster = Cluster::new();
    let stand_in = stand_in(&cluster);
    let other_client = "00000000-0000-0000-0000-000000000001";
    let right = cluster.token(&json!({}));
    let mistakes = [
        ("another tenant", LOGIN, other_client, fields(CLIENT, &right, VAULT_SCOPE), 90002),
        ("another cloud", "login.microsoftonline.us", TENANT, fields(CLIENT, &right, VAULT_SCOPE), 90002),
        ("another client", LOGIN, TENANT, fields(other_client, &right, VAULT_SCOPE), 700_016),
        ("another resource", LOGIN, TENANT, fields(CLIENT, &right, "https://other/.default"), 500_011),
        ("no scope", LOGIN, TENANT, fields(CLIENT, &right, VAULT_SCOPE)[..4].to_vec(), 900_144),
        ("two scopes", LOGIN, TENANT, fields(CLIENT, &right, "a/.default b/.default"), 70011),
        ("no token", LOGIN, TENANT, fields(CLIENT, "not-a-jwt", VAULT_SCOPE), 50027),
    ];
    for (name, host, tenant, fields, code) in mistakes {
        let (status, body) = post(&stand_in, host, tenant, &fields).await;
        assert!(status.is_client_error(), "{name}: {status}");
        assert_eq!(body["error_codes"], json!([code]), "{name}: {body}");
        assert!(
            body["error_description"].as_str().unwrap().starts_with(&format!("AADSTS{code}: ")),
            "{name}"
        );
    }
    let stranger = Cluster::new();
    let tokens = [
        ("another issuer", cluster.token(&json!({"iss": "https://other.example"})), 700_211),
        ("the issuer with a slash", cluster.token(&json!({"iss": format!("{ISSUER}/")})), 700_211),
        ("another subject", cluster.token(&json!({"sub": "system:serviceaccount:ns:other"})), 700_213),
        (
            "the subject in other letters",
            cluster.token(&json!({"sub": "system:serviceaccount:NS:sa"})),
            700_213,
        ),
        ("another audience", cluster.token(&json!({"aud": ["vault"]})), 700_212),
        ("a token that is over", cluster.token(&json!({"exp": 1_000_000_000})), 700_024),
        (
            "a token of the future",
            cluster.token(&json!({"nbf": 4_000_000_000_u32, "exp": 4_000_000_001_u32})),
            700_024,
        ),
        ("another key", stranger.token(&json!({})), 700_027),
    ];
    for (name, token, code) in tokens {
        let (status, body) = post(&stand_in, LOGIN, TENANT, &fields(CLIENT, &token, VAULT_SCOPE)).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{name}");
        assert_eq!(body["error_codes"], json!([code]), "{name}: {body}");
    }
}

#[tokio::test]
async fn only_azures_hosts_are_vouched_for() {
    let stand_in = stand_in(&Cluster::new());
    let discovery = |host: &str| {
        format!(
            "/common/discovery/instance?api-version=1.1&authorization_endpoint=https%3A%2F%2F{host}%2F{TENANT}%2Foauth2%2Fv2.0%2Fauthorize"
        )
    };
    let (status, body, _) = get(&stand_in, LOGIN, &discovery(LOGIN), None).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(body["metadata"][0]["preferred_network"], LOGIN);
    let (status, body, _) = get(&stand_in, LOGIN, &discovery("login.example"), None).await;
    assert_eq!((status, &body["error"]), (StatusCode::BAD_REQUEST, &json!("invalid_instance")));
    let (_, body, _) =
        get(&stand_in, LOGIN, &format!("/{TENANT}/v2.0/.well-known/openid-configuration"), None).await;
    assert_eq!(body["token_endpoint"], format!("https://{LOGIN}/{TENANT}/oauth2/v2.0/token"));
    assert_eq!(get(&stand_in, "other.example", "/", None).await.0, StatusCode::NOT_FOUND);
}
