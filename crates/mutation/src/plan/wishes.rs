//! Validated requests of a pod, its service account and the settings.

use super::expiration::token_expiration;
use super::identity::NamedServiceAccount;
use super::proxy::ProxyRequest;
use super::skip_list::SkipList;
use super::token_volume::is_token_volume;
use crate::bounds::{LONGEST_IDENTITY, LONGEST_POD_NAME};
use crate::config::{Config, TokenEndpointConfig, TokenVolumeLayout};
use crate::denial::Denial;
use crate::names::{
    AUTHORITY_HOST_ENV, CLIENT_ID_ENV, PROXY_CONTAINERS, SKIP_CONTAINERS_ANNOTATION,
    TOKEN_EXPIRATION_ANNOTATION, TOKEN_FILE_ENV,
};
use crate::text::object_name;
use crate::view::{Container, PodHead, PodSpec};

/// Additions to one pod besides its identity.
#[derive(Debug)]
pub(crate) struct Wishes<'a> {
    pub proxy: Option<ProxyRequest>,
    pub expiration_seconds: i64,
    pub skip_list: SkipList<'a>,
    /// Whether neither the service account nor the containers have a client id.
    pub needs_client_id: bool,
    /// The token endpoint, if the pod requests it and can use it.
    pub token_endpoint: Option<&'a TokenEndpointConfig>,
    /// Whether the pod requests a token endpoint that its volume layout does not support.
    pub lacks_token_endpoint: bool,
}

impl<'a> Wishes<'a> {
    /// Reads them in upstream's order.
    ///
    /// # Errors
    /// The first one that is invalid or exceeds a bound.
    pub(crate) fn read(
        pod: &'a PodHead<'_>,
        spec: &'a PodSpec<'_>,
        identity: NamedServiceAccount<'_>,
        config: &'a Config,
    ) -> Result<Self, Denial> {
        check_lengths(pod, identity)?;
        let proxy = ProxyRequest::of(pod, spec)?;
        let account = identity.account;
        let expiration_seconds = token_expiration(
            pod.annotation(TOKEN_EXPIRATION_ANNOTATION),
            account.token_expiration.as_deref(),
            config.token_expiration_seconds,
        )?;
        let own = spec.init_containers.iter().chain(&spec.containers).map(|container| &*container.name);
        let injected = proxy.iter().flat_map(|_| PROXY_CONTAINERS);
        let skip_list = SkipList::new(pod.annotation(SKIP_CONTAINERS_ANNOTATION), own.chain(injected));
        let needs_client_id = account.client_id().is_empty() && !bring_client_ids(spec, &skip_list);
        if config.require_client_id && needs_client_id {
            let name = object_name(identity.namespace, identity.name);
            return Err(Denial::invalid(format!(
                "service account {name} has no annotation azure.workload.identity/client-id, required by setting requireClientId"
            )));
        }
        let wanted = token_endpoint(pod, config);
        // The oldest layout comes from releases without a token endpoint.
        let can_serve = config.token_volume != TokenVolumeLayout::AzureIdentityToken;
        Ok(Self {
            proxy,
            expiration_seconds,
            skip_list,
            needs_client_id,
            token_endpoint: wanted.filter(|_| can_serve),
            lacks_token_endpoint: wanted.is_some() && !can_serve,
        })
    }
}

/// The token endpoint, if it is configured and the pod requests it.
fn token_endpoint<'c>(pod: &PodHead<'_>, config: &'c Config) -> Option<&'c TokenEndpointConfig> {
    let endpoint = config.token_endpoint.as_ref()?;
    pod.annotation(&endpoint.annotation)?.eq_ignore_ascii_case("true").then_some(endpoint)
}

/// Whether every container of the pod's author is skipped or brings its own client id. Programs with several identities
/// choose by themselves.
///
/// A pod that is mutated again may have containers that were added since. It was admitted without them, so they do not
/// count.
fn bring_client_ids(spec: &PodSpec<'_>, skip_list: &SkipList<'_>) -> bool {
    let has = |container: &Container<'_>, name| {
        container.env().any(|variable| variable.is_named(name) && variable.has_value())
    };
    let of_author = |container: &&Container<'_>| !PROXY_CONTAINERS.contains(&&*container.name);
    let of_author = || spec.init_containers.iter().chain(&spec.containers).filter(of_author);
    let is_equipped = |container: &Container<'_>| {
        has(container, TOKEN_FILE_ENV)
            && has(container, AUTHORITY_HOST_ENV)
            && container.volume_mounts().any(|mount| is_token_volume(&mount.volume()))
    };
    let is_second_time = of_author().any(is_equipped);
    of_author().next().is_some()
        && of_author().all(|container| {
            skip_list.contains(&container.name)
                || has(container, CLIENT_ID_ENV)
                || (is_second_time && !is_equipped(container))
        })
}

/// Limits the texts that are repeated for every container, or hashed.
fn check_lengths(pod: &PodHead<'_>, identity: NamedServiceAccount<'_>) -> Result<(), Denial> {
    for (field, name) in [("name", pod.name()), ("generateName", pod.generate_name())] {
        if name.len() > LONGEST_POD_NAME {
            return Err(Denial::invalid(format!(
                "pod field metadata.{field} must be at most {LONGEST_POD_NAME} bytes long"
            )));
        }
    }
    if let Some(key) = identity.account.too_long_annotation() {
        let name = object_name(identity.namespace, identity.name);
        return Err(Denial::invalid(format!(
            "annotation {key} of service account {name} must be at most {LONGEST_IDENTITY} bytes long"
        )));
    }
    Ok(())
}
