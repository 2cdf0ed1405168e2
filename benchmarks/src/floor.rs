//! A server on the webhook's stack that reads a review and always gives the same answer: the unavoidable cost.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use axum::Router;
use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::routing::post;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use clap::Parser;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use rustls::version::TLS13;

#[cfg(target_env = "musl")]
use musl_memcpy as _;

#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Answers every review with the text of a file.
#[derive(Parser)]
#[command(name = "azwi-floor")]
struct Arguments {
    /// Address to listen on; with port 0 the system picks one. It is printed to standard output.
    #[arg(long)]
    address: SocketAddr,
    /// Folder with tls.crt and tls.key.
    #[arg(long, value_name = "DIR")]
    cert_dir: PathBuf,
    /// File with the answer.
    #[arg(long, value_name = "FILE")]
    answer: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // One thread, like the webhook.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(run(&arguments))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("azwi-floor: {error:#}");
            ExitCode::from(1)
        }
    }
}

async fn run(arguments: &Arguments) -> Result<()> {
    let answer = Bytes::from(std::fs::read(&arguments.answer).context("cannot read the answer")?);
    let answer = move |review: Bytes| async move {
        // The whole body has arrived, as it has when the webhook answers.
        drop(review);
        ([(CONTENT_TYPE, "application/json")], answer)
    };
    let router = Router::new().route("/mutate-v1-pod", post(answer));
    let tls = RustlsConfig::from_config(Arc::new(tls_config(&arguments.cert_dir)?));
    let listener = TcpListener::bind(arguments.address)?;
    println!("{}", listener.local_addr()?);
    let acceptor = RustlsAcceptor::new(tls).acceptor(axum_server::accept::NoDelayAcceptor::new());
    let server = axum_server::from_tcp(listener)?.acceptor(acceptor).http1_only();
    Ok(server.serve(router.into_make_service()).await?)
}

/// Same as the webhook: TLS 1.3 with ring, HTTP/1.1, no resumption.
fn tls_config(folder: &Path) -> Result<ServerConfig> {
    let chain = CertificateDer::pem_file_iter(folder.join("tls.crt"))?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(folder.join("tls.key"))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}
