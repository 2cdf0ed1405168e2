//! The volumes of an opted-in pod, for finding token volumes.

use std::borrow::Cow;

use azwi_json::{JsonValue, Shape, TypeError};

use super::room::{Room, take_room};
use crate::text::clean_path;

/// The name, and the types of volumes that are told apart.
const KNOWN_FIELDS: [&str; 26] = [
    "name",
    "projected",
    "secret",
    "configMap",
    "downwardAPI",
    "emptyDir",
    "gitRepo",
    "image",
    "persistentVolumeClaim",
    "csi",
    "nfs",
    "awsElasticBlockStore",
    "azureDisk",
    "azureFile",
    "cephfs",
    "cinder",
    "fc",
    "flexVolume",
    "gcePersistentDisk",
    "glusterfs",
    "iscsi",
    "portworxVolume",
    "quobyte",
    "rbd",
    "scaleIO",
    "storageos",
];

pub(super) static VOLUME: Shape = Shape::OpenObject(&[
    ("name", &Shape::Leaf),
    ("projected", &Shape::Object(&[("defaultMode", &Shape::Leaf), ("sources", &Shape::List(&SOURCE))])),
    ("secret", &ITEMS),
    ("configMap", &ITEMS),
    ("downwardAPI", &ITEMS),
    ("emptyDir", &Shape::Leaf),
    ("gitRepo", &Shape::Leaf),
    ("image", &Shape::Leaf),
    ("persistentVolumeClaim", &READ_ONLY),
    ("csi", &READ_ONLY),
    ("nfs", &READ_ONLY),
    ("awsElasticBlockStore", &READ_ONLY),
    ("azureDisk", &READ_ONLY),
    ("azureFile", &READ_ONLY),
    ("cephfs", &READ_ONLY),
    ("cinder", &READ_ONLY),
    ("fc", &READ_ONLY),
    ("flexVolume", &READ_ONLY),
    ("gcePersistentDisk", &READ_ONLY),
    ("glusterfs", &READ_ONLY),
    ("iscsi", &READ_ONLY),
    ("portworxVolume", &READ_ONLY),
    ("quobyte", &READ_ONLY),
    ("rbd", &READ_ONLY),
    ("scaleIO", &READ_ONLY),
    ("storageos", &READ_ONLY),
]);

static SOURCE: Shape = Shape::OpenObject(&[
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
    ("secret", &ITEMS),
    ("downwardAPI", &ITEMS),
    (
        "podCertificate",
        &Shape::Object(&[
            ("keyPath", &Shape::Leaf),
            ("certificateChainPath", &Shape::Leaf),
            ("credentialBundlePath", &Shape::Leaf),
        ]),
    ),
]);

static ITEMS: Shape = Shape::Object(&[("items", &Shape::List(&Shape::Object(&[("path", &Shape::Leaf)])))]);

static READ_ONLY: Shape = Shape::Object(&[("readOnly", &Shape::Leaf)]);

#[derive(Debug)]
pub(crate) struct Volume<'a> {
    pub name: Cow<'a, str>,
    /// Contents of a projected volume.
    pub projected: Option<Projected<'a>>,
    /// Whether the volume has fields other than these two.
    pub has_other_fields: bool,
    value: JsonValue<'a>,
}

/// Whether a volume contains a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holds {
    /// The spec shows that it does.
    Yes,
    /// Depends on something else: the keys of a Secret, a driver, or the content of a disk.
    Perhaps,
    /// The spec shows that it cannot.
    No,
}

impl Holds {
    fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Yes, _) | (_, Self::Yes) => Self::Yes,
            (Self::Perhaps, _) | (_, Self::Perhaps) => Self::Perhaps,
            (Self::No, Self::No) => Self::No,
        }
    }

    fn known(is_there: bool) -> Self {
        if is_there { Self::Yes } else { Self::No }
    }
}

#[derive(Debug)]
pub(crate) struct Projected<'a> {
    /// File mode, if the volume sets one.
    pub default_mode: Option<i64>,
    /// The sources, in order.
    pub sources: Vec<Projection<'a>>,
}

/// One source of a projected volume.
#[derive(Debug)]
pub(crate) struct Projection<'a> {
    /// The service account token, if this is one.
    pub token: Option<ProjectedToken<'a>>,
    /// The `ConfigMap`, if this is one.
    pub config_map: Option<JsonValue<'a>>,
    /// The cluster trust bundle, if this is one.
    pub cluster_trust_bundle: Option<JsonValue<'a>>,
}

/// A projected service account token.
#[derive(Debug)]
pub(crate) struct ProjectedToken<'a> {
    pub audience: Cow<'a, str>,
    /// Lifetime of the token in seconds.
    pub expiration_seconds: Option<i64>,
    /// File name relative to the mount.
    pub path: Cow<'a, str>,
}

