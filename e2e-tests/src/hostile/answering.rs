//! Answers a review without a network, to measure the cost.

use std::sync::LazyLock;

use azwi_mutation::{Config, ServiceAccount, ServiceAccountLookup};
use azwi_webhook::review::{Review, answer_size, index, write_answer};

use super::CLIENT_ID;

static CONFIG: LazyLock<Result<Config, String>> = LazyLock::new(|| {
    Config::from_json(r#"{"tenantId":"contoso.example"}"#).map_err(|error| error.to_string())
});

/// The webhook's answer to a body, or its error text if the body is not a review.
pub fn answer(body: &[u8]) -> String {
    answer_or_refuse(body).unwrap_or_else(|refusal| refusal)
}

fn answer_or_refuse(body: &[u8]) -> Result<String, String> {
    let config = CONFIG.as_ref()?;
    let text = std::str::from_utf8(body).map_err(|error| error.to_string())?;
    let json = index(text)?;
    let review = Review::read(json.root())?;
    let account = ServiceAccount::new([], [("azure.workload.identity/client-id", CLIENT_ID)]);
    let verdict =
        azwi_mutation::admit(&review.request, config).finish(|_, _| ServiceAccountLookup::Found(account));
    let text = write_answer(&review.api_version, &review.request.uid, &verdict);
    let text = text.map_err(|error| error.to_string())?;
    // Memory of this size is reserved before the answer is written.
    let promised = answer_size(&verdict);
    assert!(
        text.capacity() <= promised,
        "{} bytes for an answer that was to take {promised}",
        text.capacity()
    );
    Ok(text)
}
