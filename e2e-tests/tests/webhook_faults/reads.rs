//! More service account reads than are allowed at a time.

use admission_caller::answer::Answer;
use admission_caller::request::labelled_pod;
use serde_json::{Value, json};
use test_support::api_server::ApiServer;
use test_support::setup::{NAMESPACE, SERVICE_ACCOUNT, Setup, answer};
use test_support::tls_client::Caller;
use test_support::webhook::WebhookProcess;
use tokio::task::JoinSet;

/// More pods than one namespace may have reads, each with an account that the cache does not know.
fn more_than_it_can_take(api_server: &ApiServer, caller: &Caller) -> JoinSet<Answer> {
    let mut callers = JoinSet::new();
    for number in 0..32 {
        let name = format!("sa-{number}");
        api_server.apply_unseen(NAMESPACE, &name, &json!({}));
        let caller = caller.clone();
        callers.spawn(async move { answer(&caller, &labelled_pod(&name)).await.unwrap() });
    }
    callers
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_it_can_take_waits_for_a_place() {
    let Setup { api_server, webhook, caller, .. } = &Setup::start(&["--max-in-flight", "64"]).await.unwrap();
    api_server.answer_reads(false);
    let callers = more_than_it_can_take(api_server, caller);
    let is_full = async |webhook: &WebhookProcess| {
        (webhook.metric("azwi_requests_in_flight").await.unwrap() - 8.0).abs() < 0.5
    };
    webhook.wait_until("full", is_full).await.unwrap();
    api_server.answer_reads(true);
    for answer in callers.join_all().await {
        // On a very busy machine, a read without an answer for a second has been replaced by another.
        let gave_way = answer.message.contains("its slot was needed for another read");
        assert!(answer.allowed || gave_way, "{}", answer.message);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_it_can_take_is_shed_when_the_time_is_up() {
    let Setup { api_server, caller, .. } = &Setup::start(&["--max-in-flight", "1"]).await.unwrap();
    api_server.answer_reads(false);
    let answers = more_than_it_can_take(api_server, caller).join_all().await;
    let (shed, unanswered): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.code == Some(503));
    assert!(!shed.is_empty() && !unanswered.is_empty(), "{answers:?}");
    for answer in shed {
        assert!(answer.message.contains("too many requests"), "{}", answer.message);
    }
    for answer in unanswered {
        assert!(!answer.allowed && answer.code == Some(500), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_its_limit_it_says_so_to_those_who_asked_and_lets_the_rest_in() {
    let Setup { api_server, webhook, caller, .. } = &Setup::start(&["--max-in-flight", "1"]).await.unwrap();
    api_server.answer_reads(false);
    // It holds the only slot for longer than the others wait for it.
    let first = tokio::spawn({
        let caller = caller.clone();
        async move { answer(&caller, &labelled_pod("hangs")).await }
    });
    let is_full =
        async |webhook: &WebhookProcess| webhook.metric("azwi_requests_in_flight").await.unwrap() >= 1.0;
    webhook.wait_until("full", is_full).await.unwrap();
    let known = answer(caller, &labelled_pod(SERVICE_ACCOUNT)).await.unwrap();
    assert!(known.allowed, "an account that the cache knows needs no read");
    let labelled = labelled_pod("unknown");
    let mut unlabelled = labelled.clone();
    unlabelled["metadata"]["labels"] = Value::Null;
    let (shed, open) = tokio::join!(answer(caller, &labelled), answer(caller, &unlabelled));
    let (shed, open) = (shed.unwrap(), open.unwrap());
    assert_eq!((shed.allowed, shed.code), (false, Some(503)));
    assert!(shed.message.contains("too many requests"), "{}", shed.message);
    assert!(open.allowed && open.warnings[0].starts_with("AZWI011"), "{:?}", open.warnings);
    assert!(webhook.metric("azwi_requests_shed_total").await.unwrap() >= 2.0);
    first.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_who_hang_up_are_not_counted_as_in_flight() {
    let Setup { api_server, webhook, caller, .. } = &Setup::start(&[]).await.unwrap();
    api_server.answer_reads(false);
    let caller = caller.clone();
    let waiting = tokio::spawn(async move { answer(&caller, &labelled_pod("unknown")).await });
    let in_flight = async |webhook: &WebhookProcess| webhook.metric("azwi_requests_in_flight").await.unwrap();
    webhook.wait_until("busy", async |webhook| in_flight(webhook).await >= 1.0).await.unwrap();
    waiting.abort();
    webhook.wait_until("idle", async |webhook| in_flight(webhook).await < 1.0).await.unwrap();
}
