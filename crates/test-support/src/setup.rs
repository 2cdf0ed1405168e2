//! A running webhook with everything around it.

use admission_caller::answer::Answer;
use admission_caller::request::{pod_creation, review};
use anyhow::Result;
use rcgen::{CertifiedKey, KeyPair};
use serde_json::{Value, json};

use crate::api_server::ApiServer;
use crate::tls_client::{Caller, new_certificate};
use crate::webhook::WebhookProcess;

/// Where everything happens that does not say otherwise.
pub const NAMESPACE: &str = "ns";
/// A service account of [`NAMESPACE`] that is there from the start.
pub const SERVICE_ACCOUNT: &str = "sa";
/// The client id that it names.
pub const CLIENT_ID: &str = "5d2e50e8-c9fc-4dad-9ab4-bc23cce71bf1";

/// A webhook with a certificate from files, the API server behind it, and a caller that trusts it.
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

/// An API server that knows [`SERVICE_ACCOUNT`].
pub fn api_server() -> Result<ApiServer> {
    let api_server = ApiServer::start()?;
    api_server.apply(NAMESPACE, SERVICE_ACCOUNT, &with_client_id(CLIENT_ID));
    Ok(api_server)
}

/// Metadata of a service account that names this client id.
pub fn with_client_id(id: &str) -> Value {
    json!({"annotations": {"azure.workload.identity/client-id": id}})
}

/// The review of a pod's creation in [`NAMESPACE`].
pub fn pod_review(pod: &Value) -> String {
    review(&pod_creation(NAMESPACE, &pod.to_string()))
}

/// What a webhook answers to it, over a connection of its own.
pub async fn answer(caller: &Caller, pod: &Value) -> Result<Answer> {
    Answer::from_review(&caller.review(pod_review(pod)).await?.json()?)
}
