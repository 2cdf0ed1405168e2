//! Another webhook to compare with.

use std::net::ToSocketAddrs as _;

use anyhow::{Context as _, Result};
use http::Uri;
use test_support::careless_tls::careless_tls;
use test_support::tls_client::Caller;

use crate::load::Target;
use crate::process::Process;

/// The webhook at `url`.
///
/// # Errors
/// The URL has no host or no port.
pub(crate) fn target(url: &Uri, process: Option<Process>) -> Result<Target> {
    let host = url.host().with_context(|| format!("PEER_URL names no host: {url}"))?;
    let address = (host, url.port_u16().unwrap_or(443)).to_socket_addrs()?.next();
    let address = address.with_context(|| format!("PEER_URL's host has no address: {host}"))?;
    let path = url.path_and_query().map_or("/mutate-v1-pod", |path| path.as_str());
    let tls = careless_tls()?;
    Ok(Target { caller: Caller::with_tls(address, tls), path: path.parse()?, process })
}
