//! Which connection goes when all places are taken.
//!
//! A newcomer whose address has more than its share takes an idle one of its own, or one that nobody needs. For any other, in
//! this order:
//!
//! 1. one that has not sent a byte, where there are many: a caller that means it sends its first at once;
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
/// An address with this part of all connections has few, as any other that has fewer: an API server keeps some, and must not be
/// told from callers that have one each by that.
const FEW: usize = 16;
/// What has not arrived within this is no reason to turn others away.
const GRACE: Duration = Duration::from_millis(100);

/// The connection that has to go for a new one from `newcomer`; `None` if there is none, and the new one has to go.
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
    // Who has more than a share takes from his own, or what nobody needs.
    let is_exposed = |entry: &Entry| !is_over || Some(entry.address) == newcomer;
    // A few have just come, and what they send is on its way.
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

/// Whether something goes on that will end soon by itself. What has just come is told apart by its age alone, and so is what is
/// never idle.
fn is_in_use(entry: &Entry, now: u64) -> bool {
    let (state, since) = entry.state();
    let is_reading = state == State::Reading && now < since + millis(GRACE);
    let is_late = now >= entry.age_counts_from() + millis(YOUTH);
    entry.has_sent_review() && (is_answered(entry) || is_reading) && !is_late
}

/// Of the address with the most of these, the longest idle one; one that is in use only if none is idle. Addresses that have
/// `few` are alike.
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
