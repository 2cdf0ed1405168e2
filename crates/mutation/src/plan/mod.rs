//! Decides what one opted-in pod gets: a pure function of the pod, its service account and the configuration.

pub(crate) mod advice;
mod environment;
mod equipment;
mod equipped;
mod expiration;
mod go_int;
mod identity;
mod mount_points;
mod proxy;
mod skip_list;
mod spelling;
mod token_volume;
pub(crate) mod unread_keys;
mod wishes;

use azwi_json::printable;

use environment::{Environment, EnvironmentValues};
use equipment::Equipment;
use equipped::equipped_containers;
pub(crate) use expiration::token_expiration;
pub(crate) use identity::NamedServiceAccount;
pub(crate) use mount_points::Conflict;
use token_volume::{TokenSources, TokenVolume};
use wishes::Wishes;

use crate::bounds::LARGEST_PATCH;
use crate::config::Config;
use crate::denial::Denial;
use crate::patch::{Field, Patch};
use crate::text::object_name;
use crate::view::{PodHead, PodSpec, index_spec};
use crate::warning::Warning;

/// The result for an admitted pod.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Mutation {
    /// The change; empty if none is needed.
    pub patch: Patch,
    /// Messages to the user who created the pod, in a fixed order.
    pub warnings: Vec<Warning>,
    /// Annotations for the API server's audit log, by key; empty for a pod that was not opted in.
    pub audit: Vec<(&'static str, String)>,
}

/// Plans the mutation of an opted-in pod. `subject` names the pod in warnings.
///
/// The read order decides which of several errors a denial reports; it is upstream's.
///
/// # Errors
/// The pod or its service account requests an unsupported configuration, or exceeds a bound.
pub(crate) fn plan(
    pod: &PodHead<'_>,
    subject: &str,
    identity: NamedServiceAccount<'_>,
    config: &Config,
) -> Result<Mutation, Denial> {
    let index = index_spec(pod)?;
    let spec = PodSpec::read(pod, index.as_ref())?;
    let account = identity.account;
    let wishes = Wishes::read(pod, &spec, identity, config)?;
    let volume = TokenVolume::of(pod, &spec, config.token_volume);
    let values = EnvironmentValues {
        client_id: account.client_id(),
        tenant_id: account.tenant_id.as_deref().unwrap_or(&config.tenant_id),
        token_file: &volume.token_file,
        ca_file: &volume.ca_file,
        authority_host: &config.authority_host,
    };
    let equipment = Equipment {
        environment: Environment::new(values, wishes.token_endpoint),
        volume: &volume,
        containers: equipped_containers(&spec, &wishes.skip_list),
    };
    if !equipment.containers.is_empty() || wishes.proxy.is_some() {
        volume.check_own(&spec.volumes, &equipment.containers, wishes.proxy.is_some())?;
    }
    let patch = patch(pod, &spec, config, &wishes, &equipment)?;
    let warnings = advice::of_plan(subject, identity, &spec, &wishes, &equipment, config);
    let audit = vec![
        ("service-account", object_name(identity.namespace, identity.name)),
        ("client-id", printable(account.client_id(), 100)),
        ("token-volume", volume.name.clone()),
    ];
    Ok(Mutation { patch, warnings, audit })
}

/// Builds the patch: containers in order, then the proxy's, then the volume.
fn patch(
    pod: &PodHead<'_>,
    spec: &PodSpec<'_>,
    config: &Config,
    wishes: &Wishes<'_>,
    equipment: &Equipment<'_, '_>,
) -> Result<Patch, Denial> {
    let Equipment { environment, volume, containers } = equipment;
    let mut patch = Patch::default();
    for container in containers {
        environment.add_to(container.view, container.place(Field::Env), &mut patch);
        volume.mount_into(container.view, container.place(Field::VolumeMounts), &mut patch);
        // Checked along the way, so that a pod with many containers cannot fill the memory before it is denied.
        check_length(&patch)?;
    }
    patch.shrink();
    if let Some(proxy) = &wishes.proxy {
        // The injected containers can be skipped like any other.
        let equip = |name: &str| {
            if wishes.skip_list.contains(name) {
                (Vec::new(), Vec::new())
            } else {
                (environment.variables(), vec![volume.mount()])
            }
        };
        proxy.add_to(spec, &config.proxy, equip, &mut patch);
    }
    let audience = wishes.token_endpoint.map_or(&config.audience, |endpoint| &endpoint.audience);
    let sources = TokenSources {
        audience,
        expiration_seconds: wishes.expiration_seconds,
        token_endpoint: wishes.token_endpoint,
    };
    volume.add_to(&spec.volumes, containers, sources, &mut patch);
    if !pod.has_spec() {
        patch = patch.into_new_spec();
    }
    check_length(&patch)?;
    Ok(patch)
}

fn check_length(patch: &Patch) -> Result<(), Denial> {
    if patch.json_length() <= LARGEST_PATCH {
        return Ok(());
    }
    Err(Denial::invalid(format!(
        "the pod is too large: what is added to it must be at most {LARGEST_PATCH} bytes long"
    )))
}
