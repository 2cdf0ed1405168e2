//! The two operations that do something.

use azwi_mutation::{
    Admission, AdmissionRequest, Answer, Config, Denial, Json, MOST_REQUEST_VALUES, PendingAdmission,
    ServiceAccountLookup, Shape,
};
use kubewarden_policy_sdk::settings::SettingsValidationResponse;
use kubewarden_policy_sdk::wapc_guest::CallResult;

use crate::response::{denied, response};

/// What has to be indexed of the payload of `validate`.
static PAYLOAD: Shape = Shape::Object(&[("request", AdmissionRequest::SHAPE), ("settings", &Shape::Whole)]);

/// Answers the payload of `validate`: an object with the admission `request` and the policy's `settings`. `lookup`
/// reads a service account by namespace and name.
///
/// # Errors
/// The payload is not what a Kubewarden host sends. Everything else is an answer.
pub fn validate(payload: &[u8], lookup: impl FnOnce(&str, &str) -> ServiceAccountLookup) -> CallResult {
    let json = Json::parse_shaped(std::str::from_utf8(payload)?, &PAYLOAD, MOST_REQUEST_VALUES)?;
    let field = |key: &str| json.root().get(key).ok_or_else(|| format!("the payload has no {key}"));
    let request = AdmissionRequest::read(field("request")?)?;
    let config = match Config::read(field("settings")?) {
        Ok(config) => config,
        Err(error) => {
            let message = format!("the policy's settings are not valid: {error}");
            return Ok(denied(Denial { code: 500, message })?);
        }
    };
    let answer = match azwi_mutation::admit(&request, &config) {
        Admission::Answered(answer) => answer,
        Admission::Pending(pending) => finish(pending, lookup),
    };
    Ok(response(answer, request.object)?)
}

fn finish(pending: PendingAdmission<'_>, lookup: impl FnOnce(&str, &str) -> ServiceAccountLookup) -> Answer {
    let found = lookup(pending.namespace(), pending.service_account_name());
    pending.answer(found)
}

/// Checks the policy's settings.
///
/// # Errors
/// None that is known: settings of any shape get an answer.
pub fn validate_settings(payload: &[u8]) -> CallResult {
    let message = match std::str::from_utf8(payload) {
        Ok(settings) => Config::from_json(settings).err().map(|error| error.to_string()),
        Err(error) => Some(format!("the settings are not UTF-8: {error}")),
    };
    Ok(serde_json::to_vec(&SettingsValidationResponse { valid: message.is_none(), message })?)
}
