//! Which connection goes when all places are taken.
//!
//! A newcomer whose address has more than its share takes an idle one of its own, or one that nobody needs. For any other, in
//! this order:
//!
//! 1. one that has not sent a byte: a caller that means it sends its first at once;
//! 2. one that had a second and sent no review;
//! 3. of those that just came and those that did send a review, one of the larger group: a flood of new connections does not
//!    drive out the kept ones, nor do kept ones, which anybody can make, keep out new ones.
//!
//! Of a group the address goes first that has the most, whatever its connections are doing, so that one address can neither
//! drive out another nor keep it out. Of an address the longest idle one goes, and one whose request is being answered only if
//! there is no idle one.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use super::entry::{Entry, State, millis};

/// A connection that has not sent a review within this had time to.
pub(super) const YOUTH: Duration = Duration::from_secs(1);
/// A body that has not arrived within this is no reason to turn others of the same address away.
const GRACE: Duration = Duration::from_millis(100);

/// The connection that has to go for a new one from `newcomer`; `None` if there is none, and the new one has to go.
pub(super) fn victim<'a>(
    entries: impl Iterator<Item = &'a Entry>,
    newcomer: Option<IpAddr>,
    now: u64,
) -> Option<&'a Entry> {
    let all: Vec<&Entry> = entries.collect();
    let counts = counted(&all);
    let of = |address: &IpAddr| counts.get(address).copied().unwrap_or_default();
    let own = newcomer.map_or(0, |address| of(&address) + 1);
    let fair = (all.len() / counts.len().max(1)).max(1);
    let find = |is_candidate: &dyn Fn(&Entry) -> bool| {
        oldest_of_most(all.iter().copied().filter(|entry| is_candidate(entry)).collect())
    };

    let is_own = |entry: &Entry| Some(entry.address) == newcomer;
    let had_time = |entry: &Entry| now >= entry.accepted + millis(YOUTH);
    let is_answered = |entry: &Entry| matches!(entry.state().0, State::Answering | State::Waiting);
    let is_useless = |entry: &Entry| !entry.has_sent_review() && had_time(entry) && !is_answered(entry);
    if own > fair {
        // Who has more than others takes from his own, or what nobody needs.
        let is_idle = |entry: &Entry| matches!(entry.state().0, State::Idle | State::Writing);
        let is_late = |entry: &Entry| {
            let time = if entry.state().0 == State::Reading { GRACE } else { YOUTH };
            now >= entry.state().1 + millis(time)
        };
        return find(&|entry| is_own(entry) && is_idle(entry))
            .or_else(|| find(&is_useless))
            .or_else(|| find(&|entry| is_own(entry) && is_late(entry)));
    }
    if let Some(victim) = find(&|entry| !entry.has_sent_anything()).or_else(|| find(&is_useless)) {
        return Some(victim);
    }
    let kept = all.iter().filter(|entry| entry.has_sent_review()).count();
    let of_larger = |entry: &Entry| entry.has_sent_review() == (kept * 2 >= all.len());
    let is_in_use =
        |entry: &Entry| matches!(entry.state().0, State::Reading | State::Answering | State::Waiting);
    let may_go = |entry: &Entry| !is_in_use(entry) || of(&entry.address) > own;
    let first = find(&of_larger).filter(|entry| may_go(entry));
    first.or_else(|| find(&|entry| !of_larger(entry)).filter(|entry| may_go(entry)))
}

/// Of the address with the most of these, the longest idle one; one that is in use only if none is idle.
fn oldest_of_most(candidates: Vec<&Entry>) -> Option<&Entry> {
    let counts = counted(&candidates);
    let most = *counts.values().max()?;
    let of_most = candidates.into_iter().filter(|entry| counts.get(&entry.address) == Some(&most));
    of_most.min_by_key(|entry| (rank(entry), entry.state().1, entry.id))
}

fn counted(entries: &[&Entry]) -> HashMap<IpAddr, usize> {
    let mut counts = HashMap::new();
    for entry in entries {
        *counts.entry(entry.address).or_default() += 1;
    }
    counts
}

/// Who goes later has the higher rank.
fn rank(entry: &Entry) -> u8 {
    match entry.state().0 {
        State::Idle => 0,
        State::Writing => 1,
        State::Reading => 2,
        State::Answering | State::Waiting => 3,
    }
}
