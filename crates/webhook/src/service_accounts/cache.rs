//! What is known of the cluster's service accounts. It outlives the connection to the API server.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::Instant;

use azwi_mutation::ServiceAccount;
use k8s_openapi::api::core::v1::ServiceAccount as ServiceAccountObject;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::Event;

use super::of_object;

/// Service accounts by namespace and name. One that says nothing about identities takes a name and a pointer.
#[derive(Debug, Default)]
pub struct Cache {
    state: RwLock<State>,
    last_heard: Mutex<Option<Instant>>,
}

#[derive(Debug, Default)]
struct State {
    accounts: Accounts,
    /// The list that is being read anew; it takes the old one's place when it is complete.
    incoming: Accounts,
    is_synced: bool,
}

/// By namespace, then by name.
type Accounts = HashMap<Box<str>, HashMap<Box<str>, Option<Box<ServiceAccount>>>>;

impl Cache {
    /// A service account, if it is known.
    pub fn get(&self, namespace: &str, name: &str) -> Option<ServiceAccount> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let account = state.accounts.get(namespace)?.get(name)?;
        Some(account.as_deref().cloned().unwrap_or_default())
    }

    /// Whether the first list is complete.
    pub fn is_synced(&self) -> bool {
        self.state.read().unwrap_or_else(PoisonError::into_inner).is_synced
    }

    /// How many service accounts are known.
    pub fn len(&self) -> usize {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.accounts.values().map(HashMap::len).sum()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Notes that the API server has said something about all service accounts, if only that nothing has changed.
    pub fn hear(&self) {
        *self.last_heard.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// When the API server last said something; none before it did.
    pub fn last_heard(&self) -> Option<Instant> {
        *self.last_heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what the watch says.
    pub fn apply(&self, event: Event<PartialObjectMeta<ServiceAccountObject>>) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Apply(object) => insert(&mut state.accounts, &object),
            Event::Delete(object) => remove(&mut state.accounts, &object),
            Event::Init => state.incoming = Accounts::default(),
            Event::InitApply(object) => insert(&mut state.incoming, &object),
            Event::InitDone => {
                state.accounts = std::mem::take(&mut state.incoming);
                state.is_synced = true;
            }
        }
    }
}

fn key(object: &PartialObjectMeta<ServiceAccountObject>) -> (&str, &str) {
    let metadata = &object.metadata;
    (metadata.namespace.as_deref().unwrap_or_default(), metadata.name.as_deref().unwrap_or_default())
}

fn insert(accounts: &mut Accounts, object: &PartialObjectMeta<ServiceAccountObject>) {
    let (namespace, name) = key(object);
    let account = of_object(object);
    let account = (account != ServiceAccount::default()).then(|| Box::new(account));
    if !accounts.contains_key(namespace) {
        accounts.insert(namespace.into(), HashMap::new());
    }
    if let Some(names) = accounts.get_mut(namespace) {
        names.insert(name.into(), account);
    }
}

fn remove(accounts: &mut Accounts, object: &PartialObjectMeta<ServiceAccountObject>) {
    let (namespace, name) = key(object);
    let Some(names) = accounts.get_mut(namespace) else { return };
    names.remove(name);
    if names.is_empty() {
        accounts.remove(namespace);
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ServiceAccount as ServiceAccountObject;
    use kube::core::PartialObjectMeta;
    use kube::runtime::watcher::Event;

    use super::Cache;

    fn object(name: &str, client_id: &str) -> PartialObjectMeta<ServiceAccountObject> {
        serde_json::from_value(serde_json::json!({"metadata": {"namespace": "ns", "name": name,
            "annotations": {"azure.workload.identity/client-id": client_id, "other": "x"}}}))
        .unwrap()
    }

    #[test]
    fn a_new_list_takes_the_old_ones_place_when_it_is_complete() {
        let cache = Cache::default();
        cache.apply(Event::Init);
        cache.apply(Event::InitApply(object("a", "1")));
        assert!(!cache.is_synced() && cache.is_empty());
        assert_eq!(cache.get("ns", "a"), None, "what is listed so far may have changed since");
        cache.apply(Event::InitDone);
        assert!(cache.is_synced());
        cache.apply(Event::Init);
        cache.apply(Event::InitApply(object("b", "2")));
        assert_eq!(cache.get("ns", "a").unwrap().client_id(), "1");
        cache.apply(Event::InitDone);
        assert_eq!((cache.get("ns", "a"), cache.len()), (None, 1));
    }

    #[test]
    fn changes_are_followed() {
        let cache = Cache::default();
        cache.apply(Event::Apply(object("a", "1")));
        cache.apply(Event::Apply(object("a", "2")));
        assert_eq!(cache.get("ns", "a").unwrap().client_id(), "2");
        assert_eq!(cache.get("other", "a"), None);
        cache.apply(Event::Delete(object("a", "2")));
        assert!(cache.is_empty());
    }
}
