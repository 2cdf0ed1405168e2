//! Runs the stand-in.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use axum_server::tls_rustls::RustlsConfig;
use azure_stand_in::{Directory, Service, router};
use clap::Parser;

/// Stands in for Entra ID, Azure Resource Manager and Key Vault, so that unmodified programs can sign in with a service
/// account token. For tests: let the hosts' real names lead to it, and programs trust its certificate.
#[derive(Debug, Parser)]
#[command(name = "azure-stand-in", version)]
struct Arguments {
    /// Address to listen on; port 0 takes a free one. The log says which.
    #[arg(long)]
    listen: SocketAddr,
    /// Another address, for the cluster's token proxy (AKS identity binding).
    #[arg(long)]
    token_proxy_listen: Option<SocketAddr>,
    /// PEM file with the certificate.
    #[arg(long)]
    certificate: PathBuf,
    /// PEM file with the certificate's key.
    #[arg(long)]
    key: PathBuf,
    /// YAML file with issuers, tenants, applications and vaults.
    #[arg(long)]
    directory: PathBuf,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let provider = rustls::crypto::ring::default_provider();
    // Fails only if there is one already.
    _ = provider.install_default();
    let text = std::fs::read_to_string(&arguments.directory)
        .with_context(|| format!("cannot read {}", arguments.directory.display()))?;
    let directory = Directory::read(&text).with_context(|| arguments.directory.display().to_string())?;
    let tls = RustlsConfig::from_pem_file(&arguments.certificate, &arguments.key);
    let tls = tls.await.context("cannot use the certificate and its key")?;
    let service = Service::new(directory);
    let mut servers = Vec::new();
    if let Some(address) = arguments.token_proxy_listen {
        servers.push(serve(address, tls.clone(), service.token_proxy())?);
    }
    servers.push(serve(arguments.listen, tls, service)?);
    for server in servers {
        server.await??;
    }
    Ok(())
}

fn serve(
    address: SocketAddr,
    tls: RustlsConfig,
    service: Service,
) -> Result<tokio::task::JoinHandle<std::io::Result<()>>> {
    let listener = TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
    listener.set_nonblocking(true)?;
    println!("{}", serde_json::json!({"listening": listener.local_addr()?.to_string()}));
    let server = axum_server::from_tcp_rustls(listener, tls)?;
    Ok(tokio::spawn(server.serve(router(service).into_make_service())))
}
