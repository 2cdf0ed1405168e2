//! Certificates without anybody's help: the authority in a Secret that is not mounted, a leaf per replica in memory, the
//! caBundle kept right.
//!
//! Every replica does the same; whoever writes the Secret first wins, and the others take what is there. So there is no
//! leader, and nothing to wait for when one goes away.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use thiserror::Error;
use time::OffsetDateTime;
use tracing::{info, warn};

use super::CertificateStore;
use super::authority::{Authority, AuthorityError, Lives};
use crate::metrics::Metrics;

/// Who the API server says owns the caBundle.
const FIELD_MANAGER: &str = "azwi-webhook";
/// How soon another try is made while there is no certificate at all.
const FIRST_RETRY: Duration = Duration::from_millis(500);
/// How long one look at everything may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How many replicas may write the Secret in between before a try counts as failed.
const TRIES: usize = 5;

/// The objects that are kept.
#[derive(Debug, Clone)]
pub struct Objects {
    /// Namespace of the Secret.
    pub namespace: String,
    /// Name of the Secret.
    pub secret: String,
    /// Name of the webhook configuration.
    pub webhook_configuration: String,
    /// The names by which the API server calls.
    pub dns_names: Vec<String>,
    /// How long things last.
    pub lives: Lives,
    /// How often everything is looked at.
    pub check_every: Duration,
}

#[derive(Debug, Error)]
enum KeepError {
    #[error("Secret {name}: {source}")]
    Secret { name: String, source: kube::Error },
    #[error("MutatingWebhookConfiguration {name}: {source}")]
    WebhookConfiguration { name: String, source: kube::Error },
    #[error(
        "Secret {name} is gone; the certificate in use stays until it ends. Create an empty Secret of that name, or upgrade \
         the Helm release, which does"
    )]
    Gone { name: String },
    #[error("the API server does not answer")]
    Silent,
    #[error("Secret {name} is written by others all the time")]
    Contended { name: String },
    #[error(transparent)]
    Authority(#[from] AuthorityError),
}

/// Keeps the certificate, the Secret and the caBundle until the task is dropped.
pub async fn keep_self_managed(
    objects: Objects,
    client: Client,
    store: Arc<CertificateStore>,
    metrics: Arc<Metrics>,
) {
    let keeper = Keeper {
        secrets: Api::namespaced(client.clone(), &objects.namespace),
        configurations: Api::all(client),
        objects,
        store,
        metrics,
    };
    let mut leaf = None;
    loop {
        let kept = tokio::time::timeout(PATIENCE, keeper.keep(&mut leaf)).await;
        if let Err(error) = kept.unwrap_or(Err(KeepError::Silent)) {
            warn!(%error, "certificates could not be looked after; the next try follows");
            keeper.metrics.reloaded("failure");
        }
        let pause = if leaf.is_some() { keeper.objects.check_every } else { FIRST_RETRY };
        tokio::time::sleep(pause).await;
    }
}

/// The certificate in use: when to renew it, and who signed it.
type InUse = (OffsetDateTime, String);

struct Keeper {
    secrets: Api<Secret>,
    configurations: Api<MutatingWebhookConfiguration>,
    objects: Objects,
    store: Arc<CertificateStore>,
    metrics: Arc<Metrics>,
}

impl Keeper {
    async fn keep(&self, in_use: &mut Option<InUse>) -> Result<(), KeepError> {
        // The wall clock: a machine that slept has not counted the time.
        let now = OffsetDateTime::now_utc();
        let configuration = self.configuration().await?;
        // A Secret that vanishes while its certificate is good goes with a rollback or an uninstallation, and stays away.
        let may_create = in_use.as_ref().is_none_or(|(renew_at, _)| *renew_at <= now);
        let authority = self.authority(now, &bundle_of(&configuration), may_create).await?;
        // Before the certificate is shown, so that nobody is shown what he does not trust yet.
        let was_written = self.keep_bundle(configuration, &authority.bundle()).await?;
        if in_use.is_some() && was_written {
            // The API server has a round to learn of it.
            return Ok(());
        }
        let is_due =
            in_use.as_ref().is_none_or(|(renew_at, signed_by)| authority.is_due(*renew_at, signed_by, now));
        if is_due {
            let leaf = authority.leaf(&self.objects.dns_names, self.objects.lives, now)?;
            info!(not_after = leaf.certificate.not_after, "serving certificate in use");
            self.metrics.certificate_not_after.set(leaf.certificate.not_after);
            self.metrics.reloaded("success");
            *in_use = Some((leaf.renew_at, leaf.signed_by));
            self.store.set(leaf.certificate);
        }
        Ok(())
    }

