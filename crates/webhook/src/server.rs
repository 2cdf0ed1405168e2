//! The TLS server that the API server calls: HTTP/1.1 only, with limits on everything.

use std::convert::Infallible;
use std::io;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::poll_immediate;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::HeaderValue;
use hyper::header::{ALLOW, CONNECTION, CONTENT_TYPE};
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, error, warn};

use crate::connections::{Allowance, Connection, Connections, Share, State};
use crate::go_duration;
use crate::limits::{Limits, ROOM_FOR_ANSWER};
use crate::metrics::{Outcome, Reason};
use crate::reviewer::{Reviewer, Unanswered};
use crate::stream::FrugalStream;

/// The path in upstream's manifests.
pub const PATH: &str = "/mutate-v1-pod";

/// The longest timeout of an API server; a longer `?timeout=` is cut to this.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes that a caller may send before its handshake is complete: a Go client's hello is 0.3 to 2 KB, its certificates
/// are a few KB more, and its first request may follow at once.
const LONGEST_HANDSHAKE: usize = 48 * 1024;
/// Maximum encrypted answer data that waits to be sent.
const TLS_BUFFER: usize = 16 * 1024;
/// The smallest buffer for a request head that the HTTP library accepts.
const SMALLEST_HEADER_BUFFER: usize = 8 * 1024;

/// State shared by all connections.
struct Shared {
    reviewer: Arc<Reviewer>,
    limits: Limits,
    tls: TlsAcceptor,
    http: http1::Builder,
}

/// Serves until `stop` sets the time for requests in flight and that time has passed or they are done.
pub async fn serve(
    listener: TcpListener,
    tls: ServerConfig,
    reviewer: Arc<Reviewer>,
    limits: Limits,
    stop: impl Future<Output = Duration>,
) {
    let mut http = http1::Builder::new();
    // Idle connections are tracked by their state, which saves a timer for each request.
    http.header_read_timeout(None).max_buf_size(limits.header_bytes.max(SMALLEST_HEADER_BUFFER));
    let allowance = Allowance {
        connections: limits.connections,
        memory: limits.request_memory,
        patience: limits.header_time,
        write_time: limits.write_time,
    };
    let connections = Connections::new(allowance, reviewer.metrics.connections_evicted.clone());
    let shared = Arc::new(Shared { reviewer, limits, tls: TlsAcceptor::from(Arc::new(tls)), http });
    let graceful = GracefulShutdown::new();
    let serve =
        |stream, connection| serve_connection(Arc::clone(&shared), stream, connection, graceful.watcher());
    let refused = |_| shared.reviewer.metrics.handshake_failed("too_many_connections");
    let drain = tokio::select! {
        () = connections.accept(listener, serve, refused) => return,
        drain = stop => drain,
    };
    tokio::select! {
        () = graceful.shutdown() => {}
        () = sleep(drain) => {}
    }
}

async fn serve_connection(
    shared: Arc<Shared>,
    stream: TcpStream,
    connection: Arc<Connection>,
    watcher: Watcher,
) {
    let address = connection.address();
    let handshake = async {
        stream.set_nodelay(true)?;
        connection.first_bytes(&stream).await?;
        let stream = FrugalStream::new(stream, LONGEST_HANDSHAKE);
        shared.tls.accept_with(stream, |session| session.set_buffer_limit(Some(TLS_BUFFER))).await
    };
    let timed_out = || Err(io::ErrorKind::TimedOut.into());
    let mut stream =
        match timeout(shared.limits.handshake_time, handshake).await.unwrap_or_else(|_| timed_out()) {
            Ok(stream) => stream,
            Err(error) => {
                debug!(%address, %error, "a handshake failed");
                return shared.reviewer.metrics.handshake_failed(failure_reason(&error));
            }
        };
    stream.get_mut().0.lift_allowance();
    connection.enter(State::Idle);
    let service = service_fn(|request| respond(&shared, &connection, request).map(Ok::<_, Infallible>));
    let served = watcher.watch(shared.http.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        // Errors concern only this caller's connection.
        _ = served => {}
        () = connection.overdue() => {}
    }
}

fn failure_reason(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::TimedOut => "timeout",
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => "closed",
        io::ErrorKind::InvalidData => "tls",
        _ => "other",
    }
}

