//! Service accounts: from a cache that a watch updates, or from one API server read that all waiters share.

mod cache;
mod watch;

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use azwi_mutation::{ServiceAccount, ServiceAccountLookup};
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use http_body_util::{BodyExt as _, Limited};
use hyper::StatusCode;
use hyper::body::Body as _;
use k8s_openapi::api::core::v1::ServiceAccount as ServiceAccountObject;
use kube::api::GetParams;
use kube::client::Body;
use kube::core::{Request, Status};
use kube::{Client, Resource as _};
use tokio::sync::{Notify, Semaphore};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::permissions::TAKEN_OVER;

pub use cache::Cache;
pub(crate) use watch::{WATCH_SECONDS, watch_service_accounts};

/// Longer than any deadline, so that a read without waiters ends as well.
const LONGEST_READ: Duration = Duration::from_secs(30);
/// Maximum metadata of a service account that is read, in bytes: twice the limit for annotations.
const LARGEST_METADATA: usize = 512 * 1024;
/// How long a read may take before another may replace it. An API server that is merely slow answers sooner.
const PATIENCE: Duration = Duration::from_secs(5);
/// Like [`PATIENCE`], when the new read is for a namespace that has none in progress.
const PATIENCE_OF_OTHERS: Duration = Duration::from_secs(2);
/// Fraction of all reads for one namespace: those who create pods there must leave reads for others. The same fraction
/// is reserved for namespaces without a read in progress, since one user may have many namespaces.
const NAMESPACES_SHARE: usize = 8;

pub struct ServiceAccounts {
    cache: Arc<Cache>,
    client: Client,
    most_reads: usize,
    /// Memory for the API server's answers, in bytes.
    answer_memory: Semaphore,
    /// Reads in progress, by namespace and name. A failure is reported to the waiters and then forgotten.
    reads: Mutex<HashMap<Key, UnderWay>>,
    /// Notified when a read has ended.
    ended: Notify,
}

/// Namespace and name.
type Key = (String, String);

struct UnderWay {
    read: Read,
    began: Instant,
    task: AbortHandle,
}

/// A read in progress that any number of callers can wait for.
pub type Read = Shared<BoxFuture<'static, ServiceAccountLookup>>;

/// Result of asking for a service account.
pub enum Lookup {
    /// The account from the cache.
    Known(ServiceAccount),
    /// The API server is being asked.
    Read(Read),
    /// The API server would have to be asked, but too many reads are in progress.
    TooMany,
}

impl ServiceAccounts {
    /// Reads through `cache`, and from `client` if the cache does not have it: at most `most_reads` accounts at a time,
    /// with at most `answer_memory` bytes of answers.
    pub fn new(cache: Arc<Cache>, client: Client, most_reads: usize, answer_memory: usize) -> Self {
        // There is always room for one of the largest.
        let answer_memory = Semaphore::new(answer_memory.clamp(2 * LARGEST_METADATA, Semaphore::MAX_PERMITS));
        Self { cache, client, most_reads, answer_memory, reads: Mutex::default(), ended: Notify::new() }
    }

    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Looks up a service account, sharing a read in progress if there is one. A read continues when its waiters give
    /// up.
    pub fn find(self: &Arc<Self>, namespace: &str, name: &str) -> Lookup {
        match self.cache.get(namespace, name) {
            Some(account) => Lookup::Known(account),
            None => self.read_live(namespace, name),
        }
    }

    /// Like [`ServiceAccounts::find`], whatever the cache knows.
    pub fn read_live(self: &Arc<Self>, namespace: &str, name: &str) -> Lookup {
        let key = (namespace.to_owned(), name.to_owned());
        let mut reads = self.reads();
        if let Some(under_way) = reads.get(&key) {
            return Lookup::Read(under_way.read.clone());
        }
        let in_namespace = |key: &Key| key.0 == namespace;
        let share = self.most_reads.div_ceil(NAMESPACES_SHARE);
        let of_namespace = reads.keys().filter(|key| in_namespace(key)).count();
        if of_namespace >= share && !give_up_oldest(&mut reads, PATIENCE, in_namespace) {
            return Lookup::TooMany;
        }
        let (kept, patience) = match of_namespace {
            0 => (0, PATIENCE_OF_OTHERS),
            _ => (self.most_reads / NAMESPACES_SHARE, PATIENCE),
        };
        if reads.len() >= self.most_reads - kept && !give_up_oldest(&mut reads, patience, |_| true) {
            return Lookup::TooMany;
        }
        let began = Instant::now();
        let taken_off = TakenOff { accounts: Arc::clone(self), key: key.clone(), began };
        let task = tokio::spawn(async move {
            let (namespace, name) = &taken_off.key;
            taken_off.accounts.read(namespace, name).await
        });
        let abort_handle = task.abort_handle();
        let read = task
            .map(|finished| {
                finished.unwrap_or_else(|error| {
                    ServiceAccountLookup::Failed(if error.is_cancelled() {
                        "the API server did not answer, and its slot was needed for another read".to_owned()
                    } else {
                        error.to_string()
                    })
                })
            })
            .boxed()
            .shared();
        reads.insert(key, UnderWay { read: read.clone(), began, task: abort_handle });
        Lookup::Read(read)
    }

