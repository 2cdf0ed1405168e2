//! Attackers' connections: from any loopback address, and with arbitrary bytes.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use hyper::body::Bytes;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};
use tokio_rustls::client::TlsStream;

use super::Field;
use test_support::tls_client::SERVER_NAME;

/// A connection over TLS.
pub type Tls = TlsStream<TcpStream>;

/// How long an attacker waits for a connection, and for an answer.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Origin of an attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The bystanders' address: everything that the API server tunnels comes from it.
    ApiServer,
    /// One other address.
    Neighbour,
    /// Two hundred other addresses.
    Crowd,
}

impl Source {
    fn address(self, member: usize) -> Ipv4Addr {
        match self {
            Self::ApiServer => Ipv4Addr::LOCALHOST,
            Self::Neighbour => Ipv4Addr::new(127, 0, 0, 2),
            Self::Crowd => Ipv4Addr::new(127, 0, 1, u8::try_from(1 + member % 200).unwrap_or(1)),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ApiServer => "the API server's address",
            Self::Neighbour => "one address",
            Self::Crowd => "many addresses",
        })
    }
}

/// Opens a connection as the `member`th caller of `source`.
///
/// # Errors
/// It is refused, or not accepted in time.
pub async fn open(to: SocketAddr, source: Source, member: usize) -> io::Result<TcpStream> {
    open_with(to, source, member, None).await
}

/// Like [`open`], with a small receive window.
pub async fn open_narrow(to: SocketAddr, source: Source, member: usize) -> io::Result<TcpStream> {
    open_with(to, source, member, Some(4096)).await
}

async fn open_with(
    to: SocketAddr,
    source: Source,
    member: usize,
    receive_buffer: Option<u32>,
) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    // Ports of recently closed connections can be reused.
    socket.set_reuseaddr(true)?;
    if let Some(bytes) = receive_buffer {
        socket.set_recv_buffer_size(bytes)?;
    }
    socket.bind((source.address(member), 0).into())?;
    let stream = timeout(PATIENCE, socket.connect(to)).await??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

impl Field {
    /// Opens a connection to the webhook's port and performs the handshake.
    ///
    /// # Errors
    /// The server refuses, or takes too long.
    pub async fn tls(&self, source: Source, member: usize) -> Result<Tls> {
        self.handshake(open(self.webhook, source, member).await?).await
    }

    /// Performs the handshake on an open connection.
    pub async fn handshake(&self, stream: TcpStream) -> Result<Tls> {
        let name = ServerName::try_from(SERVER_NAME)?;
        Ok(timeout(PATIENCE, self.tls.connect(name, stream)).await??)
    }
}

/// A review with this admission request.
pub fn review(request: &str) -> Bytes {
    Bytes::from(admission_caller::request::review(request))
}

/// Sends bytes, as many as the other side accepts; returns whether that was all.
pub async fn send(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> bool {
    let sent = async {
        stream.write_all(bytes).await?;
        stream.flush().await
    };
    sent.await.is_ok()
}

/// The path that an API server with the default timeout calls.
pub const PATH: &str = "/mutate-v1-pod?timeout=10s";

/// The head of a review request.
pub fn head(path: &str, length: usize) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: {SERVER_NAME}\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n"
    )
}

/// Status of an answer that starts with these bytes.
pub fn status_of(answer: &[u8]) -> Option<u16> {
    let digits = answer.strip_prefix(b"HTTP/1.1 ")?.get(..3)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// An answer: its status and its body.
pub type Reply = (u16, Vec<u8>);

/// Sends a review and reads the answer, which may arrive before everything is sent.
///
/// # Errors
/// The connection ends without an answer.
pub async fn ask(stream: &mut Tls, path: &str, body: &[u8]) -> Result<Reply> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let write = async {
        writer.write_all(head(path, body.len()).as_bytes()).await?;
        writer.write_all(body).await?;
        writer.flush().await
    };
    let read = read_reply(&mut reader);
    tokio::pin!(write, read);
    let mut is_sent = false;
    loop {
        tokio::select! {
            // A server may answer, and close, before it has read everything.
            _ = &mut write, if !is_sent => is_sent = true,
            reply = &mut read => return reply,
        }
    }
}

