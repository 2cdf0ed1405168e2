//! How much of each resource callers can make this process use. Each limit has a row in
//! `docs/security.md`, and all but one have a flag.

// Argument comments become help texts, where backticks would be printed.
#![allow(clippy::doc_markdown)]

use std::sync::LazyLock;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, Parser};

use crate::arguments::interval;
use crate::connections::Allowance;
use crate::memory;

/// The container's memory if it has no limit: the chart's limit.
const USUAL_MEMORY: u64 = 64 * 1024 * 1024;
/// Memory of a connection besides its requests: an incomplete head, an encrypted answer that is not sent, and the system's
/// buffers. This is what heads of 15 KiB take, the most after a handshake; most take a third.
const CONNECTION_BYTES: u64 = 36 * 1024;
/// An API server calls webhooks with HTTP/1.1, so it opens a connection for each creation that waits. A busy one has hundreds.
const MOST_CONNECTIONS: u64 = 4096;

/// Memory of most requests besides the body, in bytes: the index and the answer.
pub const ROOM_FOR_ANSWER: usize = 8 * 1024;

#[derive(Debug, Clone, Copy, Args)]
#[command(next_help_heading = "Limits")]
pub struct Limits {
    /// Memory of all requests together in bytes: bodies, and answers until they are sent. docs/security.md describes
    /// which request is dropped when it is full [default: five sixteenths of the container's memory limit].
    #[arg(long, value_name = "BYTES", default_value_t = Self::of_container().request_memory, hide_default_value = true,
        value_parser = bytes)]
    pub request_memory: usize,
    /// Memory of the service account cache in bytes; accounts that do not fit are read when needed [default: one
    /// sixteenth of the container's memory limit].
    #[arg(long, value_name = "BYTES", default_value_t = Self::of_container().cache_memory, hide_default_value = true,
        value_parser = bytes)]
    pub cache_memory: usize,
    /// Memory for all service account read responses together, in bytes. Derived from the container's memory.
    #[arg(skip = Self::of_container().read_memory)]
    pub read_memory: usize,
    /// Maximum size of a request body in bytes.
    #[arg(long = "max-body", value_name = "BYTES", default_value_t = Self::of_container().body_bytes, value_parser = bytes)]
    pub body_bytes: usize,
    /// Maximum size of a request head in bytes.
    #[arg(long = "max-header", value_name = "BYTES", default_value_t = Self::of_container().header_bytes)]
    pub header_bytes: usize,
    /// How long to keep a connection that has not sent a review.
    #[arg(long = "header-timeout", value_name = "DURATION", default_value = "10s", value_parser = interval)]
    pub header_time: Duration,
    /// How long a client may take to send a request body.
    #[arg(long = "body-timeout", value_name = "DURATION", default_value = "10s", value_parser = interval)]
    pub body_time: Duration,
    /// How long a TLS handshake may take.
    #[arg(long = "handshake-timeout", value_name = "DURATION", default_value = "10s", value_parser = interval)]
    pub handshake_time: Duration,
    /// How long a client may take to read an answer.
    #[arg(long = "write-timeout", value_name = "DURATION", default_value = "10s", value_parser = interval)]
    pub write_time: Duration,
    /// How long a request may take if the API server does not set ?timeout=.
    #[arg(long = "request-timeout", value_name = "DURATION", default_value = "10s", value_parser = interval)]
    pub request_time: Duration,
    /// Maximum number of connections; above it, one that has waited long is closed [default: by the container's memory
    /// limit, 455 in 64 MiB].
    #[arg(long = "max-connections", value_name = "N", default_value_t = Self::of_container().connections,
        hide_default_value = true, value_parser = connections)]
    pub connections: usize,
    /// Maximum number of service accounts read at a time, an eighth of them in one namespace; further requests wait up
    /// to half of their time, then labelled pods are denied with code 503.
    #[arg(long = "max-in-flight", value_name = "N", default_value_t = 64, value_parser = reads)]
    pub reads: usize,
}