    /// Like [`ServiceAccounts::find`], but waits for a free slot: a pod whose request is rejected may start without the
    /// identity of its service account. Half of the time until `deadline` is left for the read.
    pub async fn find_or_wait(self: &Arc<Self>, namespace: &str, name: &str, deadline: Instant) -> Lookup {
        let now = Instant::now();
        let latest = now + deadline.saturating_duration_since(now) / 2;
        loop {
            let mut ended = pin!(self.ended.notified());
            ended.as_mut().enable();
            let lookup = self.find(namespace, name);
            if !matches!(lookup, Lookup::TooMany) {
                return lookup;
            }
            // A hanging read does not notify, but must give up its slot eventually.
            let next_look = latest.min(Instant::now() + PATIENCE_OF_OTHERS);
            if Instant::now() >= latest {
                return lookup;
            }
            _ = tokio::time::timeout_at(next_look, ended).await;
        }
    }

    /// Waits for a read until `deadline`.
    pub async fn wait_for(read: Read, deadline: Instant) -> ServiceAccountLookup {
        tokio::time::timeout_at(deadline, read).await.unwrap_or_else(|_| {
            ServiceAccountLookup::Failed("the API server did not answer in time".to_owned())
        })
    }

    async fn read(&self, namespace: &str, name: &str) -> ServiceAccountLookup {
        let read = read(&self.client, &self.answer_memory, namespace, name);
        match tokio::time::timeout(LONGEST_READ, read).await {
            Ok(Ok(found)) => found,
            Ok(Err(Problem::Forbidden(problem))) => {
                ServiceAccountLookup::Failed(format!("{TAKEN_OVER}: {problem}"))
            }
            Ok(Err(Problem::Other(problem))) => ServiceAccountLookup::Failed(problem),
            Err(_) => ServiceAccountLookup::Failed("the API server did not answer".to_owned()),
        }
    }

