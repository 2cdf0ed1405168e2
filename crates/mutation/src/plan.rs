//! The decision: what one opted-in pod gets. One pure function of the pod, its service account and the configuration.

use crate::bounds::{LARGEST_PATCH, LONGEST_IDENTITY, LONGEST_POD_NAME};
use crate::config::{Config, TokenEndpointConfig, is_guid};
use crate::denial::Denial;
use crate::environment::{Environment, EnvironmentValues};
use crate::expiration::token_expiration;
use crate::names::{
    PROXY_CONTAINER, PROXY_INIT_CONTAINER, SKIP_CONTAINERS_ANNOTATION, TOKEN_EXPIRATION_ANNOTATION,
};
use crate::patch::{Field, List, Patch, Pointer};
use crate::pod_view::{ContainerView, PodHead, PodView};
use crate::proxy::ProxyRequest;
use crate::service_account::ServiceAccount;
use crate::settings::TokenVolumeLayout;
use crate::skip_list::SkipList;
use crate::text::{object_name, printable};
use crate::token_volume::{TokenSources, TokenVolume};
use crate::warning::Warning;

/// What happens to an admitted pod.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Mutation {
    /// The change; empty when there is nothing to do.
    pub patch: Patch,
    /// What the person who created the pod is told, in a fixed order.
    pub warnings: Vec<Warning>,
    /// What the API server's audit log keeps, by key; empty for a pod that was not opted in.
    pub audit: Vec<(&'static str, String)>,
}

/// The service account of a pod, by name.
#[derive(Debug, Clone, Copy)]
pub struct NamedServiceAccount<'a> {
    /// Namespace of the request.
    pub namespace: &'a str,
    /// Name of the service account.
    pub name: &'a str,
    /// What was read of it.
    pub account: &'a ServiceAccount,
}

/// Plans the mutation of an opted-in pod, in upstream's order (`spec/upstream-webhook.md` 1.2). `subject` names the pod
/// in warnings.
///
/// # Errors
/// The pod or its service account asks for something that cannot be given, or is beyond a bound.
pub fn plan(
    head: &PodHead<'_>,
    subject: &str,
    identity: NamedServiceAccount<'_>,
    config: &Config,
) -> Result<Mutation, Denial> {
    let spec = head.index_spec()?;
    let pod = &PodView::read(head, spec.as_ref())?;
    let account = identity.account;
    check_lengths(head, identity)?;
    let proxy = ProxyRequest::of(pod)?;
    let expiration_seconds = token_expiration(
        pod.annotation(TOKEN_EXPIRATION_ANNOTATION),
        account.token_expiration.as_deref(),
        config.token_expiration_seconds,
    )?;
    if config.require_client_id && account.client_id().is_empty() {
        let name = object_name(identity.namespace, identity.name);
        return Err(Denial::invalid(format!(
            "service account {name} has no annotation azure.workload.identity/client-id, which requireClientId demands"
        )));
    }

    let own = pod.init_containers().iter().chain(pod.containers()).map(|container| &*container.name);
    let injected = proxy.iter().flat_map(|_| [PROXY_CONTAINER, PROXY_INIT_CONTAINER]);
    let skip_list = SkipList::new(pod.annotation(SKIP_CONTAINERS_ANNOTATION), own.chain(injected));
    let wants_endpoint = token_endpoint(pod, config);
    // The oldest layout comes from releases that had no token endpoint.
    let is_endpoint_served = config.token_volume != TokenVolumeLayout::AzureIdentityToken;
    let endpoint = wants_endpoint.filter(|_| is_endpoint_served);
    let volume = TokenVolume::of(pod, config.token_volume);
    let environment = Environment::new(
        EnvironmentValues {
            client_id: account.client_id(),
            tenant_id: account.tenant_id.as_deref().unwrap_or(&config.tenant_id),
            token_file: &volume.token_file,
            ca_file: &volume.ca_file,
            authority_host: &config.authority_host,
        },
        endpoint,
    );

    let mut patch = Patch::default();
    let equipped = equipped_containers(pod, &skip_list);
    for (list, index, container) in &equipped {
        environment.add_to(container, Pointer::field(*list, *index, Field::Env), &mut patch);
        volume.mount_into(container, Pointer::field(*list, *index, Field::VolumeMounts), &mut patch);
        check_patch(&patch)?;
    }
    patch.shrink();
    if let Some(proxy) = &proxy {
        let equip = |name: &str| {
            if skip_list.contains(name) {
                (Vec::new(), Vec::new())
            } else {
                (environment.variables(), vec![volume.mount()])
            }
        };
        proxy.add_to(pod, &config.proxy, equip, &mut patch);
    }
    let audience = endpoint.map_or(&config.audience, |endpoint| &endpoint.audience);
    let sources = TokenSources { audience, expiration_seconds, token_endpoint: endpoint };
    volume.add_to(pod, &equipped, sources, &mut patch);
    if !pod.has_spec() {
        patch = patch.into_new_spec();
    }
    check_patch(&patch)?;

    let mut warnings = Vec::new();
    warn_of_service_account(identity, &mut warnings);
    warn_of_skip_list(subject, &skip_list, &mut warnings);
    for (_, _, container) in equipped {
        warn_of_container(container, subject, &environment, &volume, &mut warnings);
    }
    if let Some(name) = volume.stand_in(pod) {
        warnings.push(Warning::token_volume_elsewhere(subject, name, &volume.name));
    }
    if proxy.is_some() && pod.is_windows() {
        warnings.push(Warning::proxy_on_windows(subject));
    }
    if wants_endpoint.is_some() && !is_endpoint_served {
        warnings.push(Warning::token_endpoint_unavailable(subject));
    }
    let audit = vec![
        ("service-account", object_name(identity.namespace, identity.name)),
        ("client-id", printable(account.client_id(), 100)),
        ("token-volume", volume.name.clone()),
    ];
    Ok(Mutation { patch, warnings, audit })
}

