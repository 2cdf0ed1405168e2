//! Attacks by a neighbour who can reach the ports but has no credentials.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper::body::Bytes;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::sleep;

use super::bystanders::review;
use super::requests::judge;
use super::wire::{HANDSHAKES, PATH, Source, Tally, ask, crowd, head, hold, open, open_narrow, send};
use super::{Attack, Field, Findings, timed};
use test_support::tls_client::SERVER_NAME;

/// Connections without TLS that start per second.
const OPENED: u32 = 4_000;

pub fn attacks() -> Vec<Attack> {
    let mut attacks = Vec::new();
    for source in [Source::Neighbour, Source::Crowd, Source::ApiServer] {
        attacks.extend([
            Attack::new(format!("connections: 4,000 idle before TLS, {source}"), move |field| {
                idle(field, source, 4_000, |field| field.webhook)
            }),
            Attack::new(format!("connections: 3,000 idle with TLS, {source}"), move |field| {
                idle_tls(field, source, 3_000)
            }),
        ]);
    }
    for source in [Source::Crowd, Source::ApiServer] {
        attacks.extend([
            Attack::new(format!("connections: 3,000 with half a ClientHello, {source}"), move |field| {
                half_hello(field, source, 3_000)
            }),
            Attack::new(format!("connections: 2,000 slow heads, {source}"), move |field| {
                slow_heads(field, source, 2_000)
            }),
            Attack::new(format!("connections: 1,000 good reviews, then nothing, {source}"), move |field| {
                good_then(field, source, 1_000, Then::Nothing)
            }),
            Attack::new(
                format!("connections: 1,000 good reviews, then half a head, {source}"),
                move |field| good_then(field, source, 1_000, Then::HalfHead),
            ),
        ]);
    }
    for (port, address) in PORTS {
        attacks.extend([
            Attack::new(format!("connections: 4,000 idle on the {port} port, many addresses"), |field| {
                idle(field, Source::Crowd, 4_000, *address)
            }),
            Attack::new(format!("connections: 4,000 idle on the {port} port, one address"), |field| {
                idle(field, Source::Neighbour, 4_000, *address)
            }),
            Attack::new(format!("connections: 1,000 heads of 60 KB on the {port} port"), |field| {
                plain_heads(field, *address)
            }),
            Attack::new(format!("connections: 1,000 requests without end on the {port} port"), |field| {
                plain_pipelines(field, *address)
            }),
        ]);
    }
    attacks.extend(others());
    attacks
}

