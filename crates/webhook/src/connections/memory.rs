//! Memory for all requests of one port: who holds it, and who gives it up for others.
//!
//! Large requests and small ones (most are small) have separate memory, so that small ones are answered however much
//! large ones take. A full pool does not turn newcomers away: late bodies and unread answers give way first, then
//! requests that wait for the API server, from the address that holds the most.

use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::entry::{Entry, State, millis};
use super::pool::Pool;
use super::{CLEARING, Connection, Connections};

/// A request that has held memory for less than this is not dropped for others: it is being answered.
pub(super) const GRACE: Duration = Duration::from_millis(100);
/// An address that holds more than this fraction of a pool also loses its new requests: otherwise it could renew them
/// forever.
const ADDRESSES_SHARE: usize = 4;
/// The fraction of a pool that requests may hold while they wait for the API server.
const WAITING_SHARE: usize = 2;
/// How soon a request that waits for memory looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// The free memory of a pool.
pub(super) struct Memory {
    left: AtomicUsize,
    /// Memory being released that is promised to waiting requests.
    promised: AtomicUsize,
    /// What requests hold that wait for the API server.
    waiting: AtomicUsize,
}

impl Memory {
    pub(super) fn new(bytes: usize) -> Self {
        Self { left: AtomicUsize::new(bytes), promised: AtomicUsize::new(0), waiting: AtomicUsize::new(0) }
    }

    fn take(&self, bytes: usize) -> bool {
        let taken = |left: usize| left.checked_sub(bytes);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).is_ok()
    }
}

/// The connections to evict so that `bytes` become free in a pool of `size`, in addition to the `coming` bytes; `None`
/// if that cannot be reached. `asker` is never among them. Waiting requests are evicted only for one that `may_wait`
/// too.
fn victims<'a>(
    entries: impl Iterator<Item = &'a Entry> + Clone,
    pool: Pool,
    bytes: usize,
    (size, coming): (usize, usize),
    asker: &Entry,
    may_wait: bool,
    now: u64,
) -> Option<Vec<&'a Entry>> {
    let holders = entries.filter(|entry| entry.held(pool) > 0 && !entry.is_leaving());
    let mut by_address: HashMap<IpAddr, usize> = HashMap::new();
    for entry in holders.clone() {
        *by_address.entry(entry.address).or_default() += entry.held(pool);
    }
    let of = |address: &IpAddr| by_address.get(address).copied().unwrap_or_default();
    let own = of(&asker.address) + bytes;
    // When a holder may be evicted; the lower, the sooner.
    let rank = |entry: &Entry| {
        let is_old = now >= entry.memory_since() + millis(GRACE);
        match entry.state().0 {
            // A body that is announced but not sent is no reason to turn a smaller one away, however new it is.
            State::Reading | State::Idle => (is_old || entry.held(pool) > bytes).then_some(0),
            State::Writing => is_old.then_some(1),
            State::Answering | State::Waiting => {
                let holds_most = of(&entry.address) > own;
                let holds_much = of(&entry.address) > size / ADDRESSES_SHARE;
                (may_wait && holds_most && (is_old || holds_much)).then_some(2)
            }
        }
    };
    let mut candidates: Vec<_> = holders
        .filter(|entry| entry.id != asker.id)
        .filter_map(|entry| Some((rank(entry)?, entry.memory_since(), entry.id, entry)))
        .collect();
    candidates.sort_by_key(|(rank, since, id, _)| (*rank, *since, *id));
    let mut free = coming;
    let mut victims = Vec::new();
    for (_, _, _, entry) in candidates {
        if free >= bytes {
            break;
        }
        free += entry.held(pool);
        victims.push(entry);
    }
    (free >= bytes).then_some(victims)
}

impl Connections {
    fn memory(&self, pool: Pool) -> &Memory {
        let [small, large] = &self.memory;
        match pool {
            Pool::Small => small,
            Pool::Large => large,
        }
    }

    /// Evicts connections so that this much memory will be free soon; returns `None`, and evicts none, if that is
    /// impossible.
    fn make_room(&self, bytes: usize, asker: &Entry, may_wait: bool) -> Option<Promise<'_>> {
        let pool = Pool::of(bytes);
        let memory = self.memory(pool);
        let entries = self.entries();
        let leaving: usize =
            entries.values().filter(|entry| entry.is_leaving()).map(|entry| entry.held(pool)).sum();
        let coming = memory.left.load(Ordering::Relaxed) + leaving;
        let coming = coming.saturating_sub(memory.promised.load(Ordering::Relaxed));
        let all = entries.values().map(|entry| &**entry);
        for victim in victims(
            all,
            pool,
            bytes,
            (pool.part_of(self.allowance.memory), coming),
            asker,
            may_wait,
            self.now(),
        )? {
            victim.evict();
            self.evicted.inc();
        }
        Some(Promise::new(&memory.promised, bytes))
    }
}

