//! State of one connection, shared by all code that decides about it.

use std::net::IpAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::AbortHandle;

use super::pool::Pool;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Waiting for a request, or for the rest of its head.
    Idle,
    /// Waiting for a request's body.
    Reading,
    Answering,
    /// Waiting for data that an answer needs.
    Waiting,
    /// Waiting for the caller to read the answer.
    Writing,
}

/// A connection as the others see it. Times are in milliseconds since its port was opened.
pub(super) struct Entry {
    pub id: u64,
    pub address: IpAddr,
    pub accepted: u64,
    pub task: OnceLock<AbortHandle>,
    has_sent_anything: AtomicBool,
    /// Whether its task has looked for bytes and found none.
    was_silent: AtomicBool,
    has_sent_review: AtomicBool,
    is_leaving: AtomicBool,
    /// The [`State`] in the lowest bits, and the time it was entered above them.
    state: AtomicU64,
    /// Start of the current period without a full millisecond of idle time.
    busy_since: AtomicU64,
    /// Memory that its request holds in each pool.
    memory: [AtomicUsize; Pool::ALL.len()],
    /// Since when it has held any.
    memory_since: AtomicU64,
}

/// The bits of [`Entry::state`] that hold the state.
const STATE: u64 = 7;

impl Entry {
    pub(super) fn new(id: u64, address: IpAddr, now: u64) -> Self {
        Self {
            id,
            address,
            accepted: now,
            task: OnceLock::new(),
            has_sent_anything: AtomicBool::new(false),
            was_silent: AtomicBool::new(false),
            has_sent_review: AtomicBool::new(false),
            is_leaving: AtomicBool::new(false),
            state: AtomicU64::new(packed(State::Idle, now)),
            busy_since: AtomicU64::new(now),
            memory: Default::default(),
            memory_since: AtomicU64::new(now),
        }
    }

    pub(super) fn state(&self) -> (State, u64) {
        let packed = self.state.load(Ordering::Relaxed);
        let state = match packed & STATE {
            0 => State::Idle,
            1 => State::Reading,
            2 => State::Answering,
            3 => State::Waiting,
            _ => State::Writing,
        };
        (state, packed >> STATE.count_ones())
    }

    pub(super) fn enter(&self, state: State, now: u64) {
        let (before, since) = self.state();
        if before == State::Idle && state != State::Idle && now > since {
            self.busy_since.store(now, Ordering::Relaxed);
        }
        self.state.store(packed(state, now), Ordering::Relaxed);
    }

    /// Start of the period by which it is ranked: since it was accepted, became idle, or became continuously busy.
    pub(super) fn age_counts_from(&self) -> u64 {
        match self.state() {
            _ if !self.has_sent_review() => self.accepted,
            (State::Idle, since) => since,
            _ => self.busy_since.load(Ordering::Relaxed),
        }
    }

    /// Whether it has had its turn without sending a byte.
    pub(super) fn is_silent(&self) -> bool {
        self.was_silent.load(Ordering::Relaxed) && !self.has_sent_anything.load(Ordering::Relaxed)
    }

    pub(super) fn note_silence(&self) {
        self.was_silent.store(true, Ordering::Relaxed);
    }

    pub(super) fn note_bytes(&self) {
        self.has_sent_anything.store(true, Ordering::Relaxed);
    }

    pub(super) fn has_sent_review(&self) -> bool {
        self.has_sent_review.load(Ordering::Relaxed)
    }

    pub(super) fn note_review(&self) {
        self.has_sent_review.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.is_leaving.load(Ordering::Relaxed)
    }

    pub(super) fn evict(&self) {
        self.is_leaving.store(true, Ordering::Relaxed);
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }

    fn pool(&self, pool: Pool) -> &AtomicUsize {
        let [small, large] = &self.memory;
        match pool {
            Pool::Small => small,
            Pool::Large => large,
        }
    }

    pub(super) fn held(&self, pool: Pool) -> usize {
        self.pool(pool).load(Ordering::Relaxed)
    }

    pub(super) fn hold(&self, pool: Pool, bytes: usize, now: u64) {
        if Pool::ALL.into_iter().all(|pool| self.held(pool) == 0) {
            self.memory_since.store(now, Ordering::Relaxed);
        }
        self.pool(pool).fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn give_back(&self, pool: Pool, bytes: usize) {
        self.pool(pool).fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(super) fn memory_since(&self) -> u64 {
        self.memory_since.load(Ordering::Relaxed)
    }
}

fn packed(state: State, since: u64) -> u64 {
    since << STATE.count_ones() | state as u64
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
