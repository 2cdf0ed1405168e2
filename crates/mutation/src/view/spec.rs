//! The spec of an opted-in pod.
//!
//! As in the API server, an absent field and a `null` field mean the same.

use std::borrow::Cow;

use azwi_json::{Inner, JsonText, JsonValue, Shape, TypeError};

use super::pod::PodHead;
use super::room::{Room, take_room};
use super::volume::{VOLUME, Volume};
use super::windows;
use crate::bounds::MOST_SPEC_VALUES;
use crate::denial::Denial;

/// The parts of an opted-in pod's spec to index.
pub(crate) static SPEC: Shape = Shape::Object(&[
    ("serviceAccountName", &Shape::Leaf),
    ("serviceAccount", &Shape::Leaf),
    ("hostNetwork", &Shape::Leaf),
    ("os", &Shape::Object(&[("name", &Shape::Leaf)])),
    ("nodeSelector", &windows::NODE_SELECTOR),
    ("securityContext", &windows::SECURITY_CONTEXT),
    ("affinity", &windows::AFFINITY),
    ("initContainers", &Shape::List(&CONTAINER)),
    ("containers", &Shape::List(&CONTAINER)),
    ("volumes", &Shape::List(&VOLUME)),
]);

static CONTAINER: Shape = Shape::Object(&[
    ("name", &Shape::Leaf),
    ("securityContext", &windows::SECURITY_CONTEXT),
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

/// The fields of a spec that the mutation reads, borrowed from the request's text; everything else is ignored.
#[derive(Debug, Default)]
pub(crate) struct PodSpec<'a> {
    /// Whether the pod shares the node's network.
    pub host_network: bool,
    os_name: Cow<'a, str>,
    pub init_containers: Vec<Container<'a>>,
    pub containers: Vec<Container<'a>>,
    pub volumes: Vec<Volume<'a>>,
    value: Option<JsonValue<'a>>,
}

/// A container or init container.
#[derive(Debug)]
pub(crate) struct Container<'a> {
    pub name: Cow<'a, str>,
    // Kept as index positions: views of all of them would take many times their text.
    env: Option<JsonValue<'a>>,
    volume_mounts: Option<JsonValue<'a>>,
}

#[derive(Debug)]
pub(crate) struct Variables<'a>(Option<Inner<'a>>);

#[derive(Debug)]
pub(crate) struct Mounts<'a>(Option<Inner<'a>>);

#[derive(Debug)]
pub(crate) struct Variable<'a> {
    // Kept undecoded, since ten thousand of them may consist only of escapes.
    name: Option<JsonValue<'a>>,
    literal: Option<JsonValue<'a>>,
    has_source: bool,
}

#[derive(Debug)]
pub(crate) struct Mount<'a> {
    volume: Option<JsonValue<'a>>,
    path: Option<JsonValue<'a>>,
    read_only: bool,
    is_part: bool,
    is_propagated: bool,
}

/// Indexes the spec of a pod; returns `None` if it has none.
///
/// # Errors
/// The spec is not an object, or is too large.
pub(crate) fn index_spec<'a>(pod: &PodHead<'a>) -> Result<Option<JsonText<'a>>, Denial> {
    let Some(spec) = pod.spec() else { return Ok(None) };
    let spec = spec.object().map_err(|error| denial(pod, &error, spec))?;
    let indexed = JsonText::parse_shaped(spec.raw(), &SPEC, MOST_SPEC_VALUES);
    indexed.map(Some).map_err(|problem| Denial::invalid(format!("{} field spec is {problem}", pod.subject())))
}

fn denial(pod: &PodHead<'_>, error: &TypeError<'_>, spec: JsonValue<'_>) -> Denial {
    Denial::invalid(error.sentence_below(pod.subject(), "spec", spec))
}

impl<'a> PodSpec<'a> {
    /// Reads the spec indexed by [`index_spec`]; a pod without one has an empty spec.
    ///
    /// # Errors
    /// A denial with the path of the field that has the wrong type or exceeds a bound.
    pub(crate) fn read(pod: &PodHead<'_>, spec: Option<&'a JsonText<'a>>) -> Result<Self, Denial> {
        let Some(spec) = spec.map(JsonText::root) else { return Ok(Self::default()) };
        Self::of(spec).map_err(|error| denial(pod, &error, spec))
    }

