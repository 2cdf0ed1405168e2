//! The fields of a pod that the mutation reads, borrowed from the request's text; everything else is ignored.
//!
//! A field that is absent and one that is `null` mean the same, as they do to the API server.

use std::borrow::Cow;

use crate::bounds::{
    LONGEST_ENTRIES, MOST_CONTAINERS, MOST_MOUNTS, MOST_SOURCES, MOST_SPEC_VALUES, MOST_VARIABLES,
    MOST_VOLUMES,
};
use crate::denial::Denial;
use crate::json::{Inner, Json, Shape, TypeError, Value};
use crate::names::{ANNOTATION_PREFIX, DEFAULT_SERVICE_ACCOUNT, OPT_IN_LABEL};
use crate::text::printable;

/// What is read of an object's metadata.
pub(crate) static METADATA: Shape = Shape::Object(&[
    ("name", &Shape::Leaf),
    ("generateName", &Shape::Leaf),
    ("labels", &Shape::Entries(ANNOTATION_PREFIX)),
    ("annotations", &Shape::Entries(ANNOTATION_PREFIX)),
]);

/// What is read of a pod, or of the pod template of a workload object, to find out whether it is opted in.
pub(crate) static POD: Shape = Shape::Object(&[
    ("metadata", &METADATA),
    ("spec", &Shape::Object(&[("serviceAccountName", &Shape::Leaf)])),
]);

/// What is read of the spec of a pod that is opted in.
pub(crate) static SPEC: Shape = Shape::Object(&[
    ("serviceAccountName", &Shape::Leaf),
    ("hostNetwork", &Shape::Leaf),
    ("os", &Shape::Object(&[("name", &Shape::Leaf)])),
    ("initContainers", &Shape::List(&CONTAINER)),
    ("containers", &Shape::List(&CONTAINER)),
    ("volumes", &Shape::List(&VOLUME)),
]);

static CONTAINER: Shape = Shape::Object(&[
    ("name", &Shape::Leaf),
    ("env", &Shape::List(&VARIABLE)),
    ("volumeMounts", &Shape::List(&MOUNT)),
]);

static VARIABLE: Shape =
    Shape::Object(&[("name", &Shape::Leaf), ("value", &Shape::Leaf), ("valueFrom", &Shape::Leaf)]);

static MOUNT: Shape = Shape::Object(&[
    ("name", &Shape::Leaf),
    ("mountPath", &Shape::Leaf),
    ("readOnly", &Shape::Leaf),
    ("subPath", &Shape::Leaf),
    ("subPathExpr", &Shape::Leaf),
    ("mountPropagation", &Shape::Leaf),
]);

static VOLUME: Shape = Shape::OpenObject(&[
    ("name", &Shape::Leaf),
    ("projected", &Shape::Object(&[("defaultMode", &Shape::Leaf), ("sources", &Shape::List(&SOURCE))])),
]);

static SOURCE: Shape = Shape::Object(&[
    (
        "serviceAccountToken",
        &Shape::Object(&[
            ("audience", &Shape::Leaf),
            ("expirationSeconds", &Shape::Leaf),
            ("path", &Shape::Leaf),
        ]),
    ),
    ("configMap", &Shape::Whole),
    ("clusterTrustBundle", &Shape::Whole),
]);

/// What tells whether a pod is opted in, of a pod or of the pod template of a workload object.
#[derive(Debug)]
pub struct PodHead<'a> {
    /// Names the pod or the template in errors.
    subject: &'static str,
    metadata: MetadataView<'a>,
    service_account_name: Cow<'a, str>,
    spec: Option<Value<'a>>,
}

/// A pod that is opted in.
#[derive(Debug)]
pub struct PodView<'a> {
    head: &'a PodHead<'a>,
    spec: SpecView<'a>,
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
    // As they stand in the index: views of all of them would take many times their text.
    env: Option<Value<'a>>,
    volume_mounts: Option<Value<'a>>,
}

/// Iterator over the environment variables of a container.
#[derive(Debug)]
pub struct Variables<'a>(Option<Inner<'a>>);

/// Iterator over the volume mounts of a container.
#[derive(Debug)]
pub struct Mounts<'a>(Option<Inner<'a>>);

/// An environment variable of a container.
#[derive(Debug)]
pub struct EnvView<'a> {
    /// The variable's name.
    pub name: Cow<'a, str>,
    literal: Option<Value<'a>>,
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

