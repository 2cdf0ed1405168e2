//! Self-managed certificates: the authority is in a Secret that is not mounted, each replica keeps a leaf in memory,
//! and the caBundle is kept correct.
//!
//! Every replica does the same; the first to write the Secret wins, and the others use what is there. So there is no
//! leader, and nothing to wait for when a replica stops.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use thiserror::Error;
use time::OffsetDateTime;
use tracing::{info, warn};

use super::CertificateStore;
use super::authority::{Authority, AuthorityError, Lifetimes, Moment, Terms, Trust};
use super::bundle::{Change, FIELD_MANAGER, Rewrites, bundles};
use super::revocation::{self, revoke_before};
use super::secret::{SecretStore, problem};
use crate::metrics::Metrics;
use crate::permissions::TAKEN_OVER;

/// How soon to retry while there is no certificate at all.
const FIRST_RETRY: Duration = Duration::from_millis(500);
/// Time limit for one check.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often others may win a write before an attempt counts as failed.
const TRIES: usize = 5;

/// The objects that are kept up to date.
#[derive(Debug, Clone)]
pub struct SelfManaged {
    /// Namespace of the Secret.
    pub namespace: String,
    /// Name of the Secret.
    pub secret: String,
    pub webhook_configuration: String,
    /// The names by which the API server calls.
    pub dns_names: Vec<String>,
    pub lives: Lifetimes,
    /// How often to check everything.
    pub check_every: Duration,
}

#[derive(Debug, Error)]
enum KeepError {
    #[error("Secret {name}: {problem}")]
    Secret { name: String, problem: String },
    #[error("MutatingWebhookConfiguration {name}: {problem}")]
    WebhookConfiguration { name: String, problem: String },
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

/// Keeps the certificate, the Secret and the caBundle up to date until the task is dropped.
pub async fn keep_self_managed(
    objects: SelfManaged,
    client: Client,
    store: Arc<CertificateStore>,
    metrics: Arc<Metrics>,
) {
    let keeper = Keeper {
        secret: SecretStore::new(client.clone(), &objects.namespace, &objects.secret),
        configurations: Api::all(client),
        objects,
        store,
        metrics,
    };
    let mut known = Known::default();
    loop {
        let kept = tokio::time::timeout(PATIENCE, keeper.keep(&mut known)).await;
        if let Err(error) = kept.unwrap_or(Err(KeepError::Silent)) {
            warn!(%error, "the certificate check failed and is repeated");
            keeper.metrics.reloaded("failure");
        }
        let pause = if known.leaf.is_some() { keeper.objects.check_every } else { FIRST_RETRY };
        tokio::time::sleep(pause).await;
    }
}

/// State kept between checks.
#[derive(Default)]
struct Known {
    /// Terms of the certificate in use.
    leaf: Option<Terms>,
    rewrites: Rewrites,
    /// The last value of the annotation that could not be used.
    unheeded: Option<String>,
}

struct Keeper {
    secret: SecretStore,
    configurations: Api<MutatingWebhookConfiguration>,
    objects: SelfManaged,
    store: Arc<CertificateStore>,
    metrics: Arc<Metrics>,
}

impl Keeper {
    /// Checks everything once. A problem with one object does not stop work that can do without it: a certificate in
    /// use is renewed as long as callers trust the authority.
    async fn keep(&self, known: &mut Known) -> Result<(), KeepError> {
        // The wall clock, because a monotonic clock does not count the time a machine sleeps.
        let now = OffsetDateTime::now_utc();
        let configuration = match self.configuration().await {
            Err(error) if known.leaf.is_none() => return Err(error),
            answer => answer,
        };
        let trust = configuration.as_ref().map(|it| Trust::of(bundles(it))).unwrap_or_default();
        let mut moment = Moment { now, revoke_before: None, trust };
        let (authority, written) = self.authority(&mut moment, known).await?;
        // Before the certificate is used, so that no caller gets one that it does not trust yet.
        let bundle = match configuration {
            Ok(configuration) => {
                self.keep_bundle(configuration, &authority.bundle(), &mut known.rewrites, now).await
            }
            Err(error) => Err(error),
        };
        let may_show = match &known.leaf {
            None => bundle.is_ok() || moment.trust.has(authority.signer()),
            Some(leaf) => leaf.is_due(&authority, now) && leaf.may_go(&authority, &moment, bundle.is_ok()),
        };
        if may_show {
            let leaf = authority.leaf(&self.objects.dns_names, self.objects.lives, now)?;
            info!(not_after = leaf.certificate.not_after, "serving certificate in use");
            self.metrics.reloaded("success");
            known.leaf = Some(leaf.terms);
            self.store.set(leaf.certificate);
        }
        written.and(bundle)
    }

