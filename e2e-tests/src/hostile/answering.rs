//! Answering a review without a network, to see what it costs.

use azwi_mutation::{Admission, Config, Json, ServiceAccount, ServiceAccountLookup};
use azwi_webhook::review::{Review, write_answer};

use super::CLIENT_ID;

/// What the webhook answers to a body; the sentence that it refuses it with, if it is no review.
#[must_use]
pub fn answer(config: &Config, body: &[u8]) -> String {
    answer_or_refuse(config, body).unwrap_or_else(|refusal| refusal)
}

fn answer_or_refuse(config: &Config, body: &[u8]) -> Result<String, String> {
    let text = std::str::from_utf8(body).map_err(|error| error.to_string())?;
    let json = Json::parse(text)?;
    let review = Review::read(json.root())?;
    let answer = match azwi_mutation::admit(&review.request, config) {
        Admission::Answered(answer) => answer,
        Admission::Pending(pending) => {
            let account = ServiceAccount { client_id: Some(CLIENT_ID.into()), ..ServiceAccount::default() };
            pending.answer(ServiceAccountLookup::Found(account))
        }
    };
    write_answer(&review.api_version, &review.request.uid, &answer).map_err(|error| error.to_string())
}
