//! Answering a review without a network, to see what it costs.

use std::sync::LazyLock;

use azwi_mutation::{Config, ServiceAccount, ServiceAccountLookup};
use azwi_webhook::review::{Review, answer_size, index, write_answer};

use super::CLIENT_ID;

static CONFIG: LazyLock<Result<Config, String>> = LazyLock::new(|| {
    Config::from_json(r#"{"tenantId":"contoso.example"}"#).map_err(|error| error.to_string())
});

/// What the webhook answers to a body; the sentence that it refuses it with, if it is no review.
pub fn answer(body: &[u8]) -> String {
    answer_or_refuse(body).unwrap_or_else(|refusal| refusal)
}

fn answer_or_refuse(body: &[u8]) -> Result<String, String> {
    let config = CONFIG.as_ref()?;
    let text = std::str::from_utf8(body).map_err(|error| error.to_string())?;
    let json = index(text)?;
    let review = Review::read(json.root())?;
    let account = ServiceAccount { client_id: Some(CLIENT_ID.into()), ..ServiceAccount::default() };
    let verdict =
        azwi_mutation::admit(&review.request, config).finish(|_, _| ServiceAccountLookup::Found(account));
    let text = write_answer(&review.api_version, &review.request.uid, &verdict);
    let text = text.map_err(|error| error.to_string())?;
    // Memory is taken by this before the answer is written.
    let promised = answer_size(&verdict);
    assert!(
        text.capacity() <= promised,
        "{} bytes for an answer that was to take {promised}",
        text.capacity()
    );
    Ok(text)
}