/// Limits derived from the memory that a process may use.
struct OfMemory {
    request_memory: usize,
    cache_memory: usize,
    read_memory: usize,
    body_bytes: usize,
    header_bytes: usize,
    connections: usize,
}

impl OfMemory {
    /// Five sixteenths are for requests, a quarter for connections, and one sixteenth each for the service account
    /// cache and for reads of other accounts. The rest is for the program, the health and metrics connections, the
    /// memory to build one answer, and memory that the allocator cannot return at once.
    fn within(bytes: u64) -> Self {
        let connections = (bytes / 4 / CONNECTION_BYTES).clamp(16, MOST_CONNECTIONS);
        let in_memory = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let request_memory = in_memory(bytes / 16 * 5);
        Self {
            request_memory,
            cache_memory: in_memory(bytes / 16),
            read_memory: in_memory(bytes / 16),
            // A review of the largest object that an API server accepts, 3 MiB, plus the fields it fills in.
            body_bytes: largest_body(request_memory).min(7 * 1024 * 1024),
            header_bytes: 16 * 1024,
            connections: in_memory(connections),
        }
    }
}

impl Limits {
    fn of_container() -> &'static OfMemory {
        // Several flags use it.
        static FOUND: LazyLock<OfMemory> =
            LazyLock::new(|| OfMemory::within(memory::container_limit().unwrap_or(USUAL_MEMORY)));
        &FOUND
    }

    /// Rejects limits that contradict each other.
    ///
    /// # Errors
    /// One sentence that names the flags.
    pub fn check(&self) -> Result<()> {
        if largest_body(self.request_memory) < self.body_bytes {
            bail!(
                "--max-body is {} bytes, but one body may have at most three quarters of --request-memory, which is {}; one of \
                 them has to change",
                self.body_bytes,
                self.request_memory
            );
        }
        Ok(())
    }
}

/// The largest body that fits in this much request memory, in bytes.
fn largest_body(request_memory: usize) -> usize {
    Allowance::largest_request(request_memory).saturating_sub(ROOM_FOR_ANSWER)
}

/// The limits if no flag is set.
impl Default for Limits {
    fn default() -> Self {
        #[derive(Parser)]
        struct NoFlags {
            #[command(flatten)]
            limits: Limits,
        }
        NoFlags::parse_from([""]).limits
    }
}

/// Parses a limit in bytes; one smaller than the smallest review would allow no answers.
fn bytes(text: &str) -> Result<usize, String> {
    let bytes = text.parse().ok().filter(|bytes| (1024..=1 << 40).contains(bytes));
    bytes.ok_or_else(|| "a limit is a number of bytes without a unit, at least 1024".to_owned())
}

fn connections(text: &str) -> Result<usize, String> {
    let connections = text.parse().ok().filter(|connections| (1..=65_536).contains(connections));
    connections.ok_or_else(|| "a number of connections is from 1 to 65536".to_owned())
}

fn reads(text: &str) -> Result<usize, String> {
    let reads = text.parse().ok().filter(|reads| (1..=4096).contains(reads));
    reads.ok_or_else(|| "a number of reads is from 1 to 4096".to_owned())
}

#[cfg(test)]
mod tests {
    use super::{Limits, OfMemory, ROOM_FOR_ANSWER};

    #[test]
    fn limits_follow_from_the_memory() {
        const MIB: usize = 1024 * 1024;
        let chart = OfMemory::within(64 << 20);
        assert_eq!((chart.request_memory, chart.body_bytes, chart.connections), (20 * MIB, 7 * MIB, 455));
        let small = OfMemory::within(16 << 20);
        assert_eq!(
            (small.request_memory, small.body_bytes, small.connections),
            (5 * MIB, 5 * MIB / 4 * 3 - ROOM_FOR_ANSWER, 113)
        );
        let large = OfMemory::within(64 << 30);
        assert_eq!((large.body_bytes, large.connections), (7 * MIB, 4096));
    }

    #[test]
    fn limits_that_nobody_set_do_not_contradict_each_other() {
        assert!(Limits::default().check().is_ok());
    }
}
