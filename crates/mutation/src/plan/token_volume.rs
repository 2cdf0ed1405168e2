//! The projected token volume: its name, its paths, and what an earlier run left of it.

use std::borrow::Cow;
use std::fmt::Write as _;

use k8s_openapi::api::core::v1::{
    ClusterTrustBundleProjection, ConfigMapProjection, KeyToPath, ProjectedVolumeSource,
    ServiceAccountTokenProjection, VolumeMount, VolumeProjection,
};
use sha2::{Digest as _, Sha256};

use super::equipped::Equipped;
use crate::config::{CaSource, TokenEndpointConfig, TokenVolumeLayout};
use crate::names::TOKEN_FILE_ENV;
use crate::patch::{Fragment, List, Patch, Pointer, ProjectedVolume, fragment, list_of};
use crate::view::{Container, PodHead, PodSpec, Projection, Volume};
use azwi_json::{JsonText, JsonValue};

const FIXED_NAME: &str = "azure-identity-token";
const FIXED_MOUNT_PATH: &str = "/var/run/secrets/azure/tokens";
const FIXED_TOKEN_PATH: &str = "azure-identity-token";

/// Volumes whose name begins so belong to this software and to upstream.
const RESERVED_PREFIX: &str = "azure-workload-identity-reserved-";
const RESERVED_MOUNT_PATH: &str = "/var/run/secrets/azure/wi";
const RESERVED_TOKEN_PATH: &str = "token/azure-identity-token";
/// The token's path, as it follows the mount's.
const TOKEN_BELOW_MOUNT: &str = "/token/azure-identity-token";
const CA_PATH: &str = "ca-cert/ca.crt";
const CA_KEY: &str = "ca.crt";

/// Longest name of a volume, in bytes: Kubernetes' bound.
const LONGEST_NAME: usize = 63;

/// Hexadecimal digits of the hash in a reserved name: what the prefix leaves of a name's 63 characters.
const HASH_DIGITS: usize = 30;

/// File mode that the API server fills in where a projected volume says none.
const DEFAULTED_MODE: i64 = 0o644;

/// The token volume of one pod.
#[derive(Debug)]
pub(crate) struct TokenVolume {
    layout: TokenVolumeLayout,
    /// Name of the volume.
    pub name: String,
    /// Where every container mounts it.
    pub mount_path: String,
    /// Path of the token in every container.
    pub token_file: String,
    /// Path of the token endpoint's CA certificate, where the layout has one.
    pub ca_file: String,
    /// The mount, and a list of it alone: all containers get the same.
    mount_json: Fragment,
    mounts_json: Fragment,
}

impl TokenVolume {
    /// Names the volume for a pod, or recognises the one that an earlier run named.
    pub(crate) fn of(pod: &PodHead<'_>, spec: &PodSpec<'_>, layout: TokenVolumeLayout) -> Self {
        if layout == TokenVolumeLayout::AzureIdentityToken {
            let token_file = format!("{FIXED_MOUNT_PATH}/{FIXED_TOKEN_PATH}");
            return Self::new(
                layout,
                FIXED_NAME.to_owned(),
                FIXED_MOUNT_PATH.to_owned(),
                token_file,
                String::new(),
            );
        }
        let (name, earlier_mount_path) = reserved_name(pod, spec);
        let mount_path = match (earlier_mount_path, layout, name.strip_prefix(RESERVED_PREFIX)) {
            (Some(path), _, _) => path,
            (None, TokenVolumeLayout::ReservedPerPod, Some(hash)) => format!("{RESERVED_MOUNT_PATH}/{hash}"),
            _ => RESERVED_MOUNT_PATH.to_owned(),
        };
        let token_file = format!("{mount_path}/{RESERVED_TOKEN_PATH}");
        let ca_file = format!("{mount_path}/{CA_PATH}");
        Self::new(layout, name, mount_path, token_file, ca_file)
    }

    fn new(
        layout: TokenVolumeLayout,
        name: String,
        mount_path: String,
        token_file: String,
        ca_file: String,
    ) -> Self {
        let mount_json = fragment(&mount(&name, &mount_path));
        let mounts_json = list_of(std::slice::from_ref(&mount_json));
        Self { layout, name, mount_path, token_file, ca_file, mount_json, mounts_json }
    }

    fn has_fixed_name(&self) -> bool {
        self.layout == TokenVolumeLayout::AzureIdentityToken
    }

