//! The TLS server that the API server calls: HTTP/1.1 only, and everything bounded.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Bytes, HttpBody as _};
use axum::http::header::{ALLOW, CONNECTION, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use axum_server::Handle;
use axum_server::accept::Accept;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use futures_util::FutureExt as _;
use futures_util::future::{Ready, poll_immediate, ready};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use rustls::ServerConfig;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ResolvesServerCert};
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncRead, AsyncWrite, BufReader, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use tokio::time::Instant;
use tower::service_fn;
use tracing::{error, warn};

use crate::admission::Admissions;
use crate::go_duration;
use crate::limits::Limits;
use crate::metrics::{Metrics, Outcome};

/// The path that upstream's manifests name.
pub const PATH: &str = "/mutate-v1-pod";

/// How long a connection is kept open for the next request, at least.
const KEPT_FOR: Duration = Duration::from_mins(2);
/// Larger bodies than this share what may be read at a time, in parts of this size. Smaller ones, as most are, cannot be
/// kept out by a few large ones that take their time.
const BODY_PART: usize = 64 * 1024;

/// How much of a connection is read at a time: most reviews at once. rustls by itself reads 4 KiB.
const READ_BUFFER: usize = 8 * 1024;

struct Shared {
    admissions: Arc<Admissions>,
    limits: Limits,
    /// Parts of large bodies that may still be read.
    body_parts: Semaphore,
}

/// The oldest version of TLS that is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2.
    V1_2,
    /// TLS 1.3.
    V1_3,
}

