//! What is read from a pod's service account: its label and its annotations.

use super::metadata::{METADATA, PrefixedEntries};
use crate::bounds::{LONGEST_IDENTITY, MOST_REQUEST_VALUES};
use crate::names::{
    CLIENT_ID_ANNOTATION, OPT_IN_LABEL, OPT_IN_VALUE, TENANT_ID_ANNOTATION, TOKEN_EXPIRATION_ANNOTATION,
};
use azwi_json::{JsonText, JsonValue, Shape, TypeError};

/// The part of a `ServiceAccount` that decides about its pods.
///
/// Absent and empty differ for `tenant_id` only: an empty annotation suppresses `AZURE_TENANT_ID`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceAccount {
    /// Value of the label `azure.workload.identity/use`.
    pub opt_in_label: Option<Box<str>>,
    /// Annotation `azure.workload.identity/client-id`.
    pub client_id: Option<Box<str>>,
    /// Annotation `azure.workload.identity/tenant-id`.
    pub tenant_id: Option<Box<str>>,
    /// Annotation `azure.workload.identity/service-account-token-expiration`.
    pub token_expiration: Option<Box<str>>,
    /// What stands where nothing reads it.
    pub misplaced: MisplacedKeys,
}

/// Labels written as annotations and the other way round.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MisplacedKeys {
    /// The opt-in label, written as an annotation.
    pub opt_in_as_annotation: bool,
    /// The client id, written as a label.
    pub client_id_as_label: bool,
}

/// The result of a lookup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServiceAccountLookup {
    /// It exists.
    Found(ServiceAccount),
    /// It does not exist.
    Missing,
    /// It could not be read, for this reason.
    Failed(String),
}

impl ServiceAccount {
    /// Reads the labels and annotations of a service account.
    pub fn new<'a>(
        labels: impl IntoIterator<Item = (&'a str, &'a str)>,
        annotations: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        let mut account = Self::default();
        for (key, value) in labels {
            match key {
                OPT_IN_LABEL => account.opt_in_label = Some(kept(value)),
                CLIENT_ID_ANNOTATION => account.misplaced.client_id_as_label = true,
                _ => {}
            }
        }
        for (key, value) in annotations {
            match key {
                CLIENT_ID_ANNOTATION => account.client_id = Some(kept(value)),
                TENANT_ID_ANNOTATION => account.tenant_id = Some(kept(value)),
                TOKEN_EXPIRATION_ANNOTATION => account.token_expiration = Some(kept(value)),
                OPT_IN_LABEL => account.misplaced.opt_in_as_annotation = true,
                _ => {}
            }
        }
        account
    }

    /// The annotations whose text ends up in pods, by key.
    pub(crate) fn annotations(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let annotations = [(CLIENT_ID_ANNOTATION, &self.client_id), (TENANT_ID_ANNOTATION, &self.tenant_id)];
        annotations.into_iter().filter_map(|(key, value)| Some((key, value.as_deref()?)))
    }

    /// Whether the service account opts its pods in.
    pub fn is_opted_in(&self) -> bool {
        self.opt_in_label.as_deref() == Some(OPT_IN_VALUE)
    }

    /// The client id, empty when there is none.
    pub fn client_id(&self) -> &str {
        self.client_id.as_deref().unwrap_or_default()
    }

    /// Reads a `ServiceAccount` manifest.
    ///
    /// # Errors
    /// One sentence that names the path of the field that has the wrong type.
    pub fn read<'a>(manifest: JsonValue<'a>) -> Result<Self, String> {
        let read = |manifest: JsonValue<'a>| {
            let Some(metadata) = manifest.object()?.optional_object("metadata")? else {
                return Ok(Self::default());
            };
            let labels = PrefixedEntries::read(metadata, "labels")?;
            let annotations = PrefixedEntries::read(metadata, "annotations")?;
            Ok(Self::new(labels.iter(), annotations.iter()))
        };
        read(manifest).map_err(|error: TypeError<'a>| error.sentence("service account", manifest))
    }

    /// Reads the JSON text of a `ServiceAccount` manifest, or of its metadata alone.
    ///
    /// # Errors
    /// The text is not JSON, or as [`ServiceAccount::read`].
    pub fn from_json(text: &str) -> Result<Self, String> {
        Self::read(JsonText::parse_shaped(text, &MANIFEST, MOST_REQUEST_VALUES)?.root())
    }
}

/// As much of a text as tells that it is too long: caches keep these.
fn kept(value: &str) -> Box<str> {
    value.get(..value.floor_char_boundary(LONGEST_IDENTITY + 4)).unwrap_or(value).into()
}

/// What has to be indexed of a `ServiceAccount` manifest.
static MANIFEST: Shape = Shape::Object(&[("metadata", &METADATA)]);