    /// The authority that the Secret holds, after its next step if it is time for one.
    async fn authority(
        &self,
        now: OffsetDateTime,
        trusted: &str,
        may_create: bool,
    ) -> Result<Authority, KeepError> {
        let name = &self.objects.secret;
        let failed = |source| KeepError::Secret { name: name.clone(), source };
        for _ in 0..TRIES {
            let secret = self.secrets.get_opt(name).await.map_err(failed)?;
            if secret.is_none() && !may_create {
                return Err(KeepError::Gone { name: name.clone() });
            }
            let held =
                secret.as_ref().and_then(|secret| secret.data.as_ref()).map(data_of).unwrap_or_default();
            let held = Authority::read(&held)?;
            let next = match &held {
                None => Some(Authority::new(self.objects.lives, now, trusted)?),
                Some(authority) => authority.step(self.objects.lives, now)?,
            };
            let Some(next) = next else { return held.ok_or_else(|| self.contended()) };
            match self.write(secret, &next).await {
                Ok(()) => {
                    info!(secret = name, "certificate authority written");
                    return Ok(next);
                }
                // Another replica was first; what it wrote counts.
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Err(self.contended())
    }

    fn contended(&self) -> KeepError {
        KeepError::Contended { name: self.objects.secret.clone() }
    }

    /// Writes the Secret if it still is what was read.
    async fn write(&self, secret: Option<Secret>, authority: &Authority) -> Result<(), kube::Error> {
        let data = authority.data().into_iter().map(|(key, bytes)| (key, ByteString(bytes))).collect();
        let (name, params) = (&self.objects.secret, PostParams::default());
        if let Some(secret) = secret {
            self.secrets.replace(name, &params, &Secret { data: Some(data), ..secret }).await?;
        } else {
            let metadata = ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() };
            self.secrets.create(&params, &Secret { metadata, data: Some(data), ..Secret::default() }).await?;
        }
        Ok(())
    }

    async fn configuration(&self) -> Result<MutatingWebhookConfiguration, KeepError> {
        let name = &self.objects.webhook_configuration;
        let failed = |source| KeepError::WebhookConfiguration { name: name.clone(), source };
        self.configurations.get(name).await.map_err(failed)
    }

    /// Sees to it that callers trust the bundle, also after somebody else has edited it. Whether it had to be written.
    async fn keep_bundle(
        &self,
        mut configuration: MutatingWebhookConfiguration,
        bundle: &str,
    ) -> Result<bool, KeepError> {
        let name = &self.objects.webhook_configuration;
        let failed = |source| KeepError::WebhookConfiguration { name: name.clone(), source };
        let wanted = ByteString(bundle.as_bytes().to_vec());
        let is_right = |bundle: &Option<ByteString>| bundle.as_ref() == Some(&wanted);
        let webhooks = configuration.webhooks.get_or_insert_default();
        if webhooks.iter().all(|webhook| is_right(&webhook.client_config.ca_bundle)) {
            return Ok(false);
        }
        let entries: Vec<_> = webhooks
            .iter()
            .map(|webhook| json!({"name": webhook.name, "clientConfig": {"caBundle": wanted}}))
            .collect();
        let applied = json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": name},
            "webhooks": entries,
        });
        let params = PatchParams::apply(FIELD_MANAGER).force();
        match self.configurations.patch(name, &params, &Patch::Apply(applied)).await {
            // Upstream's ClusterRole allows to update, but not to patch.
            Err(kube::Error::Api(status)) if status.code == 403 => {
                for webhook in webhooks {
                    webhook.client_config.ca_bundle = Some(wanted.clone());
                }
                self.configurations
                    .replace(name, &PostParams::default(), &configuration)
                    .await
                    .map_err(failed)?;
            }
            patched => _ = patched.map_err(failed)?,
        }
        info!(webhook_configuration = name, "caBundle written");
        Ok(true)
    }
}

/// What callers trust now; empty where that is nothing, or no text.
fn bundle_of(configuration: &MutatingWebhookConfiguration) -> String {
    let mut bundles =
        configuration.webhooks.iter().flatten().filter_map(|it| it.client_config.ca_bundle.as_ref());
    bundles.next().and_then(|bundle| String::from_utf8(bundle.0.clone()).ok()).unwrap_or_default()
}

fn data_of(data: &BTreeMap<String, ByteString>) -> BTreeMap<String, Vec<u8>> {
    data.iter().map(|(key, bytes)| (key.clone(), bytes.0.clone())).collect()
}
