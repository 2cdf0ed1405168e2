//! What people are warned of. Every warning is decided here; `warning.rs` has the sentences.

use super::equipment::Equipment;
use super::identity::NamedServiceAccount;
use super::skip_list::SkipList;
use super::wishes::Wishes;
use crate::config::{OptIn, is_guid};
use crate::names::{CLIENT_ID_ANNOTATION, OPT_IN_LABEL, OPT_IN_VALUE};
use crate::text::object_name;
use crate::view::{Container, PodHead, PodSpec, ServiceAccountLookup, Workload};
use crate::warning::Warning;

/// How many warnings one pod gets at most: a list in it may be as long as its author likes.
const MOST_WARNINGS: usize = 20;

/// Warnings that need nothing but the pod, whether it is opted in or not.
pub(crate) fn of_pod(pod: &PodHead<'_>, subject: &str) -> Vec<Warning> {
    let mut warnings = Vec::new();
    if pod.annotation(CLIENT_ID_ANNOTATION).is_some() {
        warnings.push(Warning::client_id_on_pod(subject));
    }
    warnings
}

/// For a pod that is not opted in: signs that it was meant to be, by itself.
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

/// For a workload object whose pods are not opted in: a sign that they were meant to be.
pub(crate) fn of_workload_label(workload: &Workload<'_>, opt_in: OptIn, warnings: &mut Vec<Warning>) {
    if workload.has_opt_in_label && opt_in.reads_pod_label() {
        warnings.push(Warning::label_on_workload_only(&workload.subject));
    }
}

/// For a pod that its service account does not opt in: signs that it was meant to, or that the account could not be read.
pub(crate) fn of_missed_opt_in(
    pod: &PodHead<'_>,
    subject: &str,
    namespace: &str,
    lookup: &ServiceAccountLookup,
    opt_in: OptIn,
    warnings: &mut Vec<Warning>,
) {
    let name = pod.service_account_name();
    let account_name = object_name(namespace, name);
    of_missed_label(pod, subject, opt_in, warnings);
    if pod.is_labelled() {
        warnings.push(Warning::label_on_pod_only(subject, &account_name));
    }
    match lookup {
        ServiceAccountLookup::Found(account) => {
            let account_subject = format!("service account {account_name}");
            if let Some(value) = account.opt_in_label.as_deref() {
                warnings.push(Warning::label_value(&account_subject, value));
            }
            if account.misplaced.opt_in_as_annotation {
                warnings.push(Warning::label_is_annotation(&account_subject));
            }
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
) -> Vec<Warning> {
    let mut warnings = Vec::new();
    of_service_account(identity, &mut warnings);
    of_skip_list(subject, &wishes.skip_list, &mut warnings);
    for container in &equipment.containers {
        of_container(container.view, subject, equipment, &mut warnings);
    }
    if let Some(name) = equipment.volume.stand_in(&spec.volumes) {
        warnings.push(Warning::token_volume_elsewhere(subject, name, &equipment.volume.name));
    }
    if wishes.proxy.is_some() && spec.is_windows() {
        warnings.push(Warning::proxy_on_windows(subject));
    }
    if wishes.lacks_token_endpoint {
        warnings.push(Warning::token_endpoint_unavailable(subject));
    }
    warnings
}

fn of_service_account(identity: NamedServiceAccount<'_>, warnings: &mut Vec<Warning>) {
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

/// Adds a warning once, and none beyond the limit, for which none is made either.
fn warn(warning: impl FnOnce() -> Warning, warnings: &mut Vec<Warning>) {
    if warnings.len() < MOST_WARNINGS {
        let warning = warning();
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }
}

fn of_skip_list(subject: &str, skip_list: &SkipList<'_>, warnings: &mut Vec<Warning>) {
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

fn of_container(
    container: &Container<'_>,
    subject: &str,
    equipment: &Equipment<'_, '_>,
    warnings: &mut Vec<Warning>,
) {
    let Equipment { environment, volume, .. } = equipment;
    for variable in container.env() {
        let Some((name, value)) = environment.counterpart(&variable) else { continue };
        if variable.has_other_value_than(value) {
            warn(|| Warning::variable_kept(subject, &container.name, name), warnings);
        }
    }
    let occupies = |path: &str| path.trim_end_matches('/') == volume.mount_path;
    for mount in container.volume_mounts() {
        if !mount.is_of(&volume.name) && occupies(&mount.path()) {
            warn(|| Warning::mount_path_occupied(subject, &container.name, &mount.volume()), warnings);
        }
    }
}