    /// A volume that takes the fixed layout's place under another name: its token is there, but no mount leads to it.
    pub(crate) fn stand_in<'v>(&self, volumes: &'v [Volume<'_>]) -> Option<&'v str> {
        if !self.has_fixed_name() || volumes.iter().any(|volume| volume.name == self.name) {
            return None;
        }
        volumes.iter().find(|volume| volume.projects_token_to(FIXED_TOKEN_PATH)).map(|volume| &*volume.name)
    }

    /// The mount that every container gets.
    pub(crate) fn mount(&self) -> VolumeMount {
        mount(&self.name, &self.mount_path)
    }

    /// Adds the mount to a container, or puts an earlier one right. `place` is the
    /// container's list of mounts.
    pub(crate) fn mount_into(&self, container: &Container<'_>, place: Pointer, patch: &mut Patch) {
        match (0..).zip(container.volume_mounts()).find(|(_, mount)| mount.is_of(&self.name)) {
            None if container.has_no_volume_mounts() => patch.add(place, Fragment::clone(&self.mounts_json)),
            None => patch.add(place.end(), Fragment::clone(&self.mount_json)),
            Some((_, mount)) if self.has_fixed_name() || mount.is_plain_read_only_at(&self.mount_path) => {}
            Some((position, _)) => patch.replace(place.at(position), Fragment::clone(&self.mount_json)),
        }
    }

    /// Whether the container mounts the volume as this software would.
    fn is_mounted_in(&self, container: &Container<'_>) -> bool {
        let mount = container.volume_mounts().find(|mount| mount.is_of(&self.name));
        mount.is_some_and(|mount| mount.is_plain_read_only_at(&self.mount_path))
    }

    /// Adds the volume to the pod, or puts an earlier one right. `containers` are those that get the mount.
    pub(crate) fn add_to(
        &self,
        volumes: &[Volume<'_>],
        containers: &[Equipped<'_, '_>],
        sources: TokenSources<'_>,
        patch: &mut Patch,
    ) {
        if self.has_fixed_name() {
            if !volumes.iter().any(|volume| volume.projects_token_to(FIXED_TOKEN_PATH)) {
                self.append_to(volumes, sources.build(FIXED_TOKEN_PATH), patch);
            }
            return;
        }
        let projected = sources.build(RESERVED_TOKEN_PATH);
        let existing = (0..).zip(volumes).find(|(_, volume)| volume.name == self.name);
        let Some((index, volume)) = existing else { return self.append_to(volumes, projected, patch) };
        // A volume in use is an earlier run's, and the API server has filled in its file mode since.
        let is_in_use =
            containers.is_empty() || containers.iter().any(|container| self.is_mounted_in(container.view));
        let is_mode_right = match volume.projected.as_ref().and_then(|projected| projected.default_mode) {
            None => true,
            Some(mode) => is_in_use && mode == DEFAULTED_MODE,
        };
        if !is_mode_right || !has_sources(volume, &projected) {
            patch.replace(VOLUMES.at(index), self.volume(projected));
        }
    }

    fn append_to(&self, volumes: &[Volume<'_>], projected: ProjectedVolumeSource, patch: &mut Patch) {
        patch.append(VOLUMES, volumes.is_empty(), &[self.volume(projected)]);
    }

    fn volume(&self, projected: ProjectedVolumeSource) -> Fragment {
        fragment(&ProjectedVolume { name: self.name.clone(), projected })
    }
}

const VOLUMES: Pointer = Pointer::list(List::Volumes);

fn mount(name: &str, path: &str) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: Some(true),
        ..VolumeMount::default()
    }
}

/// The reserved name: that of this pod, unless an earlier run gave another one while the pod's name was not known. With
/// that, where the earlier run mounted the volume, because the variables that it set point there.
fn reserved_name(pod: &PodHead<'_>, spec: &PodSpec<'_>) -> (String, Option<String>) {
    let of_prefix = || reserved_name_for(pod.generate_name(), " (prefix)");
    let name = if pod.name().is_empty() { of_prefix() } else { reserved_name_for(pod.name(), "") };
    let volumes = &spec.volumes;
    if volumes.iter().any(|volume| volume.name == name) {
        return (name, None);
    }
    let mut earlier = volumes.iter().filter(|volume| is_earlier_token_volume(volume));
    let Some(first) = earlier.next() else { return (name, None) };
    let of_prefix = of_prefix();
    let earlier = earlier.rfind(|volume| volume.name == of_prefix).unwrap_or(first);
    let mut mount_path = None;
    for containers in [&spec.init_containers, &spec.containers] {
        for container in containers {
            mount_path = mount_path.or_else(|| earlier_mount_path(container, &earlier.name));
        }
    }
    (earlier.name.clone().into_owned(), mount_path)
}

/// Where an earlier run mounted the volume in this container: the place that the container's variable names.
fn earlier_mount_path(container: &Container<'_>, volume: &str) -> Option<String> {
    let variable = container.env().find(|variable| variable.is_named(TOKEN_FILE_ENV))?;
    let token_file = variable.short_value()?;
    let is_named = |path: &str| token_file.strip_prefix(path).is_some_and(|rest| rest == TOKEN_BELOW_MOUNT);
    let mounts = container.volume_mounts().filter(|mount| mount.is_of(volume));
    let mut paths = mounts.map(|mount| mount.path());
    paths.find(|path| is_reserved_mount_path(path) && is_named(path)).map(Cow::into_owned)
}

/// Whether this software and upstream mount token volumes here.
fn is_reserved_mount_path(path: &str) -> bool {
    let rest = path.strip_prefix(RESERVED_MOUNT_PATH);
    rest.is_some_and(|rest| rest.is_empty() || (rest.starts_with('/') && rest.len() <= LONGEST_NAME))
}

/// Whether this is a token volume that this software or upstream added.
fn is_earlier_token_volume(volume: &Volume<'_>) -> bool {
    let hash = volume.name.strip_prefix(RESERVED_PREFIX);
    hash.is_some_and(|hash| !hash.is_empty())
        && volume.name.len() <= LONGEST_NAME
        && volume.projects_token_to(RESERVED_TOKEN_PATH)
}

/// The name for a pod with this identity: the first hexadecimal digits of a SHA-256.
fn reserved_name_for(identity: &str, suffix: &str) -> String {
    let digest = Sha256::new_with_prefix(identity).chain_update(suffix).finalize();
    let mut name = String::with_capacity(RESERVED_PREFIX.len() + HASH_DIGITS);
    name.push_str(RESERVED_PREFIX);
    for byte in digest.iter().take(HASH_DIGITS / 2) {
        // Writing to a String cannot fail.
        _ = write!(name, "{byte:02x}");
    }
    name
}

/// What the token volume projects.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TokenSources<'a> {
    /// Audience of the token.
    pub audience: &'a str,
    /// Life of the token in seconds.
    pub expiration_seconds: i64,
    pub(crate) token_endpoint: Option<&'a TokenEndpointConfig>,
}

