//! Listening on addresses in Go's format.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};

use anyhow::{Context as _, Result};
use tokio::net::{TcpListener, TcpSocket};

/// Maximum accept queue: the system caps a larger number at its own limit.
const BACKLOG: u32 = 65_535;
/// Kernel buffer per connection and direction. The default grows to megabytes, which count as this process's memory; an
/// API server is near, so a small window is not slow.
const SOCKET_BUFFER: u32 = 16 * 1024;

/// Listens on an address; `:9443` means all addresses of the machine, as in Go.
pub(crate) fn listen(address: &str) -> Result<TcpListener> {
    let listen = |address: SocketAddr| {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.set_recv_buffer_size(SOCKET_BUFFER)?;
        socket.set_send_buffer_size(SOCKET_BUFFER)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    let listener = match address.strip_prefix(':') {
        Some(port) => {
            let port = port.parse().with_context(|| format!("cannot listen on {address}: no port number"))?;
            // Some machines do not support IPv6.
            listen((Ipv6Addr::UNSPECIFIED, port).into())
                .or_else(|_| listen((Ipv4Addr::UNSPECIFIED, port).into()))
        }
        None => address.to_socket_addrs().and_then(|mut found| {
            listen(found.next().ok_or_else(|| io::Error::other("the name has no address"))?)
        }),
    };
    listener.with_context(|| format!("cannot listen on {address}"))
}
