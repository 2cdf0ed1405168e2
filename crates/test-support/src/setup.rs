//! A running webhook with its environment.

use admission_caller::answer::Answer;
use admission_caller::request::{pod_creation, review};
use anyhow::Result;
use rcgen::{CertifiedKey, KeyPair};
use serde_json::{Value, json};

use crate::api_server::ApiServer;
use crate::tls_client::{Caller, new_certificate};
use crate::webhook::WebhookProcess;

/// Default namespace.
pub const NAMESPACE: &str = "ns";
/// A service account that exists in [`NAMESPACE`] from the start.
pub const SERVICE_ACCOUNT: &str = "sa";
/// Its client id.
pub const CLIENT_ID: &str = "5d2e50e8-c9fc-4dad-9ab4-bc23cce71bf1";

/// A webhook with a certificate from files, its API server, and a caller that trusts it.
pub struct Setup {
    pub api_server: ApiServer,
    pub certificate: CertifiedKey<KeyPair>,
    pub webhook: WebhookProcess,
    pub caller: Caller,
}

impl Setup {
    /// Starts a webhook with these flags, and waits until it is ready.
    pub async fn start(flags: &[&str]) -> Result<Self> {
        let api_server = api_server()?;
        let certificate = new_certificate()?;
        let webhook = WebhookProcess::start(&api_server, &certificate, flags).await?;
        let caller = Caller::new(webhook.address, [certificate.cert.der().clone()])?;
        Ok(Self { api_server, certificate, webhook, caller })
    }

    /// The answer to the creation of a pod in [`NAMESPACE`].
    pub async fn answer(&self, pod: &Value) -> Result<Answer> {
        answer(&self.caller, pod).await
    }
}

/// An API server with [`SERVICE_ACCOUNT`].
pub fn api_server() -> Result<ApiServer> {
    let api_server = ApiServer::start()?;
    api_server.apply(NAMESPACE, SERVICE_ACCOUNT, &with_client_id(CLIENT_ID));
    Ok(api_server)
}

/// Metadata of a service account with this client id.
pub fn with_client_id(id: &str) -> Value {
    json!({"annotations": {"azure.workload.identity/client-id": id}})
}

/// The review of a pod's creation in [`NAMESPACE`].
pub fn pod_review(pod: &Value) -> String {
    review(&pod_creation(NAMESPACE, &pod.to_string()))
}

/// A webhook's answer to it, over a new connection.
pub async fn answer(caller: &Caller, pod: &Value) -> Result<Answer> {
    Answer::from_review(&caller.review(pod_review(pod)).await?.json()?)
}