impl<'a> PodHead<'a> {
    /// Reads a pod or pod template; `subject` names it in errors.
    ///
    /// # Errors
    /// A denial with the path of the field of the metadata that has the wrong type.
    pub fn read(pod: Value<'a>, subject: &'static str) -> Result<Self, Denial> {
        let read_metadata = || match pod.object()?.optional_object("metadata")? {
            Some(metadata) => MetadataView::read(metadata),
            None => Ok(MetadataView::default()),
        };
        let metadata =
            read_metadata().map_err(|error: TypeError<'a>| Denial::invalid(error.sentence(subject, pod)))?;
        let spec = pod.get("spec");
        // What is wrong with it matters only once the pod is opted in, and is said then.
        let service_account_name = spec.and_then(|spec| spec.get("serviceAccountName"));
        let service_account_name = service_account_name.and_then(|name| name.text().ok()).unwrap_or_default();
        Ok(Self { subject, metadata, service_account_name, spec })
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

    /// The pod for a message: its name, or its prefix and an asterisk; at most so many characters of it.
    #[must_use]
    pub fn display_name(&self, limit: usize) -> String {
        if self.name().is_empty() {
            printable(self.generate_name(), limit) + "*"
        } else {
            printable(self.name(), limit)
        }
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

    /// Indexes the spec; none if the pod has none.
    ///
    /// # Errors
    /// The spec is no object, or too large.
    pub fn index_spec(&self) -> Result<Option<Json<'a>>, Denial> {
        let Some(spec) = self.spec else { return Ok(None) };
        let spec = spec.object().map_err(|error| self.spec_denial(&error, spec))?;
        let indexed = Json::parse_shaped(spec.raw(), &SPEC, MOST_SPEC_VALUES);
        indexed
            .map(Some)
            .map_err(|problem| Denial::invalid(format!("{} field spec is {problem}", self.subject)))
    }

    fn spec_denial(&self, error: &TypeError<'_>, spec: Value<'_>) -> Denial {
        Denial::invalid(error.sentence_below(self.subject, "spec", spec))
    }
}

impl<'a> PodView<'a> {
    /// Reads the spec that [`PodHead::index_spec`] has indexed.
    ///
    /// # Errors
    /// A denial with the path of the field that has the wrong type or is beyond a bound.
    pub fn read(head: &'a PodHead<'a>, spec: Option<&'a Json<'a>>) -> Result<Self, Denial> {
        let spec = match spec.map(Json::root) {
            Some(spec) => SpecView::read(spec).map_err(|error| head.spec_denial(&error, spec))?,
            None => SpecView::default(),
        };
        Ok(Self { head, spec })
    }

    /// The pod's metadata.
    #[must_use]
    pub fn head(&self) -> &PodHead<'a> {
        self.head
    }

    /// Value of an annotation with the project's prefix.
    #[must_use]
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.head.annotation(key)
    }

    /// Whether the pod has a spec to add to.
    #[must_use]
    pub fn has_spec(&self) -> bool {
        self.head.spec.is_some()
    }

    /// Whether the pod shares the node's network.
    #[must_use]
    pub fn host_network(&self) -> bool {
        self.spec.host_network
    }

    /// Whether the pod says that it runs on Windows.
    #[must_use]
    pub fn is_windows(&self) -> bool {
        self.spec.os_name == "windows"
    }

    /// The init containers, in order.
    #[must_use]
    pub fn init_containers(&self) -> &[ContainerView<'a>] {
        &self.spec.init_containers
    }

    /// The containers, in order.
    #[must_use]
    pub fn containers(&self) -> &[ContainerView<'a>] {
        &self.spec.containers
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
        &self.spec.volumes
    }
}

/// How many elements the lists of a pod may still have.
struct Room {
    containers: usize,
    volumes: usize,
    sources: usize,
    variables: usize,
    mounts: usize,
}

/// Takes the list under `key` off what there is room for; `expected` says how much that was.
fn take_room<'a>(
    parent: Value<'a>,
    key: &str,
    room: &mut usize,
    expected: &'static str,
) -> Result<Option<Value<'a>>, TypeError<'a>> {
    let Some(list) = parent.optional_array(key)? else { return Ok(None) };
    match room.checked_sub(list.elements().count()) {
        Some(left) => *room = left,
        None => return list.wrong(expected),
    }
    Ok(Some(list))
}

