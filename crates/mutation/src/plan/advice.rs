//! Decides on all warnings; `warning.rs` has the sentences.

use super::equipment::Equipment;
use super::identity::NamedServiceAccount;
use super::mount_points::MountPoints;
use super::skip_list::SkipList;
use super::spelling::meant;
use super::token_volume::{FIXED_TOKEN_PATH, TokenVolume};
use super::unread_keys::{self, Holder, Place};
use super::wishes::Wishes;
use crate::config::{Config, OptIn, is_guid};
use crate::names::{OPT_IN_LABEL, OPT_IN_VALUE};
use crate::text::object_name;
use crate::view::{
    Container, KeyKind, PodHead, PodSpec, ServiceAccount, ServiceAccountLookup, Workload, prefixed_keys,
};
use crate::warning::Warning;

/// Maximum number of skip-list names to compare with container names. Nobody makes more typing mistakes in one list.
const MOST_COMPARED: usize = 8;
/// Maximum number of a workload object's own keys to look at. There are not even ten to write.
const MOST_WORKLOAD_KEYS: usize = 32;
/// Maximum number of warnings per pod: its lists may be arbitrarily long.
pub(crate) const MOST_WARNINGS: usize = 20;

/// Warnings that need only the pod, opted in or not.
pub(crate) fn of_pod(pod: &PodHead<'_>, subject: &str, namespace: &str, config: &Config) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let account = format!("its service account {}", object_name(namespace, pod.service_account_name()));
    let place = Place { holder: Holder::Pod, subject, pod: subject, account: &account };
    unread_keys::of_keys(pod.prefixed_keys(), place, config, &mut warnings);
    warnings
}

/// Warns about service account keys that are never read.
fn of_account_keys(
    pod: &str,
    account_name: &str,
    account: &ServiceAccount,
    config: &Config,
    warnings: &mut Vec<Warning>,
) {
    let subject = format!("service account {account_name}");
    let place = Place { holder: Holder::ServiceAccount, subject: &subject, pod, account: &subject };
    unread_keys::of_keys(account.unread_keys(), place, config, warnings);
}

/// For a pod that is not opted in: signs in the pod that it was meant to be.
pub(crate) fn of_missed_label(pod: &PodHead<'_>, subject: &str, opt_in: OptIn, warnings: &mut Vec<Warning>) {
    if !opt_in.reads_pod_label() {
        return;
    }
    if let Some(value) = pod.opt_in_label().filter(|value| *value != OPT_IN_VALUE) {
        warnings.push(Warning::label_value(subject, value));
    }
    if pod.annotation(OPT_IN_LABEL).is_some() {
        warnings.push(Warning::label_is_annotation(subject));
    }
}

/// For a workload object: misplaced keys. If its pods are not opted in, also signs that they were meant to be.
pub(crate) fn of_workload(
    workload: &Workload<'_>,
    template: &PodHead<'_>,
    is_opted_in: bool,
    namespace: &str,
    config: &Config,
    warnings: &mut Vec<Warning>,
) {
    let account = format!("its service account {}", object_name(namespace, template.service_account_name()));
    let pod = "its pod template";
    for (subject, metadata) in &workload.layers {
        let keys = prefixed_keys(*metadata);
        // Each is compared with all keys of the template, of which there may be thousands.
        let own = keys.iter().take(MOST_WORKLOAD_KEYS).map(|(kind, key)| (*kind, &**key));
        // Tools write the same keys to both.
        let own = own.filter(|own| template.prefixed_keys().all(|key| key != *own));
        if let Some((kind, _)) = own.clone().find(|(_, key)| *key == OPT_IN_LABEL).filter(|_| !is_opted_in) {
            let place = if config.opt_in.reads_pod_label() { pod } else { &*account };
            warnings.push(Warning::label_on_workload_only(kind, subject, place));
        }
        let place = Place { holder: Holder::Workload, subject, pod, account: &account };
        unread_keys::of_keys(own, place, config, warnings);
    }
}

/// For a pod that its service account does not opt in: signs that it was meant to be, or that the account was
/// unreadable.
pub(crate) fn of_missed_opt_in(
    pod: &PodHead<'_>,
    subject: &str,
    namespace: &str,
    lookup: &ServiceAccountLookup,
    config: &Config,
    warnings: &mut Vec<Warning>,
) {
    let name = pod.service_account_name();
    let account_name = object_name(namespace, name);
    of_missed_label(pod, subject, config.opt_in, warnings);
    if pod.is_labelled() {
        warnings.push(Warning::label_on_pod_only(subject, &account_name));
    }
    match lookup {
        ServiceAccountLookup::Found(account) => {
            let account_subject = format!("service account {account_name}");
            if let Some(value) = account.opt_in_label.as_deref() {
                warnings.push(Warning::label_value(&account_subject, value));
            }
            if account.has_unread(KeyKind::Annotation, OPT_IN_LABEL) {
                warnings.push(Warning::label_is_annotation(&account_subject));
            }
            of_account_keys(subject, &account_name, account, config, warnings);
        }
        ServiceAccountLookup::Missing => {}
        ServiceAccountLookup::Failed(reason) => {
            warnings.push(Warning::service_account_unreadable(namespace, name, reason));
        }
    }
}

