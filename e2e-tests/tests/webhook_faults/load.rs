//! Callers that continue during an event, with their failures counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use admission_caller::answer::Answer;
use admission_caller::request::labelled_pod;
use test_support::setup::{SERVICE_ACCOUNT, pod_review};
use test_support::tls_client::Caller;
use tokio::task::JoinSet;

/// The review of a labelled pod whose service account is in the cache.
pub(crate) fn known() -> String {
    pod_review(&labelled_pod(SERVICE_ACCOUNT))
}

/// Callers' behaviour after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Callers {
    /// They open a new connection only if the server closes the old one.
    KeepTheirConnections,
    /// They open a new connection for each review.
    OpenNewConnections,
}

/// Callers that send reviews one after the other until they are stopped.
pub(crate) struct Load {
    is_over: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    tasks: JoinSet<Vec<String>>,
}

impl Load {
    /// Starts this many callers.
    pub(crate) fn start(caller: &Caller, callers: usize, kind: Callers) -> Self {
        let (is_over, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut tasks = JoinSet::new();
        for _ in 0..callers {
            let (caller, is_over, answered) = (caller.clone(), Arc::clone(&is_over), Arc::clone(&answered));
            tasks.spawn(async move {
                let mut failures = Vec::new();
                let mut connection = None;
                while !is_over.load(Ordering::Relaxed) {
                    let answer = async {
                        let mut open = match connection.take() {
                            Some(open) => open,
                            None => caller.connect().await?,
                        };
                        let reply = open.review(known()).await?;
                        anyhow::ensure!(Answer::from_review(&reply.json()?)?.allowed, "denied");
                        anyhow::Ok((open, reply.closes))
                    };
                    match answer.await {
                        Ok((open, closes)) => {
                            answered.fetch_add(1, Ordering::Relaxed);
                            connection = (kind == Callers::KeepTheirConnections && !closes).then_some(open);
                        }
                        Err(error) => failures.push(format!("{error:#}")),
                    }
                }
                failures
            });
        }
        Self { is_over, answered, tasks }
    }

    /// Waits up to half a minute for this many more answers.
    pub(crate) async fn more_answers(&self, count: usize) {
        let goal = self.answered.load(Ordering::Relaxed) + count;
        let reached = async {
            while self.answered.load(Ordering::Relaxed) < goal {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), reached).await.expect("the webhook answers");
    }

    /// Ends the load. Returns the failures.
    pub(crate) async fn stop(self) -> Vec<String> {
        self.is_over.store(true, Ordering::Relaxed);
        self.tasks.join_all().await.into_iter().flatten().collect()
    }
}

/// The expected result of [`Load::stop`].
pub(crate) const NO_FAILURE: Vec<String> = Vec::new();