impl<'a> SpecView<'a> {
    fn read(spec: Value<'a>) -> Result<Self, TypeError<'a>> {
        spec.optional_text("serviceAccountName")?;
        let mut room = Room {
            containers: MOST_CONTAINERS,
            volumes: MOST_VOLUMES,
            sources: MOST_SOURCES,
            variables: MOST_VARIABLES,
            mounts: MOST_MOUNTS,
        };
        Ok(Self {
            host_network: spec.optional_flag("hostNetwork")?.unwrap_or(false),
            os_name: match spec.optional_object("os")? {
                Some(os) => os.text_or_empty("name")?,
                None => Cow::default(),
            },
            init_containers: ContainerView::read_all(spec, "initContainers", &mut room)?,
            containers: ContainerView::read_all(spec, "containers", &mut room)?,
            volumes: VolumeView::read_all(spec, &mut room)?,
        })
    }
}

impl<'a> ContainerView<'a> {
    fn read_all(spec: Value<'a>, key: &str, room: &mut Room) -> Result<Vec<Self>, TypeError<'a>> {
        let expected = "a list of at most 1000 containers, init containers included";
        let Some(list) = take_room(spec, key, &mut room.containers, expected)? else { return Ok(Vec::new()) };
        // Not `collect`: copies of its machinery would be one percent of the wasm.
        let mut containers = Vec::new();
        for container in list.elements() {
            containers.push(Self::read(container.object()?, room)?);
        }
        Ok(containers)
    }

    fn read(container: Value<'a>, room: &mut Room) -> Result<Self, TypeError<'a>> {
        let name = container.text_or_empty("name")?;
        let expected = "a list of at most 10000 variables, those of all containers included";
        let env = take_room(container, "env", &mut room.variables, expected)?;
        if let Some(env) = env {
            for variable in env.elements() {
                EnvView::read(variable.object()?)?;
            }
        }
        let expected = "a list of at most 10000 mounts, those of all containers included";
        let volume_mounts = take_room(container, "volumeMounts", &mut room.mounts, expected)?;
        if let Some(mounts) = volume_mounts {
            for mount in mounts.elements() {
                MountView::read(mount.object()?)?;
            }
        }
        Ok(Self { name, env, volume_mounts })
    }

    /// The environment variables, in order.
    #[must_use]
    pub fn env(&self) -> Variables<'a> {
        Variables(self.env.map(Value::elements))
    }

    /// Whether there is no list of environment variables, or an empty one.
    #[must_use]
    pub fn has_no_env(&self) -> bool {
        self.env.is_none_or(|env| env.is_empty())
    }

    /// The volume mounts, in order.
    #[must_use]
    pub fn volume_mounts(&self) -> Mounts<'a> {
        Mounts(self.volume_mounts.map(Value::elements))
    }

    /// Whether there is no list of volume mounts, or an empty one.
    #[must_use]
    pub fn has_no_volume_mounts(&self) -> bool {
        self.volume_mounts.is_none_or(|mounts| mounts.is_empty())
    }
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

// All were read once already, without an error, so none is left out here.
impl<'a> Iterator for Variables<'a> {
    type Item = EnvView<'a>;

    fn next(&mut self) -> Option<EnvView<'a>> {
        EnvView::read(self.0.as_mut()?.next()?).ok()
    }
}

impl<'a> Iterator for Mounts<'a> {
    type Item = MountView<'a>;

    fn next(&mut self) -> Option<MountView<'a>> {
        MountView::read(self.0.as_mut()?.next()?).ok()
    }
}

impl<'a> EnvView<'a> {
    fn read(variable: Value<'a>) -> Result<Self, TypeError<'a>> {
        Ok(Self {
            name: variable.text_or_empty("name")?,
            // Its text only where it is asked for: it may be long, and full of escapes.
            literal: variable.get("value").map(Value::string).transpose()?,
            has_source: variable.get("valueFrom").is_some(),
        })
    }

    /// The variable's literal value, empty when it has none; none when the value comes from elsewhere.
    #[must_use]
    pub fn value(&self) -> Option<Cow<'a, str>> {
        if self.has_source {
            return None;
        }
        Some(self.literal.and_then(|value| value.text().ok()).unwrap_or_default())
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
    fn read_all(spec: Value<'a>, room: &mut Room) -> Result<Vec<Self>, TypeError<'a>> {
        let expected = "a list of at most 1000 volumes";
        let Some(list) = take_room(spec, "volumes", &mut room.volumes, expected)? else {
            return Ok(Vec::new());
        };
        let mut volumes = Vec::new();
        for volume in list.elements() {
            volumes.push(Self::read(volume.object()?, room)?);
        }
        Ok(volumes)
    }

    fn read(volume: Value<'a>, room: &mut Room) -> Result<Self, TypeError<'a>> {
        Ok(Self {
            name: volume.text_or_empty("name")?,
            projected: match volume.optional_object("projected")? {
                Some(projected) => Some(ProjectedView::read(projected, room)?),
                None => None,
            },
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
    fn read(projected: Value<'a>, room: &mut Room) -> Result<Self, TypeError<'a>> {
        let default_mode = projected.optional_integer("defaultMode")?;
        let expected = "a list of at most 2000 sources, those of all volumes included";
        let list = take_room(projected, "sources", &mut room.sources, expected)?;
        let mut sources = Vec::new();
        if let Some(list) = list {
            for source in list.elements() {
                sources.push(ProjectionView::read(source.object()?)?);
            }
        }
        Ok(Self { default_mode, sources })
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
        let mut length = 0;
        if let Some(map) = metadata.optional_object(key)? {
            for (key, value) in map.members() {
                let value = if value.is_null() { Cow::default() } else { value.text()? };
                if key.starts_with(ANNOTATION_PREFIX) {
                    length += key.len() + value.len();
                    if length > LONGEST_ENTRIES {
                        return map.wrong("at most 262144 bytes long in all");
                    }
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
