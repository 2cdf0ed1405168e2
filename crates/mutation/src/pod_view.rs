//! The fields of a pod that the mutation reads, borrowed from the request's text; everything else is ignored.
//!
//! A field that is absent and one that is `null` mean the same, as they do to the API server.

use std::borrow::Cow;

use crate::denial::Denial;
use crate::json::{TypeError, Value};
use crate::names::{ANNOTATION_PREFIX, DEFAULT_SERVICE_ACCOUNT, OPT_IN_LABEL};

/// A pod, or the pod template of a workload object: both have metadata and a spec.
#[derive(Debug, Default)]
pub struct PodView<'a> {
    metadata: MetadataView<'a>,
    service_account_name: Cow<'a, str>,
    spec: Option<SpecView<'a>>,
    /// What is wrong with the spec. It matters only for a pod that turns out to be opted in.
    spec_problem: Option<Denial>,
}

#[derive(Debug, Default)]
struct MetadataView<'a> {
    name: Cow<'a, str>,
    generate_name: Cow<'a, str>,
    labels: PrefixedEntries<'a>,
    annotations: PrefixedEntries<'a>,
}

#[derive(Debug, Default)]
struct SpecView<'a> {
    host_network: bool,
    os_name: Cow<'a, str>,
    init_containers: Vec<ContainerView<'a>>,
    containers: Vec<ContainerView<'a>>,
    volumes: Vec<VolumeView<'a>>,
}

/// A container or init container.
#[derive(Debug)]
pub struct ContainerView<'a> {
    /// The container's name.
    pub name: Cow<'a, str>,
    /// The environment variables, in order.
    pub env: Vec<EnvView<'a>>,
    /// The volume mounts, in order.
    pub volume_mounts: Vec<MountView<'a>>,
}

/// An environment variable of a container.
#[derive(Debug)]
pub struct EnvView<'a> {
    /// The variable's name.
    pub name: Cow<'a, str>,
    value: Cow<'a, str>,
    has_source: bool,
}

/// A volume mount of a container.
#[derive(Debug)]
pub struct MountView<'a> {
    /// Name of the mounted volume.
    pub name: Cow<'a, str>,
    /// Where it is mounted.
    pub mount_path: Cow<'a, str>,
    read_only: bool,
    is_whole_volume: bool,
}

/// A volume of the pod.
#[derive(Debug)]
pub struct VolumeView<'a> {
    /// The volume's name.
    pub name: Cow<'a, str>,
    /// What a projected volume projects.
    pub projected: Option<ProjectedView<'a>>,
    /// Whether the volume has other fields than these two.
    pub has_other_fields: bool,
}

/// A projected volume.
#[derive(Debug)]
pub struct ProjectedView<'a> {
    /// File mode, where the volume says one.
    pub default_mode: Option<i64>,
    /// The sources, in order.
    pub sources: Vec<ProjectionView<'a>>,
}

/// One source of a projected volume.
#[derive(Debug)]
pub struct ProjectionView<'a> {
    /// The service account token, if that is what the source is.
    pub token: Option<TokenView<'a>>,
    /// The `ConfigMap`, if that is what the source is.
    pub config_map: Option<Value<'a>>,
    /// The cluster trust bundle, if that is what the source is.
    pub cluster_trust_bundle: Option<Value<'a>>,
}

/// A projected service account token.
#[derive(Debug)]
pub struct TokenView<'a> {
    /// Audience of the token.
    pub audience: Cow<'a, str>,
    /// Life of the token in seconds.
    pub expiration_seconds: Option<i64>,
    /// File name below the mount.
    pub path: Cow<'a, str>,
}

