//! Attacks by a caller whose connections are never idle: connections in use are not evicted lightly. From many
//! addresses the same attacks would drive others out (docs/security.md).

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use tokio::io::AsyncReadExt as _;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::bodies::{containers_with_lists, empty_containers};
use super::connections::{fragmented_hello, heads, loop_together, summary};
use super::lookups::named_request;
use super::wire::{HANDSHAKES, PATH, Source, ask_once, crowd, head, hold, open, review, send};
use super::{Attack, Field, Findings, TENANT};

pub fn attacks() -> Vec<Attack> {
    vec![
        Attack::new("busy: 512 connections whose next body lacks a byte", next_body),
        Attack::new("busy: 512 connections that ask for account after account", |field| {
            lookups_in_heaps(field, false)
        }),
        Attack::new("busy: 512 connections that ask for slow accounts", |field| {
            lookups_in_heaps(field, true)
        }),
        Attack::new("busy: 600 connections that wait for one slow account", one_slow_account),
        Attack::new("busy: large answers in heaps, 250 connections", |field| heaps_of(field, 250, 700)),
        Attack::new("busy: middling answers in heaps, 250 connections", |field| heaps_of(field, 250, 350)),
        Attack::new("busy: large answers in heaps, and 1,000 heads that do not end", heaps_and_heads),
        Attack::new(
            "busy: large answers in heaps, and 1,000 long handshakes that do not end",
            heaps_and_handshakes,
        ),
        Attack::new("busy: 56 KB each, waiting for a moment each, 90 connections", young_and_waiting),
        Attack::new("busy: denials in heaps, and 1,000 connections that say nothing", denials_in_heaps),
        Attack::new("busy: large claims while a pod waits for its account", claims_while_waiting),
    ]
}

/// A request with its head.
fn request(body: &Bytes) -> Vec<u8> {
    [head(PATH, body.len()).as_bytes(), body].concat()
}

/// Each segment ends one request and starts the next, so that the server always has one.
async fn next_body(field: Field) -> Findings {
    let smallest = Bytes::from_static(
        br#"{"apiVersion":"admission.k8s.io/v1","request":{"uid":"u","operation":"DELETE"}}"#,
    );
    let request = Arc::new(request(&smallest));
    let done = crowd(&field, 512, HANDSHAKES, |i| {
        let (field, request) = (field.clone(), Arc::clone(&request));
        async move {
            let Ok(mut stream) = field.tls(Source::Neighbour, i).await else { return };
            let Some((last, rest)) = request.split_last() else { return };
            if !(send(&mut stream, &request).await && send(&mut stream, rest).await) {
                return;
            }
            let segment = [&[*last], rest].concat();
            let (mut reader, mut writer) = tokio::io::split(stream);
            let reading = tokio::spawn(async move { hold(&mut reader).await });
            while !reading.is_finished() && send(&mut writer, &segment).await {
                sleep(Duration::from_millis(50)).await;
            }
        }
    });
    summary(done.await)
}

/// Pipelined requests for unknown accounts, three at a time: one of them always waits.
async fn lookups_in_heaps(field: Field, are_slow: bool) -> Findings {
    if are_slow {
        field.api_server.slow_down("slow", Duration::from_millis(500));
    }
    let done = crowd(&field, 512, HANDSHAKES, |i| {
        let field = field.clone();
        async move {
            let Ok(mut stream) = field.tls(Source::Neighbour, i).await else { return };
            let mut buffer = [0; 4096];
            for round in 0.. {
                let account = if are_slow { "slow".to_owned() } else { format!("x-{i}-{round}") };
                let body = review(&named_request(&format!("n-{}", i % 64), &account));
                for _ in 0..if round == 0 { 3 } else { 1 } {
                    if !send(&mut stream, &request(&body)).await {
                        return;
                    }
                }
                if !stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {
                    return;
                }
            }
        }
    });
    summary(done.await)
}

/// All share one read, and none of them sends anything else.
async fn one_slow_account(field: Field) -> Findings {
    field.api_server.slow_down("slow", Duration::from_secs(25));
    let body = review(&named_request(TENANT, "slow"));
    let request = Bytes::from([head("/mutate-v1-pod?timeout=30s", body.len()).as_bytes(), &body].concat());
    let done = crowd(&field, 600, HANDSHAKES, |i| {
        let (field, request) = (field.clone(), request.clone());
        async move {
            let Ok(mut stream) = field.tls(Source::Neighbour, i).await else { return };
            if send(&mut stream, &request).await {
                hold(stream).await;
            }
        }
    });
    summary(done.await)
}