    fn reads(&self) -> MutexGuard<'_, HashMap<Key, UnderWay>> {
        self.reads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Cancels the oldest matching read to make room for another, if the API server has had time to answer it.
fn give_up_oldest(
    reads: &mut HashMap<Key, UnderWay>,
    patience: Duration,
    is_one: impl Fn(&Key) -> bool,
) -> bool {
    let candidates = reads.iter().filter(|(key, _)| is_one(key));
    let Some((key, under_way)) = candidates.min_by_key(|(_, under_way)| under_way.began) else {
        return false;
    };
    if under_way.began.elapsed() < patience {
        return false;
    }
    under_way.task.abort();
    let key = key.clone();
    reads.remove(&key);
    true
}

/// Removes a read from those in progress, however it ends.
struct TakenOff {
    accounts: Arc<ServiceAccounts>,
    key: Key,
    began: Instant,
}

impl Drop for TakenOff {
    fn drop(&mut self) {
        let mut reads = self.accounts.reads();
        // A cancelled read may have a successor.
        if reads.get(&self.key).is_some_and(|under_way| under_way.began == self.began) {
            reads.remove(&self.key);
        }
        drop(reads);
        self.accounts.ended.notify_waiters();
    }
}

/// Reads one service account as the user of a kubeconfig, for callers that read one at a time.
pub(crate) async fn read_one(client: &Client, namespace: &str, name: &str) -> ServiceAccountLookup {
    let answer_memory = Semaphore::new(2 * LARGEST_METADATA);
    match read(client, &answer_memory, namespace, name).await {
        Ok(found) => found,
        Err(Problem::Forbidden(problem) | Problem::Other(problem)) => ServiceAccountLookup::Failed(problem),
    }
}

/// Why a read failed: one sentence, the API server's own if it has one.
enum Problem {
    /// The caller lacks the permission.
    Forbidden(String),
    Other(String),
}

impl From<String> for Problem {
    fn from(sentence: String) -> Self {
        Self::Other(sentence)
    }
}

/// Reads one service account's metadata. Not through the client's `Api`, which reads an answer of any length and parses
/// all of it.
async fn read(
    client: &Client,
    answer_memory: &Semaphore,
    namespace: &str,
    name: &str,
) -> Result<ServiceAccountLookup, Problem> {
    let accounts = Request::new(ServiceAccountObject::url_path(&(), Some(namespace)));
    let request = accounts.get_metadata(name, &GetParams::default()).map_err(|error| with_causes(&error))?;
    let response = client.send(request.map(Body::from)).await.map_err(|error| with_causes(&error))?;
    let status = response.status();
    // Twice, because the pieces of a large answer are joined.
    let size = response.body().size_hint().upper().and_then(|size| u32::try_from(size).ok());
    let most = size.map_or(LARGEST_METADATA, |size| LARGEST_METADATA.min(size as usize)) * 2;
    let permits = u32::try_from(most).map_err(|error| error.to_string())?;
    let _memory = answer_memory.acquire_many(permits).await.map_err(|error| error.to_string())?;
    let body = Limited::new(response.into_body(), LARGEST_METADATA).collect().await;
    let body = body.map_err(|error| format!("the API server's answer cannot be read: {error}"))?.to_bytes();
    if !status.is_success() {
        let answer: Option<Status> = serde_json::from_slice(&body).ok();
        return match answer {
            Some(answer) if answer.is_not_found() => Ok(ServiceAccountLookup::Missing),
            Some(answer) if status == StatusCode::FORBIDDEN => Err(Problem::Forbidden(answer.message)),
            Some(answer) if !answer.message.is_empty() => Err(answer.message.into()),
            None if status == StatusCode::NOT_FOUND => {
                Err("the API server knows no service accounts".to_owned().into())
            }
            _ => Err(format!("the API server answered with status {status}").into()),
        };
    }
    let text = std::str::from_utf8(&body).map_err(|error| error.to_string())?;
    Ok(ServiceAccountLookup::Found(ServiceAccount::from_json(text)?))
}

/// The whole chain of causes, because the first one rarely helps.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use hyper::http;
    use tower::service_fn;

    use super::*;

    type Answer = Result<http::Response<Body>, Infallible>;

    fn accounts<F>(most: usize, answer: impl Fn() -> F + Clone + Send + 'static) -> Arc<ServiceAccounts>
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        let client = Client::new(service_fn(move |_: http::Request<Body>| answer()), "default");
        Arc::new(ServiceAccounts::new(Arc::default(), client, most, 4 * LARGEST_METADATA))
    }

    async fn nothing() -> Answer {
        std::future::pending().await
    }

    async fn found(lookup: Lookup) -> ServiceAccountLookup {
        let Lookup::Read(read) = lookup else { panic!("there is no read") };
        ServiceAccounts::wait_for(read, Instant::now() + LONGEST_READ).await
    }

    fn is_read(lookup: &Lookup) -> bool {
        matches!(lookup, Lookup::Read(_))
    }

    #[tokio::test]
    async fn what_the_api_server_says_is_passed_on() {
        let accounts = accounts(1, || async {
            let text =
                r#"{"metadata":{"annotations":{"azure.workload.identity/client-id":"c","other":"x"}}}"#;
            Ok(http::Response::new(Body::from(text.as_bytes().to_vec())))
        });
        let ServiceAccountLookup::Found(account) = found(accounts.find("ns", "a")).await else { panic!() };
        assert_eq!(account.client_id(), "c");
        assert!(accounts.reads().is_empty());
    }

    #[tokio::test]
    async fn only_the_webhooks_own_role_can_have_been_taken_over() {
        let answer = || async {
            let text =
                br#"{"kind":"Status","reason":"Forbidden","message":"user jane cannot get it","code":403}"#;
            let answer = http::Response::builder().status(403).body(Body::from(text.to_vec()));
            Ok(answer.expect("a response"))
        };
        let failed = |lookup| match lookup {
            ServiceAccountLookup::Failed(reason) => reason,
            other => panic!("{other:?}"),
        };
        let reason = failed(found(accounts(1, answer).find("ns", "a")).await);
        assert_eq!(reason, format!("{TAKEN_OVER}: user jane cannot get it"));
        let client = Client::new(service_fn(move |_: http::Request<Body>| answer()), "default");
        assert_eq!(failed(read_one(&client, "ns", "a").await), "user jane cannot get it");
    }