/// The labels or annotations whose keys have the project's prefix, in order.
#[derive(Debug, Default)]
pub struct PrefixedEntries<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> PodView<'a> {
    /// Reads the view from a pod or pod template; `subject` names it in errors.
    ///
    /// # Errors
    /// A denial with the path of the field of the metadata that has the wrong type.
    pub fn read(pod: Value<'a>, subject: &str) -> Result<Self, Denial> {
        let denial = |error: TypeError<'a>| Denial::invalid(error.sentence(subject, pod));
        let read_metadata = || match pod.object()?.optional_object("metadata")? {
            Some(metadata) => MetadataView::read(metadata),
            None => Ok(MetadataView::default()),
        };
        let read_spec = || pod.optional_object("spec")?.map(SpecView::read).transpose();
        let metadata = read_metadata().map_err(denial)?;
        let service_account_name = pod.get("spec").and_then(|spec| spec.get("serviceAccountName"));
        let service_account_name = service_account_name.and_then(|name| name.text().ok()).unwrap_or_default();
        let (spec, spec_problem) = match read_spec() {
            Ok(spec) => (spec, None),
            Err(error) => (None, Some(denial(error))),
        };
        Ok(Self { metadata, service_account_name, spec, spec_problem })
    }

    /// What is wrong with the spec.
    #[must_use]
    pub fn spec_problem(&self) -> Option<&Denial> {
        self.spec_problem.as_ref()
    }

    /// Whether the pod has a spec to add to.
    #[must_use]
    pub fn has_spec(&self) -> bool {
        self.spec.is_some()
    }

    /// The pod's name; empty while only its prefix is known.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.metadata.name
    }

    /// The prefix from which the API server will make the name.
    #[must_use]
    pub fn generate_name(&self) -> &str {
        &self.metadata.generate_name
    }

    /// The pod for a message: its name, or its prefix and an asterisk.
    #[must_use]
    pub fn display_name(&self) -> String {
        if self.name().is_empty() { format!("{}*", self.generate_name()) } else { self.name().to_owned() }
    }

    /// Value of the opt-in label.
    #[must_use]
    pub fn opt_in_label(&self) -> Option<&str> {
        self.metadata.labels.get(OPT_IN_LABEL)
    }

    /// Value of an annotation with the project's prefix.
    #[must_use]
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata.annotations.get(key)
    }

    /// The service account whose identity the pod gets.
    #[must_use]
    pub fn service_account_name(&self) -> &str {
        if self.service_account_name.is_empty() {
            DEFAULT_SERVICE_ACCOUNT
        } else {
            &self.service_account_name
        }
    }

    /// Whether the pod shares the node's network.
    #[must_use]
    pub fn host_network(&self) -> bool {
        self.spec.as_ref().is_some_and(|spec| spec.host_network)
    }

    /// Whether the pod says that it runs on Windows.
    #[must_use]
    pub fn is_windows(&self) -> bool {
        self.spec.as_ref().is_some_and(|spec| spec.os_name == "windows")
    }

    /// The init containers, in order.
    #[must_use]
    pub fn init_containers(&self) -> &[ContainerView<'a>] {
        self.spec.as_ref().map_or(&[], |spec| &spec.init_containers)
    }

    /// The containers, in order.
    #[must_use]
    pub fn containers(&self) -> &[ContainerView<'a>] {
        self.spec.as_ref().map_or(&[], |spec| &spec.containers)
    }

    /// Whether a container or init container has this name.
    #[must_use]
    pub fn has_container(&self, name: &str) -> bool {
        let is_in =
            |containers: &[ContainerView<'_>]| containers.iter().any(|container| container.name == name);
        is_in(self.init_containers()) || is_in(self.containers())
    }

    /// The volumes, in order.
    #[must_use]
    pub fn volumes(&self) -> &[VolumeView<'a>] {
        self.spec.as_ref().map_or(&[], |spec| &spec.volumes)
    }
}

/// Reads one view from each object in the array under `key`; none if there is no array.
fn read_all<'a, T>(
    parent: Value<'a>,
    key: &str,
    read: fn(Value<'a>) -> Result<T, TypeError<'a>>,
) -> Result<Vec<T>, TypeError<'a>> {
    let Some(array) = parent.optional_array(key)? else { return Ok(Vec::new()) };
    // Not `collect`: five copies of its machinery would be one percent of the wasm.
    let mut views = Vec::new();
    for element in array.elements() {
        views.push(read(element.object()?)?);
    }
    Ok(views)
}