/// What is added stays below its bound, also while it is made.
fn check_patch(patch: &Patch) -> Result<(), Denial> {
    if patch.json_length() <= LARGEST_PATCH {
        return Ok(());
    }
    Err(Denial::invalid(format!(
        "the pod is too large: what is added to it must be at most {LARGEST_PATCH} bytes long"
    )))
}

/// Texts that are repeated for every container, or hashed, are not longer than they can be meant.
fn check_lengths(head: &PodHead<'_>, identity: NamedServiceAccount<'_>) -> Result<(), Denial> {
    for (field, name) in [("name", head.name()), ("generateName", head.generate_name())] {
        if name.len() > LONGEST_POD_NAME {
            return Err(Denial::invalid(format!(
                "pod field metadata.{field} must be at most {LONGEST_POD_NAME} bytes long"
            )));
        }
    }
    for (key, value) in identity.account.annotations() {
        if value.len() > LONGEST_IDENTITY {
            let name = object_name(identity.namespace, identity.name);
            return Err(Denial::invalid(format!(
                "annotation {key} of service account {name} must be at most {LONGEST_IDENTITY} bytes long"
            )));
        }
    }
    Ok(())
}

/// The token endpoint, if it is configured and the pod asks for it.
fn token_endpoint<'c>(pod: &PodView<'_>, config: &'c Config) -> Option<&'c TokenEndpointConfig> {
    let endpoint = config.token_endpoint.as_ref()?;
    pod.annotation(&endpoint.annotation)?.eq_ignore_ascii_case("true").then_some(endpoint)
}

/// A container that gets the environment and the mount, with its list and its place in it.
pub(crate) type EquippedContainer<'v, 'a> = (List, u32, &'v ContainerView<'a>);

/// All containers but the skipped ones, init containers first.
fn equipped_containers<'v, 'a>(
    pod: &'v PodView<'a>,
    skip_list: &SkipList<'_>,
) -> Vec<EquippedContainer<'v, 'a>> {
    let mut equipped = Vec::new();
    for (list, containers) in
        [(List::InitContainers, pod.init_containers()), (List::Containers, pod.containers())]
    {
        for (index, container) in (0..).zip(containers) {
            if !skip_list.contains(&container.name) {
                equipped.push((list, index, container));
            }
        }
    }
    equipped
}

fn warn_of_service_account(identity: NamedServiceAccount<'_>, warnings: &mut Vec<Warning>) {
    let NamedServiceAccount { namespace, name, account } = identity;
    if account.client_id().is_empty() {
        warnings.push(Warning::no_client_id(namespace, name));
    } else if !is_guid(account.client_id()) {
        warnings.push(Warning::client_id_not_guid(namespace, name, account.client_id()));
    }
    if account.misplaced.client_id_as_label {
        warnings.push(Warning::client_id_is_label(namespace, name));
    }
    if account.tenant_id.as_deref() == Some("") {
        warnings.push(Warning::tenant_id_empty(namespace, name));
    }
}

/// How many warnings one pod gets at most: a list in it may be as long as its author likes.
const MOST_WARNINGS: usize = 20;

/// Adds a warning once, and none beyond the limit, for which none is made either.
fn warn(warning: impl FnOnce() -> Warning, warnings: &mut Vec<Warning>) {
    if warnings.len() < MOST_WARNINGS {
        let warning = warning();
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }
}

fn warn_of_skip_list(subject: &str, skip_list: &SkipList<'_>, warnings: &mut Vec<Warning>) {
    let mut told: Vec<&str> = Vec::new();
    for name in skip_list.unknown_names() {
        // An annotation has room for a hundred thousand names: the same one, or such that print alike and make one warning.
        if warnings.len() >= MOST_WARNINGS || told.len() >= MOST_WARNINGS {
            break;
        }
        if !told.contains(&name) {
            told.push(name);
            warn(|| Warning::skipped_container_unknown(subject, name), warnings);
        }
    }
}

fn warn_of_container(
    container: &ContainerView<'_>,
    subject: &str,
    environment: &Environment<'_>,
    volume: &TokenVolume,
    warnings: &mut Vec<Warning>,
) {
    for variable in container.env() {
        let Some(injected) = environment.value(&variable.name) else { continue };
        if variable.value().is_some_and(|own| own != injected) {
            warn(|| Warning::variable_kept(subject, &container.name, &variable.name), warnings);
        }
    }
    let occupies = |path: &str| path.trim_end_matches('/') == volume.mount_path;
    for mount in container.volume_mounts() {
        if mount.name != volume.name && occupies(&mount.mount_path) {
            warn(|| Warning::mount_path_occupied(subject, &container.name, &mount.name), warnings);
        }
    }
}
