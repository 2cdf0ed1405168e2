//! The connections of one port: how many there are, how long each is kept, how much memory their requests hold, and
//! which are evicted when a limit is reached.
//!
//! A caller without credentials can open connections, stop at any point, and never read an answer. So a full port does
//! not turn newcomers away: it evicts a connection that has waited long. An API server's requests take milliseconds, so
//! they are never the oldest for long. [`places`] and [`memory`] choose the connections to evict.

mod entry;
mod memory;
mod places;
mod pool;

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use prometheus_client::metrics::counter::Counter;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::warn;

use crate::telemetry::Throttle;

use entry::{Entry, millis};
use memory::Memory;
use pool::Pool;

pub use entry::State;
pub use memory::{Share, Waiting};

/// How long a connection that has sent a review is kept for the next one. Go keeps it for 90 seconds, and would lose a
/// request that crosses our close.
const KEPT_FOR: Duration = Duration::from_mins(2);
/// How long an evicted connection may take to close; the runtime must poll its task once.
const CLEARING: Duration = Duration::from_secs(1);
/// Connections that may be closing while others already have their places: waiting for each would mean accepting one
/// per turn.
const MOST_LEAVING: usize = 64;
/// Pause after accepting failed because the system is out of files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Connections accepted before the open ones get a turn. One at a time would leave the others in the system's queue
/// while callers are busy; more would evict connections for newer ones before they are heard.
const ACCEPTED_AT_ONCE: usize = 64;

/// Limits for one port.
#[derive(Debug, Clone, Copy)]
pub struct Allowance {
    /// Maximum number of connections.
    pub connections: usize,
    /// Memory that their requests may hold together, in bytes.
    pub memory: usize,
    /// How long a connection may take to send a review.
    pub patience: Duration,
    /// How long a caller may take to read an answer.
    pub write_time: Duration,
}

impl Allowance {
    /// The largest request that fits in this much memory, in bytes.
    pub fn largest_request(memory: usize) -> usize {
        Pool::Large.part_of(memory)
    }
}

pub struct Connections {
    allowance: Allowance,
    entries: Mutex<HashMap<u64, Arc<Entry>>>,
    next_id: AtomicU64,
    memory: [Memory; Pool::ALL.len()],
    /// Notified when a connection ends or returns memory.
    freed: Notify,
    started: Instant,
    evicted: Counter,
    accept_errors: Throttle,
}

impl Connections {
    /// Starts without connections. `evicted` counts evictions.
    pub fn new(allowance: Allowance, evicted: Counter) -> Arc<Self> {
        Arc::new(Self {
            allowance,
            entries: Mutex::default(),
            next_id: AtomicU64::new(0),
            memory: Pool::ALL.map(|pool| Memory::new(pool.part_of(allowance.memory))),
            freed: Notify::new(),
            started: Instant::now(),
            evicted,
            accept_errors: Throttle::default(),
        })
    }

