//! Requests over several connections: at an even pace, or each as soon as the previous one was answered.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use http::Uri;
use test_support::tls_client::{Caller, Connection};
use tokio::task::JoinSet;
use tokio::time::interval_at;

use crate::process::Process;

/// A server to measure.
#[derive(Clone)]
pub(crate) struct Target {
    pub caller: Caller,
    /// Path and query of its webhook.
    pub path: Uri,
    /// Its process, if known.
    pub process: Option<Process>,
}

/// How the requests of a round are sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// Number of concurrent connections.
    pub connections: usize,
    /// Requests of all connections together.
    pub requests: usize,
    /// Whether a connection carries more than one request.
    pub keeps_connections: bool,
    /// Requests per second of all connections together; `None` for as many as are answered.
    pub pace: Option<u32>,
}

/// Results of a round.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Round {
    /// CPU time of the server per request; `None` if its process is unknown.
    pub cpu: Option<Duration>,
    /// Requests per second.
    pub throughput: f64,
    /// Half of the answers took at most this long.
    pub median: Duration,
    /// 99 of 100 answers took at most this long.
    pub p99: Duration,
}

impl Target {
    /// Sends a round of requests.
    ///
    /// # Errors
    /// A request was not answered with status 200.
    pub(crate) async fn round(&self, shape: Shape, review: &'static str) -> Result<Round> {
        let cpu = || self.process.map(Process::cpu_time).transpose();
        let (cpu_before, start) = (cpu()?, Instant::now());
        let each = shape.requests.div_ceil(shape.connections);
        let mut loops = JoinSet::new();
        for position in 0..shape.connections {
            loops.spawn(self.clone().send(each, shape, position, review));
        }
        let mut times = Vec::with_capacity(each * shape.connections);
        while let Some(sent) = loops.join_next().await {
            times.extend(sent??);
        }
        let (took, cpu_after) = (start.elapsed(), cpu()?);
        times.sort_unstable();
        let count = u32::try_from(times.len())?;
        let at = |percent: usize| times.get((times.len() - 1) * percent / 100).copied().unwrap_or_default();
        Ok(Round {
            cpu: cpu_before.zip(cpu_after).map(|(before, after)| after.saturating_sub(before) / count),
            throughput: f64::from(count) / took.as_secs_f64(),
            median: at(50),
            p99: at(99),
        })
    }

    /// Sends the requests of one connection; returns how long each took.
    async fn send(
        self,
        requests: usize,
        shape: Shape,
        position: usize,
        review: &'static str,
    ) -> Result<Vec<Duration>> {
        let connections = u32::try_from(shape.connections)?;
        let mut pace = shape.pace.map(|pace| {
            let each = Duration::from_secs(1) * connections / pace;
            // One connection after the other, not all at once.
            let offset = each * u32::try_from(position).unwrap_or_default() / connections;
            interval_at(tokio::time::Instant::now() + offset, each)
        });
        let path = self.path.to_string();
        let mut times = Vec::with_capacity(requests);
        let mut kept: Option<Connection> = None;
        for _ in 0..requests {
            if let Some(pace) = &mut pace {
                pace.tick().await;
            }
            let start = Instant::now();
            let mut connection = match kept.take() {
                Some(connection) => connection,
                None => self.caller.connect().await?,
            };
            let reply = connection.send("POST", &path, "application/json", review).await?;
            times.push(start.elapsed());
            ensure!(reply.status == 200, "status {}: {}", reply.status, String::from_utf8_lossy(&reply.body));
            kept = shape.keeps_connections.then_some(connection);
        }
        Ok(times)
    }
}
