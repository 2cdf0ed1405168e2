//! Attacks on memory by many callers together: each takes little, and returns nothing.

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::bodies::containers_of_account;
use super::requests::judge;
use super::wire::{HANDSHAKES, PATH, Source, Tally, ask, ask_once, crowd, head, hold, open_narrow, send};
use super::{Attack, Field, Findings, TENANT_ACCOUNT, timed};
use admission_caller::request::pod_creation;

pub fn attacks() -> Vec<Attack> {
    let mut attacks = Vec::new();
    for source in [Source::Neighbour, Source::Crowd, Source::ApiServer] {
        attacks.push(Attack::new(format!("memory: 1,000 stalled bodies of 65 KB, {source}"), move |field| {
            stalled_bodies(field, source, 1_000, 65_000, 64_900)
        }));
    }
    for source in [Source::Crowd, Source::ApiServer] {
        attacks.extend([
            Attack::new(format!("memory: 2,000 bodies of 5 KB that lack a byte, {source}"), move |field| {
                stalled_bodies(field, source, 2_000, 5_000, 4_999)
            }),
            Attack::new(
                format!("memory: 1,000 reviews of 60 KB, answers never read, {source}"),
                move |field| never_read(field, source, 1_000, 3_500, 1),
            ),
        ]);
    }
    attacks.extend([
        Attack::new("memory: 40 bodies of 7 MiB, half sent", |field| {
            stalled_bodies(field, Source::Crowd, 40, SEVEN_MEBIBYTES, SEVEN_MEBIBYTES / 2)
        }),
        Attack::new("memory: 300 bodies of 7 MiB, nothing sent", |field| {
            stalled_bodies(field, Source::Crowd, 300, SEVEN_MEBIBYTES, 0)
        }),
        Attack::new("memory: 300 bodies of 7 MiB, half a MB sent", |field| {
            stalled_bodies(field, Source::Crowd, 300, SEVEN_MEBIBYTES, 500_000)
        }),
        Attack::new("memory: 1,000 bodies of 16 KB, sent byte by byte", slow_bodies),
        Attack::new("memory: 500 chunked bodies of a byte", |field| chunked(field, 500, 1)),
        Attack::new("memory: 100 chunked bodies of 1 MB", |field| chunked(field, 100, 1_000_000)),
        Attack::new("memory: 200 answers of several 100 KB, never read", |field| {
            never_read(field, Source::Crowd, 200, 500, 1)
        }),
        Attack::new("memory: 200 connections with 100 reviews each, answers never read", |field| {
            never_read(field, Source::Crowd, 200, 200, 100)
        }),
        Attack::new("memory: 100 reviews at once, their answers forty times as large, read", all_at_once),
        Attack::new("memory: claims of 3 MiB, renewed before they are old", |field| {
            renewed_claims(field, 3, 80)
        }),
        Attack::new("memory: claims of 6 MiB, renewed before they are old", |field| {
            renewed_claims(field, 6, 40)
        }),
        Attack::new("memory: uids of 1 MB that are longer in the answer, never read", |field| {
            send_and_never_read(field, Source::Neighbour, 100, uid_of_control_characters(1_000_000), 1)
        }),
        Attack::new("memory: uids of 7 MB that are longer in the answer, never read", |field| {
            send_and_never_read(field, Source::Neighbour, 20, uid_of_control_characters(7_000_000), 1)
        }),
        Attack::new(
            "memory: heads of 15 KB, and names of escapes that wait for their account",
            fat_and_waiting,
        ),
        Attack::new("memory: 20 reviews of 3 MiB that wait for their account", waiting_for_account),
        Attack::new("memory: 500 reviews of 50 KB that wait for their account", small_ones_waiting),
    ]);
    attacks
}

const SEVEN_MEBIBYTES: usize = 7 * 1024 * 1024;

async fn stalled_bodies(field: Field, source: Source, count: usize, length: usize, sent: usize) -> Findings {
    let body = Bytes::from(vec![b' '; sent]);
    let (begun, busy) = crowd(&field, count, HANDSHAKES, |i| {
        let (field, body) = (field.clone(), body.clone());
        async move {
            let Ok(mut stream) = field.tls(source, i).await else { return };
            // Bytes that the server no longer accepts are not sent.
            if send(&mut stream, head(PATH, length).as_bytes()).await && send(&mut stream, &body).await {
                hold(stream).await;
            }
        }
    })
    .await;
    Findings::note(format!("{begun} begun, {busy} open at the end"))
}

