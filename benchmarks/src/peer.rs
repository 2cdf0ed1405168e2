//! Another webhook to compare with.

use std::net::ToSocketAddrs as _;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use http::Uri;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use test_support::tls_client::Caller;

use crate::load::Target;
use crate::process::Process;

/// The webhook at `url`.
///
/// # Errors
/// The URL names no host and port.
pub(crate) fn target(url: &Uri, process: Option<Process>) -> Result<Target> {
    let host = url.host().with_context(|| format!("PEER_URL names no host: {url}"))?;
    let address = (host, url.port_u16().unwrap_or(443)).to_socket_addrs()?.next();
    let address = address.with_context(|| format!("PEER_URL's host has no address: {host}"))?;
    let path = url.path_and_query().map_or("/mutate-v1-pod", |path| path.as_str());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth();
    Ok(Target { caller: Caller::with_tls(address, tls), path: path.parse()?, process })
}

/// Trusts whoever answers: the peer is measured, not believed.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
