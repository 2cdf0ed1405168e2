//! How much of everything callers may make this process keep. Each is a flag, and a row of `docs/security.md`.

use std::time::Duration;

use crate::connections::Allowance;
use crate::memory;
use crate::server::ROOM_FOR_ANSWER;

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
    /// Memory of the answers to those reads together, in bytes.
    pub read_memory: usize,
    /// Memory of the cache of service accounts, in bytes.
    pub cache_memory: usize,
    /// How long a request may take where the API server does not say.
    pub request_time: Duration,
}

impl Limits {
    /// The limits for a process that may use so much memory in bytes.
    ///
    /// Five sixteenths are for requests, a quarter for connections, one sixteenth each for the cache of service accounts and for
    /// reading others. The rest is for the program, the connections of health and metrics, what one answer takes while it is
    /// made, and what the allocator cannot give back at once.
    pub fn within(memory: u64) -> Self {
        let connections = (memory / 4 / CONNECTION_BYTES).clamp(16, MOST_CONNECTIONS);
        let in_memory = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let request_memory = in_memory(memory / 16 * 5);
        Self {
            request_memory,
            // A review of the largest object that an API server takes, 3 MiB, with room for what it fills in.
            body_bytes: largest_body(request_memory).min(7 * 1024 * 1024),
            header_bytes: 16 * 1024,
            header_time: Duration::from_secs(10),
            body_time: Duration::from_secs(10),
            handshake_time: Duration::from_secs(10),
            write_time: Duration::from_secs(10),
            connections: in_memory(connections),
            reads: 64,
            read_memory: in_memory(memory / 16),
            cache_memory: in_memory(memory / 16),
            request_time: Duration::from_secs(10),
        }
    }
}

/// The largest body that so much memory of requests is enough for, in bytes.
pub fn largest_body(request_memory: usize) -> usize {
    Allowance::largest_request(request_memory).saturating_sub(ROOM_FOR_ANSWER)
}

impl Default for Limits {
    /// The limits for the container that this process is in.
    fn default() -> Self {
        Self::within(memory::container_limit().unwrap_or(USUAL_MEMORY))
    }
}

#[cfg(test)]
mod tests {
    use super::{Limits, ROOM_FOR_ANSWER};

    #[test]
    fn limits_follow_from_the_memory() {
        const MIB: usize = 1024 * 1024;
        let chart = Limits::within(64 << 20);
        assert_eq!((chart.request_memory, chart.body_bytes, chart.connections), (20 * MIB, 7 * MIB, 256));
        let small = Limits::within(16 << 20);
        assert_eq!(
            (small.request_memory, small.body_bytes, small.connections),
            (5 * MIB, 5 * MIB / 4 * 3 - ROOM_FOR_ANSWER, 64)
        );
        let large = Limits::within(64 << 30);
        assert_eq!((large.body_bytes, large.connections), (7 * MIB, 4096));
    }
}
