//! Any bytes over TLS are answered as HTTP or not at all, and the next caller is answered as before.

#![no_main]

use std::sync::LazyLock;

use azwi_mutation::Config;
use libfuzzer_sys::fuzz_target;
use test_support::webhook::EmbeddedWebhook;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::{Builder, Runtime};

static WEBHOOK: LazyLock<(Runtime, EmbeddedWebhook)> = LazyLock::new(|| {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let config = Config::from_json(r#"{"tenantId": "contoso.example"}"#).expect("settings");
    let webhook = runtime.block_on(async { EmbeddedWebhook::start(config) }).expect("a free port");
    (runtime, webhook)
});

fuzz_target!(|bytes: &[u8]| {
    let (runtime, webhook) = &*WEBHOOK;
    runtime.block_on(async {
        let answer = answer(webhook, bytes).await;
        let text = String::from_utf8_lossy(&answer);
        let status = text.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5));
        assert!(answer.is_empty() || status.is_some_and(|status| status != "500"), "{text}");
        let reply = webhook.caller().connect().await.expect("a connection").send("GET", "/", "", "").await;
        assert_eq!(reply.expect("an answer").status, 404);
    });
});

async fn answer(webhook: &EmbeddedWebhook, bytes: &[u8]) -> Vec<u8> {
    let mut stream = webhook.caller().stream().await.expect("a connection");
    let mut answer = Vec::new();
    // The webhook may close the connection before it has read or written everything.
    _ = stream.write_all(bytes).await;
    _ = stream.shutdown().await;
    _ = stream.read_to_end(&mut answer).await;
    answer
}