    fn of(spec: JsonValue<'a>) -> Result<Self, TypeError<'a>> {
        // Their values were read with the head, which does not check their types.
        for key in ["serviceAccountName", "serviceAccount"] {
            spec.get(key).map(JsonValue::string).transpose()?;
        }
        let mut room = Room::FOR_A_POD;
        Ok(Self {
            host_network: spec.optional_flag("hostNetwork")?.unwrap_or(false),
            os_name: match spec.optional_object("os")? {
                Some(os) => os.short_text_or_empty("name")?,
                None => Cow::default(),
            },
            init_containers: Container::read_all(spec, "initContainers", &mut room)?,
            containers: Container::read_all(spec, "containers", &mut room)?,
            volumes: Volume::read_all(spec, &mut room)?,
            value: Some(spec),
        })
    }

    /// Whether the pod runs on Windows according to its OS, node selector, node affinity or security contexts.
    pub(crate) fn is_windows(&self) -> bool {
        self.os_name == windows::NAME || self.value.is_some_and(windows::is_implied_by)
    }

    /// Whether a container or init container has this name.
    pub(crate) fn has_container(&self, name: &str) -> bool {
        let is_in = |containers: &[Container<'_>]| containers.iter().any(|container| container.name == name);
        is_in(&self.init_containers) || is_in(&self.containers)
    }
}

impl<'a> Container<'a> {
    fn read_all(spec: JsonValue<'a>, key: &str, room: &mut Room) -> Result<Vec<Self>, TypeError<'a>> {
        let expected = "a list of at most 1000 containers, init containers included";
        let Some(list) = take_room(spec, key, &mut room.containers, expected)? else { return Ok(Vec::new()) };
        // Not `collect`: copies of its machinery would be one percent of the wasm.
        let mut containers = Vec::new();
        for container in list.elements() {
            containers.push(Self::read(container.object()?, room)?);
        }
        Ok(containers)
    }

    fn read(container: JsonValue<'a>, room: &mut Room) -> Result<Self, TypeError<'a>> {
        let name = container.short_text_or_empty("name")?;
        let expected = "a list of at most 10000 variables, those of all containers included";
        let env = take_room(container, "env", &mut room.variables, expected)?;
        if let Some(env) = env {
            for variable in env.elements() {
                Variable::read(variable.object()?)?;
            }
        }
        let expected = "a list of at most 10000 mounts, those of all containers included";
        let volume_mounts = take_room(container, "volumeMounts", &mut room.mounts, expected)?;
        if let Some(mounts) = volume_mounts {
            for mount in mounts.elements() {
                Mount::read(mount.object()?)?;
            }
        }
        Ok(Self { name, env, volume_mounts })
    }

    /// The environment variables, in order.
    pub(crate) fn env(&self) -> Variables<'a> {
        Variables(self.env.map(JsonValue::elements))
    }

    /// Whether the list of environment variables is missing or empty.
    pub(crate) fn has_no_env(&self) -> bool {
        self.env.is_none_or(|env| env.is_empty())
    }

    /// The volume mounts, in order.
    pub(crate) fn volume_mounts(&self) -> Mounts<'a> {
        Mounts(self.volume_mounts.map(JsonValue::elements))
    }

    /// Whether the list of volume mounts is missing or empty.
    pub(crate) fn has_no_volume_mounts(&self) -> bool {
        self.volume_mounts.is_none_or(|mounts| mounts.is_empty())
    }
}

// All were already read once without an error, so none is skipped here.
impl<'a> Iterator for Variables<'a> {
    type Item = Variable<'a>;

    fn next(&mut self) -> Option<Variable<'a>> {
        Variable::read(self.0.as_mut()?.next()?).ok()
    }
}

impl<'a> Iterator for Mounts<'a> {
    type Item = Mount<'a>;

    fn next(&mut self) -> Option<Mount<'a>> {
        Mount::read(self.0.as_mut()?.next()?).ok()
    }
}

impl<'a> Variable<'a> {
    fn read(variable: JsonValue<'a>) -> Result<Self, TypeError<'a>> {
        Ok(Self {
            name: variable.get("name").map(JsonValue::string).transpose()?,
            literal: variable.get("value").map(JsonValue::string).transpose()?,
            has_source: variable.get("valueFrom").is_some(),
        })
    }

    pub(crate) fn is_named(&self, name: &str) -> bool {
        self.name.is_some_and(|own| own.is_text(name))
    }

    /// The variable's literal value if it is short, empty if it has none; `None` if the value comes from elsewhere.
    pub(crate) fn short_value(&self) -> Option<Cow<'a, str>> {
        if self.has_source {
            return None;
        }
        Some(self.literal.and_then(|value| value.short_text().ok()).unwrap_or_default())
    }

    /// Whether the variable has a value: a non-empty literal, or one from elsewhere.
    pub(crate) fn has_value(&self) -> bool {
        self.has_source || self.literal.is_some_and(|literal| !literal.is_text(""))
    }

    /// Whether the variable has a different literal value; not if only the case of letters or the last slash differs,
    /// because ids and URLs with them are the same.
    pub(crate) fn has_other_value_than(&self, value: &str) -> bool {
        let own = self.short_value();
        own.is_some_and(|own| !without_slash(&own).eq_ignore_ascii_case(without_slash(value)))
    }
}

fn without_slash(value: &str) -> &str {
    value.strip_suffix('/').unwrap_or(value)
}

impl<'a> Mount<'a> {
    fn read(mount: JsonValue<'a>) -> Result<Self, TypeError<'a>> {
        Ok(Self {
            volume: mount.get("name").map(JsonValue::string).transpose()?,
            path: mount.get("mountPath").map(JsonValue::string).transpose()?,
            read_only: mount.optional_flag("readOnly")?.unwrap_or(false),
            is_part: ["subPath", "subPathExpr"]
                .iter()
                .any(|key| mount.get(key).is_some_and(|path| !path.is_text(""))),
            is_propagated: mount.get("mountPropagation").is_some(),
        })
    }

    /// Whether it mounts the volume with this name.
    pub(crate) fn is_of(&self, volume: &str) -> bool {
        self.volume.map_or(volume.is_empty(), |name| name.is_text(volume))
    }

    /// Name of the mounted volume, if it is short.
    pub(crate) fn volume(&self) -> Cow<'a, str> {
        self.volume.and_then(|name| name.short_text().ok()).unwrap_or_default()
    }

    /// The mount path, if it is short.
    pub(crate) fn path(&self) -> Cow<'a, str> {
        self.path.and_then(|path| path.short_text().ok()).unwrap_or_default()
    }

    /// Whether the mount itself is read-only, regardless of the volume.
    pub(crate) fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Whether only a file or folder of the volume is mounted.
    pub(crate) fn is_part(&self) -> bool {
        self.is_part
    }

    /// Whether this is a plain read-only mount of a whole volume at `path`.
    pub(crate) fn is_plain_read_only_at(&self, path: &str) -> bool {
        let is_whole = !self.is_part && !self.is_propagated;
        self.path.is_some_and(|own| own.is_text(path)) && self.read_only && is_whole
    }
}