    #[tokio::test]
    async fn an_answer_that_is_too_large_is_not_read_to_its_end() {
        let accounts =
            accounts(1, || async { Ok(http::Response::new(Body::from(vec![b' '; LARGEST_METADATA + 1]))) });
        let ServiceAccountLookup::Failed(reason) = found(accounts.find("ns", "a")).await else { panic!() };
        assert!(reason.contains("length limit exceeded"), "{reason}");
    }

    #[tokio::test]
    async fn a_read_that_panics_leaves_nothing_behind() {
        let accounts = accounts(1, || async { panic!("a fault of the client") });
        assert!(matches!(found(accounts.find("ns", "a")).await, ServiceAccountLookup::Failed(_)));
        assert!(accounts.reads().is_empty());
        assert!(is_read(&accounts.find("ns", "a")), "it is tried again");
    }

    #[tokio::test]
    async fn one_namespace_leaves_reads_for_others_and_all_share_the_read_of_one_account() {
        let accounts = accounts(16, nothing);
        assert!(is_read(&accounts.find("ns", "a")) && is_read(&accounts.find("ns", "b")));
        assert!(matches!(accounts.find("ns", "c"), Lookup::TooMany), "two are an eighth");
        assert!(is_read(&accounts.find("ns", "a")), "it is under way");
        assert!(is_read(&accounts.find("other", "c")));
        assert_eq!(accounts.reads().len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_a_little_gets_the_place_of_a_read_that_ends() {
        let accounts = accounts(8, || async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            Ok(http::Response::new(Body::from(b"{}".to_vec())))
        });
        let deadline = Instant::now() + LONGEST_READ;
        let lookups = ["a", "b", "c"].map(|name| accounts.find_or_wait("ns", name, deadline));
        let lookups = futures_util::future::join_all(lookups).await;
        assert!(lookups.iter().all(is_read), "one after the other has the place");
    }

    #[tokio::test(start_paused = true)]
    async fn a_namespace_whose_reads_hang_gives_them_up_for_its_own() {
        let accounts = accounts(8, nothing);
        assert!(is_read(&accounts.find("ns", "a")));
        assert!(matches!(accounts.find("ns", "b"), Lookup::TooMany));
        let deadline = Instant::now() + LONGEST_READ;
        assert!(is_read(&accounts.find_or_wait("ns", "b", deadline).await));
        assert_eq!(accounts.reads().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn half_of_the_time_is_left_for_the_read() {
        let accounts = accounts(8, nothing);
        assert!(is_read(&accounts.find("ns", "a")));
        let (before, time) = (Instant::now(), PATIENCE);
        assert!(matches!(accounts.find_or_wait("ns", "b", before + time).await, Lookup::TooMany));
        assert_eq!(before.elapsed().as_millis(), time.as_millis() / 2);
    }

    #[tokio::test]
    async fn a_namespace_without_a_read_finds_one_that_is_kept_for_it() {
        let accounts = accounts(16, nothing);
        for namespace in 0..8 {
            for name in ["a", "b"] {
                let under_way = accounts.reads().len();
                let is_granted = is_read(&accounts.find(&namespace.to_string(), name));
                assert_eq!(is_granted, name == "a" || under_way < 14, "{namespace} {name}");
            }
        }
        assert_eq!(accounts.reads().len(), 15);
        assert!(is_read(&accounts.find("other", "a")));
        assert!(matches!(accounts.find("another", "a"), Lookup::TooMany), "all sixteen are taken");
    }

    #[tokio::test(start_paused = true)]
    async fn an_old_read_gives_way() {
        let accounts = accounts(2, nothing);
        let first = accounts.find("1", "a");
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(is_read(&accounts.find("2", "a")));
        assert!(matches!(accounts.find("3", "a"), Lookup::TooMany), "both had no time yet");
        tokio::time::advance(PATIENCE).await;
        assert!(is_read(&accounts.find("3", "a")));
        let ServiceAccountLookup::Failed(reason) = found(first).await else { panic!() };
        assert!(reason.contains("its slot was needed for another read"), "{reason}");
        let mut under_way: Vec<_> = accounts.reads().keys().map(|(namespace, _)| namespace.clone()).collect();
        under_way.sort();
        assert_eq!(under_way, ["2", "3"]);
    }
}