    /// Returns the authority in the Secret, after its next step if one is due. If the step could not be written but the
    /// old authority still works, returns the old one and the error.
    async fn authority(
        &self,
        moment: &mut Moment,
        known: &mut Known,
    ) -> Result<(Authority, Result<(), KeepError>), KeepError> {
        let name = &self.objects.secret;
        let failed = |error| KeepError::Secret { name: name.clone(), problem: problem(&error) };
        // A Secret that disappears while its certificate is valid belongs to a rollback or an uninstall, and is not
        // recreated.
        let may_create = known.leaf.as_ref().is_none_or(|leaf| leaf.renew_at <= moment.now);
        for _ in 0..TRIES {
            let secret = self.secret.read().await.map_err(failed)?;
            if secret.is_none() && !may_create {
                return Err(KeepError::Gone { name: name.clone() });
            }
            moment.revoke_before =
                secret.as_ref().and_then(|secret| revocation_of(secret, moment.now, &mut known.unheeded));
            let held =
                secret.as_ref().and_then(|secret| secret.data.as_ref()).map(data_of).unwrap_or_default();
            let held = Authority::read(&held)?;
            let next = match &held {
                None => Some(Authority::new(self.objects.lives, moment)?),
                Some(authority) => authority.step(self.objects.lives, moment)?,
            };
            let (next, held) = match (next, held) {
                (Some(next), held) => (next, held),
                (None, Some(held)) => return Ok((held, Ok(()))),
                (None, None) => break,
            };
            match self.secret.write(&self.holding(secret, &next)).await {
                Ok(()) => {
                    if held.is_some_and(|held| held.has_revoked(moment)) {
                        warn!(
                            secret = name,
                            "certificate authorities are revoked, and another signs; until the other replicas have seen \
                             it, callers may refuse them"
                        );
                    }
                    info!(secret = name, "certificate authority written");
                    return Ok((next, Ok(())));
                }
                // Another replica was first; its version is used.
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                Err(error) => {
                    return match held.filter(|held| held.is_usable(moment)) {
                        Some(held) => Ok((held, Err(failed(error)))),
                        None => Err(failed(error)),
                    };
                }
            }
        }
        Err(KeepError::Contended { name: name.clone() })
    }

    /// The Secret with this authority.
    fn holding(&self, secret: Option<Secret>, authority: &Authority) -> Secret {
        let data = authority.data().into_iter().map(|(key, bytes)| (key, ByteString(bytes))).collect();
        let secret = secret.unwrap_or_else(|| {
            let name = Some(self.objects.secret.clone());
            Secret { metadata: ObjectMeta { name, ..ObjectMeta::default() }, ..Secret::default() }
        });
        Secret { data: Some(data), ..secret }
    }

    async fn configuration(&self) -> Result<MutatingWebhookConfiguration, KeepError> {
        let name = &self.objects.webhook_configuration;
        self.configurations.get(name).await.map_err(|error| self.configuration_failed(&error))
    }

    fn configuration_failed(&self, error: &kube::Error) -> KeepError {
        let name = self.objects.webhook_configuration.clone();
        let mut problem = problem(error);
        if matches!(error, kube::Error::Api(status) if status.code == 403) {
            problem = format!("{TAKEN_OVER}: {problem}");
        }
        KeepError::WebhookConfiguration { name, problem }
    }