impl<'a> MetadataView<'a> {
    fn read(metadata: Value<'a>) -> Result<Self, TypeError<'a>> {
        Ok(Self {
            name: metadata.text_or_empty("name")?,
            generate_name: metadata.text_or_empty("generateName")?,
            labels: PrefixedEntries::read(metadata, "labels")?,
            annotations: PrefixedEntries::read(metadata, "annotations")?,
        })
    }
}

impl<'a> SpecView<'a> {
    fn read(spec: Value<'a>) -> Result<Self, TypeError<'a>> {
        spec.optional_text("serviceAccountName")?;
        Ok(Self {
            host_network: spec.optional_flag("hostNetwork")?.unwrap_or(false),
            os_name: match spec.optional_object("os")? {
                Some(os) => os.text_or_empty("name")?,
                None => Cow::default(),
            },
            init_containers: read_all(spec, "initContainers", ContainerView::read)?,
            containers: read_all(spec, "containers", ContainerView::read)?,
            volumes: read_all(spec, "volumes", VolumeView::read)?,
        })
    }
}

impl<'a> ContainerView<'a> {
    fn read(container: Value<'a>) -> Result<Self, TypeError<'a>> {
        Ok(Self {
            name: container.text_or_empty("name")?,
            env: read_all(container, "env", EnvView::read)?,
            volume_mounts: read_all(container, "volumeMounts", MountView::read)?,
        })
    }
}

impl<'a> EnvView<'a> {
    fn read(variable: Value<'a>) -> Result<Self, TypeError<'a>> {
        Ok(Self {
            name: variable.text_or_empty("name")?,
            value: variable.text_or_empty("value")?,
            has_source: variable.get("valueFrom").is_some(),
        })
    }

    /// The variable's literal value, empty when it has none; none when the value comes from elsewhere.
    #[must_use]
    pub fn value(&self) -> Option<&str> {
        (!self.has_source).then_some(&*self.value)
    }
}

impl<'a> MountView<'a> {
    fn read(mount: Value<'a>) -> Result<Self, TypeError<'a>> {
        Ok(Self {
            name: mount.text_or_empty("name")?,
            mount_path: mount.text_or_empty("mountPath")?,
            read_only: mount.optional_flag("readOnly")?.unwrap_or(false),
            is_whole_volume: ["subPath", "subPathExpr", "mountPropagation"]
                .iter()
                .all(|key| mount.get(key).is_none()),
        })
    }

    /// Whether this is a plain read-only mount of a whole volume at `path`.
    #[must_use]
    pub fn is_plain_read_only_at(&self, path: &str) -> bool {
        self.mount_path == path && self.read_only && self.is_whole_volume
    }
}

impl<'a> VolumeView<'a> {
    fn read(volume: Value<'a>) -> Result<Self, TypeError<'a>> {
        Ok(Self {
            name: volume.text_or_empty("name")?,
            projected: volume.optional_object("projected")?.map(ProjectedView::read).transpose()?,
            has_other_fields: volume
                .members()
                .any(|(key, value)| !value.is_null() && !matches!(&*key, "name" | "projected")),
        })
    }

    /// Whether the volume projects a service account token to the file `path`.
    #[must_use]
    pub fn projects_token_to(&self, path: &str) -> bool {
        let sources = self.projected.iter().flat_map(|projected| &projected.sources);
        sources.filter_map(|source| source.token.as_ref()).any(|token| token.path == path)
    }
}

impl<'a> ProjectedView<'a> {
    fn read(projected: Value<'a>) -> Result<Self, TypeError<'a>> {
        Ok(Self {
            default_mode: projected.optional_integer("defaultMode")?,
            sources: read_all(projected, "sources", ProjectionView::read)?,
        })
    }
}

impl<'a> TokenView<'a> {
    fn read(token: Value<'a>) -> Result<Self, TypeError<'a>> {
        Ok(Self {
            audience: token.text_or_empty("audience")?,
            expiration_seconds: token.optional_integer("expirationSeconds")?,
            path: token.text_or_empty("path")?,
        })
    }
}

impl<'a> ProjectionView<'a> {
    fn read(source: Value<'a>) -> Result<Self, TypeError<'a>> {
        Ok(Self {
            token: source.optional_object("serviceAccountToken")?.map(TokenView::read).transpose()?,
            config_map: source.optional_object("configMap")?,
            cluster_trust_bundle: source.optional_object("clusterTrustBundle")?,
        })
    }
}

impl<'a> PrefixedEntries<'a> {
    /// Reads the map of strings under `key`.
    pub(crate) fn read(metadata: Value<'a>, key: &str) -> Result<Self, TypeError<'a>> {
        let mut entries = Vec::new();
        if let Some(map) = metadata.optional_object(key)? {
            for (key, value) in map.members() {
                let value = if value.is_null() { Cow::default() } else { value.text()? };
                if key.starts_with(ANNOTATION_PREFIX) {
                    entries.push((key, value));
                }
            }
        }
        Ok(Self(entries))
    }

    /// The value of `key`; of repeated keys the last counts.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().rev().find(|(name, _)| name == key).map(|(_, value)| &**value)
    }

    /// Keys and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (&**key, &**value))
    }
}