/// Reads one answer.
///
/// # Errors
/// The connection ends without one.
pub async fn read_reply(reader: &mut (impl AsyncRead + Unpin)) -> Result<Reply> {
    const END: &[u8] = b"\r\n\r\n";
    let mut bytes = Vec::new();
    let body_start = loop {
        if let Some(end) = bytes.windows(END.len()).position(|window| window == END) {
            break end + END.len();
        }
        if reader.read_buf(&mut bytes).await? == 0 {
            bail!("the connection was closed without an answer");
        }
    };
    let head = String::from_utf8_lossy(bytes.get(..body_start).unwrap_or_default()).to_ascii_lowercase();
    let status = status_of(&bytes).context("the answer has no status")?;
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.and_then(|length| length.trim().parse().ok()).unwrap_or_default();
    let mut body = bytes.split_off(body_start);
    while body.len() < length {
        if reader.read_buf(&mut body).await? == 0 {
            bail!("the connection was closed in the middle of an answer");
        }
    }
    Ok((status, body))
}

/// Handshakes that start per second: as many as two processors can do besides the rest.
pub const HANDSHAKES: u32 = 1_500;

/// Reads until the other side closes.
pub async fn hold(mut stream: impl AsyncRead + Unpin) {
    let mut sink = [0; 4096];
    while stream.read(&mut sink).await.is_ok_and(|read| read > 0) {}
}

/// Keeps `count` attackers busy: `rate` start per second, and one whose connection has ended starts again. Ends a while
/// after all have started. Returns how many have started, and how many are busy at the end.
pub async fn crowd<F, Fut>(field: &Field, count: usize, rate: u32, member: F) -> (usize, usize)
where
    F: Fn(usize) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    let start = Instant::now();
    let latest = start + field.duration * 2;
    let mut end = latest;
    let mut members = JoinSet::new();
    let mut begun = 0;
    let mut pace = tokio::time::interval(Duration::from_secs(1) / rate);
    loop {
        tokio::select! {
            () = sleep_until(end.into()) => break,
            Some(_) = members.join_next() => {}
            _ = pace.tick(), if members.len() < count => {
                members.spawn(member(begun));
                begun += 1;
                if begun == count {
                    end = latest.min(Instant::now() + field.duration / 3);
                }
            }
        }
    }
    (begun, members.len())
}

/// Results of requests.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    statuses: BTreeMap<u16, usize>,
    failures: BTreeMap<String, usize>,
    slowest: Duration,
}

impl Tally {
    /// Adds a request and its duration.
    pub fn add(&mut self, took: Duration, result: &Result<Reply>) {
        self.slowest = self.slowest.max(took);
        match result {
            Ok((status, _)) => *self.statuses.entry(*status).or_default() += 1,
            Err(error) => *self.failures.entry(format!("{error:#}")).or_default() += 1,
        }
    }

    /// How many got this status.
    pub fn with_status(&self, status: u16) -> usize {
        self.statuses.get(&status).copied().unwrap_or_default()
    }

    /// How many got no answer.
    pub fn unanswered(&self) -> usize {
        self.failures.values().sum()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let statuses = self.statuses.iter().map(|(status, count)| format!("{count} x {status}"));
        let failures = self.failures.iter().map(|(failure, count)| format!("{count} x \"{failure}\""));
        let all: Vec<String> = statuses.chain(failures).collect();
        write!(f, "{}, slowest {} ms", all.join(", "), self.slowest.as_millis())
    }
}

/// Sends one review on a new connection, like the API server.
///
/// # Errors
/// There was no answer.
pub async fn ask_once(field: &Field, source: Source, path: &str, body: &[u8]) -> Result<Reply> {
    let mut stream = field.tls(source, 0).await?;
    match timeout(PATIENCE, ask(&mut stream, path, body)).await {
        Ok(reply) => reply,
        Err(_) => bail!("no answer within {} s", PATIENCE.as_secs()),
    }
}