/// Pipelined reviews with long answers, all of them read.
async fn heaps_of(field: Field, count: usize, containers: usize) -> Findings {
    let heap = Arc::new(request(&containers_with_lists(containers).body()).repeat(4));
    let done = crowd(&field, count, HANDSHAKES, |i| {
        let (field, heap) = (field.clone(), Arc::clone(&heap));
        async move {
            let Ok(stream) = field.tls(Source::Neighbour, i).await else { return };
            let (mut reader, mut writer) = tokio::io::split(stream);
            let reading = tokio::spawn(async move { hold(&mut reader).await });
            while !reading.is_finished() && send(&mut writer, &heap).await {}
        }
    });
    summary(done.await)
}

/// The memory of requests and that of connections at the same time.
async fn heaps_and_heads(field: Field) -> Findings {
    let (mut findings, heads) = tokio::join!(heaps_of(field.clone(), 250, 700), heads(field, 15 * 1024));
    findings.extend(heads);
    findings
}

async fn heaps_and_handshakes(field: Field) -> Findings {
    let (mut findings, handshakes) =
        tokio::join!(heaps_of(field.clone(), 250, 700), fragmented_hello(field, 47_000));
    findings.extend(handshakes);
    findings
}

/// Together they fill the memory for small requests, but none of them for long.
async fn young_and_waiting(field: Field) -> Findings {
    field.api_server.slow_down("slow", Duration::from_millis(80));
    let request = Arc::new(request(&review(&super::memory::pod_of_account("slow", 55_000))));
    let done = crowd(&field, 90, HANDSHAKES, |i| {
        let (field, request) = (field.clone(), Arc::clone(&request));
        async move {
            let Ok(mut stream) = field.tls(Source::Neighbour, i).await else { return };
            let mut buffer = vec![0; 16 * 1024];
            while send(&mut stream, &request).await {
                if !stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {
                    return;
                }
            }
        }
    });
    summary(done.await)
}

/// The thread is never idle, and the accept queue is never empty.
async fn denials_in_heaps(field: Field) -> Findings {
    let heap = Arc::new(request(&empty_containers(1_001).body()).repeat(8));
    let mut pipes = JoinSet::new();
    for i in 0..100 {
        let (field, heap) = (field.clone(), Arc::clone(&heap));
        pipes.spawn(async move {
            loop {
                let Ok(stream) = field.tls(Source::Crowd, i).await else { continue };
                let (mut reader, mut writer) = tokio::io::split(stream);
                let reading = tokio::spawn(async move { hold(&mut reader).await });
                while !reading.is_finished() && send(&mut writer, &heap).await {}
            }
        });
    }
    loop_together(&field, 1_000, |field, i| async move {
        let Ok(stream) = open(field.webhook, Source::Crowd, i).await else { return false };
        hold(stream).await;
        true
    })
    .await;
    Findings::default()
}

/// Announced bodies that are renewed before they are old must not evict requests that wait for the API server.
async fn claims_while_waiting(field: Field) -> Findings {
    field.api_server.slow_down("waited-for", Duration::from_millis(500));
    let claims = {
        let field = field.clone();
        tokio::spawn(async move {
            loop_together(&field, 4, |field, i| async move {
                let Ok(mut stream) = field.tls(Source::Neighbour, i).await else { return false };
                let is_sent = send(&mut stream, head(PATH, 6 * 1024 * 1024).as_bytes()).await;
                sleep(Duration::from_millis(80)).await;
                is_sent
            })
            .await;
        })
    };
    let mut problems = Vec::new();
    for round in 0..8 {
        let namespace = format!("elsewhere-{round}");
        field.api_server.apply_unseen(&namespace, "waited-for", &super::account_metadata());
        let body = review(&named_request(&namespace, "waited-for"));
        match ask_once(&field, Source::ApiServer, PATH, &body).await {
            Ok((200, answer)) if answer.windows(9).any(|part| part == b"JSONPatch") => {}
            Ok((status, answer)) => {
                problems.push(format!("status {status}: {}", String::from_utf8_lossy(&answer)));
            }
            Err(error) => problems.push(format!("{error:#}")),
        }
    }
    claims.abort();
    let summary =
        problems.first().map(|first| format!("{} of 8 pods were not mutated: {first}", problems.len()));
    Findings::default().with(summary)
}
