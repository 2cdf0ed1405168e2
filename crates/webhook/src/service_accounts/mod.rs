//! Service accounts: from a cache that a watch keeps, or by one read from the API server that all waiters share.

mod cache;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use azwi_mutation::{ServiceAccount, ServiceAccountLookup};
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use k8s_openapi::api::core::v1::ServiceAccount as ServiceAccountObject;
use kube::core::PartialObjectMeta;
use kube::{Api, Client};
use tokio::time::Instant;

pub use cache::Cache;

/// Where an answer came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// The cache.
    Cache,
    /// A read from the API server.
    ApiServer,
}

/// Reads service accounts.
pub struct ServiceAccounts {
    cache: Arc<Cache>,
    client: Client,
    /// Reads under way, by namespace and name. A failure is told to those who wait and then forgotten.
    reads: Mutex<HashMap<(String, String), Read>>,
}

type Read = Shared<BoxFuture<'static, ServiceAccountLookup>>;

impl ServiceAccounts {
    /// Reads through `cache`, and where that has nothing, through `client`.
    #[must_use]
    pub fn new(cache: Arc<Cache>, client: Client) -> Self {
        Self { cache, client, reads: Mutex::default() }
    }

    /// The cache.
    #[must_use]
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Finds a service account by `deadline`.
    pub async fn lookup(
        self: &Arc<Self>,
        namespace: &str,
        name: &str,
        deadline: Instant,
    ) -> (ServiceAccountLookup, Source) {
        if let Some(account) = self.cache.get(namespace, name) {
            return (ServiceAccountLookup::Found(account), Source::Cache);
        }
        let read = self.shared_read(namespace, name);
        let found = tokio::time::timeout_at(deadline, read).await.unwrap_or_else(|_| {
            ServiceAccountLookup::Failed("the API server did not answer within the time there was".to_owned())
        });
        (found, Source::ApiServer)
    }

    /// The read of this service account that is under way, or a new one. It goes on when a waiter gives up.
    fn shared_read(self: &Arc<Self>, namespace: &str, name: &str) -> Read {
        let key = (namespace.to_owned(), name.to_owned());
        let mut reads = self.reads.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(read) = reads.get(&key) {
            return read.clone();
        }
        let accounts = Arc::clone(self);
        let task_key = key.clone();
        let task = tokio::spawn(async move {
            let found = accounts.read(&task_key.0, &task_key.1).await;
            accounts.reads.lock().unwrap_or_else(PoisonError::into_inner).remove(&task_key);
            found
        });
        let read = task
            .map(|finished| finished.unwrap_or_else(|error| ServiceAccountLookup::Failed(error.to_string())))
            .boxed()
            .shared();
        reads.insert(key, read.clone());
        read
    }

    async fn read(&self, namespace: &str, name: &str) -> ServiceAccountLookup {
        // Longer than any deadline, so that a read that nobody waits for ends as well.
        const LONGEST_READ: Duration = Duration::from_secs(30);
        let api: Api<ServiceAccountObject> = Api::namespaced(self.client.clone(), namespace);
        match tokio::time::timeout(LONGEST_READ, api.get_metadata_opt(name)).await {
            Ok(Ok(Some(object))) => ServiceAccountLookup::Found(of_object(&object)),
            Ok(Ok(None)) => ServiceAccountLookup::Missing,
            Ok(Err(error)) => ServiceAccountLookup::Failed(reason(&error)),
            Err(_) => ServiceAccountLookup::Failed("the API server did not answer".to_owned()),
        }
    }
}

/// The API server's own words, or the whole chain of causes of a failed connection.
fn reason(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => {
            let mut text = other.to_string();
            let mut source = std::error::Error::source(other);
            while let Some(cause) = source {
                text = format!("{text}: {cause}");
                source = cause.source();
            }
            text
        }
    }
}

/// What matters of a service account's metadata.
#[must_use]
pub fn of_object(object: &PartialObjectMeta<ServiceAccountObject>) -> ServiceAccount {
    let labels = object.metadata.labels.iter().flatten();
    let annotations = object.metadata.annotations.iter().flatten();
    ServiceAccount::new(
        labels.map(|(key, value)| (key.as_str(), value.as_str())),
        annotations.map(|(key, value)| (key.as_str(), value.as_str())),
    )
}
