//! The projected token volume: its name, its paths, and the remains of an earlier run.

use std::borrow::Cow;
use std::fmt::Write as _;

use k8s_openapi::api::core::v1::{
    ClusterTrustBundleProjection, ConfigMapProjection, KeyToPath, ProjectedVolumeSource,
    ServiceAccountTokenProjection, VolumeMount, VolumeProjection,
};
use sha2::{Digest as _, Sha256};

use super::equipped::Equipped;
use super::mount_points::canonical;
use crate::config::{CaSource, TokenEndpointConfig, TokenVolumeLayout};
use crate::denial::Denial;
use crate::names::TOKEN_FILE_ENV;
use crate::patch::{Fragment, List, Patch, Pointer, ProjectedVolume, fragment, list_of};
use crate::view::{Container, Holds, PodHead, PodSpec, Projection, Variable, Volume};
use azwi_json::{JsonText, JsonValue};

const FIXED_NAME: &str = "azure-identity-token";
const FIXED_MOUNT_PATH: &str = "/var/run/secrets/azure/tokens";
pub(crate) const FIXED_TOKEN_PATH: &str = "azure-identity-token";

/// Prefix of the volume names reserved for this software and upstream.
const RESERVED_PREFIX: &str = "azure-workload-identity-reserved-";
const RESERVED_MOUNT_PATH: &str = "/var/run/secrets/azure/wi";
const RESERVED_TOKEN_PATH: &str = "token/azure-identity-token";
/// The token's path relative to the mount path.
const TOKEN_BELOW_MOUNT: &str = "/token/azure-identity-token";
const CA_PATH: &str = "ca-cert/ca.crt";
const CA_KEY: &str = "ca.crt";

/// Maximum length of a volume name, in bytes: Kubernetes' limit.
const LONGEST_NAME: usize = 63;

/// Hexadecimal digits of the hash in a reserved name: a name's 63 characters minus the prefix.
const HASH_DIGITS: usize = 30;

/// File mode that the API server sets if a projected volume does not.
const DEFAULTED_MODE: i64 = 0o644;

#[derive(Debug)]
pub(crate) struct TokenVolume {
    layout: TokenVolumeLayout,
    pub name: String,
    /// Mount path in every container.
    pub mount_path: String,
    /// Path of the token in every container.
    pub token_file: String,
    /// Path of the token endpoint's CA certificate, if the layout has one.
    pub ca_file: String,
    /// The mount, and a list with only the mount: all containers get the same.
    mount_json: Fragment,
    mounts_json: Fragment,
}

impl TokenVolume {
    /// Names the volume for a pod, or finds the one from an earlier run.
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

    /// A volume with another name that replaces the fixed layout's: it has the token, but no mount refers to it.
    pub(crate) fn stand_in<'v>(&self, volumes: &'v [Volume<'_>]) -> Option<&'v str> {
        if !self.has_fixed_name() || volumes.iter().any(|volume| volume.name == self.name) {
            return None;
        }
        volumes.iter().find(|volume| volume.projects_token_to(FIXED_TOKEN_PATH)).map(|volume| &*volume.name)
    }

    /// The pod's own volume with this name, if the layout leaves it unchanged.
    fn own<'v, 'a>(&self, volumes: &'v [Volume<'a>]) -> Option<&'v Volume<'a>> {
        volumes.iter().find(|volume| volume.name == self.name).filter(|_| self.has_fixed_name())
    }