/// The TLS side of the server. With `clients`, callers have to show a certificate.
///
/// # Errors
/// None that is known: the provider speaks both versions.
pub fn tls_config(
    oldest: TlsVersion,
    certificates: Arc<dyn ResolvesServerCert>,
    clients: Option<Arc<dyn ClientCertVerifier>>,
) -> Result<ServerConfig, rustls::Error> {
    let versions: &[&rustls::SupportedProtocolVersion] = match oldest {
        TlsVersion::V1_2 => &[&TLS13, &TLS12],
        TlsVersion::V1_3 => &[&TLS13],
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(versions)?;
    let builder = match clients {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(certificates);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // API servers never resume a session; tickets would only cost.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}

/// Serves until `handle` stops it.
///
/// # Errors
/// The address cannot be listened on.
pub async fn serve(
    listener: std::net::TcpListener,
    tls: ServerConfig,
    admissions: Arc<Admissions>,
    limits: Limits,
    handle: Handle<SocketAddr>,
) -> io::Result<()> {
    let metrics = Arc::clone(&admissions.metrics);
    let connections = ConnectionLimit(Arc::new(Semaphore::new(limits.connections)));
    let acceptor = RustlsAcceptor::new(RustlsConfig::from_config(Arc::new(tls)))
        .handshake_timeout(limits.handshake_time)
        .acceptor(connections);
    let mut server = axum_server::from_tcp(listener)?
        .acceptor(acceptor)
        .handle(handle)
        .http1_only()
        .first_request_timeout(limits.header_time)
        .accept_error_handler(move |_, error| metrics.handshake_failed(failure_reason(error)));
    server
        .http_builder()
        .http1()
        // This one also runs while a connection that is kept waits for its next request: Go keeps it for 90 seconds, and
        // would lose the request that meets our close.
        .header_read_timeout(limits.header_time.max(KEPT_FOR))
        .max_buf_size(limits.header_bytes.max(8192));
    // The largest body that is allowed always fits when there is no other.
    let body_parts = Semaphore::new(limits.all_bodies_bytes.max(limits.body_bytes).div_ceil(BODY_PART));
    let shared = Arc::new(Shared { admissions, limits, body_parts });
    let service = service_fn(move |request| respond(Arc::clone(&shared), request).map(Ok::<_, Infallible>));
    server.serve(tower::make::Shared::new(service)).await
}

/// Answers one request. There is one page, and a router would box its way there (docs/benchmarks.md).
async fn respond(shared: Arc<Shared>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    if request.uri().path() != PATH {
        let why = format!("there is nothing here; the webhook is at {PATH}\n");
        return text(StatusCode::NOT_FOUND, why);
    }
    if request.method() != Method::POST {
        let mut response =
            text(StatusCode::METHOD_NOT_ALLOWED, "an admission review is sent by POST\n".to_owned());
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return response;
    }
    // A fault in one answer must not end the others.
    let answered = AssertUnwindSafe(answer(&shared, request)).catch_unwind().await;
    let mut response = answered.unwrap_or_else(|_| {
        error!("answering a request panicked");
        refuse(
            &shared.admissions.metrics,
            StatusCode::INTERNAL_SERVER_ERROR,
            "panic",
            "the webhook has a fault\n".to_owned(),
        )
    });
    if shared.admissions.is_draining() {
        // Sends callers with open connections to another replica while this one goes away.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn text(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    content("text/plain; charset=utf-8", status, text)
}

fn content(media_type: &'static str, status: StatusCode, content: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(content));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

impl Shared {
    /// A place for a request's body among all that are read at a time; none if there is no room.
    fn parts_for(&self, body: &Incoming) -> Option<SemaphorePermit<'_>> {
        let length = body.size_hint().upper().and_then(|length| usize::try_from(length).ok());
        // A body that is too large is refused while it is read, and one of unknown length may be the largest.
        let length = length.unwrap_or(usize::MAX).min(self.limits.body_bytes);
        let parts = if length <= BODY_PART { 0 } else { length.div_ceil(BODY_PART) };
        self.body_parts.try_acquire_many(u32::try_from(parts).ok()?).ok()
    }
}

fn refuse(metrics: &Metrics, status: StatusCode, reason: &'static str, why: String) -> Response<Full<Bytes>> {
    metrics.answered(Outcome::Error, reason, 0.0);
    text(status, why)
}

async fn answer(shared: &Shared, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let arrival = Instant::now();
    let metrics = &shared.admissions.metrics;
    if !is_json(request.headers()) {
        let why = "the content type must be application/json\n".to_owned();
        return refuse(metrics, StatusCode::UNSUPPORTED_MEDIA_TYPE, "media_type", why);
    }
    let timeout = request.uri().query().and_then(timeout_parameter);
    let patience = timeout.unwrap_or(shared.limits.request_time);
    let Some(_parts) = shared.parts_for(request.body()) else {
        metrics.shed.inc();
        let why = "the webhook has too many requests to read\n".to_owned();
        return refuse(metrics, StatusCode::SERVICE_UNAVAILABLE, "shed", why);
    };
    let body = match read_body(request.into_body(), shared.limits).await {
        Ok(body) => body,
        Err((status, reason, why)) => return refuse(metrics, status, reason, why),
    };
    match shared.admissions.answer(&body, arrival, patience).await {
        Ok(answer) => content("application/json", StatusCode::OK, answer),
        Err(why) => {
            warn!(error = why, "a review could not be read");
            refuse(metrics, StatusCode::BAD_REQUEST, "unreadable", format!("{why}\n"))
        }
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    content_type.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
}

/// The API server's deadline.
fn timeout_parameter(query: &str) -> Option<std::time::Duration> {
    query.split('&').find_map(|pair| pair.strip_prefix("timeout=")).and_then(go_duration::parse)
}

type BodyRefusal = (StatusCode, &'static str, String);

async fn read_body(body: Incoming, limits: Limits) -> Result<Bytes, BodyRefusal> {
    let mut read = pin!(Limited::new(body, limits.body_bytes).collect());
    // Mostly the body is there already, and a timer would cost more than reading it.
    let read = match poll_immediate(&mut read).await {
        Some(read) => Ok(read),
        None => tokio::time::timeout(limits.body_time, read).await,
    };
    match read {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            let why = format!("the body is larger than the limit of {} bytes\n", limits.body_bytes);
            Err((StatusCode::PAYLOAD_TOO_LARGE, "too_large", why))
        }
        Ok(Err(error)) => {
            Err((StatusCode::BAD_REQUEST, "body", format!("the body could not be read: {error}\n")))
        }
        Err(_) => {
            let why = format!("the body did not arrive within {} seconds\n", limits.body_time.as_secs());
            Err((StatusCode::REQUEST_TIMEOUT, "slow_body", why))
        }
    }
}

fn failure_reason(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::TimedOut => "timeout",
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => "closed",
        io::ErrorKind::InvalidData => "tls",
        io::ErrorKind::QuotaExceeded => "too_many_connections",
        _ => "other",
    }
}

/// Lets in so many connections at a time, and no more.
#[derive(Clone)]
struct ConnectionLimit(Arc<Semaphore>);

impl<S> Accept<TcpStream, S> for ConnectionLimit {
    type Stream = CountedStream;
    type Service = S;
    type Future = Ready<io::Result<(CountedStream, S)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        ready(match Arc::clone(&self.0).try_acquire_owned() {
            Ok(place) => stream.set_nodelay(true).map(|()| {
                let stream = BufReader::with_capacity(READ_BUFFER, stream);
                (CountedStream { stream, _place: place }, service)
            }),
            Err(_) => Err(io::Error::new(io::ErrorKind::QuotaExceeded, "too many connections")),
        })
    }
}

/// A connection and its place among those that are let in.
pub struct CountedStream {
    stream: BufReader<TcpStream>,
    _place: OwnedSemaphorePermit,
}

impl AsyncRead for CountedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for CountedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