/// Why a request gets no review back.
struct Refusal {
    reason: Reason,
    why: String,
}

impl Refusal {
    fn new(reason: Reason, why: impl Into<String>) -> Self {
        Self { reason, why: why.into() }
    }

    fn status(&self) -> StatusCode {
        match self.reason {
            Reason::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Reason::Length => StatusCode::LENGTH_REQUIRED,
            Reason::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Reason::SlowBody => StatusCode::REQUEST_TIMEOUT,
            Reason::Shed => StatusCode::SERVICE_UNAVAILABLE,
            Reason::BrokenBody | Reason::Unreadable => StatusCode::BAD_REQUEST,
            Reason::Panic | Reason::NoLookup | Reason::Found | Reason::Missing | Reason::Failed => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        }
    }
}

/// Memory reserved for a request, and the extra memory of its answer.
type Shares = (Share, Option<Share>);

/// An answer being sent, with the memory that it holds until then.
struct Outgoing {
    text: String,
    _shares: Option<Shares>,
    connection: Arc<Connection>,
}

impl AsRef<[u8]> for Outgoing {
    fn as_ref(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.connection.has_sent_answer();
    }
}

fn outgoing(
    connection: &Arc<Connection>,
    status: StatusCode,
    media_type: &'static str,
    text: String,
    shares: Option<Shares>,
) -> Response<Full<Bytes>> {
    connection.enter(State::Writing);
    let outgoing = Outgoing { text, _shares: shares, connection: Arc::clone(connection) };
    let mut response = Response::new(Full::new(Bytes::from_owner(outgoing)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

fn text(connection: &Arc<Connection>, status: StatusCode, mut text: String) -> Response<Full<Bytes>> {
    text.push('\n');
    outgoing(connection, status, "text/plain; charset=utf-8", text, None)
}

/// Answers one request. There is only one page, and a router would allocate on the way (docs/benchmarks.md).
async fn respond(
    shared: &Shared,
    connection: &Arc<Connection>,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let arrival = Instant::now();
    if connection.is_in_haste() {
        // Requests may be pipelined, and the library answers sixteen of them in one turn.
        yield_now().await;
    }
    let (head, mut body) = request.into_parts();
    if head.uri.path() != PATH {
        discard(body, shared.limits).await;
        let why = format!("there is nothing here; the webhook is at {PATH}");
        return text(connection, StatusCode::NOT_FOUND, why);
    }
    if head.method != Method::POST {
        discard(body, shared.limits).await;
        let why = "an admission review is sent by POST".to_owned();
        let mut response = text(connection, StatusCode::METHOD_NOT_ALLOWED, why);
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return response;
    }
    // A panic in one answer must not end the others.
    let answered =
        AssertUnwindSafe(answer(shared, connection, &head, &mut body, arrival)).catch_unwind().await;
    let answered = answered.unwrap_or_else(|_| {
        error!("answering a request panicked");
        Err(Refusal::new(Reason::Panic, "the webhook has a fault"))
    });
    let mut response = match answered {
        Ok((answer, shares)) => {
            outgoing(connection, StatusCode::OK, "application/json", answer, Some(shares))
        }
        Err(refusal) => {
            let status = refusal.status();
            let Refusal { reason, why } = refusal;
            shared.reviewer.metrics.answered(Outcome::Error, reason, arrival.elapsed().as_secs_f64());
            if let Some(unlogged) = shared.reviewer.refusals.next() {
                let address = connection.address();
                warn!(%address, status = status.as_u16(), error = why, unlogged, "a request was refused");
            }
            // The rest of a late body would be late too.
            if reason != Reason::SlowBody {
                discard(body, shared.limits).await;
            }
            text(connection, status, why)
        }
    };
    if shared.reviewer.is_draining() {
        // Sends callers with open connections to another replica while this one stops.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

async fn answer(
    shared: &Shared,
    connection: &Arc<Connection>,
    head: &Parts,
    body: &mut Incoming,
    arrival: Instant,
) -> Result<(String, Shares), Refusal> {
    if !is_json(&head.headers) {
        let why = "the content type must be application/json";
        return Err(Refusal::new(Reason::MediaType, why));
    }
    let timeout = head.uri.query().and_then(timeout_parameter);
    let patience = timeout.unwrap_or(shared.limits.request_time);
    let length = body_length(body, shared.limits)?;
    connection.enter(State::Reading);
    let share = connection.reserve(length + ROOM_FOR_ANSWER).await;
    let mut share = share.ok_or_else(|| no_memory(shared))?;
    let body = read_body(body, length, shared.limits).await?;
    connection.enter(State::Answering);
    let answered = shared.reviewer.answer(&body, &share, connection, arrival, patience).await;
    drop(body);
    match answered {
        Ok((text, more)) => {
            share.shrink_to(text.capacity().saturating_sub(more.as_ref().map_or(0, Share::bytes)));
            Ok((text, (share, more)))
        }
        Err(Unanswered::Unreadable(why)) => Err(Refusal::new(Reason::Unreadable, why)),
        Err(Unanswered::NoMemory) => Err(no_memory(shared)),
    }
}

fn no_memory(shared: &Shared) -> Refusal {
    shared.reviewer.metrics.shed.inc();
    let why = format!(
        "the webhook has no memory left for this request; --request-memory is {} bytes",
        shared.limits.request_memory
    );
    Refusal::new(Reason::Shed, why)
}

fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    content_type.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
}

/// The API server's deadline.
fn timeout_parameter(query: &str) -> Option<Duration> {
    let text = query.split('&').find_map(|pair| pair.strip_prefix("timeout="))?;
    Some(go_duration::parse(text)?.min(LONGEST_TIMEOUT))
}

/// The body's length, which must be known in advance so that memory is reserved or the request rejected at once; API
/// servers send it.
fn body_length(body: &Incoming, limits: Limits) -> Result<usize, Refusal> {
    let Some(length) = body.size_hint().exact() else {
        let why = "a review needs a Content-Length";
        return Err(Refusal::new(Reason::Length, why));
    };
    match usize::try_from(length) {
        Ok(length) if length <= limits.body_bytes => Ok(length),
        _ => {
            let why = format!("the body is larger than the limit of {} bytes", limits.body_bytes);
            Err(Refusal::new(Reason::TooLarge, why))
        }
    }
}

/// Reads and drops the rest of a rejected request's body: a caller that is still sending when the connection closes may
/// never see why.
async fn discard(mut body: Incoming, limits: Limits) {
    const MOST: u64 = 32 * 1024 * 1024;
    if body.size_hint().upper().is_none_or(|left| left > MOST) {
        return;
    }
    let discarded = async { while let Some(Ok(_)) = body.frame().await {} };
    // A caller that stalls is dropped without reading its answer, and can tell why.
    _ = timeout(limits.body_time, discarded).await;
}

async fn read_body(body: &mut Incoming, length: usize, limits: Limits) -> Result<Bytes, Refusal> {
    let mut read = pin!(async {
        let mut whole = Vec::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame?.into_data() else { continue };
            if data.len() == length {
                // The whole body in one piece, as usual.
                return Ok(data);
            }
            if whole.is_empty() {
                whole.reserve_exact(length);
            }
            whole.extend_from_slice(&data);
        }
        Ok(Bytes::from(whole))
    });
    // The body has usually arrived already, and a timer would cost more than reading it.
    let read: Result<Result<Bytes, hyper::Error>, _> = match poll_immediate(&mut read).await {
        Some(read) => Ok(read),
        None => timeout(limits.body_time, read).await,
    };
    match read {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(error)) => {
            let why = format!("the body could not be read: {error}");
            Err(Refusal::new(Reason::BrokenBody, why))
        }
        Err(_) => {
            let why = format!("the body did not arrive within {} seconds", limits.body_time.as_secs());
            Err(Refusal::new(Reason::SlowBody, why))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_api_servers_deadline_is_capped() {
        for (query, seconds) in [
            ("timeout=10s", Some(10)),
            ("a=b&timeout=1s", Some(1)),
            ("timeout=3000000000000000h", Some(30)),
            ("timeout=-1s", None),
            ("timeout=", None),
            ("timeouts=1s", None),
        ] {
            assert_eq!(timeout_parameter(query), seconds.map(Duration::from_secs), "{query}");
        }
    }
}