/// Complete reviews from well-behaved callers, all at the same moment, again and again.
async fn all_at_once(field: Field) -> Findings {
    const CALLERS: usize = 100;
    let request = containers_of_account(900, TENANT_ACCOUNT).body();
    let start = Arc::new(Barrier::new(CALLERS));
    let end = tokio::time::Instant::now() + field.duration;
    let mut callers = JoinSet::new();
    for i in 0..CALLERS {
        let (field, request, start) = (field.clone(), request.clone(), Arc::clone(&start));
        callers.spawn(async move {
            let mut stream = field.tls(Source::Neighbour, i).await;
            start.wait().await;
            let mut answered = 0;
            while tokio::time::Instant::now() < end {
                match &mut stream {
                    Ok(open) => match ask(open, PATH, &request).await {
                        Ok((status, _)) => answered += usize::from(status == 200),
                        Err(_) => stream = field.tls(Source::Neighbour, i).await,
                    },
                    Err(_) => stream = field.tls(Source::Neighbour, i).await,
                }
            }
            answered
        });
    }
    let answered: usize = callers.join_all().await.into_iter().sum();
    Findings::note(format!("{answered} answered with 200"))
}

/// Heads that announce a large body that never comes, at a rate at which none of them gets old.
async fn renewed_claims(field: Field, mebibytes: usize, rate: u32) -> Findings {
    let seconds = usize::try_from(field.duration.as_secs()).unwrap_or(1).max(1);
    let count = seconds * rate as usize;
    let (begun, busy) = crowd(&field, count, rate, |i| {
        let field = field.clone();
        async move {
            let Ok(mut stream) = field.tls(Source::Neighbour, i).await else { return };
            if send(&mut stream, head(PATH, mebibytes * 1024 * 1024).as_bytes()).await {
                hold(stream).await;
            }
        }
    })
    .await;
    Findings::note(format!("{begun} begun, {busy} open at the end"))
}

async fn slow_bodies(field: Field) -> Findings {
    let (begun, busy) = crowd(&field, 1_000, HANDSHAKES, |i| {
        let field = field.clone();
        async move {
            let Ok(mut stream) = field.tls(Source::Crowd, i).await else { return };
            if send(&mut stream, head(PATH, 16 * 1024).as_bytes()).await {
                while send(&mut stream, b" ").await {
                    sleep(Duration::from_millis(500)).await;
                }
            }
        }
    })
    .await;
    Findings::note(format!("{begun} begun, {busy} open at the end"))
}

/// Bodies of unknown length; meanwhile a large review must be answered too.
async fn chunked(field: Field, count: usize, length: usize) -> Findings {
    let start = format!(
        "POST {PATH} HTTP/1.1\r\nHost: webhook.test\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n{}",
        " ".repeat(length)
    );
    let start = Bytes::from(start);
    let large = large_review();
    let attack = crowd(&field, count, HANDSHAKES, |i| {
        let (field, start) = (field.clone(), start.clone());
        async move {
            let Ok(mut stream) = field.tls(Source::Neighbour, i).await else { return };
            if send(&mut stream, &start).await {
                hold(stream).await;
            }
        }
    });
    let bystander = async {
        sleep(field.duration / 4).await;
        ask_once(&field, Source::ApiServer, PATH, &large).await
    };
    let ((begun, busy), reply) = tokio::join!(attack, bystander);
    let refusal = match reply {
        Ok((200, _)) => None,
        Ok((status, body)) => {
            Some(format!("a large review got status {status}: {}", String::from_utf8_lossy(&body)))
        }
        Err(error) => Some(format!("a large review was not answered: {error:#}")),
    };
    Findings::note(format!("{begun} begun, {busy} open at the end")).with(refusal)
}

/// A pod larger than most, and too large for the read memory that three such pods would leave.
fn large_review() -> Bytes {
    let pod = pod_of_account(TENANT_ACCOUNT, 3_500 * 1024);
    super::wire::review(&pod)
}

/// Reviews with long answers, on connections that read nothing.
async fn never_read(
    field: Field,
    source: Source,
    count: usize,
    containers: usize,
    reviews: usize,
) -> Findings {
    // Each container makes the patch longer by more than its own length.
    let body = containers_of_account(containers, TENANT_ACCOUNT).body();
    send_and_never_read(field, source, count, body, reviews).await
}

