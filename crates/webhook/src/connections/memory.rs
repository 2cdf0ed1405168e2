//! The memory of all requests of one port: who has it, and who gives it up for others.
//!
//! Large requests and small ones, as most are, have memory of their own each, so that whatever large ones take, small ones are
//! answered. What is full is not closed to others: bodies that are late and answers that are not read give way, then requests
//! that wait for the API server, of the address that holds the most.

use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::timeout;

use super::entry::{Entry, State, millis};
use super::{CLEARING, Connection, Connections};

/// What holds memory for less than this is not dropped for others: it is being answered.
pub(super) const GRACE: Duration = Duration::from_millis(100);
/// An address that holds more than this part of a pool gives way also with what is young: it could renew it for ever.
const ADDRESSES_SHARE: usize = 4;
/// Bodies and answers up to this size are small, in bytes.
pub(super) const SMALL: usize = 64 * 1024;

/// The two parts of the memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pool {
    Small,
    Large,
}

impl Pool {
    pub(super) const ALL: [Self; 2] = [Self::Small, Self::Large];

    fn of(bytes: usize) -> Self {
        if bytes > SMALL { Self::Large } else { Self::Small }
    }

    /// How much of all memory it has.
    pub(super) fn part_of(self, memory: usize) -> usize {
        let large = memory / 4 * 3;
        match self {
            Self::Large => large,
            Self::Small => memory - large,
        }
    }
}

/// What is left of a pool.
pub(super) struct Memory {
    left: AtomicUsize,
    /// What those who wait were promised of what is leaving.
    promised: AtomicUsize,
}

impl Memory {
    pub(super) fn new(bytes: usize) -> Self {
        Self { left: AtomicUsize::new(bytes), promised: AtomicUsize::new(0) }
    }

    fn take(&self, bytes: usize) -> bool {
        let taken = |left: usize| left.checked_sub(bytes);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).is_ok()
    }
}

/// The connections that have to go so that `bytes` come free in a pool of some size, beside the `coming` that will be; `None`
/// if all of them are not enough, and then nobody goes. `asker` gives nothing up. Requests that wait go only for one that `may_wait`
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
    // When a holder may go; the lower, the sooner.
    let rank = |entry: &Entry| {
        let is_old = now >= entry.memory_since() + millis(GRACE);
        match entry.state().0 {
            // A body that is claimed rather than sent is no reason to turn a smaller one away, however young it is.
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

    /// Sends away who has to go so that so much memory will be free soon; `None` if it cannot be, and nobody goes.
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
    /// Memory for a request of this connection, for which another's may have to go; `None` if there is no room. Only for what
    /// is not in memory yet, because it may wait.
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
                    let Some(_promise) = connections.make_room(bytes, &self.entry, true) else {
                        return false;
                    };
                    freed.await;
                }
            };
            if !timeout(CLEARING, cleared).await.unwrap_or(false) {
                return None;
            }
        }
        Some(Share::new(self, pool, bytes))
    }

    /// As [`Connection::reserve`], at once or not at all, for what is made from something that is in memory already. Who has to
    /// go for it goes, and will be missed by nobody who comes later.
    pub fn reserve_now(self: &Arc<Self>, bytes: usize) -> Option<Share> {
        let pool = Pool::of(bytes);
        if !self.connections.memory(pool).take(bytes) {
            _ = self.connections.make_room(bytes, &self.entry, false);
            return None;
        }
        Some(Share::new(self, pool, bytes))
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
    pool: Pool,
    bytes: usize,
}

impl Share {
    fn new(connection: &Arc<Connection>, pool: Pool, bytes: usize) -> Self {
        connection.entry.hold(pool, bytes, connection.connections.now());
        Self { connection: Arc::clone(connection), pool, bytes }
    }

    /// How much it is, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Gives back what is more than `bytes`.
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
