//! The change to a pod: RFC 6902 operations that only add, or replace what an earlier run injected.

use k8s_openapi::api::core::v1::{Container, EnvVar, ProjectedVolumeSource, VolumeMount};
use serde::{Serialize, Serializer};

/// Operations in the order in which they have to be applied. Equal input gives equal bytes.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Patch {
    operations: Vec<PatchOperation>,
}

/// One operation, serialised as `{"op":…,"path":…,"value":…}`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PatchOperation {
    /// Add or replace.
    pub op: PatchKind,
    /// JSON Pointer (RFC 6901) to the place.
    pub path: String,
    /// What is put there.
    pub value: Fragment,
}

/// The two kinds of operation that are ever emitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PatchKind {
    /// Sets a member, inserts before an index, or appends at `-`.
    Add,
    /// Replaces what is there.
    Replace,
}

/// A piece of a pod that is injected.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
// A patch has a handful of fragments, so the room that small ones waste does not matter.
#[allow(clippy::large_enum_variant)]
pub enum Fragment {
    /// A whole spec, for a pod that has none.
    Spec(NewSpec),
    /// A container's whole environment.
    Env(Vec<EnvVar>),
    /// One more environment variable.
    EnvVar(EnvVar),
    /// A container's whole list of mounts.
    VolumeMounts(Vec<VolumeMount>),
    /// One mount.
    VolumeMount(VolumeMount),
    /// A whole list of containers.
    Containers(Vec<Container>),
    /// One container.
    Container(Box<Container>),
    /// A pod's whole list of volumes.
    Volumes(Vec<ProjectedVolume>),
    /// One volume.
    Volume(ProjectedVolume),
}

/// The fields of a spec that consists of nothing but injected lists.
#[derive(Debug, Clone, PartialEq)]
pub struct NewSpec(Vec<(String, Fragment)>);

impl Serialize for NewSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(field, list)| (field, list)))
    }
}

/// A `Volume` of the one kind that is injected. The API's own type would drag the serialisation of every other kind
/// into the wasm, down to dates, and double its size.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProjectedVolume {
    /// Name of the volume.
    pub name: String,
    /// Its sources.
    pub projected: ProjectedVolumeSource,
}

impl Patch {
    /// The operations in order.
    #[must_use]
    pub fn operations(&self) -> &[PatchOperation] {
        &self.operations
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// The patch as JSON text.
    ///
    /// # Errors
    /// None that is known: every fragment is plain data. The signature leaves the question to `serde_json`.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        // Room for what a pod with one container gets.
        let mut json = Vec::with_capacity(2048);
        serde_json::to_writer(&mut json, self)?;
        String::from_utf8(json).map_err(serde::ser::Error::custom)
    }

    pub(crate) fn add(&mut self, path: impl Into<String>, value: Fragment) {
        self.operations.push(PatchOperation { op: PatchKind::Add, path: path.into(), value });
    }

    pub(crate) fn replace(&mut self, path: impl Into<String>, value: Fragment) {
        self.operations.push(PatchOperation { op: PatchKind::Replace, path: path.into(), value });
    }

    /// The same change to a pod that has no spec: its lists, of which there is none yet, in one new spec.
    pub(crate) fn into_new_spec(self) -> Self {
        let field = |path: &str| path.strip_prefix("/spec/").unwrap_or(path).to_owned();
        let fields = self.operations.into_iter().map(|operation| (field(&operation.path), operation.value));
        let mut patch = Self::default();
        patch.add("/spec", Fragment::Spec(NewSpec(fields.collect())));
        patch
    }

    /// Appends to the list at `path`: as a new list where there is none, else element by element.
    pub(crate) fn append<T>(
        &mut self,
        path: &str,
        is_empty: bool,
        elements: Vec<T>,
        list: fn(Vec<T>) -> Fragment,
        element: fn(T) -> Fragment,
    ) {
        if elements.is_empty() {
            return;
        }
        if is_empty {
            self.add(path, list(elements));
        } else {
            let path = [path, "/-"].concat();
            for value in elements {
                self.add(path.as_str(), element(value));
            }
        }
    }
}

/// JSON Pointer to a field of a container.
pub(crate) fn container_path(list: &str, index: usize, field: &str) -> String {
    ["/spec/", list, "/", &index.to_string(), "/", field].concat()
}
