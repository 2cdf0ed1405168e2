//! The connections of one port: how many there are, how long each is kept, what their requests hold in memory, and who has to
//! go when something is full.
//!
//! A caller without credentials can open connections, stop in the middle of anything, and never read an answer. So what is
//! full is not closed to others: something goes that has waited long. An API server's requests take milliseconds, so they are
//! never the oldest for long.
//!
//! When all places are taken, connections go that never sent a review and had time to. Where there are none, those that just
//! came and those that did send one stand against each other, and the larger group gives: a flood of new connections does not
//! drive out the kept ones, nor do kept ones, which anybody can make, keep out new ones. Of a group the address goes first
//! that has the most, so that one address cannot drive out another; callers behind one address, as behind konnectivity, are
//! told apart by how long they wait.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{AbortHandle, yield_now};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::warn;

use crate::telemetry::Throttle;

/// A connection that has sent a review is kept so long for the next one. Go keeps it for 90 seconds, and would lose the
/// request that meets our close.
const KEPT_FOR: Duration = Duration::from_mins(2);
/// What holds memory for less than this is not dropped for others: it is being answered.
const GRACE: Duration = Duration::from_millis(100);
/// A connection that has not sent a review within this had time to.
const YOUTH: Duration = Duration::from_secs(1);
/// Bodies and answers up to this size, in bytes, have a part of the memory for themselves.
const SMALL: usize = 64 * 1024;
/// How long a dropped connection may take to be gone; the runtime has to come by once.
const CLEARING: Duration = Duration::from_secs(1);
/// How long nothing is accepted when the system is out of files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What is allowed on one port.
#[derive(Debug, Clone, Copy)]
pub struct Allowance {
    /// Connections at a time.
    pub connections: usize,
    /// Memory that their requests may hold together, in bytes.
    pub memory: usize,
    /// How long a connection may be idle that has not sent a review.
    pub patience: Duration,
    /// How long an answer may take to be read.
    pub write_time: Duration,
}

/// The connections of one port.
pub struct Connections {
    allowance: Allowance,
    entries: Mutex<HashMap<u64, Arc<Entry>>>,
    next_id: AtomicU64,
    memory_left: AtomicUsize,
    /// Memory that those who wait were promised of what is leaving.
    memory_promised: AtomicUsize,
    /// Told when a connection ends or gives memory back.
    freed: Notify,
    started: Instant,
    evicted: Counter,
    accept_errors: Throttle,
}

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Waiting for a request, or for the rest of its head.
    Idle,
    /// Waiting for a request's body.
    Reading,
    /// Making an answer.
    Answering,
    /// Waiting for what an answer needs.
    Waiting,
    /// Waiting for the caller to read the answer.
    Writing,
}

/// Connections that may go for another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Group {
    /// Never sent a review and had time to.
    Useless,
    /// Had no time yet.
    New,
    /// Sent a review, and is kept for the next.
    Kept,
    /// Waits for the API server for long.
    Waiting,
}

struct Entry {
    id: u64,
    address: IpAddr,
    task: OnceLock<AbortHandle>,
    has_sent_review: AtomicBool,
    /// When it was accepted, in milliseconds since the start.
    accepted: u64,
    /// In the lowest bits the [`State`], above them since when, in milliseconds since the start.
    state: AtomicU64,
    memory: AtomicUsize,
    /// Since when it holds memory, in milliseconds since the start.
    memory_since: AtomicU64,
    is_leaving: AtomicBool,
}

/// The bits of [`Entry::state`] that hold the state.
const STATE: u64 = 7;