type Port = (&'static str, fn(&Field) -> SocketAddr);

const PORTS: &[Port] = &[("metrics", |field| field.metrics), ("health", |field| field.health)];

fn others() -> Vec<Attack> {
    vec![
        Attack::new("connections: 1,000 with a ClientHello of 60 KB in fragments", |field| {
            fragmented_hello(field, 60_000)
        }),
        Attack::new("connections: 1,000 heads of 60 KB that do not end", |field| heads(field, 60 * 1024)),
        Attack::new("connections: 1,000 heads of 15 KB that do not end", |field| heads(field, 15 * 1024)),
        Attack::new("connections: 500 heads of 1 MB", |field| heads(field, 1024 * 1024)),
        Attack::new("connections: 1,000 heads of 10,000 fields", many_fields),
        Attack::new("connections: 1,000 good reviews, then half a body", |field| {
            good_then(field, Source::Crowd, 1_000, Then::HalfBody)
        }),
        Attack::new("connections: 1,000 in one burst", burst),
        Attack::new("connections: a flood without TLS", |field| flood(field, Flood::Tcp)),
        Attack::new("connections: a flood of handshakes", |field| flood(field, Flood::Tls)),
        Attack::new("connections: a flood of handshakes that are broken off", |field| {
            flood(field, Flood::Reset)
        }),
        Attack::new("connections: reviews without end, answers never read", pipelines),
        Attack::new("connections: a flood of good reviews on 50 connections", good_reviews),
        Attack::new("connections: a flood of good reviews, a connection each", good_reviews_each),
    ]
}

/// Summary of a crowd's run.
pub fn summary((begun, busy): (usize, usize)) -> Findings {
    Findings::note(format!("{begun} begun, {busy} open at the end"))
}

async fn idle(field: Field, source: Source, count: usize, to: fn(&Field) -> SocketAddr) -> Findings {
    let to = to(&field);
    let done = crowd(&field, count, OPENED, |i| async move {
        if let Ok(stream) = open(to, source, i).await {
            hold(stream).await;
        }
    });
    summary(done.await)
}

async fn idle_tls(field: Field, source: Source, count: usize) -> Findings {
    let done = crowd(&field, count, HANDSHAKES, |i| {
        let field = field.clone();
        async move {
            if let Ok(stream) = field.tls(source, i).await {
                hold(stream).await;
            }
        }
    });
    summary(done.await)
}

/// The first message of a handshake.
pub fn client_hello(field: &Field) -> anyhow::Result<Vec<u8>> {
    let config = Arc::clone(field.tls.config());
    let mut connection = rustls::ClientConnection::new(config, ServerName::try_from(SERVER_NAME)?)?;
    let mut hello = Vec::new();
    connection.write_tls(&mut hello)?;
    Ok(hello)
}

async fn half_hello(field: Field, source: Source, count: usize) -> Findings {
    let mut hello = match client_hello(&field) {
        Ok(hello) => hello,
        Err(error) => return Findings::default().with(Some(format!("{error:#}"))),
    };
    hello.truncate(hello.len() / 2);
    stalled(field, source, count, OPENED, hello.into()).await
}

/// Connections to the TLS port that send some bytes and wait.
pub async fn stalled(field: Field, source: Source, count: usize, rate: u32, bytes: Bytes) -> Findings {
    let done = crowd(&field, count, rate, |i| {
        let (to, bytes) = (field.webhook, bytes.clone());
        async move {
            let Ok(mut stream) = open(to, source, i).await else { return };
            if send(&mut stream, &bytes).await {
                hold(stream).await;
            }
        }
    });
    summary(done.await)
}

/// A message in short records to make it costly, and without its last 1,000 bytes.
pub(super) async fn fragmented_hello(field: Field, length: usize) -> Findings {
    let mut message = vec![1];
    let announced = u32::try_from(length).unwrap_or(0).to_be_bytes();
    message.extend(announced.get(1..).unwrap_or_default());
    message.resize(length - 1_000, 3);
    let mut records = Vec::new();
    for fragment in message.chunks(100) {
        records.extend([22, 3, 1, 0]);
        records.extend(u8::try_from(fragment.len()));
        records.extend(fragment);
    }
    stalled(field, Source::Crowd, 1_000, OPENED, records.into()).await
}

async fn slow_heads(field: Field, source: Source, count: usize) -> Findings {
    let head = Bytes::from(head(PATH, 5_000));
    let done = crowd(&field, count, HANDSHAKES, |i| {
        let (field, head) = (field.clone(), head.clone());
        async move {
            let Ok(mut stream) = field.tls(source, i).await else { return };
            for byte in head {
                if !send(&mut stream, &[byte]).await {
                    return;
                }
                sleep(Duration::from_secs(1)).await;
            }
        }
    });
    summary(done.await)
}

/// Unfinished heads of this length.
pub(super) async fn heads(field: Field, length: usize) -> Findings {
    let mut head = format!("POST {PATH} HTTP/1.1\r\nHost: {SERVER_NAME}\r\nX-Long: ").into_bytes();
    head.resize(length, b'x');
    unfinished_heads(field, head.into()).await
}

async fn many_fields(field: Field) -> Findings {
    let mut head = format!("POST {PATH} HTTP/1.1\r\nHost: {SERVER_NAME}\r\n");
    head.push_str(&"a:\r\n".repeat(10_000));
    unfinished_heads(field, head.into()).await
}

async fn unfinished_heads(field: Field, head: Bytes) -> Findings {
    let done = crowd(&field, 1_000, HANDSHAKES, |i| {
        let (field, head) = (field.clone(), head.clone());
        async move {
            let Ok(mut stream) = field.tls(Source::Crowd, i).await else { return };
            if send(&mut stream, &head).await {
                hold(stream).await;
            }
        }
    });
    summary(done.await)
}

async fn plain_heads(field: Field, to: fn(&Field) -> SocketAddr) -> Findings {
    let to = to(&field);
    let mut head = b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-Long: ".to_vec();
    head.resize(60 * 1024, b'x');
    let head = Bytes::from(head);
    let done = crowd(&field, 1_000, OPENED, |i| {
        let head = head.clone();
        async move {
            let Ok(mut stream) = open(to, Source::Crowd, i).await else { return };
            if send(&mut stream, &head).await {
                hold(stream).await;
            }
        }
    });
    summary(done.await)
}

async fn plain_pipelines(field: Field, to: fn(&Field) -> SocketAddr) -> Findings {
    let to = to(&field);
    let requests = Bytes::from("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(100));
    let done = crowd(&field, 1_000, OPENED, |i| {
        let requests = requests.clone();
        async move {
            let Ok(mut stream) = open_narrow(to, Source::Crowd, i).await else { return };
            while send(&mut stream, &requests).await {}
        }
    });
    summary(done.await)
}

/// What follows a valid review.
#[derive(Debug, Clone, Copy)]
enum Then {
    Nothing,
    HalfHead,
    HalfBody,
}

async fn good_then(field: Field, source: Source, count: usize, then: Then) -> Findings {
    let body = review();
    let rest = match then {
        Then::Nothing => String::new(),
        Then::HalfHead => format!("POST {PATH} HTTP/1.1\r\nHost: "),
        Then::HalfBody => format!("{}{}", head(PATH, 60_000), " ".repeat(59_000)),
    };
    let (rest, answered) = (Bytes::from(rest), Arc::new(AtomicUsize::new(0)));
    let done = crowd(&field, count, HANDSHAKES, |i| {
        let (field, body, rest, answered) =
            (field.clone(), body.clone(), rest.clone(), Arc::clone(&answered));
        async move {
            let Ok(mut stream) = field.tls(source, i).await else { return };
            if !ask(&mut stream, PATH, &body).await.is_ok_and(|(status, _)| status == 200) {
                return;
            }
            answered.fetch_add(1, Ordering::Relaxed);
            if send(&mut stream, &rest).await {
                hold(stream).await;
            }
        }
    });
    let mut findings = summary(done.await);
    findings.notes.push(format!("{} good reviews were answered", answered.load(Ordering::Relaxed)));
    findings
}

/// How a flooding connection ends.
#[derive(Debug, Clone, Copy)]
enum Flood {
    /// Before it sends anything.
    Tcp,
    /// After the handshake.
    Tls,
    /// After half of it, with a reset.
    Reset,
}

/// All at the same moment; none may have to retry, which would happen after a second.
async fn burst(field: Field) -> Findings {
    const LONGEST: Duration = Duration::from_millis(900);
    let mut opening = tokio::task::JoinSet::new();
    for i in 0..1_000 {
        let to = field.webhook;
        opening.spawn(async move {
            let (took, stream) = timed(open(to, Source::Crowd, i)).await;
            // Stays open until all are open.
            (took, stream)
        });
    }
    let opened = opening.join_all().await;
    let failed = opened.iter().filter(|(_, stream)| stream.is_err()).count();
    let slowest = opened.iter().map(|(took, _)| *took).max().unwrap_or_default();
    Findings::note(format!("slowest {} ms", slowest.as_millis()))
        .with((failed > 0).then(|| format!("{failed} connections were refused")))
        .with((slowest > LONGEST).then(|| "a connection had to wait for a place in the queue".to_owned()))
}

/// As many as possible, one after the other, from several callers at once.
async fn flood(field: Field, kind: Flood) -> Findings {
    let hello = Bytes::from(client_hello(&field).unwrap_or_default());
    let opened = Arc::new(AtomicUsize::new(0));
    let connect = {
        let opened = Arc::clone(&opened);
        move |field: Field, hello: Bytes, i: usize| {
            let opened = Arc::clone(&opened);
            async move {
                match kind {
                    Flood::Tcp => drop(open(field.webhook, Source::Crowd, i).await?),
                    Flood::Tls => drop(field.tls(Source::Crowd, i).await.map_err(io::Error::other)?),
                    Flood::Reset => {
                        let mut stream = open(field.webhook, Source::Crowd, i).await?;
                        stream.write_all(&hello).await?;
                        let mut first = [0];
                        stream.read_exact(&mut first).await?;
                        // Unread bytes make the close a reset.
                    }
                }
                opened.fetch_add(1, Ordering::Relaxed);
                io::Result::Ok(())
            }
        }
    };
    loop_together(&field, 64, move |field, i| {
        let connect = connect.clone();
        let hello = hello.clone();
        async move { connect(field, hello, i).await.is_ok() }
    })
    .await;
    Findings::note(format!("{} connections", opened.load(Ordering::Relaxed)))
}

/// Runs `count` loops of the same action for the duration of an attack. After a failure, a loop waits briefly.
pub async fn loop_together<F, Fut>(field: &Field, count: usize, once: F)
where
    F: Fn(Field, usize) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = bool> + Send + 'static,
{
    let mut loops = tokio::task::JoinSet::new();
    for i in 0..count {
        let (field, once) = (field.clone(), once.clone());
        loops.spawn(async move {
            for round in 0.. {
                if !once(field.clone(), i + round * count).await {
                    sleep(Duration::from_millis(20)).await;
                }
            }
        });
    }
    sleep(field.duration / 2).await;
}

/// Pipelined reviews, as long as the server accepts them, whose answers nobody reads.
async fn pipelines(field: Field) -> Findings {
    let body = review();
    let sent = Arc::new(AtomicUsize::new(0));
    let done = crowd(&field, 100, HANDSHAKES, |i| {
        let (field, body, sent) = (field.clone(), body.clone(), Arc::clone(&sent));
        async move {
            let Ok(stream) = open_narrow(field.webhook, Source::Crowd, i).await else { return };
            let Ok(mut stream) = field.handshake(stream).await else { return };
            let head = head(PATH, body.len());
            while send(&mut stream, head.as_bytes()).await && send(&mut stream, &body).await {
                sent.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    let mut findings = summary(done.await);
    findings.notes.push(format!("{} reviews sent", sent.load(Ordering::Relaxed)));
    findings
}

/// Valid reviews, as many as are answered.
async fn good_reviews(field: Field) -> Findings {
    let (body, tally) = (review(), Arc::new(std::sync::Mutex::new(Tally::default())));
    let mut loops = tokio::task::JoinSet::new();
    for i in 0..50 {
        let (field, body, tally) = (field.clone(), body.clone(), Arc::clone(&tally));
        loops.spawn(async move {
            while let Ok(mut stream) = field.tls(Source::Neighbour, i).await {
                loop {
                    let (took, reply) = timed(ask(&mut stream, PATH, &body)).await;
                    let is_over = reply.is_err();
                    tally.lock().unwrap_or_else(std::sync::PoisonError::into_inner).add(took, &reply);
                    if is_over {
                        break;
                    }
                }
            }
        });
    }
    sleep(field.duration * 2).await;
    drop(loops);
    let tally = tally.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
    judge(&tally)
}

async fn good_reviews_each(field: Field) -> Findings {
    let (body, answered) = (review(), Arc::new(AtomicUsize::new(0)));
    let counter = Arc::clone(&answered);
    loop_together(&field, 32, move |field, i| {
        let (body, answered) = (body.clone(), Arc::clone(&counter));
        async move {
            let Ok(mut stream) = field.tls(Source::Neighbour, i).await else { return false };
            let is_answered = ask(&mut stream, PATH, &body).await.is_ok();
            answered.fetch_add(usize::from(is_answered), Ordering::Relaxed);
            is_answered
        }
    })
    .await;
    Findings::note(format!("{} were answered", answered.load(Ordering::Relaxed)))
}
