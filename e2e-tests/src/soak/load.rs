//! Creations of pods at an even pace, and what became of them, second by second.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hyper::body::Bytes;

use super::lock;
use super::service::Service;
use crate::hostile::bystanders::review;

/// What became of the creations that ended within a second.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Second {
    pub admitted: usize,
    pub failed: usize,
    /// The longest that one took.
    pub worst: Duration,
}

pub(super) struct Load {
    /// Creations per second.
    rate: AtomicU32,
    start: Instant,
    seconds: Mutex<Vec<Second>>,
    /// When each of the first failures happened, and why.
    failures: Mutex<Vec<(Duration, String)>>,
    in_flight: AtomicUsize,
}

/// An API server's own limit of requests at a time is of this order.
const MOST_IN_FLIGHT: usize = 600;
/// How many failures are kept.
const KEPT_FAILURES: usize = 200;
const TICK: Duration = Duration::from_millis(5);

impl Load {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            rate: AtomicU32::new(0),
            start: Instant::now(),
            seconds: Mutex::default(),
            failures: Mutex::default(),
            in_flight: AtomicUsize::new(0),
        })
    }

    pub(super) fn set_rate(&self, rate: u32) {
        self.rate.store(rate, Ordering::Relaxed);
    }

    /// Time since the start.
    pub(super) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    pub(super) fn seconds(&self) -> Vec<Second> {
        lock(&self.seconds).clone()
    }

    pub(super) fn failures(&self) -> Vec<(Duration, String)> {
        lock(&self.failures).clone()
    }

    /// Creates pods until it is dropped.
    pub(super) async fn run(self: Arc<Self>, service: Arc<Service>) {
        let body = review();
        let mut due = 0.0;
        let mut last = Instant::now();
        loop {
            tokio::time::sleep(TICK).await;
            let now = Instant::now();
            due += f64::from(self.rate.load(Ordering::Relaxed)) * (now - last).as_secs_f64();
            last = now;
            while due >= 1.0 {
                due -= 1.0;
                // An API server lets further creations wait.
                if self.in_flight.load(Ordering::Relaxed) < MOST_IN_FLIGHT {
                    self.in_flight.fetch_add(1, Ordering::Relaxed);
                    tokio::spawn(Arc::clone(&self).create(Arc::clone(&service), body.clone()));
                }
            }
        }
    }

    async fn create(self: Arc<Self>, service: Arc<Service>, body: Bytes) {
        let start = Instant::now();
        let result = service.review(&body).await;
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        let now = self.now();
        let number = usize::try_from(now.as_secs()).unwrap_or_default();
        let mut seconds = lock(&self.seconds);
        if seconds.len() <= number {
            seconds.resize(number + 1, Second::default());
        }
        if let Some(second) = seconds.get_mut(number) {
            second.worst = second.worst.max(start.elapsed());
            match &result {
                Ok(()) => second.admitted += 1,
                Err(_) => second.failed += 1,
            }
        }
        drop(seconds);
        if let Err(error) = result {
            let mut failures = lock(&self.failures);
            if failures.len() < KEPT_FAILURES {
                failures.push((now, format!("{error:#}")));
            }
        }
    }
}

/// How many reviews a second the replicas answer if as many callers ask as fast as they can.
pub(super) async fn capacity(service: &Arc<Service>) -> u32 {
    const CALLERS: usize = 16;
    const TIME: Duration = Duration::from_secs(3);
    let end = Instant::now() + TIME;
    let callers = (0..CALLERS).map(|_| {
        let (service, body) = (Arc::clone(service), review());
        tokio::spawn(async move {
            let mut answered = 0;
            while Instant::now() < end {
                answered += u32::from(service.review(&body).await.is_ok());
            }
            answered
        })
    });
    let mut answered = 0;
    for caller in callers.collect::<Vec<_>>() {
        answered += caller.await.unwrap_or_default();
    }
    answered / u32::try_from(TIME.as_secs()).unwrap_or(1)
}