    /// Makes callers trust the bundle, even if someone else has edited it.
    async fn keep_bundle(
        &self,
        mut configuration: MutatingWebhookConfiguration,
        bundle: &str,
        rewrites: &mut Rewrites,
        now: OffsetDateTime,
    ) -> Result<(), KeepError> {
        let name = &self.objects.webhook_configuration;
        let wanted = ByteString(bundle.as_bytes().to_vec());
        if let Some(rewrite) = rewrites.find(&configuration, &wanted, now) {
            self.metrics.ca_bundle_rewrites.inc();
            if rewrite.is_notable {
                warn!(
                    webhook_configuration = name,
                    by = rewrite.by,
                    "somebody else keeps writing the caBundle; the webhook corrects it at every check, and until then callers refuse \
                     this webhook"
                );
            }
        }
        let mut conflict = None;
        for _ in 0..TRIES {
            let Some(change) = Change::needed(&configuration, &wanted) else {
                rewrites.leave(&configuration, wanted);
                return Ok(());
            };
            let (writes_bundle, lets_go) = (change.writes_bundle(), change.lets_go());
            match self.write(change, &configuration, &wanted).await {
                Ok(()) => {
                    if writes_bundle {
                        info!(webhook_configuration = name, "caBundle written");
                    }
                    if lets_go {
                        info!(
                            webhook_configuration = name,
                            "ownership of the entries that an earlier version applied is released"
                        );
                    }
                    rewrites.leave(&configuration, wanted);
                    return Ok(());
                }
                // Someone else was first.
                Err(kube::Error::Api(status)) if matches!(status.code, 409 | 422) => {
                    conflict = Some(kube::Error::Api(status));
                    configuration = self.configuration().await?;
                }
                Err(error) => return Err(self.configuration_failed(&error)),
            }
        }
        conflict.map_or(Ok(()), |error| Err(self.configuration_failed(&error)))
    }

    async fn write(
        &self,
        change: Change,
        configuration: &MutatingWebhookConfiguration,
        wanted: &ByteString,
    ) -> Result<(), kube::Error> {
        let (name, manager) = (&self.objects.webhook_configuration, Some(FIELD_MANAGER.to_owned()));
        let patch = serde_json::from_value(change.patch(configuration, wanted));
        let patch = Patch::<()>::Json(patch.map_err(kube::Error::SerdeError)?);
        let params = PatchParams { field_manager: manager.clone(), ..PatchParams::default() };
        match self.configurations.patch(name, &params, &patch).await {
            // Upstream's ClusterRole allows update, but not patch.
            Err(kube::Error::Api(status)) if status.code == 403 => {
                let params = PostParams { field_manager: manager, ..PostParams::default() };
                let changed = change.applied_to(configuration.clone(), wanted);
                self.configurations.replace(name, &params, &changed).await?;
            }
            patched => _ = patched?,
        }
        Ok(())
    }
}

/// The time before which authorities are revoked. An unusable value is logged once.
fn revocation_of(
    secret: &Secret,
    now: OffsetDateTime,
    unheeded: &mut Option<String>,
) -> Option<OffsetDateTime> {
    let Some(value) = secret.metadata.annotations.as_ref()?.get(revocation::ANNOTATION) else {
        *unheeded = None;
        return None;
    };
    match revoke_before(value, now) {
        Ok(time) => {
            *unheeded = None;
            Some(time)
        }
        Err(error) => {
            if unheeded.as_ref() != Some(value) {
                warn!(annotation = revocation::ANNOTATION, %error, "no certificate authority is revoked");
                *unheeded = Some(value.clone());
            }
            None
        }
    }
}

fn data_of(data: &BTreeMap<String, ByteString>) -> BTreeMap<String, Vec<u8>> {
    data.iter().map(|(key, bytes)| (key.clone(), bytes.0.clone())).collect()
}