    /// Accepts connections until the listener fails for good, and serves each in its own task.
    pub async fn accept<F>(
        self: Arc<Self>,
        listener: TcpListener,
        serve: impl Fn(TcpStream, Arc<Connection>) -> F,
        refused: impl Fn(IpAddr),
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut in_turn = 0;
        loop {
            let accepted = match listener.accept().now_or_never() {
                Some(accepted) if in_turn < ACCEPTED_AT_ONCE => accepted,
                accepted => {
                    in_turn = 0;
                    yield_now().await;
                    match accepted {
                        Some(accepted) => accepted,
                        None => listener.accept().await,
                    }
                }
            };
            in_turn += 1;
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                // The caller is already gone.
                Err(error) if is_of_one_connection(&error) => continue,
                Err(error) => {
                    // Usually out of files: evicting a connection frees one.
                    self.make_place(None);
                    if let Some(unlogged) = self.accept_errors.next() {
                        warn!(%error, unlogged, "connections cannot be accepted; retrying");
                    }
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let address = peer.ip().to_canonical();
            let Some(connection) = self.admit(address).await else {
                refused(address);
                continue;
            };
            if has_bytes(&stream) {
                connection.entry.note_bytes();
            }
            let entry = Arc::clone(&connection.entry);
            let task = tokio::spawn(serve(stream, connection));
            // Set only here.
            _ = entry.task.set(task.abort_handle());
        }
    }

    /// Makes a place for a connection from this address; returns `None` if all others are being answered.
    async fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Arc<Connection>> {
        let cleared = async {
            loop {
                let mut freed = pin!(self.freed.notified());
                freed.as_mut().enable();
                if !self.make_place(Some(address)) {
                    return false;
                }
                if self.entries().len()
                    < self.allowance.connections + MOST_LEAVING.min(self.allowance.connections)
                {
                    return true;
                }
                freed.await;
            }
        };
        if !timeout(CLEARING, cleared).await.unwrap_or(false) {
            return None;
        }
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let entry = Arc::new(Entry::new(id, address, self.now()));
        self.entries().insert(id, Arc::clone(&entry));
        Some(Arc::new(Connection { connections: Arc::clone(self), entry }))
    }

    /// Evicts a connection unless there is a free place; returns false if none may be evicted.
    fn make_place(&self, newcomer: Option<IpAddr>) -> bool {
        let entries = self.entries();
        let staying = entries.values().map(|entry| &**entry).filter(|entry| !entry.is_leaving());
        if newcomer.is_some() && staying.clone().count() < self.allowance.connections {
            return true;
        }
        let Some(victim) = places::victim(staying, newcomer, self.now()) else { return false };
        victim.evict();
        self.evicted.inc();
        true
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<u64, Arc<Entry>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Milliseconds since the start.
    fn now(&self) -> u64 {
        millis(self.started.elapsed())
    }
}

/// Whether anything has arrived, according to the system; the runtime learns of it later.
fn has_bytes(stream: &TcpStream) -> bool {
    SockRef::from(stream).peek(&mut [MaybeUninit::uninit()]).is_ok_and(|bytes| bytes > 0)
}

/// Whether an error concerns only the connection to be accepted, not the listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}

/// A connection's place among the others of its port; dropping it frees the place.
pub struct Connection {
    connections: Arc<Connections>,
    entry: Arc<Entry>,
}

impl Connection {
    pub fn address(&self) -> IpAddr {
        self.entry.address
    }

    /// Records the connection's new state.
    pub fn enter(&self, state: State) {
        self.entry.enter(state, self.connections.now());
    }

    /// Whether its last request ended just now: a caller that sends many requests must leave turns to others.
    pub fn is_in_haste(&self) -> bool {
        self.entry.has_sent_review() && self.entry.state().1 >= self.connections.now()
    }

    /// Waits for the first bytes. A real caller has sent them by the time its connection gets a turn, whether or not
    /// the runtime knows of them yet.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn first_bytes(&self, stream: &TcpStream) -> io::Result<()> {
        if !has_bytes(stream) {
            self.entry.note_silence();
            // Readiness does not guarantee that there is data.
            stream.peek(&mut [0]).await?;
        }
        self.entry.note_bytes();
        Ok(())
    }

    /// Records that an answer has been sent, unless the next request is already being answered.
    pub fn has_sent_answer(&self) {
        if self.entry.state().0 == State::Writing {
            self.enter(State::Idle);
        }
    }

    /// Records that the caller behaves like an API server.
    pub fn has_sent_review(&self) {
        self.entry.note_review();
    }

    /// Resolves when the connection has been idle for too long, or its answer is not read.
    pub async fn overdue(&self) {
        let allowance = &self.connections.allowance;
        loop {
            let (state, since) = self.entry.state();
            let deadline = match state {
                State::Idle if self.entry.has_sent_review() => Some((since, KEPT_FOR)),
                // Requests for unknown paths do not extend the time.
                State::Idle => Some((self.entry.accepted, allowance.patience)),
                State::Writing => Some((since, allowance.write_time)),
                // These have their own deadlines.
                State::Reading | State::Answering | State::Waiting => None,
            };
            let now = Instant::now();
            let ends =
                deadline.map(|(since, time)| self.connections.started + Duration::from_millis(since) + time);
            if ends.is_some_and(|ends| ends <= now) {
                return;
            }
            // The state may change to one with an earlier deadline.
            let look_again = now + allowance.patience.min(allowance.write_time);
            sleep_until(ends.map_or(look_again, |ends| ends.min(look_again))).await;
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.connections.entries().remove(&self.entry.id);
        self.connections.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::memory::GRACE;
    use super::places::YOUTH;
    use super::pool::SMALL;
    use super::*;

    fn connections(most: usize, memory: usize) -> Arc<Connections> {
        let second = Duration::from_secs(1);
        let allowance = Allowance { connections: most, memory, patience: 10 * second, write_time: second };
        Connections::new(allowance, Counter::default())
    }

    fn address(last: u8) -> IpAddr {
        Ipv4Addr::new(10, 0, 0, last).into()
    }

    /// A connection that has sent something, from the address with this last part; it lasts until it is evicted.
    async fn open(connections: &Arc<Connections>, last: u8) -> Arc<Connection> {
        let connection = connections.admit(address(last)).await.unwrap();
        connection.entry.note_bytes();
        let entry = Arc::clone(&connection.entry);
        let kept = Arc::downgrade(&connection);
        let task = tokio::spawn(async move {
            let _connection = connection;
            std::future::pending::<()>().await;
        });
        entry.task.set(task.abort_handle()).unwrap();
        // So that no two start at the same time.
        tokio::time::advance(Duration::from_millis(1)).await;
        kept.upgrade().unwrap()
    }

    /// Like [`open`], but it has sent a review and is in this state.
    async fn open_kept(connections: &Arc<Connections>, last: u8, state: State) {
        let connection = open(connections, last).await;
        connection.has_sent_review();
        connection.enter(state);
    }

    /// Releases what it holds when the connection is evicted, as its task would.
    fn let_go(connection: Arc<Connection>, shares: Vec<Share>) -> tokio::task::JoinHandle<()> {
        tokio::spawn(async move {
            while !connection.entry.is_leaving() {
                yield_now().await;
            }
            drop((connection, shares));
        })
    }

    fn addresses(connections: &Connections) -> Vec<u8> {
        let mut entries: Vec<_> = connections.entries().values().cloned().collect();
        entries.sort_by_key(|entry| entry.id);
        let last = |entry: &Arc<Entry>| match entry.address {
            IpAddr::V4(address) => address.octets()[3],
            IpAddr::V6(_) => unreachable!(),
        };
        entries.iter().map(last).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_idle_that_never_sent_a_review_goes_first() {
        let connections = connections(3, 0);
        open_kept(&connections, 1, State::Idle).await;
        open(&connections, 2).await;
        open(&connections, 3).await;
        open(&connections, 4).await;
        assert_eq!(addresses(&connections), [1, 3, 4]);
        tokio::time::advance(YOUTH).await;
        open(&connections, 5).await;
        assert_eq!(addresses(&connections), [1, 4, 5]);
        assert_eq!(connections.evicted.get(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_has_sent_nothing_goes_before_all_others() {
        let connections = connections(2, 0);
        open(&connections, 1).await;
        tokio::time::advance(YOUTH).await;
        let silent = connections.admit(address(2)).await.unwrap();
        silent.entry.note_silence();
        let gone = let_go(silent, Vec::new());
        open(&connections, 3).await;
        gone.await.unwrap();
        assert_eq!(addresses(&connections), [1, 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_one_stays_where_many_are_kept() {
        let connections = connections(4, 0);
        for last in [1, 2, 3] {
            open_kept(&connections, last, State::Idle).await;
        }
        for last in [4, 5, 6] {
            open(&connections, last).await;
        }
        // While there were more new ones than kept ones, the oldest new ones were evicted.
        assert_eq!(addresses(&connections), [3, 4, 5, 6]);
        open(&connections, 7).await;
        assert_eq!(addresses(&connections), [3, 5, 6, 7]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_address_with_the_most_goes_first() {
        let connections = connections(4, 0);
        for last in [1, 2, 2, 2, 2, 2] {
            open(&connections, last).await;
        }
        assert_eq!(addresses(&connections), [1, 2, 2, 2]);
        open(&connections, 3).await;
        assert_eq!(addresses(&connections), [1, 2, 2, 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_keeps_all_its_connections_busy_drives_nobody_out() {
        for busy in [State::Reading, State::Answering, State::Waiting, State::Writing] {
            let connections = connections(6, 0);
            open_kept(&connections, 1, State::Idle).await;
            for _ in 0..5 {
                open_kept(&connections, 2, busy).await;
            }
            for last in [3, 4, 5] {
                open(&connections, last).await;
            }
            assert_eq!(addresses(&connections), [1, 2, 2, 3, 4, 5], "{busy:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_being_answered_stays_for_callers_of_the_same_address() {
        let connections = connections(2, 0);
        open_kept(&connections, 1, State::Answering).await;
        open_kept(&connections, 1, State::Reading).await;
        assert!(connections.admit(address(1)).await.is_none(), "the body may be on its way");
        tokio::time::advance(GRACE).await;
        open_kept(&connections, 1, State::Waiting).await;
        assert!(connections.admit(address(1)).await.is_none(), "the answer may be on its way");
        tokio::time::advance(YOUTH).await;
        open(&connections, 1).await;
        assert_eq!(addresses(&connections), [1, 1]);
        assert_eq!(connections.evicted.get(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_that_are_no_reviews_keep_nobody_young() {
        let connections = connections(2, 0);
        let chatty = open(&connections, 1).await;
        tokio::time::advance(YOUTH).await;
        open(&connections, 2).await;
        chatty.enter(State::Idle);
        drop(chatty);
        open(&connections, 3).await;
        assert_eq!(addresses(&connections), [2, 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_gives_its_memory_to_a_new_one() {
        let connections = connections(9, 400);
        let (first, second, third) =
            (open(&connections, 1).await, open(&connections, 2).await, open(&connections, 3).await);
        let first_share = first.reserve(60).await.unwrap();
        first.enter(State::Writing);
        tokio::time::advance(Duration::from_millis(1)).await;
        let second_share = second.reserve(40).await.unwrap();
        second.enter(State::Writing);
        assert!(third.reserve(1).await.is_none(), "none of them is old yet");
        tokio::time::advance(GRACE).await;
        let gone = let_go(first, vec![first_share]);
        assert!(third.reserve(50).await.is_some());
        gone.await.unwrap();
        assert_eq!(addresses(&connections), [2, 3]);
        assert!(third.reserve(101).await.is_none(), "more than small ones have");
        drop(second_share);
        assert!(third.reserve(100).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn large_ones_and_small_ones_have_memory_of_their_own() {
        let connections = connections(9, 16 * SMALL);
        let (large, small) = (open(&connections, 1).await, open(&connections, 2).await);
        let _most = large.reserve(12 * SMALL).await.unwrap();
        assert!(large.reserve(SMALL + 1).await.is_none());
        let small_share = small.reserve(SMALL).await.unwrap();
        tokio::time::advance(GRACE).await;
        assert!(large.reserve(SMALL + 1).await.is_none(), "no small one goes for a large one");
        assert_eq!((small_share.bytes(), connections.evicted.get()), (SMALL, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_goes_where_it_would_not_be_enough() {
        let connections = connections(9, 400);
        let (old, busy, asker) =
            (open(&connections, 1).await, open(&connections, 2).await, open(&connections, 3).await);
        let _old = old.reserve(20).await.unwrap();
        let _busy = busy.reserve(80).await.unwrap();
        busy.enter(State::Answering);
        tokio::time::advance(GRACE).await;
        assert!(asker.reserve(90).await.is_none());
        assert_eq!(connections.evicted.get(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_claim_gives_way_to_a_smaller_one_however_young_it_is() {
        let connections = connections(9, 4 * 2 * SMALL);
        let (claim, small) = (open(&connections, 1).await, open(&connections, 2).await);
        claim.enter(State::Reading);
        let claimed = vec![claim.reserve(SMALL).await.unwrap(), claim.reserve(SMALL).await.unwrap()];
        let gone = let_go(claim, claimed);
        assert!(small.reserve(100).await.is_some());
        gone.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn requests_that_wait_give_way_where_their_address_holds_the_most() {
        let connections = connections(9, 400);
        let (first, second, other) =
            (open(&connections, 1).await, open(&connections, 1).await, open(&connections, 2).await);
        let shares = [first.reserve(50).await.unwrap(), second.reserve(50).await.unwrap()];
        first.enter(State::Waiting);
        second.enter(State::Waiting);
        tokio::time::advance(GRACE).await;
        assert!(second.reserve(10).await.is_none(), "its own address holds as much");
        let [first_share, _second_share] = shares;
        let gone = let_go(first, vec![first_share]);
        assert!(other.reserve(10).await.is_some());
        gone.await.unwrap();
        assert!(other.reserve_now(60).is_none(), "who does not wait has nobody sent away who does");
        assert_eq!(connections.evicted.get(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_that_wait_for_the_api_server_hold_at_most_half_of_a_pool() {
        let connections = connections(9, 400);
        let (first, second) = (open(&connections, 1).await, open(&connections, 2).await);
        let _shares = [first.reserve(30).await.unwrap(), second.reserve(30).await.unwrap()];
        let waiting = first.wait().unwrap();
        assert!(second.wait().is_none());
        drop(waiting);
        assert!(second.wait().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_leaving_is_promised_once() {
        let connections = connections(9, 400);
        let (holder, asker) = (open(&connections, 1).await, open(&connections, 2).await);
        let share = holder.reserve(100).await.unwrap();
        tokio::time::advance(GRACE).await;
        let mut first = pin!(asker.reserve(60));
        assert!(futures_util::poll!(&mut first).is_pending());
        assert!(asker.reserve(60).await.is_none(), "what is left of it does not do for another");
        assert!(asker.reserve_now(1).is_none(), "it does not wait");
        drop(share);
        assert!(first.await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_share_gives_back_what_it_does_not_need() {
        let connections = connections(9, 400);
        let connection = open(&connections, 1).await;
        let mut share = connection.reserve(100).await.unwrap();
        assert!(connection.reserve_now(1).is_none());
        share.shrink_to(40);
        assert!(connection.reserve_now(60).is_some());
        drop(share);
        assert!(connection.reserve_now(100).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn patience_is_short_before_the_first_review_and_long_after() {
        let connections = connections(9, 0);
        let connection = open(&connections, 1).await;
        let start = Instant::now();
        tokio::time::advance(Duration::from_secs(9)).await;
        connection.enter(State::Idle);
        connection.overdue().await;
        assert!(start.elapsed() < Duration::from_secs(11), "{:?}", start.elapsed());
        connection.has_sent_review();
        connection.enter(State::Idle);
        let start = Instant::now();
        connection.overdue().await;
        assert!(start.elapsed() >= KEPT_FOR && start.elapsed() < KEPT_FOR + Duration::from_secs(1));
        connection.enter(State::Writing);
        let start = Instant::now();
        connection.overdue().await;
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    }
}
