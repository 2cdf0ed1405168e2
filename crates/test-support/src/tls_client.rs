//! A caller of the webhook that behaves like the API server: HTTP/1.1 over TLS, connections kept open.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use rustls::client::{Resumption, WantsClientCert};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The name on every certificate made here.
pub const SERVER_NAME: &str = "webhook.test";

/// A certificate for [`SERVER_NAME`].
pub fn new_certificate() -> Result<CertifiedKey<KeyPair>> {
    Ok(generate_simple_self_signed([SERVER_NAME.to_owned()])?)
}

/// Address and TLS configuration for calls to a server.
#[derive(Clone)]
pub struct Caller {
    address: SocketAddr,
    tls: TlsConnector,
}

#[derive(Debug)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Whether the server closes the connection.
    pub closes: bool,
    pub body: Vec<u8>,
}

impl Reply {
    /// The body as JSON.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_slice(&self.body).with_context(|| String::from_utf8_lossy(&self.body).into_owned())
    }
}

impl Caller {
    /// Calls the server at `address` and trusts these certificates.
    ///
    /// # Errors
    /// A certificate cannot be trusted.
    pub fn new(
        address: SocketAddr,
        trusted: impl IntoIterator<Item = CertificateDer<'static>>,
    ) -> Result<Self> {
        Ok(Self::with_tls(address, trusting(trusted)?.with_no_client_auth()))
    }

    /// Like [`Caller::new`], with a client certificate.
    ///
    /// # Errors
    /// A certificate cannot be trusted, or the client certificate is unusable.
    pub fn with_certificate(
        address: SocketAddr,
        trusted: impl IntoIterator<Item = CertificateDer<'static>>,
        own: &CertifiedKey<KeyPair>,
    ) -> Result<Self> {
        let key = PrivatePkcs8KeyDer::from(own.signing_key.serialize_der());
        let config = trusting(trusted)?.with_client_auth_cert(vec![own.cert.der().clone()], key.into())?;
        Ok(Self::with_tls(address, config))
    }

    /// Calls the server at `address` with a custom TLS configuration.
    pub fn with_tls(address: SocketAddr, mut config: ClientConfig) -> Self {
        // Like the API server, which makes a full handshake for every connection.
        config.resumption = Resumption::disabled();
        Self { address, tls: TlsConnector::from(Arc::new(config)) }
    }

    /// Opens a TLS connection.
    ///
    /// # Errors
    /// The server does not answer, or is not trusted.
    pub async fn stream(&self) -> Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        Ok(self.tls.connect(ServerName::try_from(SERVER_NAME)?, stream).await?)
    }

    /// Opens a connection for requests.
    pub async fn connect(&self) -> Result<Connection> {
        let (sender, connection) = handshake(TokioIo::new(self.stream().await?)).await?;
        // It ends with the connection, and its error shows up in the affected request.
        tokio::spawn(connection);
        Ok(Connection(sender))
    }

    /// Sends one review on a new connection.
    ///
    /// # Errors
    /// There was no answer.
    pub async fn review(&self, body: impl Into<Bytes>) -> Result<Reply> {
        self.connect().await?.review(body).await
    }
}

fn trusting(
    certificates: impl IntoIterator<Item = CertificateDer<'static>>,
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots))
}

/// An open connection.
pub struct Connection(SendRequest<Full<Bytes>>);

impl Connection {
    /// Sends a review to the webhook's path.
    ///
    /// # Errors
    /// There was no answer.
    pub async fn review(&mut self, body: impl Into<Bytes>) -> Result<Reply> {
        self.send("POST", "/mutate-v1-pod?timeout=10s", "application/json", body).await
    }

    /// Sends any request.
    ///
    /// # Errors
    /// There was no answer.
    pub async fn send(
        &mut self,
        method: &str,
        path: &str,
        media_type: &str,
        body: impl Into<Bytes>,
    ) -> Result<Reply> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, SERVER_NAME)
            .header(header::CONTENT_TYPE, media_type)
            .body(Full::new(body.into()))?;
        self.0.ready().await?;
        let response = self.0.send_request(request).await?;
        let status = response.status().as_u16();
        let closes = response.headers().get(header::CONNECTION).is_some_and(|value| value == "close");
        let body = response.into_body().collect().await?.to_bytes().to_vec();
        Ok(Reply { status, closes, body })
    }

    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}
