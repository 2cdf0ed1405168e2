//! An API server that becomes unavailable.

use std::time::{Duration, Instant};

use admission_caller::request::labelled_pod;
use serde_json::json;
use test_support::api_server::ApiServer;
use test_support::setup::{NAMESPACE, SERVICE_ACCOUNT, Setup, answer, with_client_id};
use test_support::tls_client::Caller;
use test_support::webhook::WebhookProcess;

use crate::load::{Callers, Load, NO_FAILURE};

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_may_go_away_and_forget_the_watch() {
    /// Longer than the longest pause between two attempts of the watch.
    const OUTAGE: Duration = Duration::from_secs(12);
    let Setup { api_server, webhook, caller, .. } = Setup::start(&[]).await.unwrap();
    let load = Load::start(&caller, 1, Callers::KeepTheirConnections);
    load.more_answers(50).await;
    api_server.expire_watches();
    load.more_answers(50).await;
    let (restart, gone_since) = (api_server.stop(), Instant::now());
    while gone_since.elapsed() < OUTAGE {
        load.more_answers(50).await;
    }
    let unknown = answer(&caller, &labelled_pod("unknown")).await.unwrap();
    assert_eq!((unknown.allowed, unknown.code), (false, Some(500)), "{}", unknown.message);
    assert_eq!(
        webhook.get(webhook.health, "/readyz").await.unwrap().0,
        200,
        "it goes on serving from its cache"
    );
    let api_server = restart().unwrap();
    api_server.apply(NAMESPACE, "unknown", &json!({}));
    let is_known =
        async |_: &WebhookProcess| answer(&caller, &labelled_pod("unknown")).await.unwrap().allowed;
    webhook.wait_until("aware of the API server", is_known).await.unwrap();
    // The watch is tried again within five seconds.
    let seen = changes_are_seen(&api_server, &caller);
    tokio::time::timeout(Duration::from_secs(10), seen).await.expect("changes are seen again");
    load.more_answers(50).await;
    assert_eq!(load.stop().await, NO_FAILURE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_dies_without_a_word_is_opened_again() {
    /// Twice the time it takes. Without the limit on silence it would be five minutes.
    const LIMIT: Duration = Duration::from_mins(1);
    let Setup { api_server, webhook, caller, .. } = Setup::start(&[]).await.unwrap();
    let is_watching =
        async |_: &WebhookProcess| api_server.requests().iter().any(|request| request.contains("watch=true"));
    webhook.wait_until("watching", is_watching).await.unwrap();
    api_server.silence_watches();
    let silent_since = Instant::now();
    let seen = changes_are_seen(&api_server, &caller);
    tokio::time::timeout(LIMIT, seen).await.expect("changes are seen again");
    assert!(silent_since.elapsed() > Duration::from_secs(5), "the watch was silent");
}

/// Waits until a changed service account is seen by its watch.
async fn changes_are_seen(api_server: &ApiServer, caller: &Caller) {
    const CHANGED_ID: &str = "00000000-0000-0000-0000-00000000000a";
    loop {
        api_server.apply(NAMESPACE, SERVICE_ACCOUNT, &with_client_id(CHANGED_ID));
        let answer = answer(caller, &labelled_pod(SERVICE_ACCOUNT)).await.unwrap();
        if answer.patch.iter().any(|operation| operation.to_string().contains(CHANGED_ID)) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
