//! What happens to the webhook meanwhile.

use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::Cluster;
use super::replica::Replica;

/// How long a fault lasts if it does not end by itself.
const LASTS: Duration = Duration::from_secs(10);
/// How long it takes until all nodes know that a replica is leaving.
const NEWS: Duration = Duration::from_secs(1);
/// How many times the usual load is too much.
const OVERLOAD: u32 = 4;
/// Connections of slow clients.
const SLOW: usize = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    RollingRestart,
    ApiServerAway,
    WatchExpired,
    WatchDead,
    ReadsUnanswered,
    Killed,
    SlowClients,
    DiskFull,
    Overload,
}

impl Fault {
    pub(super) const ALL: [Self; 10] = [
        Self::None,
        Self::RollingRestart,
        Self::ApiServerAway,
        Self::WatchExpired,
        Self::WatchDead,
        Self::ReadsUnanswered,
        Self::Killed,
        Self::SlowClients,
        Self::DiskFull,
        Self::Overload,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::None => "nothing",
            Self::RollingRestart => "a replica is replaced as in a rollout",
            Self::ApiServerAway => "the API server is away",
            Self::WatchExpired => "the watch has expired (410)",
            Self::WatchDead => "the watch's connection is dead without a word",
            Self::ReadsUnanswered => "reads of service accounts get no answer",
            Self::Killed => "a replica is killed",
            Self::SlowClients => "a hundred slow clients",
            Self::DiskFull => "the disk of the log is full",
            Self::Overload => "four times the load",
        }
    }

    /// Whether an API server would see failures whatever the webhook did: a killed replica answers nobody, and what no
    /// replica can do in time is refused.
    pub(super) fn may_fail(self) -> bool {
        matches!(self, Self::Killed | Self::Overload)
    }

    /// Lets it happen, and waits until it is over.
    pub(super) async fn happen(self, cluster: &mut Cluster) -> Result<()> {
        match self {
            Self::None => sleep(LASTS).await,
            Self::RollingRestart => rolling_restart(cluster).await?,
            Self::ApiServerAway => {
                let away = cluster.api_server.take().context("the API server is away already")?.stop();
                sleep(LASTS).await;
                cluster.api_server = Some(away()?);
                sleep(LASTS).await;
            }
            Self::WatchExpired => {
                cluster.api_server()?.expire_watches();
                sleep(LASTS).await;
            }
            Self::WatchDead => {
                cluster.api_server()?.silence_watches();
                // It is noticed within 30 s.
                sleep(LASTS * 4).await;
            }
            Self::ReadsUnanswered => {
                cluster.api_server()?.answer_reads(false);
                sleep(LASTS).await;
                cluster.api_server()?.answer_reads(true);
            }
            Self::Killed => {
                let mut killed = cluster.restarted.take().context("there is no second replica")?;
                killed.process.child.kill().await?;
                // The Service learns it from its probes.
                sleep(LASTS).await;
                cluster.service.remove(killed.process.address);
                cluster.start_second().await?;
            }
            Self::SlowClients => slow_clients(cluster).await?,
            Self::DiskFull => {
                let path = "/log-level?level=debug";
                let process = &cluster.steady.process;
                process.send(process.health, "PUT", path).await?;
                cluster.steady.fill_disk();
                sleep(LASTS).await;
                cluster.steady.empty_disk()?;
                process.send(process.health, "PUT", "/log-level?level=info").await?;
            }
            Self::Overload => {
                cluster.load.set_rate(cluster.rate * OVERLOAD);
                sleep(LASTS).await;
                cluster.load.set_rate(cluster.rate);
                sleep(LASTS).await;
            }
        }
        Ok(())
    }
}

/// A new replica first, then the old one leaves.
async fn rolling_restart(cluster: &mut Cluster) -> Result<()> {
    let new = Replica::start(&cluster.plan, cluster.api_server()?).await?;
    cluster.service.add(new.process.address, new.process.health);
    let old = cluster.restarted.replace(new).context("there is no second replica")?;
    old.process.terminate().await?;
    sleep(NEWS).await;
    cluster.service.remove(old.process.address);
    sleep(LASTS).await;
    cluster.defects.extend(old.defects());
    Ok(())
}

/// Connections that send a byte a second and never a request.
async fn slow_clients(cluster: &Cluster) -> Result<()> {
    let mut clients = Vec::new();
    for _ in 0..SLOW {
        clients.push(TcpStream::connect(cluster.steady.process.address).await?);
    }
    for _ in 0..LASTS.as_secs() {
        sleep(Duration::from_secs(1)).await;
        for client in &mut clients {
            // The webhook may have closed it.
            _ = client.write_all(&[22]).await;
        }
    }
    Ok(())
}
