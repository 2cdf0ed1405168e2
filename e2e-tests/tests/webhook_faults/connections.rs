//! Callers that are slow, idle, or send something other than a review.

use std::time::Duration;

use test_support::setup::Setup;
use test_support::webhook::WebhookProcess;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::load::{Callers, Load, NO_FAILURE, known};

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_connection_may_be_idle_for_longer_than_a_head_may_take() {
    let Setup { caller, .. } = &Setup::start(&["--header-timeout", "300ms"]).await.unwrap();
    let mut connection = caller.connect().await.unwrap();
    assert_eq!(connection.review(known()).await.unwrap().status, 200);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(connection.review(known()).await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_body_goes_when_its_memory_is_needed() {
    let flags = ["--max-body", "700000", "--request-memory", "1000000"];
    let Setup { webhook, caller, .. } = &Setup::start(&flags).await.unwrap();
    let mut stalled = caller.stream().await.unwrap();
    let head = "POST /mutate-v1-pod HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 650000\r\n\r\n";
    stalled.write_all(head.as_bytes()).await.unwrap();
    stalled.flush().await.unwrap();
    let large = format!("{}{}", known(), " ".repeat(200_000));
    let is_answered = async |_: &WebhookProcess| caller.review(large.clone()).await.unwrap().status == 200;
    webhook.wait_until("rid of the stalled body", is_answered).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(10), stalled.read_to_end(&mut Vec::new())).await;
    assert!(ended.is_ok(), "the connection is closed");
    assert!(webhook.metric("azwi_connections_evicted_total").await.unwrap() >= 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_do_not_keep_others_out() {
    let Setup { caller, .. } = &Setup::start(&["--max-connections", "4"]).await.unwrap();
    let mut kept = caller.connect().await.unwrap();
    assert_eq!(kept.review(known()).await.unwrap().status, 200);
    let mut idle = Vec::new();
    for _ in 0..8 {
        idle.push(caller.stream().await.unwrap());
        assert_eq!(kept.review(known()).await.unwrap().status, 200, "one that sends reviews is kept");
    }
    assert_eq!(caller.review(known()).await.unwrap().status, 200, "a new one gets a place");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_review_of_unknown_length_is_refused() {
    let Setup { caller, .. } = &Setup::start(&[]).await.unwrap();
    let mut stream = caller.stream().await.unwrap();
    let request = "POST /mutate-v1-pod HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                   transfer-encoding: chunked\r\n\r\n1\r\n{\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 411");
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_and_half_open_clients_are_dropped_and_hinder_nobody() {
    let flags = ["--header-timeout", "2s", "--body-timeout", "2s", "--handshake-timeout", "2s"];
    let Setup { webhook, caller, .. } = &Setup::start(&flags).await.unwrap();
    let load = Load::start(caller, 2, Callers::KeepTheirConnections);

    // One that never starts the handshake, one that never ends its head, one that never ends its body.
    let mut silent = tokio::net::TcpStream::connect(webhook.address).await.unwrap();
    let mut no_head = caller.stream().await.unwrap();
    no_head.write_all(b"POST /mutate-v1-pod HTTP/1.1\r\nhost: x\r\n").await.unwrap();
    let mut no_body = caller.stream().await.unwrap();
    let head = "POST /mutate-v1-pod HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{";
    no_body.write_all(head.as_bytes()).await.unwrap();

    let mut answer = Vec::new();
    let ended = async {
        _ = silent.read_to_end(&mut Vec::new()).await;
        _ = no_head.read_to_end(&mut Vec::new()).await;
        _ = no_body.read_to_end(&mut answer).await;
    };
    tokio::time::timeout(Duration::from_secs(10), ended).await.expect("the webhook ends slow connections");
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("did not arrive"), "{answer}");
    assert!(webhook.metric("azwi_handshake_failures_total").await.unwrap() >= 1.0);
    load.more_answers(50).await;
    assert_eq!(load.stop().await, NO_FAILURE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_request_is_measured_for_as_long_as_it_took() {
    let Setup { webhook, caller, .. } = &Setup::start(&["--body-timeout", "300ms"]).await.unwrap();
    let mut late = caller.stream().await.unwrap();
    let head = "POST /mutate-v1-pod HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{";
    late.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    late.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408");
    assert!(webhook.metric("azwi_mutation_request_sum").await.unwrap() >= 0.3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_malformed_reviews_change_nothing() {
    let Setup { caller, .. } = &Setup::start(&[]).await.unwrap();
    let load = Load::start(caller, 2, Callers::KeepTheirConnections);
    let whole = known();
    let mut connection = caller.connect().await.unwrap();
    for number in 0..1000 {
        // A review truncated at varying positions.
        let end = (number * 7) % (whole.len() - 1);
        let reply = connection.review(whole[..end].to_owned()).await.unwrap();
        assert_eq!(reply.status, 400, "{}", &whole[..end]);
    }
    let too_large = caller.connect().await.unwrap().review(vec![b' '; 7 * 1024 * 1024 + 1]).await.unwrap();
    assert_eq!(too_large.status, 413);
    load.more_answers(50).await;
    assert_eq!(load.stop().await, NO_FAILURE);
}
