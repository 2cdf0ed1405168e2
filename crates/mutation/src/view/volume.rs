//! The volumes of a pod that is opted in, as far as they may be token volumes.

use std::borrow::Cow;

use azwi_json::{JsonValue, Shape, TypeError};

use super::room::{Room, take_room};

pub(super) static VOLUME: Shape = Shape::OpenObject(&[
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

/// A volume of the pod.
#[derive(Debug)]
pub(crate) struct Volume<'a> {
    /// The volume's name.
    pub name: Cow<'a, str>,
    /// What a projected volume projects.
    pub projected: Option<Projected<'a>>,
    /// Whether the volume has other fields than these two.
    pub has_other_fields: bool,
}

/// A projected volume.
#[derive(Debug)]
pub(crate) struct Projected<'a> {
    /// File mode, where the volume says one.
    pub default_mode: Option<i64>,
    /// The sources, in order.
    pub sources: Vec<Projection<'a>>,
}

/// One source of a projected volume.
#[derive(Debug)]
pub(crate) struct Projection<'a> {
    /// The service account token, if that is what the source is.
    pub token: Option<ProjectedToken<'a>>,
    /// The `ConfigMap`, if that is what the source is.
    pub config_map: Option<JsonValue<'a>>,
    /// The cluster trust bundle, if that is what the source is.
    pub cluster_trust_bundle: Option<JsonValue<'a>>,
}

/// A projected service account token.
#[derive(Debug)]
pub(crate) struct ProjectedToken<'a> {
    /// Audience of the token.
    pub audience: Cow<'a, str>,
    /// Life of the token in seconds.
    pub expiration_seconds: Option<i64>,
    /// File name below the mount.
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
        })
    }

    /// Whether the volume projects a service account token to the file `path`.
    pub(crate) fn projects_token_to(&self, path: &str) -> bool {
        let sources = self.projected.iter().flat_map(|projected| &projected.sources);
        sources.filter_map(|source| source.token.as_ref()).any(|token| token.path == path)
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
