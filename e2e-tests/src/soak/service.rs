//! The webhook's Service, and the API server's client: which replica gets a review, and over which connection.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hyper::body::Bytes;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use test_support::api_objects::ApiObjects;
use test_support::tls_client::{Caller, Connection};
use tokio::time::timeout;

use super::{CONFIGURATION, lock};
use crate::hostile::bystanders::{check, probe};

/// The kubelet's defaults for a probe: how often, how long, and how many in a row must fail.
const PROBE_EVERY: Duration = Duration::from_secs(1);
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
const PROBE_FAILURES: usize = 3;
/// The API server's timeout for a webhook.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections that the API server keeps when they are idle.
const MOST_IDLE: usize = 25;

struct Endpoint {
    address: SocketAddr,
    health: SocketAddr,
    failures: usize,
}

pub(super) struct Service {
    endpoints: Mutex<Vec<Endpoint>>,
    idle: Mutex<Vec<Connection>>,
    next: AtomicUsize,
    /// Holds the bundle that callers trust.
    objects: ApiObjects,
}

impl Service {
    pub(super) fn new(objects: ApiObjects) -> Self {
        Self { endpoints: Mutex::default(), idle: Mutex::default(), next: AtomicUsize::new(0), objects }
    }

    pub(super) fn add(&self, address: SocketAddr, health: SocketAddr) {
        lock(&self.endpoints).push(Endpoint { address, health, failures: 0 });
    }

    pub(super) fn remove(&self, address: SocketAddr) {
        lock(&self.endpoints).retain(|endpoint| endpoint.address != address);
    }

    /// Probes the replicas until it is dropped.
    pub(super) async fn probe(&self) {
        loop {
            let known: Vec<_> = lock(&self.endpoints).iter().map(|it| (it.address, it.health)).collect();
            for (address, health) in known {
                let is_ready = matches!(timeout(PROBE_TIMEOUT, probe(health, "/readyz")).await, Ok(Ok(200)));
                for endpoint in lock(&self.endpoints).iter_mut().filter(|it| it.address == address) {
                    endpoint.failures = if is_ready { 0 } else { endpoint.failures + 1 };
                }
            }
            tokio::time::sleep(PROBE_EVERY).await;
        }
    }

    /// Lets a replica answer a review, as the API server would, and checks the answer.
    ///
    /// # Errors
    /// The API server would refuse the pod, or admit it without its identity.
    pub(super) async fn review(&self, body: &Bytes) -> Result<()> {
        timeout(CALL_TIMEOUT, self.call(body)).await.context("no answer within 10 s")?
    }

    async fn call(&self, body: &Bytes) -> Result<()> {
        loop {
            let idle = lock(&self.idle).pop();
            let (mut connection, is_new) = match idle {
                Some(connection) if connection.is_closed() => continue,
                Some(connection) => (connection, false),
                None => (self.connect().await.context("cannot connect")?, true),
            };
            let reply = match connection.review(body.clone()).await {
                // Go's client sends a request again if nothing of it was written.
                Err(error) if !is_new && is_unsent(&error) => continue,
                reply => reply?,
            };
            check(&reply)?;
            let mut idle = lock(&self.idle);
            if !reply.closes && idle.len() < MOST_IDLE {
                idle.push(connection);
            }
            return Ok(());
        }
    }

    async fn connect(&self) -> Result<Connection> {
        let ready: Vec<_> = {
            let endpoints = lock(&self.endpoints);
            endpoints.iter().filter(|it| it.failures < PROBE_FAILURES).map(|it| it.address).collect()
        };
        ensure!(!ready.is_empty(), "no replica is ready");
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let address = ready.get(turn % ready.len()).context("no replica is ready")?;
        let bundle = self.objects.ca_bundle(CONFIGURATION);
        let trusted: Vec<_> = CertificateDer::pem_slice_iter(&bundle).collect::<Result<_, _>>()?;
        Caller::new(*address, trusted)?.connect().await
    }
}

fn is_unsent(error: &anyhow::Error) -> bool {
    error.downcast_ref::<hyper::Error>().is_some_and(|error| error.is_canceled() || error.is_closed())
}
