//! Shutdown: after a signal, the process keeps serving until no new requests are sent to it, then lets requests in
//! flight finish.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tracing::info;

use crate::reviewer::Reviewer;

/// The signals that stop the process.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// The first signal fails readiness while serving continues, so that no new requests are sent here; then requests in
/// flight are awaited. A second signal stops the process at once.
pub(crate) async fn stop(
    signals: &mut Signals,
    reviewer: &Reviewer,
    lame_duck: Duration,
    drain: Duration,
    told_to_drain: oneshot::Sender<Duration>,
) {
    signals.next().await;
    info!(lame_duck_seconds = lame_duck.as_secs_f64(), "stopping: not ready any more, still serving");
    reviewer.drain();
    tokio::select! {
        () = tokio::time::sleep(lame_duck) => {}
        () = signals.next() => return,
    }
    info!(drain_seconds = drain.as_secs_f64(), "stopping: waiting for requests in flight");
    // There is no receiver if the server has ended by itself.
    _ = told_to_drain.send(drain);
    signals.next().await;
}
