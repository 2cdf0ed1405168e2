//! Chooses the connection to evict when all places are taken.
//!
//! A newcomer whose address has more than its share replaces a connection of that address, or one that is not needed.
//! For any other newcomer, in this order:
//!
//! 1. one that has not sent a byte, if there are many: a real caller sends its first byte at once;
//! 2. one that has had a second and has sent no review;
//! 3. one from the larger group, either new connections or those that have sent a review: a flood of new connections
//!    does not evict kept ones, and kept ones, which anyone can create, do not keep out new ones.
//!
//! Within a group, the address with the most connections loses one, whatever they are doing, so that one address can
//! neither evict another nor keep it out. From an address, the connection that has been idle longest is evicted, and
//! one whose request is being answered only if none is idle.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use super::entry::{Entry, State, millis};

/// How long a connection has time to send a review.
pub(super) const YOUTH: Duration = Duration::from_secs(1);
/// An address with at most this fraction of all connections counts as having few, and all such addresses are equal: an
/// API server keeps a few connections, and must not be evicted before callers that have one each.
const FEW: usize = 16;
/// After this time, a request that has not arrived is no reason to turn others away.
const GRACE: Duration = Duration::from_millis(100);

/// The connection to evict for a new one from `newcomer`; `None` if there is none, and the new one is refused.
pub(super) fn victim<'a>(
    entries: impl Iterator<Item = &'a Entry>,
    newcomer: Option<IpAddr>,
    now: u64,
) -> Option<&'a Entry> {
    let all: Vec<&Entry> = entries.collect();
    let few = all.len() / FEW;
    let counts = counted(&all);
    let of = |address: &IpAddr| counts.get(address).copied().unwrap_or_default().max(few);
    let own = newcomer.map_or(0, |address| counts.get(&address).copied().unwrap_or_default() + 1).max(few);
    let fair = (all.len() / counts.len().max(1)).max(few).max(1);
    let find = |is_candidate: &dyn Fn(&Entry) -> bool| {
        oldest_of_most(all.iter().copied().filter(|entry| is_candidate(entry)).collect(), few, now)
    };

    let had_time = |entry: &Entry| now >= entry.accepted + millis(YOUTH);
    let is_useless = |entry: &Entry| !entry.has_sent_review() && had_time(entry) && !is_answered(entry);
    let is_over = own > fair;
    // An address over its share evicts its own connections, or ones that nobody needs.
    let is_exposed = |entry: &Entry| !is_over || Some(entry.address) == newcomer;
    // A few are always new, with their bytes still on the way.
    let is_silent = |entry: &Entry| is_exposed(entry) && entry.is_silent();
    let are_many = all.iter().filter(|entry| is_silent(entry)).count() > few;
    let was_silent_long = |entry: &Entry| now >= entry.accepted + millis(GRACE);
    let silent = find(&|entry| is_silent(entry) && (are_many || was_silent_long(entry)));
    if let Some(victim) = silent.or_else(|| find(&is_useless)) {
        return Some(victim);
    }
    let exposed = || all.iter().filter(|entry| is_exposed(entry));
    let kept = exposed().filter(|entry| entry.has_sent_review()).count();
    let is_kept_larger = kept * 2 >= exposed().count();
    let may_go = |entry: &Entry| !is_in_use(entry, now) || of(&entry.address) > own;
    [is_kept_larger, !is_kept_larger].into_iter().find_map(|is_kept| {
        let of_group = |entry: &Entry| is_exposed(entry) && entry.has_sent_review() == is_kept;
        find(&of_group).filter(|entry| may_go(entry))
    })
}

fn is_answered(entry: &Entry) -> bool {
    matches!(entry.state().0, State::Answering | State::Waiting)
}

/// Whether it is busy with work that will soon end. Never true for connections without a review yet, and for those that
/// have been busy without a pause.
fn is_in_use(entry: &Entry, now: u64) -> bool {
    let (state, since) = entry.state();
    let is_reading = state == State::Reading && now < since + millis(GRACE);
    let is_late = now >= entry.age_counts_from() + millis(YOUTH);
    entry.has_sent_review() && (is_answered(entry) || is_reading) && !is_late
}

/// The connection of the address with the most candidates that has been idle longest; one in use only if none is idle.
/// Addresses with up to `few` count as equal.
fn oldest_of_most(candidates: Vec<&Entry>, few: usize, now: u64) -> Option<&Entry> {
    let counts = counted(&candidates);
    let of = |address: &IpAddr| counts.get(address).copied().unwrap_or_default().max(few);
    let most = candidates.iter().map(|entry| of(&entry.address)).max()?;
    let of_most = candidates.into_iter().filter(|entry| of(&entry.address) == most);
    of_most.min_by_key(|entry| (is_in_use(entry, now), entry.age_counts_from(), entry.id))
}

fn counted(entries: &[&Entry]) -> HashMap<IpAddr, usize> {
    let mut counts = HashMap::new();
    for entry in entries {
        *counts.entry(entry.address).or_default() += 1;
    }
    counts
}