fn uid_of_control_characters(length: usize) -> Bytes {
    super::wire::review(&format!(r#"{{"uid":"{}"}}"#, r"\u0001".repeat(length / 6)))
}

async fn send_and_never_read(
    field: Field,
    source: Source,
    count: usize,
    body: Bytes,
    reviews: usize,
) -> Findings {
    let (begun, busy) = crowd(&field, count, HANDSHAKES, |i| {
        let (field, body) = (field.clone(), body.clone());
        async move {
            let Ok(stream) = open_narrow(field.webhook, source, i).await else { return };
            let Ok(mut stream) = field.handshake(stream).await else { return };
            let head = head(PATH, body.len());
            for _ in 0..reviews {
                if !(send(&mut stream, head.as_bytes()).await && send(&mut stream, &body).await) {
                    return;
                }
            }
            std::future::pending::<()>().await;
        }
    })
    .await;
    Findings::note(format!("{begun} begun, {busy} open at the end"))
}

async fn waiting_for_account(field: Field) -> Findings {
    let large = pod_of_account("unknown-NUMBER", 3 * 1024 * 1024);
    wait_for_account(field, 20, large).await
}

async fn small_ones_waiting(field: Field) -> Findings {
    let small = pod_of_account("unknown-NUMBER", 50 * 1024);
    wait_for_account(field, 500, small).await
}

/// A pod with a long field that the webhook does not read.
pub fn pod_of_account(account: &str, size: usize) -> String {
    let text = "x".repeat(size);
    let pod = format!(
        r#"{{"metadata":{{"labels":{{"azure.workload.identity/use":"true"}},"managedFields":["{text}"]}},"spec":{{"serviceAccountName":"{account}","containers":[{{"name":"c"}}]}}}}"#
    );
    pod_creation(super::TENANT, &pod)
}

/// Each requests a different account, while the API server answers no reads.
async fn wait_for_account(field: Field, count: usize, request: String) -> Findings {
    field.api_server.answer_reads(false);
    let mut askers = JoinSet::new();
    for i in 0..count {
        let field = field.clone();
        let body = super::wire::review(&request.replace("NUMBER", &i.to_string()));
        askers.spawn(async move { timed(ask_once(&field, Source::ApiServer, PATH, &body)).await });
    }
    sleep(field.duration).await;
    field.api_server.answer_reads(true);
    let mut tally = Tally::default();
    // The accepted ones are answered now; each waits no longer than its timeout.
    let answered = async {
        while let Some(asked) = askers.join_next().await {
            if let Ok((took, reply)) = asked {
                tally.add(took, &reply);
            }
        }
    };
    let is_over = timeout(Duration::from_secs(15), answered).await.is_ok();
    judge(&tally).with((!is_over).then(|| "not all reviews were answered in the end".to_owned()))
}

/// Connections that each hold a head of the maximum length and a waiting review with escaped names.
async fn fat_and_waiting(field: Field) -> Findings {
    field.api_server.slow_down("slow", Duration::from_secs(4));
    let mut head_only = format!("POST {PATH} HTTP/1.1\r\nX-Long: ").into_bytes();
    head_only.resize(15_500, b'x');
    let head_only = Bytes::from(head_only);
    let mut fat = JoinSet::new();
    for i in 0..190 {
        let (field, head_only) = (field.clone(), head_only.clone());
        fat.spawn(async move {
            let Ok(stream) = open_narrow(field.webhook, Source::Crowd, i).await else { return };
            let Ok(mut stream) = field.handshake(stream).await else { return };
            let body = super::bystanders::review();
            if ask(&mut stream, PATH, &body).await.is_ok() && send(&mut stream, &head_only).await {
                hold(stream).await;
            }
        });
    }
    sleep(Duration::from_secs(1)).await;
    let name = |length: usize| format!(r"\n{}", "x".repeat(length));
    for (count, length) in [(20, 1_000_000), (40, 60_000)] {
        for i in 0..count {
            let pod = format!(
                r#"{{"metadata":{{"name":"{}","labels":{{"azure.workload.identity/use":"true"}}}},"spec":{{"serviceAccountName":"slow"}}}}"#,
                name(length)
            );
            let body = super::wire::review(&pod_creation(&format!("n-{length}-{i}"), &pod));
            let field = field.clone();
            fat.spawn(async move {
                _ = ask_once(&field, Source::Neighbour, PATH, &body).await;
            });
        }
    }
    sleep(field.duration).await;
    Findings::default()
}
