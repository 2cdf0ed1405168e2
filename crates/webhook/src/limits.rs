//! Everything that a client could make grow without end has a limit; each is a flag.

use std::time::Duration;

/// Limits of the server.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Largest body of a request in bytes.
    pub body_bytes: usize,
    /// Bodies above 64 KiB of all requests that are being read or answered, together, in bytes.
    pub all_bodies_bytes: usize,
    /// Largest head of a request in bytes.
    pub header_bytes: usize,
    /// How long a client may take for the head of its first request.
    pub header_time: Duration,
    /// How long a client may take for a request's body.
    pub body_time: Duration,
    /// How long a TLS handshake may take.
    pub handshake_time: Duration,
    /// Connections at a time.
    pub connections: usize,
    /// Requests that look something up at a time.
    pub in_flight: usize,
    /// How long a request may take where the API server does not say.
    pub request_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 7 * 1024 * 1024,
            all_bodies_bytes: 24 * 1024 * 1024,
            header_bytes: 64 * 1024,
            header_time: Duration::from_secs(10),
            body_time: Duration::from_secs(10),
            handshake_time: Duration::from_secs(10),
            connections: 4096,
            in_flight: 512,
            request_time: Duration::from_secs(10),
        }
    }
}
