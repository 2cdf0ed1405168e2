//! Behaviour on SIGTERM.

use std::time::Duration;

use test_support::setup::Setup;
use test_support::webhook::WebhookProcess;

use crate::load::{Callers, Load, NO_FAILURE, known};

#[tokio::test(flavor = "multi_thread")]
async fn stopping_under_load_fails_no_admission_of_those_who_heed_the_close() {
    let Setup { webhook, caller, .. } = &mut Setup::start(&["--lame-duck", "6s"]).await.unwrap();
    let mut open = caller.connect().await.unwrap();
    let load = Load::start(caller, 8, Callers::KeepTheirConnections);
    load.more_answers(100).await;
    webhook.terminate().await.unwrap();
    let is_draining = async |webhook: &WebhookProcess| {
        let (status, text) = webhook.get(webhook.health, "/readyz").await.unwrap();
        status == 503 && text.contains("[-]not-draining failed")
    };
    webhook.wait_until("not ready", is_draining).await.unwrap();
    assert!(open.review(known()).await.unwrap().closes, "a connection is closed after its next answer");
    load.more_answers(100).await;
    // The callers move elsewhere, as endpoint updates make them do within the lame-duck time.
    assert_eq!(load.stop().await, NO_FAILURE);
    let status =
        tokio::time::timeout(Duration::from_secs(30), webhook.child.wait()).await.expect("it ends").unwrap();
    assert!(status.success(), "{status}\n{}", webhook.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_at_once() {
    let Setup { webhook, .. } = &mut Setup::start(&["--lame-duck", "1h"]).await.unwrap();
    webhook.terminate().await.unwrap();
    let is_draining =
        async |webhook: &WebhookProcess| webhook.get(webhook.health, "/readyz").await.unwrap().0 == 503;
    webhook.wait_until("not ready", is_draining).await.unwrap();
    webhook.terminate().await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), webhook.child.wait()).await.expect("it ends").unwrap();
}
