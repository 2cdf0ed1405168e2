//! Attacks that violate the protocols: TLS and HTTP.

use std::time::Duration;

use hyper::body::Bytes;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::bystanders::review;
use super::connections::{client_hello, loop_together, summary};
use super::requests::judge;
use super::wire::{HANDSHAKES, PATH, Source, Tally, crowd, head, hold, open, read_reply, send};
use super::{Attack, Field, Findings, timed};

pub fn attacks() -> Vec<Attack> {
    vec![
        Attack::new("protocol: garbage instead of TLS", |field| garbage(field, false)),
        Attack::new("protocol: garbage within TLS", |field| garbage(field, true)),
        Attack::new("protocol: 2,000 records of 16 KB that do not end", unfinished_records),
        Attack::new("protocol: plain HTTP on the TLS port", plain_on_tls),
        Attack::new("protocol: TLS on the health port", tls_on_health),
        Attack::new("protocol: requests that are none", strange_requests),
        Attack::new("protocol: 200 bodies without end for an unknown page", |field| {
            endless(field, head("/nothing", 1_000_000_000_000))
        }),
        Attack::new("protocol: 200 bodies without end of another type", |field| {
            endless(field, head(PATH, 1_000_000_000_000).replace("application/json", "text/plain"))
        }),
        Attack::new("protocol: 200 chunks with extensions without end", |field| {
            endless(field, format!("{}1;", chunked_head()))
        }),
        Attack::new("protocol: 200 with trailers without end", |field| {
            endless(field, format!("{}0\r\nX-Trailer: ", chunked_head()))
        }),
        Attack::new("protocol: reviews that are refused, without end", refusals),
    ]
}

fn chunked_head() -> String {
    head(PATH, 0).replace("Content-Length: 0", "Transfer-Encoding: chunked")
}

/// Invalid records, before or after a handshake.
async fn garbage(field: Field, within: bool) -> Findings {
    const RECORDS: [&[u8]; 6] = [
        // A handshake message, an alert, a change of ciphers, plaintext data, an impossible type, the maximum length.
        &[22, 3, 3, 0, 4, 0, 0, 0, 0],
        &[21, 3, 3, 0, 2, 1, 100],
        &[20, 3, 3, 0, 1, 1],
        &[23, 3, 3, 0, 4, 1, 2, 3, 4],
        &[255, 255, 255, 255, 255, 255],
        &[23, 3, 3, 255, 255, 0, 0, 0],
    ];
    loop_together(&field, 16, move |field, i| async move {
        let sent = async {
            let mut stream: TcpStream = if within {
                field.tls(Source::Crowd, i).await?.into_inner().0
            } else {
                open(field.webhook, Source::Crowd, i).await?
            };
            let record = RECORDS.get(i % RECORDS.len()).copied().unwrap_or_default();
            for _ in 0..1_000 {
                stream.write_all(record).await?;
            }
            timeout(Duration::from_millis(200), hold(stream)).await?;
            anyhow::Ok(())
        };
        sent.await.is_ok()
    })
    .await;
    Findings::default()
}

async fn plain_on_tls(field: Field) -> Findings {
    let body = review();
    loop_together(&field, 16, move |field, i| {
        let body = body.clone();
        async move {
            let Ok(mut stream) = open(field.webhook, Source::Crowd, i).await else { return false };
            send(&mut stream, head(PATH, body.len()).as_bytes()).await;
            send(&mut stream, &body).await;
            timeout(Duration::from_millis(500), hold(stream)).await.is_ok()
        }
    })
    .await;
    Findings::default()
}

async fn tls_on_health(field: Field) -> Findings {
    let hello = Bytes::from(client_hello(&field).unwrap_or_default());
    loop_together(&field, 16, move |field, i| {
        let hello = hello.clone();
        async move {
            let Ok(mut stream) = open(field.health, Source::Crowd, i).await else { return false };
            send(&mut stream, &hello).await;
            timeout(Duration::from_millis(500), hold(stream)).await.is_ok()
        }
    })
    .await;
    Findings::default()
}

