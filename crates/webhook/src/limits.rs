//! How much of everything callers may make this process keep. Each is a flag, and a row of `docs/security.md`.

use std::time::Duration;

use crate::memory;

/// The container's memory where nobody says how much it has: the chart's limit.
const USUAL_MEMORY: u64 = 64 * 1024 * 1024;
/// What a connection takes at most besides its requests: a TLS record and a head that are not complete, an answer that is
/// encrypted and not sent, the system's own buffers. Most take a fifth.
const CONNECTION_BYTES: u64 = 64 * 1024;
/// An API server opens a few dozen.
const MOST_CONNECTIONS: u64 = 4096;

/// Limits of the server.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Memory of all requests together in bytes: bodies while they are read or answered, and answers until they are sent.
    pub request_memory: usize,
    /// Largest body of a request in bytes.
    pub body_bytes: usize,
    /// Largest head of a request in bytes.
    pub header_bytes: usize,
    /// How long a connection is kept that has not sent a review yet.
    pub header_time: Duration,
    /// How long a client may take for a request's body.
    pub body_time: Duration,
    /// How long a client may take for a TLS handshake.
    pub handshake_time: Duration,
    /// How long a client may take to read an answer.
    pub write_time: Duration,
    /// Connections at a time.
    pub connections: usize,
    /// Reads of service accounts at a time.
    pub reads: usize,
    /// How long a request may take where the API server does not say.
    pub request_time: Duration,
}

impl Limits {
    /// The limits for a process that may use so much memory in bytes.
    ///
    /// Three eighths are for requests, a quarter for connections. The rest is for the program, its cache, what one answer
    /// takes while it is made, and what the allocator cannot give back at once.
    pub fn within(memory: u64) -> Self {
        let connections = (memory / 4 / CONNECTION_BYTES).clamp(16, MOST_CONNECTIONS);
        let in_memory = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let request_memory = in_memory(memory / 8 * 3);
        Self {
            request_memory,
            // A review of the largest object that an API server takes, 3 MiB, with room for what it fills in.
            // An eighth of all is kept for small ones.
            body_bytes: (request_memory / 8 * 7).min(7 * 1024 * 1024),
            header_bytes: 16 * 1024,
            header_time: Duration::from_secs(10),
            body_time: Duration::from_secs(10),
            handshake_time: Duration::from_secs(10),
            write_time: Duration::from_secs(10),
            connections: in_memory(connections),
            reads: 64,
            request_time: Duration::from_secs(10),
        }
    }
}

impl Default for Limits {
    /// The limits for the container that this process is in.
    fn default() -> Self {
        Self::within(memory::container_limit().unwrap_or(USUAL_MEMORY))
    }
}

#[cfg(test)]
mod tests {
    use super::Limits;

    #[test]
    fn limits_follow_from_the_memory() {
        const MIB: usize = 1024 * 1024;
        let chart = Limits::within(64 << 20);
        assert_eq!((chart.request_memory, chart.body_bytes, chart.connections), (24 * MIB, 7 * MIB, 256));
        let small = Limits::within(16 << 20);
        assert_eq!(
            (small.request_memory, small.body_bytes, small.connections),
            (6 * MIB, 6 * MIB / 8 * 7, 64)
        );
        let large = Limits::within(64 << 30);
        assert_eq!((large.body_bytes, large.connections), (7 * MIB, 4096));
    }
}