impl TokenSources<'_> {
    fn build(&self, token_path: &str) -> ProjectedVolumeSource {
        let token = VolumeProjection {
            service_account_token: Some(ServiceAccountTokenProjection {
                audience: Some(self.audience.to_owned()),
                expiration_seconds: Some(self.expiration_seconds),
                path: token_path.to_owned(),
            }),
            ..VolumeProjection::default()
        };
        let ca = self.token_endpoint.and_then(|endpoint| endpoint.ca.as_ref()).and_then(ca_projection);
        let mut sources = vec![token];
        sources.extend(ca);
        ProjectedVolumeSource { default_mode: None, sources: Some(sources) }
    }
}

fn ca_projection(ca: &CaSource) -> Option<VolumeProjection> {
    match ca {
        CaSource::Data(_) => None,
        CaSource::ConfigMap(name) => Some(VolumeProjection {
            config_map: Some(ConfigMapProjection {
                name: name.clone(),
                items: Some(vec![KeyToPath { key: CA_KEY.to_owned(), path: CA_PATH.to_owned(), mode: None }]),
                optional: Some(false),
            }),
            ..VolumeProjection::default()
        }),
        CaSource::TrustBundle { signer_name, label_selector } => Some(VolumeProjection {
            cluster_trust_bundle: Some(ClusterTrustBundleProjection {
                signer_name: Some(signer_name.clone()),
                label_selector: label_selector.clone(),
                name: None,
                optional: Some(false),
                path: CA_PATH.to_owned(),
            }),
            ..VolumeProjection::default()
        }),
    }
}

/// Whether the volume projects exactly this.
fn has_sources(volume: &Volume<'_>, wanted: &ProjectedVolumeSource) -> bool {
    let sources = volume.projected.as_ref().map_or(&[][..], |projected| &projected.sources);
    let wanted = wanted.sources.as_deref().unwrap_or_default();
    !volume.has_other_fields
        && sources.len() == wanted.len()
        && sources.iter().zip(wanted).all(|(source, wanted)| is_source(source, wanted))
}

fn is_source(source: &Projection<'_>, wanted: &VolumeProjection) -> bool {
    let same_token = match (&source.token, &wanted.service_account_token) {
        (None, None) => true,
        (Some(token), Some(wanted)) => {
            Some(&*token.audience) == wanted.audience.as_deref()
                && token.expiration_seconds == wanted.expiration_seconds
                && token.path == wanted.path
        }
        _ => false,
    };
    same_token
        && is_same(source.config_map, wanted.config_map.as_ref())
        && is_same(source.cluster_trust_bundle, wanted.cluster_trust_bundle.as_ref())
}

/// Whether the JSON value says the same as the API object.
fn is_same<T: serde::Serialize>(value: Option<JsonValue<'_>>, wanted: Option<&T>) -> bool {
    match (value, wanted) {
        (None, None) => true,
        (Some(value), Some(wanted)) => serde_json::to_string(wanted).is_ok_and(|wanted| {
            JsonText::parse(&wanted).is_ok_and(|wanted| value.is_equal_to(wanted.root()))
        }),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::reserved_name_for;

    /// Names that upstream gives.
    #[test]
    fn names_are_upstreams() {
        for (identity, suffix, hash) in [
            ("p", "", "148de9c5a7a44d19e56cd9ae1a554b"),
            ("db-0", "", "5d2e50e8c9fc80ad3ab4bc23cce71b"),
            ("quick-start", "", "a94beddb35177ade9c5d04f292b481"),
            ("web-7d4-", " (prefix)", "f19ff678f2cb1dbea8d2f468a5897c"),
            ("", " (prefix)", "7ae265465cf68a19ccd3c91d70dc31"),
        ] {
            let name = reserved_name_for(identity, suffix);
            assert_eq!(name, format!("azure-workload-identity-reserved-{hash}"));
            assert!(name.len() <= 63, "longer than a volume's name may be");
        }
    }
}