    /// Checks that the pod's own volume with this name, if there is one, can contain the token, or that no container needs
    /// it for that.
    ///
    /// # Errors
    /// A denial that names the volume and the fix: the API server would reject a pod with two volumes of this name, and
    /// with only this one a container would find no token.
    pub(crate) fn check_own(
        &self,
        volumes: &[Volume<'_>],
        containers: &[Equipped<'_, '_>],
        has_proxy: bool,
    ) -> Result<(), Denial> {
        let Some(own) = self.own(volumes) else { return Ok(()) };
        let all_find = || containers.iter().all(|container| self.is_found_by(container.view, own));
        if own.holds(FIXED_TOKEN_PATH) != Holds::No || (!has_proxy && all_find()) {
            return Ok(());
        }
        Err(Denial::invalid(format!(
            "pod volume {} ({}) cannot hold the token, but its name is needed for the token volume; rename it",
            self.name,
            own.kind()
        )))
    }

    /// Whether the pod has a volume with this name that may not contain the token.
    pub(crate) fn is_unclear(&self, volumes: &[Volume<'_>]) -> bool {
        self.own(volumes).is_some_and(|own| own.holds(FIXED_TOKEN_PATH) == Holds::Perhaps)
    }

    /// The audience of the token in the pod's own volume with this name, if it projects one.
    pub(crate) fn own_audience<'v>(&self, volumes: &'v [Volume<'_>]) -> Option<&'v str> {
        Some(&self.own(volumes)?.token_at(FIXED_TOKEN_PATH)?.audience)
    }

    /// The mount that every container gets.
    pub(crate) fn mount(&self) -> VolumeMount {
        mount(&self.name, &self.mount_path)
    }

    /// Adds the mount to a container, or corrects an earlier one. `place` is the container's list of mounts.
    pub(crate) fn mount_into(&self, container: &Container<'_>, place: Pointer, patch: &mut Patch) {
        match (0..).zip(container.volume_mounts()).find(|(_, mount)| mount.is_of(&self.name)) {
            None if container.has_no_volume_mounts() => patch.add(place, Fragment::clone(&self.mounts_json)),
            None => patch.add(place.end(), Fragment::clone(&self.mount_json)),
            Some((_, mount)) if self.has_fixed_name() || mount.is_plain_read_only_at(&self.mount_path) => {}
            Some((position, _)) => patch.replace(place.at(position), Fragment::clone(&self.mount_json)),
        }
    }

    /// Whether the container mounts the volume exactly as this software would.
    fn is_mounted_in(&self, container: &Container<'_>) -> bool {
        let mount = container.volume_mounts().find(|mount| mount.is_of(&self.name));
        mount.is_some_and(|mount| mount.is_plain_read_only_at(&self.mount_path))
    }

    /// Whether the container finds a token without our mount: it brings a path of its own, or mounts the pod's own volume
    /// so that a file may be where the variable points. Not by `subPath`, which keeps it from being renewed.
    fn is_found_by(&self, container: &Container<'_>, own: &Volume<'_>) -> bool {
        let brings_path = |variable: Variable<'_>| variable.is_named(TOKEN_FILE_ENV) && variable.has_value();
        let mut mounts = container.volume_mounts().filter(|mount| mount.is_of(&self.name));
        container.env().any(brings_path)
            || mounts.any(|mount| {
                let file = self.token_file.strip_prefix(&canonical(&mount.path()));
                let file = file.and_then(|file| file.strip_prefix('/')).filter(|_| !mount.is_part());
                file.is_some_and(|file| own.holds(file) != Holds::No)
            })
    }

    /// Whether the container mounts the pod's own volume with this name in a way that does not work.
    pub(crate) fn is_mounted_elsewhere_in(&self, container: &Container<'_>, volumes: &[Volume<'_>]) -> bool {
        let is_mounted = || container.volume_mounts().any(|mount| mount.is_of(&self.name));
        self.own(volumes).is_some_and(|own| is_mounted() && !self.is_found_by(container, own))
    }

    /// Whether the container has the volume at the usual path after the mutation. A mount of the pod's own volume at
    /// another path stays.
    pub(crate) fn is_at_mount_path_in(&self, container: &Container<'_>) -> bool {
        let mut mounts = container.volume_mounts().filter(|mount| mount.is_of(&self.name)).peekable();
        !self.has_fixed_name()
            || mounts.peek().is_none()
            || mounts.any(|mount| canonical(&mount.path()) == self.mount_path)
    }

    /// Adds the volume to the pod, or corrects an earlier one. `containers` are those that get the mount.
    pub(crate) fn add_to(
        &self,
        volumes: &[Volume<'_>],
        containers: &[Equipped<'_, '_>],
        sources: TokenSources<'_>,
        patch: &mut Patch,
    ) {
        if self.has_fixed_name() {
            let has_token = |volume: &Volume<'_>| volume.projects_token_to(FIXED_TOKEN_PATH);
            if !volumes.iter().any(|volume| volume.name == self.name || has_token(volume)) {
                self.append_to(volumes, sources.build(FIXED_TOKEN_PATH), patch);
            }
            return;
        }
        let projected = sources.build(RESERVED_TOKEN_PATH);
        let existing = (0..).zip(volumes).find(|(_, volume)| volume.name == self.name);
        let Some((index, volume)) = existing else { return self.append_to(volumes, projected, patch) };
        // A volume in use comes from an earlier run, and the API server has set its file mode since.
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

/// The reserved name of this pod, or the one that an earlier run chose before the pod's name was known; in that case
/// also the mount path of the earlier run, because its variables refer to it.
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

/// The mount path of an earlier run in this container, according to the container's variable.
fn earlier_mount_path(container: &Container<'_>, volume: &str) -> Option<String> {
    let variable = container.env().find(|variable| variable.is_named(TOKEN_FILE_ENV))?;
    let token_file = variable.short_value()?;
    let is_named = |path: &str| token_file.strip_prefix(path).is_some_and(|rest| rest == TOKEN_BELOW_MOUNT);
    let mounts = container.volume_mounts().filter(|mount| mount.is_of(volume));
    let mut paths = mounts.map(|mount| mount.path());
    paths.find(|path| is_reserved_mount_path(path) && is_named(path)).map(Cow::into_owned)
}

/// Whether a volume has a name that this software and upstream give to token volumes.
pub(crate) fn is_token_volume(name: &str) -> bool {
    name == FIXED_NAME || name.starts_with(RESERVED_PREFIX)
}

/// Whether this software and upstream mount token volumes at this path.
fn is_reserved_mount_path(path: &str) -> bool {
    let rest = path.strip_prefix(RESERVED_MOUNT_PATH);
    rest.is_some_and(|rest| rest.is_empty() || (rest.starts_with('/') && rest.len() <= LONGEST_NAME))
}

/// Whether this is a token volume added by this software or upstream.
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

/// Contents of the token volume.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TokenSources<'a> {
    pub audience: &'a str,
    /// Lifetime of the token in seconds.
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

/// Whether the volume projects exactly these sources.
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

/// Whether the JSON value equals the API object.
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

    /// Names from upstream.
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