impl Entry {
    fn state(&self) -> (State, u64) {
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

    /// What it is among those that may go for another connection; none if it may not.
    fn group(&self, now: u64) -> Option<Group> {
        let (state, since) = self.state();
        match (self.has_sent_review.load(Ordering::Relaxed), state) {
            (_, State::Answering) => None,
            (_, State::Waiting) => (now >= since + millis(YOUTH)).then_some(Group::Waiting),
            (true, State::Reading) => (now >= since + millis(GRACE)).then_some(Group::Kept),
            (true, State::Idle | State::Writing) => Some(Group::Kept),
            (false, _) if now >= self.accepted + millis(YOUTH) => Some(Group::Useless),
            (false, _) => Some(Group::New),
        }
    }

    fn is_leaving(&self) -> bool {
        self.is_leaving.load(Ordering::Relaxed)
    }

    fn evict(&self) {
        self.is_leaving.store(true, Ordering::Relaxed);
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }
}

fn packed(state: State, since: u64) -> u64 {
    since << STATE.count_ones() | state as u64
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Connections {
    /// None yet. `evicted` counts those that had to go.
    pub fn new(allowance: Allowance, evicted: Counter) -> Arc<Self> {
        Arc::new(Self {
            allowance,
            entries: Mutex::default(),
            next_id: AtomicU64::new(0),
            memory_left: AtomicUsize::new(allowance.memory),
            memory_promised: AtomicUsize::new(0),
            freed: Notify::new(),
            started: Instant::now(),
            evicted,
            accept_errors: Throttle::default(),
        })
    }

    /// Accepts connections until the listener fails for good, and serves each in a task of its own.
    pub async fn accept<F>(
        self: Arc<Self>,
        listener: TcpListener,
        serve: impl Fn(TcpStream, Arc<Connection>) -> F,
        refused: impl Fn(IpAddr),
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        loop {
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                // The caller is gone already.
                Err(error) if is_of_one_connection(&error) => continue,
                Err(error) => {
                    // Out of files, mostly: one that is not needed gives its own.
                    self.make_place();
                    if let Some(unlogged) = self.accept_errors.next() {
                        warn!(%error, unlogged, "connections cannot be accepted; the next try follows");
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
            let entry = Arc::clone(&connection.entry);
            let task = tokio::spawn(serve(stream, connection));
            // Set once, here.
            _ = entry.task.set(task.abort_handle());
            // It gets a turn before the next one is accepted, and with many of them is not sent away unheard.
            yield_now().await;
        }
    }

    /// A place for a connection from this address; none if all others are being answered.
    async fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Arc<Connection>> {
        let cleared = async {
            loop {
                let mut freed = pin!(self.freed.notified());
                freed.as_mut().enable();
                if self.entries().len() < self.allowance.connections {
                    return true;
                }
                if !self.make_place() {
                    return false;
                }
                freed.await;
            }
        };
        if !timeout(CLEARING, cleared).await.unwrap_or(false) {
            return None;
        }
        let (id, now) = (self.next_id.fetch_add(1, Ordering::Relaxed), self.now());
        let entry = Arc::new(Entry {
            id,
            address,
            task: OnceLock::new(),
            has_sent_review: AtomicBool::new(false),
            accepted: now,
            state: AtomicU64::new(packed(State::Idle, now)),
            memory: AtomicUsize::new(0),
            memory_since: AtomicU64::new(0),
            is_leaving: AtomicBool::new(false),
        });
        self.entries().insert(id, Arc::clone(&entry));
        Some(Arc::new(Connection { connections: Arc::clone(self), entry }))
    }

    /// Sends a connection away; false if there is none that may go.
    fn make_place(&self) -> bool {
        let entries = self.entries();
        if entries.values().any(|entry| entry.is_leaving()) {
            return true;
        }
        let now = self.now();
        let count = |group| entries.values().filter(|entry| entry.group(now) == Some(group)).count();
        let group = if count(Group::Useless) > 0 {
            Group::Useless
        } else if count(Group::New) > count(Group::Kept) {
            Group::New
        } else if count(Group::Kept) > 0 {
            Group::Kept
        } else {
            Group::Waiting
        };
        let candidates = || entries.values().filter(|entry| entry.group(now) == Some(group));
        let mut by_address: HashMap<IpAddr, usize> = HashMap::new();
        for entry in candidates() {
            *by_address.entry(entry.address).or_default() += 1;
        }
        let count = |entry: &Entry| by_address.get(&entry.address).copied().unwrap_or_default();
        let victim =
            candidates().max_by_key(|entry| (count(entry), Reverse(entry.state().1), Reverse(entry.id)));
        let Some(victim) = victim else { return false };
        victim.evict();
        self.evicted.inc();
        true
    }

    /// Sees to it that so much memory will be free soon; nothing if it cannot be.
    fn make_room(&self, bytes: usize, asker: u64) -> Option<Promise<'_>> {
        let entries = self.entries();
        let held = |entry: &Entry| entry.memory.load(Ordering::Relaxed);
        let leaving: usize =
            entries.values().filter(|entry| entry.is_leaving()).map(|entry| held(entry)).sum();
        let coming = self.memory_left.load(Ordering::Relaxed) + leaving;
        let mut coming = coming.saturating_sub(self.memory_promised.load(Ordering::Relaxed));
        let needed = bytes + self.kept_for_small(bytes);
        let old = self.now().saturating_sub(millis(GRACE));
        while coming < needed {
            let since = |entry: &Entry| entry.memory_since.load(Ordering::Relaxed);
            // A body that is still claimed rather than sent is no reason to turn a smaller one away, however young it is.
            let claims = |entry: &Entry| entry.state().0 == State::Reading && held(entry) > bytes;
            let may_go = |entry: &Entry| {
                held(entry) > 0
                    && entry.id != asker
                    && !entry.is_leaving()
                    && (since(entry) <= old || claims(entry))
            };
            // Bodies first, then answers that are not read; who waits for the API server can do nothing about it.
            let order = |entry: &Entry| match entry.state().0 {
                State::Reading | State::Idle => 0,
                State::Writing => 1,
                State::Answering | State::Waiting => 2,
            };
            let candidates = entries.values().filter(|entry| may_go(entry));
            let victim = candidates.min_by_key(|entry| (order(entry), since(entry), entry.id))?;
            coming += held(victim);
            victim.evict();
            self.evicted.inc();
        }
        Some(Promise::new(&self.memory_promised, bytes))
    }

    fn take_memory(&self, bytes: usize) -> bool {
        let kept = self.kept_for_small(bytes);
        let taken = |left: usize| left.checked_sub(bytes).filter(|left| *left >= kept);
        self.memory_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).is_ok()
    }

    /// What a share of this size has to leave: an eighth of all is for small ones, as most reviews and answers are, whatever
    /// large ones take.
    fn kept_for_small(&self, bytes: usize) -> usize {
        if bytes > SMALL { self.allowance.memory / 8 } else { 0 }
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<u64, Arc<Entry>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Milliseconds since the start.
    fn now(&self) -> u64 {
        millis(self.started.elapsed())
    }
}

/// Whether an error is about the connection that was to be accepted, and none about the listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}

/// A connection's place among the others of its port; it ends with this.
pub struct Connection {
    connections: Arc<Connections>,
    entry: Arc<Entry>,
}

impl Connection {
    /// Who is at the other end.
    pub fn address(&self) -> IpAddr {
        self.entry.address
    }

    /// Notes what the connection does from now on.
    pub fn enter(&self, state: State) {
        self.entry.state.store(packed(state, self.connections.now()), Ordering::Relaxed);
    }

    /// Notes that an answer has been sent, unless the next request is being answered already.
    pub fn has_sent_answer(&self) {
        if self.entry.state().0 == State::Writing {
            self.enter(State::Idle);
        }
    }

    /// Notes that the caller talks as an API server does.
    pub fn has_sent_review(&self) {
        self.entry.has_sent_review.store(true, Ordering::Relaxed);
    }

    /// Ends when the connection has been idle for too long, or its answer is not read.
    pub async fn overdue(&self) {
        let allowance = &self.connections.allowance;
        loop {
            let (state, since) = self.entry.state();
            let patience = match state {
                State::Idle if self.entry.has_sent_review.load(Ordering::Relaxed) => Some(KEPT_FOR),
                State::Idle => Some(allowance.patience),
                State::Writing => Some(allowance.write_time),
                // These have deadlines of their own.
                State::Reading | State::Answering | State::Waiting => None,
            };
            let now = Instant::now();
            let ends =
                patience.map(|patience| self.connections.started + Duration::from_millis(since) + patience);
            if ends.is_some_and(|ends| ends <= now) {
                return;
            }
            // The state may change to one that ends sooner.
            let look_again = now + allowance.patience.min(allowance.write_time);
            sleep_until(ends.map_or(look_again, |ends| ends.min(look_again))).await;
        }
    }

    /// Memory for a request of this connection, for which another's may have to go; none if there is no room. Only for what is
    /// not in memory yet, because it may wait.
    pub async fn reserve(self: &Arc<Self>, bytes: usize) -> Option<Share> {
        let connections = &self.connections;
        if !connections.take_memory(bytes) {
            if bytes + connections.kept_for_small(bytes) > connections.allowance.memory {
                return None;
            }
            let cleared = async {
                loop {
                    let mut freed = pin!(connections.freed.notified());
                    freed.as_mut().enable();
                    if connections.take_memory(bytes) {
                        return true;
                    }
                    let Some(_promise) = connections.make_room(bytes, self.entry.id) else { return false };
                    freed.await;
                }
            };
            if !timeout(CLEARING, cleared).await.unwrap_or(false) {
                return None;
            }
        }
        Some(self.share(bytes))
    }

    /// As [`Connection::reserve`], at once or not at all. What has to go for it goes, and will be missed by nobody who comes
    /// later.
    pub fn reserve_now(self: &Arc<Self>, bytes: usize) -> Option<Share> {
        if !self.connections.take_memory(bytes) {
            _ = self.connections.make_room(bytes, self.entry.id);
            return None;
        }
        Some(self.share(bytes))
    }

    fn share(self: &Arc<Self>, bytes: usize) -> Share {
        let connections = &self.connections;
        if self.entry.memory.fetch_add(bytes, Ordering::Relaxed) == 0 {
            self.entry.memory_since.store(connections.now(), Ordering::Relaxed);
        }
        Share { connection: Arc::clone(self), bytes }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.connections.entries().remove(&self.entry.id);
        self.connections.freed.notify_waiters();
    }
}

/// Memory that is promised to one who waits, for as long as he does.
struct Promise<'a>(&'a AtomicUsize, usize);

impl<'a> Promise<'a> {
    fn new(promised: &'a AtomicUsize, bytes: usize) -> Self {
        promised.fetch_add(bytes, Ordering::Relaxed);
        Self(promised, bytes)
    }
}

impl Drop for Promise<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, Ordering::Relaxed);
    }
}

