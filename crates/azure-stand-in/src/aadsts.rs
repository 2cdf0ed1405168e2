//! Refusals of Entra ID, with its codes.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A refused token request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Number after `AADSTS`.
    pub code: u32,
    status: StatusCode,
    error: &'static str,
    text: String,
}

impl Refusal {
    fn new(code: u32, status: StatusCode, error: &'static str, text: String) -> Self {
        Self { code, status, error, text }
    }

    pub(crate) fn tenant_unknown(tenant: &str) -> Self {
        Self::new(
            90002,
            StatusCode::BAD_REQUEST,
            "invalid_request",
            format!(
                "Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud."
            ),
        )
    }

    pub(crate) fn instance_unknown() -> Self {
        let text = "The authority host is not known.".to_owned();
        Self::new(50049, StatusCode::BAD_REQUEST, "invalid_instance", text)
    }

    pub(crate) fn application_unknown(client_id: &str, tenant: &str) -> Self {
        Self::new(
            700_016,
            StatusCode::BAD_REQUEST,
            "unauthorized_client",
            format!("Application with identifier '{client_id}' was not found in the directory '{tenant}'."),
        )
    }

    pub(crate) fn parameter_missing(parameter: &str) -> Self {
        Self::new(
            900_144,
            StatusCode::BAD_REQUEST,
            "invalid_request",
            format!("The request body must contain the following parameter: '{parameter}'."),
        )
    }

    pub(crate) fn parameter_unsupported(parameter: &str, value: &str) -> Self {
        Self::new(
            70003,
            StatusCode::BAD_REQUEST,
            "unsupported_grant_type",
            format!("The value '{value}' of parameter '{parameter}' is not supported."),
        )
    }

    pub(crate) fn resource_unknown(resource: &str, tenant: &str) -> Self {
        Self::new(
            500_011,
            StatusCode::BAD_REQUEST,
            "invalid_resource",
            format!("The resource principal named {resource} was not found in the tenant named {tenant}."),
        )
    }

    pub(crate) fn scope_invalid(scope: &str) -> Self {
        Self::new(
            70011,
            StatusCode::BAD_REQUEST,
            "invalid_scope",
            format!("The provided value for the input parameter 'scope' is not valid: {scope}"),
        )
    }

    pub(crate) fn assertion_malformed() -> Self {
        Self::assertion(50027, "JWT token is invalid or malformed.".to_owned())
    }

    pub(crate) fn issuer_unmatched(issuer: &str) -> Self {
        Self::assertion(
            700_211,
            format!("No matching federated identity record found for presented assertion issuer '{issuer}'."),
        )
    }

    pub(crate) fn audience_unmatched(audience: &str) -> Self {
        Self::assertion(
            700_212,
            format!(
                "No matching federated identity record found for presented assertion audience '{audience}'."
            ),
        )
    }

    pub(crate) fn subject_unmatched(subject: &str) -> Self {
        Self::assertion(
            700_213,
            format!(
                "No matching federated identity record found for presented assertion subject '{subject}'."
            ),
        )
    }

    pub(crate) fn outside_lifetime() -> Self {
        Self::assertion(700_024, "Client assertion is not within its valid time range.".to_owned())
    }

    pub(crate) fn signature_invalid() -> Self {
        Self::assertion(700_027, "Client assertion failed signature validation.".to_owned())
    }

    /// A refusal because of the assertion.
    fn assertion(code: u32, text: String) -> Self {
        Self::new(code, StatusCode::UNAUTHORIZED, "invalid_client", text)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let now = OffsetDateTime::now_utc();
        let timestamp = now.format(&Rfc3339).unwrap_or_default();
        // Programs show these; nobody looks them up here.
        let (trace, correlation) =
            ("00000000-0000-0000-0000-0000000000aa", "00000000-0000-0000-0000-0000000000bb");
        let description = format!(
            "AADSTS{}: {} Trace ID: {trace} Correlation ID: {correlation} Timestamp: {timestamp}",
            self.code, self.text
        );
        let body = json!({
            "error": self.error,
            "error_description": description,
            "error_codes": [self.code],
            "timestamp": timestamp,
            "trace_id": trace,
            "correlation_id": correlation,
            "error_uri": format!("https://login.microsoftonline.com/error?code={}", self.code),
        });
        (self.status, Json(body)).into_response()
    }
}