impl<'a> Volume<'a> {
    pub(super) fn read_all(spec: JsonValue<'a>, room: &mut Room) -> Result<Vec<Self>, TypeError<'a>> {
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

    fn read(volume: JsonValue<'a>, room: &mut Room) -> Result<Self, TypeError<'a>> {
        Ok(Self {
            name: volume.short_text_or_empty("name")?,
            projected: match volume.optional_object("projected")? {
                Some(projected) => Some(Projected::read(projected, room)?),
                None => None,
            },
            has_other_fields: volume.has_others_than(&["name", "projected"]),
            value: volume,
        })
    }

    /// The volume's type; `emptyDir` if it names none, as in Kubernetes.
    pub(crate) fn kind(&self) -> &'static str {
        self.sources().next().map_or("emptyDir", |(kind, _)| kind)
    }

    /// The volume's type and its fields. Looked up by name: the key of another type may be megabytes of escapes.
    fn sources(&self) -> impl Iterator<Item = (&'static str, JsonValue<'a>)> {
        KNOWN_FIELDS.into_iter().skip(1).filter_map(|kind| Some((kind, self.value.get(kind)?)))
    }

    /// Whether the file `path` is in the volume.
    pub(crate) fn holds(&self, path: &str) -> Holds {
        self.holds_file(&|file| {
            file.is_text(path) || file.short_text().is_ok_and(|file| is_same_file(&file, path))
        })
    }

    fn holds_file(&self, is_wanted: &dyn Fn(JsonValue<'_>) -> bool) -> Holds {
        // The API server accepts one source only; with more of them, their order must not matter.
        let mut holds = Holds::known(false);
        for (kind, source) in self.sources() {
            holds = holds.or(match kind {
                "projected" => projected_holds(source, is_wanted),
                "downwardAPI" | "secret" | "configMap" => source_holds(kind, source, is_wanted),
                "emptyDir" | "gitRepo" | "image" => Holds::No,
                _ => Holds::Perhaps,
            });
        }
        if self.value.has_others_than(&KNOWN_FIELDS) { holds.or(Holds::Perhaps) } else { holds }
    }

    /// Calls `see` with the path of each file that the pod's spec names, if it is short.
    pub(crate) fn each_file(&self, see: &dyn Fn(&str)) {
        self.holds_file(&|file| {
            if let Ok(file) = file.short_text() {
                see(&file);
            }
            // So that none of the others is left out.
            false
        });
    }

    /// Whether nothing can be written into the volume, however it is mounted.
    pub(crate) fn is_read_only(&self) -> bool {
        self.sources().any(|(kind, source)| {
            matches!(kind, "secret" | "configMap" | "downwardAPI" | "projected" | "image")
                || source.get("readOnly").is_some_and(|flag| flag.raw() == "true")
        })
    }

    /// The service account token that the volume projects to the file `path`.
    pub(crate) fn token_at(&self, path: &str) -> Option<&ProjectedToken<'a>> {
        let sources = self.projected.iter().flat_map(|projected| &projected.sources);
        sources.filter_map(|source| source.token.as_ref()).find(|token| is_same_file(&token.path, path))
    }

    /// Whether the volume projects a service account token to the file `path`.
    pub(crate) fn projects_token_to(&self, path: &str) -> bool {
        self.token_at(path).is_some()
    }
}

impl<'a> Projected<'a> {
    fn read(projected: JsonValue<'a>, room: &mut Room) -> Result<Self, TypeError<'a>> {
        let default_mode = projected.optional_integer("defaultMode")?;
        let expected = "a list of at most 2000 sources, those of all volumes included";
        let list = take_room(projected, "sources", &mut room.sources, expected)?;
        let mut sources = Vec::new();
        if let Some(list) = list {
            for source in list.elements() {
                sources.push(Projection::read(source.object()?)?);
            }
        }
        Ok(Self { default_mode, sources })
    }
}

impl<'a> ProjectedToken<'a> {
    fn read(token: JsonValue<'a>) -> Result<Self, TypeError<'a>> {
        Ok(Self {
            audience: token.short_text_or_empty("audience")?,
            expiration_seconds: token.optional_integer("expirationSeconds")?,
            path: token.short_text_or_empty("path")?,
        })
    }
}

impl<'a> Projection<'a> {
    fn read(source: JsonValue<'a>) -> Result<Self, TypeError<'a>> {
        Ok(Self {
            token: source.optional_object("serviceAccountToken")?.map(ProjectedToken::read).transpose()?,
            config_map: source.optional_object("configMap")?,
            cluster_trust_bundle: source.optional_object("clusterTrustBundle")?,
        })
    }
}

/// Whether both are paths of one file in a volume.
fn is_same_file(path: &str, wanted: &str) -> bool {
    path == wanted || (path.len() > wanted.len() && clean_path(path) == clean_path(wanted))
}

/// Whether a file is among those of a projected volume.
fn projected_holds(projected: JsonValue<'_>, is_wanted: &dyn Fn(JsonValue<'_>) -> bool) -> Holds {
    const KINDS: [&str; 6] =
        ["serviceAccountToken", "clusterTrustBundle", "podCertificate", "downwardAPI", "secret", "configMap"];
    let mut holds = Holds::No;
    for source in projected.get("sources").into_iter().flat_map(JsonValue::elements) {
        for kind in KINDS {
            if let Some(source) = source.get(kind) {
                holds = holds.or(source_holds(kind, source, is_wanted));
            }
        }
        if source.has_others_than(&KINDS) {
            holds = holds.or(Holds::Perhaps);
        }
    }
    holds
}

/// Whether one source of a projected volume, or a volume of that kind, contains a file.
fn source_holds(kind: &str, source: JsonValue<'_>, is_wanted: &dyn Fn(JsonValue<'_>) -> bool) -> Holds {
    let is_at = |key| source.get(key).is_some_and(is_wanted);
    let items = || source.get("items").into_iter().flat_map(JsonValue::elements);
    let is_item = || items().any(|item| item.get("path").is_some_and(is_wanted));
    match kind {
        "serviceAccountToken" | "clusterTrustBundle" => Holds::known(is_at("path")),
        "podCertificate" => {
            Holds::known(["keyPath", "certificateChainPath", "credentialBundlePath"].into_iter().any(is_at))
        }
        "downwardAPI" => Holds::known(is_item()),
        // Without a list, all keys are projected.
        "secret" | "configMap" if items().next().is_some() => Holds::known(is_item()),
        _ => Holds::Perhaps,
    }
}
