//! The known service accounts of the cluster. The cache outlives the connection to the API server.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::Instant;

use azwi_mutation::ServiceAccount;
use k8s_openapi::api::core::v1::ServiceAccount as ServiceAccountObject;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::Event;

/// Fraction of the memory for the service accounts of one namespace: those who create them must leave room for others.
const NAMESPACES_SHARE: usize = 4;
/// Memory of an account besides its texts, in bytes: its slot in a half-empty table, and the allocator's overhead.
const PLACE_BYTES: usize = 100;
/// Memory of a namespace besides its accounts and name, in bytes: a slot, and its own table.
const NAMESPACE_BYTES: usize = 300;

/// Service accounts by namespace and name, within a memory limit. Accounts that do not fit are not kept, and are read
/// when needed. An account without identity settings takes a name and a pointer.
#[derive(Debug)]
pub struct Cache {
    most_bytes: usize,
    state: RwLock<State>,
    last_heard: Mutex<Option<Instant>>,
}

#[derive(Debug, Default)]
struct State {
    namespaces: HashMap<Box<str>, Namespace>,
    bytes: usize,
    /// Number of the newest list; accounts missing from it are removed when it is complete.
    list: u64,
    /// How often an account did not fit.
    without_room: u64,
    is_synced: bool,
}

#[derive(Debug, Default)]
struct Namespace {
    accounts: HashMap<Box<str>, Known>,
    bytes: usize,
}

#[derive(Debug)]
struct Known {
    account: Option<Box<ServiceAccount>>,
    /// The newest list, or watch after it, that contained the account.
    list: u64,
}

impl Default for Cache {
    /// Without a memory limit.
    fn default() -> Self {
        Self::new(usize::MAX)
    }
}

impl Cache {
    /// A cache that uses at most this many bytes.
    pub fn new(most_bytes: usize) -> Self {
        Self { most_bytes, state: RwLock::default(), last_heard: Mutex::default() }
    }

    /// Returns a service account if it is known. Before the first list is complete, none is: listed accounts may have
    /// changed since, and the watch that would report it starts after the list.
    pub fn get(&self, namespace: &str, name: &str) -> Option<ServiceAccount> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let known = state.namespaces.get(namespace).filter(|_| state.is_synced)?.accounts.get(name)?;
        Some(known.account.as_deref().cloned().unwrap_or_default())
    }

    /// Whether the first list is complete.
    pub fn is_synced(&self) -> bool {
        self.state.read().unwrap_or_else(PoisonError::into_inner).is_synced
    }

    /// Number of known service accounts.
    pub fn len(&self) -> usize {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.namespaces.values().map(|namespace| namespace.accounts.len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How often a service account did not fit.
    pub fn without_room(&self) -> u64 {
        self.state.read().unwrap_or_else(PoisonError::into_inner).without_room
    }

    /// Records that the API server has reported on all service accounts, even if nothing has changed.
    pub fn hear(&self) {
        *self.last_heard.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// When the API server last reported on service accounts; `None` if it has not yet.
    pub fn last_heard(&self) -> Option<Instant> {
        *self.last_heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies a watch event.
    pub fn apply(&self, event: Event<PartialObjectMeta<ServiceAccountObject>>) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Init => state.list += 1,
            // A new list is newer than the known accounts, so both are in one table instead of two at a time.
            Event::Apply(object) | Event::InitApply(object) => state.insert(&object, self.most_bytes),
            Event::Delete(object) => {
                let (namespace, name) = key(&object);
                state.remove(namespace, name);
            }
            Event::InitDone => {
                state.remove_unlisted();
                state.is_synced = true;
            }
        }
    }
}

impl State {
    fn insert(&mut self, object: &PartialObjectMeta<ServiceAccountObject>, most_bytes: usize) {
        let (namespace, name) = key(object);
        // An old version must not stay because the new one does not fit.
        self.remove(namespace, name);
        let account = of_object(object);
        let account = (account != ServiceAccount::default()).then(|| Box::new(account));
        let bytes = bytes(name, account.as_deref());
        let of_namespace =
            self.namespaces.get(namespace).map_or(NAMESPACE_BYTES + namespace.len(), |it| it.bytes);
        // While half of it is free, one namespace may exceed its share.
        let is_scarce = self.bytes + bytes > most_bytes / 2;
        let is_over = of_namespace + bytes > most_bytes / NAMESPACES_SHARE;
        if self.bytes + bytes > most_bytes || (is_scarce && is_over) {
            self.without_room += 1;
            return;
        }
        let list = self.list;
        let entry = match self.namespaces.entry(namespace.into()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let namespace =
                    Namespace { bytes: NAMESPACE_BYTES + namespace.len(), ..Namespace::default() };
                self.bytes += namespace.bytes;
                entry.insert(namespace)
            }
        };
        entry.accounts.insert(name.into(), Known { account, list });
        entry.bytes += bytes;
        self.bytes += bytes;
    }

    fn remove(&mut self, namespace: &str, name: &str) {
        let Some(entry) = self.namespaces.get_mut(namespace) else { return };
        if let Some((name, known)) = entry.accounts.remove_entry(name) {
            let bytes = bytes(&name, known.account.as_deref());
            entry.bytes -= bytes;
            self.bytes -= bytes;
        }
        if entry.accounts.is_empty() {
            self.bytes -= entry.bytes;
            self.namespaces.remove(namespace);
        }
    }

    fn remove_unlisted(&mut self) {
        let list = self.list;
        self.namespaces.retain(|_, namespace| {
            namespace.accounts.retain(|name, known| {
                let is_listed = known.list == list;
                if !is_listed {
                    let bytes = bytes(name, known.account.as_deref());
                    namespace.bytes -= bytes;
                    self.bytes -= bytes;
                }
                is_listed
            });
            if namespace.accounts.is_empty() {
                self.bytes -= namespace.bytes;
            }
            !namespace.accounts.is_empty()
        });
    }
}