/// Memory that a request holds; it is given back with this.
pub struct Share {
    connection: Arc<Connection>,
    bytes: usize,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.connection.entry.memory.fetch_sub(self.bytes, Ordering::Relaxed);
        self.connection.connections.memory_left.fetch_add(self.bytes, Ordering::Relaxed);
        self.connection.connections.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn connections(most: usize, memory: usize) -> Arc<Connections> {
        let second = Duration::from_secs(1);
        let allowance = Allowance { connections: most, memory, patience: 10 * second, write_time: second };
        Connections::new(allowance, Counter::default())
    }

    /// A connection from the address with this last part, which lasts until it is evicted.
    async fn open(connections: &Arc<Connections>, address: u8) -> Arc<Connection> {
        let connection = connections.admit(Ipv4Addr::new(10, 0, 0, address).into()).await.unwrap();
        let entry = Arc::clone(&connection.entry);
        let kept = Arc::downgrade(&connection);
        let task = tokio::spawn(async move {
            let _connection = connection;
            std::future::pending::<()>().await;
        });
        entry.task.set(task.abort_handle()).unwrap();
        // So that no two begin at the same time.
        tokio::time::advance(Duration::from_millis(1)).await;
        kept.upgrade().unwrap()
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
        open(&connections, 1).await.has_sent_review();
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
    async fn a_new_one_stays_where_many_are_kept() {
        let connections = connections(4, 0);
        for address in [1, 2, 3] {
            open(&connections, address).await.has_sent_review();
        }
        for address in [4, 5, 6] {
            open(&connections, address).await;
        }
        // When there were more new ones than kept ones, the oldest of the new ones went.
        assert_eq!(addresses(&connections), [3, 4, 5, 6]);
        open(&connections, 7).await;
        assert_eq!(addresses(&connections), [3, 5, 6, 7]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_address_with_the_most_goes_first() {
        let connections = connections(4, 0);
        for address in [1, 2, 2, 2, 2, 2] {
            open(&connections, address).await;
        }
        assert_eq!(addresses(&connections), [1, 2, 2, 2]);
        open(&connections, 3).await;
        assert_eq!(addresses(&connections), [1, 2, 2, 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_being_answered_stays() {
        let connections = connections(2, 0);
        let answered = open(&connections, 1).await;
        answered.enter(State::Answering);
        let stalled = open(&connections, 2).await;
        stalled.has_sent_review();
        stalled.enter(State::Reading);
        drop(stalled);
        assert!(connections.admit(Ipv4Addr::LOCALHOST.into()).await.is_none(), "the body may be on its way");
        tokio::time::advance(GRACE).await;
        open(&connections, 3).await;
        assert_eq!(addresses(&connections), [1, 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_the_api_server_for_long_gives_way_if_nobody_else_does() {
        let connections = connections(2, 0);
        open(&connections, 1).await.enter(State::Waiting);
        open(&connections, 2).await.enter(State::Waiting);
        assert!(
            connections.admit(Ipv4Addr::LOCALHOST.into()).await.is_none(),
            "the answer may be on its way"
        );
        tokio::time::advance(YOUTH).await;
        open(&connections, 3).await;
        open(&connections, 4).await;
        assert_eq!(addresses(&connections), [2, 4]);
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
        let connections = connections(9, 100);
        let (first, second, third) =
            (open(&connections, 1).await, open(&connections, 2).await, open(&connections, 3).await);
        let first_share = first.reserve(60).await.unwrap();
        tokio::time::advance(Duration::from_millis(1)).await;
        let second_share = second.reserve(40).await.unwrap();
        assert!(third.reserve(1).await.is_none(), "none of them is old yet");
        tokio::time::advance(GRACE).await;
        // As their tasks would, these let go when they are evicted.
        let let_go = tokio::spawn(async move {
            while !first.entry.is_leaving() {
                tokio::task::yield_now().await;
            }
            drop((first, first_share));
        });
        assert!(third.reserve(50).await.is_some());
        let_go.await.unwrap();
        assert_eq!(addresses(&connections), [2, 3]);
        assert!(third.reserve(101).await.is_none(), "more than there is");
        drop(second_share);
        assert!(third.reserve(100).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn small_ones_have_memory_that_large_ones_do_not_get() {
        let connections = connections(9, 16 * SMALL);
        let (large, small) = (open(&connections, 1).await, open(&connections, 2).await);
        assert!(large.reserve(15 * SMALL).await.is_none(), "an eighth is kept");
        let _most = large.reserve(14 * SMALL).await.unwrap();
        large.enter(State::Answering);
        assert!(small.reserve(SMALL).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_claim_gives_way_to_a_smaller_one_however_young_it_is() {
        let connections = connections(9, 2 * SMALL);
        let (claim, small) = (open(&connections, 1).await, open(&connections, 2).await);
        claim.enter(State::Reading);
        let claimed = claim.reserve(SMALL).await.unwrap();
        let claimed_too = claim.reserve(SMALL).await.unwrap();
        let let_go = tokio::spawn(async move {
            while !claim.entry.is_leaving() {
                tokio::task::yield_now().await;
            }
            drop((claim, claimed, claimed_too));
        });
        assert!(small.reserve(100).await.is_some());
        let_go.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_leaving_is_promised_once() {
        let connections = connections(9, 100);
        let holder = open(&connections, 1).await;
        let share = holder.reserve(100).await.unwrap();
        tokio::time::advance(GRACE).await;
        let first = connections.make_room(60, 2).unwrap();
        assert!(connections.make_room(60, 3).is_none(), "what is left of it does not do for another");
        drop(first);
        assert!(connections.make_room(60, 3).is_some());
        assert!(holder.reserve_now(1).is_none(), "it does not wait");
        drop(share);
        assert!(holder.reserve_now(1).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn patience_is_short_before_the_first_review_and_long_after() {
        let connections = connections(9, 0);
        let connection = open(&connections, 1).await;
        let start = Instant::now();
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
