//! The two operations that do something.

use azwi_mutation::{
    Admission, AdmissionRequest, Answer, Config, Denial, Json, PendingAdmission, ServiceAccountLookup, Value,
};
use kubewarden_policy_sdk::settings::SettingsValidationResponse;
use kubewarden_policy_sdk::wapc_guest::CallResult;

use crate::response::ValidationResponse;

/// Answers the payload of `validate`: an object with the admission `request` and the policy's `settings`. `lookup`
/// reads a service account by namespace and name.
///
/// # Errors
/// The payload is not what a Kubewarden host sends. Everything else is an answer.
pub fn validate(payload: &[u8], lookup: impl FnOnce(&str, &str) -> ServiceAccountLookup) -> CallResult {
    let json = Json::parse(std::str::from_utf8(payload)?)?;
    let field = |key: &str| json.root().get(key).ok_or_else(|| format!("the payload has no {key}"));
    let request = AdmissionRequest::read(field("request")?)?;
    let response = match Config::read(field("settings")?) {
        Ok(config) => {
            let answer = match azwi_mutation::admit(&request, &config) {
                Admission::Answered(answer) => answer,
                Admission::Pending(pending) => finish(pending, lookup),
            };
            response(answer, request.object)
        }
        Err(error) => ValidationResponse::denied(Denial {
            code: 500,
            message: format!("the policy's settings are not valid: {error}"),
        }),
    };
    Ok(response.into_json()?)
}

fn finish(pending: PendingAdmission<'_>, lookup: impl FnOnce(&str, &str) -> ServiceAccountLookup) -> Answer {
    let found = lookup(pending.namespace(), pending.service_account_name());
    pending.answer(found)
}

fn response(answer: Answer, object: Option<Value<'_>>) -> ValidationResponse {
    let mutation = match answer {
        Ok(mutation) => mutation,
        Err(denial) => return ValidationResponse::denied(denial),
    };
    let patched = object.filter(|_| !mutation.patch.is_empty()).map(|object| mutation.patch.apply_to(object));
    let mutated_object = match patched.transpose() {
        Ok(mutated_object) => mutated_object,
        Err(error) => return ValidationResponse::denied(Denial { code: 500, message: error.to_string() }),
    };
    ValidationResponse::admitted(mutated_object, &mutation.warnings, mutation.audit)
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