impl Connection {
    /// Reserves memory for a request of this connection, evicting others if necessary; returns `None` if there is no
    /// room. Only for data that is not in memory yet, because this may wait.
    pub async fn reserve(self: &Arc<Self>, bytes: usize) -> Option<Share> {
        let (connections, pool) = (&self.connections, Pool::of(bytes));
        if !connections.memory(pool).take(bytes) {
            if bytes > pool.part_of(connections.allowance.memory) {
                return None;
            }
            let cleared = async {
                loop {
                    let mut freed = pin!(connections.freed.notified());
                    freed.as_mut().enable();
                    if connections.memory(pool).take(bytes) {
                        return true;
                    }
                    match connections.make_room(bytes, &self.entry, true) {
                        Some(_promise) => freed.await,
                        // Nobody can be evicted now. Not by every release, which would wake all who wait for nothing.
                        None => sleep(LOOK_AGAIN).await,
                    }
                }
            };
            if !timeout(CLEARING, cleared).await.unwrap_or(false) {
                return None;
            }
        }
        Some(Share::new(self, pool, bytes))
    }

    /// Like [`Connection::reserve`], but at once or not at all, for data made from something already in memory. If
    /// there is no room, connections are evicted so that later requests find some.
    pub fn reserve_now(self: &Arc<Self>, bytes: usize) -> Option<Share> {
        let pool = Pool::of(bytes);
        if !self.connections.memory(pool).take(bytes) {
            _ = self.connections.make_room(bytes, &self.entry, false);
            return None;
        }
        Some(Share::new(self, pool, bytes))
    }

    /// Waits for the API server from now on, with what its request holds, until the result is dropped. Returns `None` if
    /// requests that wait would hold too much: what a slow API server keeps must leave room for the others.
    pub fn wait(self: &Arc<Self>) -> Option<Waiting> {
        let connections = &self.connections;
        let held = Pool::ALL.map(|pool| self.entry.held(pool));
        let mut waiting = Waiting { connection: Arc::clone(self), held: [0; Pool::ALL.len()] };
        for (pool, bytes) in Pool::ALL.into_iter().zip(held) {
            let most = pool.part_of(connections.allowance.memory) / WAITING_SHARE;
            let taken = |waiting: usize| waiting.checked_add(bytes).filter(|sum| *sum <= most || bytes == 0);
            let counter = &connections.memory(pool).waiting;
            counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).ok()?;
            if let Some(taken) = waiting.held.get_mut(pool as usize) {
                *taken = bytes;
            }
        }
        self.enter(State::Waiting);
        Some(waiting)
    }
}

/// A request that waits for the API server.
pub struct Waiting {
    connection: Arc<Connection>,
    held: [usize; Pool::ALL.len()],
}

impl Drop for Waiting {
    fn drop(&mut self) {
        for (pool, bytes) in Pool::ALL.into_iter().zip(self.held) {
            self.connection.connections.memory(pool).waiting.fetch_sub(bytes, Ordering::Relaxed);
        }
        self.connection.enter(State::Answering);
    }
}

/// Memory promised to a waiting request for as long as it waits.
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

/// Memory that a request holds; dropping it returns the memory.
pub struct Share {
    connection: Arc<Connection>,
    pool: Pool,
    bytes: usize,
}

impl Share {
    fn new(connection: &Arc<Connection>, pool: Pool, bytes: usize) -> Self {
        connection.entry.hold(pool, bytes, connection.connections.now());
        Self { connection: Arc::clone(connection), pool, bytes }
    }

    /// Size in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns everything beyond `bytes`.
    pub fn shrink_to(&mut self, bytes: usize) {
        let more = self.bytes.saturating_sub(bytes);
        self.give_back(more);
    }

    fn give_back(&mut self, bytes: usize) {
        self.bytes -= bytes;
        let connections = &self.connection.connections;
        self.connection.entry.give_back(self.pool, bytes);
        connections.memory(self.pool).left.fetch_add(bytes, Ordering::Relaxed);
        connections.freed.notify_waiters();
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.give_back(self.bytes);
    }
}