/// Approximate memory of an account in bytes.
fn bytes(name: &str, account: Option<&ServiceAccount>) -> usize {
    let account = account.map_or(0, |account| size_of::<ServiceAccount>() + account.heap_bytes());
    PLACE_BYTES + name.len() + account
}

fn key(object: &PartialObjectMeta<ServiceAccountObject>) -> (&str, &str) {
    let metadata = &object.metadata;
    (metadata.namespace.as_deref().unwrap_or_default(), metadata.name.as_deref().unwrap_or_default())
}

/// The relevant part of a service account's metadata.
fn of_object(object: &PartialObjectMeta<ServiceAccountObject>) -> ServiceAccount {
    let labels = object.metadata.labels.iter().flatten();
    let annotations = object.metadata.annotations.iter().flatten();
    ServiceAccount::new(
        labels.map(|(key, value)| (key.as_str(), value.as_str())),
        annotations.map(|(key, value)| (key.as_str(), value.as_str())),
    )
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ServiceAccount as ServiceAccountObject;
    use kube::core::PartialObjectMeta;
    use kube::runtime::watcher::Event;

    use super::Cache;

    fn object_in(namespace: &str, name: &str, client_id: &str) -> PartialObjectMeta<ServiceAccountObject> {
        serde_json::from_value(serde_json::json!({"metadata": {"namespace": namespace, "name": name,
            "annotations": {"azure.workload.identity/client-id": client_id, "other": "x"}}}))
        .unwrap()
    }

    fn object(name: &str, client_id: &str) -> PartialObjectMeta<ServiceAccountObject> {
        object_in("ns", name, client_id)
    }

    fn list(cache: &Cache, objects: impl IntoIterator<Item = PartialObjectMeta<ServiceAccountObject>>) {
        cache.apply(Event::Init);
        objects.into_iter().for_each(|object| cache.apply(Event::InitApply(object)));
        cache.apply(Event::InitDone);
    }

    #[test]
    fn nothing_is_known_before_the_first_list_is_complete() {
        let cache = Cache::default();
        cache.apply(Event::Init);
        cache.apply(Event::InitApply(object("a", "1")));
        assert!(!cache.is_synced());
        assert_eq!(cache.get("ns", "a"), None, "what is listed so far may have changed since");
        cache.apply(Event::InitDone);
        assert!(cache.is_synced());
        assert_eq!(cache.get("ns", "a").unwrap().client_id(), "1");
    }

    #[test]
    fn a_new_list_replaces_the_old_one_when_it_is_complete() {
        let cache = Cache::default();
        list(&cache, [object("a", "1"), object("b", "1")]);
        cache.apply(Event::Init);
        cache.apply(Event::InitApply(object("b", "2")));
        assert_eq!(cache.get("ns", "a").unwrap().client_id(), "1", "the list may still tell of it");
        cache.apply(Event::InitDone);
        assert_eq!((cache.get("ns", "a"), cache.len()), (None, 1));
        assert_eq!(cache.get("ns", "b").unwrap().client_id(), "2");
    }

    #[test]
    fn changes_are_followed() {
        let cache = Cache::default();
        list(&cache, []);
        cache.apply(Event::Apply(object("a", "1")));
        cache.apply(Event::Apply(object("a", "2")));
        assert_eq!(cache.get("ns", "a").unwrap().client_id(), "2");
        assert_eq!(cache.get("other", "a"), None);
        cache.apply(Event::Delete(object("a", "2")));
        assert!(cache.is_empty());
    }

    #[test]
    fn one_namespace_leaves_room_for_others_and_what_has_none_is_not_kept() {
        let cache = Cache::new(8_000);
        list(&cache, (0..100).map(|i| object_in("tenant", &i.to_string(), &"x".repeat(300))));
        let of_tenant = cache.len();
        assert!((1..20).contains(&of_tenant), "{of_tenant}");
        assert!(cache.state.read().unwrap().bytes <= 4_000, "half of it is free");
        assert_eq!(cache.without_room(), 100 - of_tenant as u64);
        cache.apply(Event::Apply(object_in("other", "a", "1")));
        assert_eq!(cache.get("other", "a").unwrap().client_id(), "1");
        cache.apply(Event::Apply(object_in("tenant", "0", "1")));
        cache.apply(Event::Apply(object_in("tenant", "0", &"x".repeat(8_000))));
        let cut = cache.get("tenant", "0").map(|account| account.client_id().len());
        assert!(cut.is_none_or(|length| length < 300), "never the old one");
    }

    #[test]
    fn what_goes_gives_its_room_back() {
        let cache = Cache::new(8_000);
        for round in 0..100 {
            list(&cache, [object("a", "1"), object(&round.to_string(), "1")]);
            cache.apply(Event::Apply(object("b", "1")));
            cache.apply(Event::Delete(object("b", "1")));
            assert_eq!((cache.len(), cache.without_room()), (2, 0), "{round}");
        }
        list(&cache, []);
        assert_eq!(cache.state.read().unwrap().bytes, 0);
    }
}