/// Records of the maximum length, each without its last bytes: the server must keep data that it cannot decrypt yet.
async fn unfinished_records(field: Field) -> Findings {
    let mut record = vec![23, 3, 3, 0x40, 0x00];
    record.resize(16_000, 7);
    let record = Bytes::from(record);
    let done = crowd(&field, 2_000, HANDSHAKES, |i| {
        let (field, record) = (field.clone(), record.clone());
        async move {
            let Ok(stream) = field.tls(Source::Crowd, i).await else { return };
            let mut stream = stream.into_inner().0;
            if send(&mut stream, &record).await {
                hold(stream).await;
            }
        }
    });
    summary(done.await)
}

/// Requests that are known to cause trouble for servers; each may be rejected.
async fn strange_requests(field: Field) -> Findings {
    let review = String::from_utf8_lossy(&review()).into_owned();
    let length = review.len();
    let post = |fields: &str, body: &str| {
        format!("POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{fields}\r\n{body}")
    };
    let requests = [
        post("Content-Length: 18446744073709551616\r\n", ""),
        post("Content-Length: 18446744073709551615\r\n", &review),
        post("Content-Length: 9223372036854775807\r\n", &review),
        post("Content-Length: -1\r\n", &review),
        post("Content-Length: 0\r\n", ""),
        post("Content-Length: 5\r\nContent-Length: 6\r\n", &review),
        post(&format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n"), &review),
        post("Transfer-Encoding: chunked\r\n", "ffffffffffffffff\r\n{}"),
        post("Transfer-Encoding: chunked\r\n", "-1\r\n{}"),
        post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"),
        post(&format!("Content-Length: {length}\r\nContent-Encoding: gzip\r\n"), &review),
        post(&format!("Content-Length: {length}\r\nExpect: 100-continue\r\n"), &review),
        post("Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n", "{}"),
        post("\0: x\r\n", &review),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
        "GET /mutate-v1-pod HTTP/0.9\r\n\r\n".to_owned(),
        format!(
            "POST {PATH} HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{review}"
        ),
        "CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        format!("POST {} HTTP/1.1\r\nHost: x\r\n\r\n", "/".repeat(8_000)),
        format!("{} / HTTP/1.1\r\nHost: x\r\n\r\n", "A".repeat(8_000)),
    ];
    let mut tally = Tally::default();
    for request in requests {
        let asked = async {
            let mut stream = field.tls(Source::Neighbour, 0).await?;
            send(&mut stream, request.as_bytes()).await;
            // Some are incomplete, and wait for the rest.
            timeout(Duration::from_millis(100), read_reply(&mut stream)).await?
        };
        let (took, reply) = timed(asked).await;
        tally.add(took, &reply);
    }
    judge(&tally)
}

/// Endless bytes, as long as the server accepts them.
async fn endless(field: Field, start: String) -> Findings {
    let (start, more) = (Bytes::from(start), Bytes::from(vec![b'x'; 16 * 1024]));
    let done = crowd(&field, 200, HANDSHAKES, |i| {
        let (field, start, more) = (field.clone(), start.clone(), more.clone());
        async move {
            let Ok(mut stream) = field.tls(Source::Crowd, i).await else { return };
            if send(&mut stream, &start).await {
                while send(&mut stream, &more).await {}
            }
        }
    });
    summary(done.await)
}

/// Each is rejected, and may be logged.
async fn refusals(field: Field) -> Findings {
    let mut body = br#"{"kind":"AdmissionReview","apiVersion":""#.to_vec();
    body.resize(2_000, b'x');
    let request = Bytes::from([head(PATH, body.len()).into_bytes(), body].concat());
    loop_together(&field, 16, move |field, i| {
        let request = request.clone();
        async move {
            let Ok(mut stream) = field.tls(Source::Neighbour, i).await else { return false };
            for _ in 0..500 {
                if !send(&mut stream, &request).await || read_reply(&mut stream).await.is_err() {
                    return false;
                }
            }
            true
        }
    })
    .await;
    Findings::default()
}