/// For a pod that is mutated.
pub(crate) fn of_plan(
    subject: &str,
    identity: NamedServiceAccount<'_>,
    spec: &PodSpec<'_>,
    wishes: &Wishes<'_>,
    equipment: &Equipment<'_, '_>,
    config: &Config,
) -> Vec<Warning> {
    let mut warnings = Vec::new();
    of_service_account(identity, wishes, &mut warnings);
    let account_name = object_name(identity.namespace, identity.name);
    of_account_keys(subject, &account_name, identity.account, config, &mut warnings);
    of_skip_list(subject, &wishes.skip_list, &mut warnings);
    let TokenVolume { mount_path, token_file, .. } = equipment.volume;
    let mount_points = MountPoints::new(&spec.volumes, mount_path, token_file);
    for container in &equipment.containers {
        of_container(container.view, subject, spec, equipment, &mount_points, &mut warnings);
    }
    if !equipment.containers.is_empty() || wishes.proxy.is_some() {
        of_volume(subject, spec, equipment.volume, config, &mut warnings);
    }
    if wishes.proxy.is_some() && spec.is_windows() {
        warnings.push(Warning::proxy_on_windows(subject));
    }
    if wishes.lacks_token_endpoint {
        warnings.push(Warning::token_endpoint_unavailable(subject));
    }
    warnings
}

/// Warns about a volume that replaces the token volume, or a different token in it.
fn of_volume(
    subject: &str,
    spec: &PodSpec<'_>,
    volume: &TokenVolume,
    config: &Config,
    warnings: &mut Vec<Warning>,
) {
    if let Some(name) = volume.stand_in(&spec.volumes) {
        warnings.push(Warning::token_volume_elsewhere(subject, name, &volume.name));
    }
    if volume.is_unclear(&spec.volumes) {
        warnings.push(Warning::token_volume_unclear(subject, &volume.name, FIXED_TOKEN_PATH));
    }
    if let Some(audience) = volume.own_audience(&spec.volumes).filter(|audience| *audience != config.audience)
    {
        warnings.push(Warning::token_audience(subject, &volume.name, audience, &config.audience));
    }
}

fn of_service_account(identity: NamedServiceAccount<'_>, wishes: &Wishes<'_>, warnings: &mut Vec<Warning>) {
    let NamedServiceAccount { namespace, name, account } = identity;
    if wishes.needs_client_id {
        warnings.push(Warning::no_client_id(namespace, name));
    } else if !account.client_id().is_empty() && !is_guid(account.client_id()) {
        warnings.push(Warning::client_id_not_guid(namespace, name, account.client_id()));
    }
    if account.tenant_id.as_deref() == Some("") {
        warnings.push(Warning::tenant_id_empty(namespace, name));
    }
}

/// Adds a warning if there is room and it is new. Without room, it is not even built.
fn warn(warning: impl FnOnce() -> Warning, warnings: &mut Vec<Warning>) {
    if warnings.len() < MOST_WARNINGS {
        let warning = warning();
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }
}

/// Warns about names that match no container but are similar to one. Other names usually belong to containers that a
/// later webhook adds.
fn of_skip_list(subject: &str, skip_list: &SkipList<'_>, warnings: &mut Vec<Warning>) {
    for name in skip_list.unknown_names().take(MOST_COMPARED) {
        if let Some(meant) = meant(name, skip_list.others()) {
            warn(|| Warning::skipped_container_unknown(subject, name, meant), warnings);
        }
    }
}

fn of_container(
    container: &Container<'_>,
    subject: &str,
    spec: &PodSpec<'_>,
    equipment: &Equipment<'_, '_>,
    mount_points: &MountPoints<'_>,
    warnings: &mut Vec<Warning>,
) {
    let Equipment { environment, volume, .. } = equipment;
    for variable in container.env() {
        let Some((name, value)) = environment.counterpart(&variable) else { continue };
        if variable.has_other_value_than(value) {
            warn(|| Warning::variable_kept(subject, &container.name, name), warnings);
        }
    }
    if volume.is_mounted_elsewhere_in(container, &spec.volumes) {
        warn(
            || {
                let (name, path) = (&volume.name, &volume.mount_path);
                Warning::token_mounted_elsewhere(subject, &container.name, name, path)
            },
            warnings,
        );
    }
    if !volume.is_at_mount_path_in(container) {
        return;
    }
    mount_points.check(container, &volume.name, |conflict, mount| {
        let (other, path) = (mount.volume(), mount.path());
        warn(|| Warning::mount_conflict(subject, &container.name, conflict, &other, &path), warnings);
    });
}
