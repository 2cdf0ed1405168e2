//! The parts of a pod's service account that are read: its label and its annotations.

use super::metadata::{KeyKind, METADATA, PrefixedEntries};
use crate::bounds::{LONGEST_IDENTITY, LONGEST_KEY_NAME, MOST_REQUEST_VALUES};
use crate::names::{
    ANNOTATION_PREFIX, CLIENT_ID_ANNOTATION, OPT_IN_LABEL, OPT_IN_VALUE, TENANT_ID_ANNOTATION,
    TOKEN_EXPIRATION_ANNOTATION,
};
use azwi_json::{JsonText, JsonValue, Shape, TypeError};

/// The part of a `ServiceAccount` that affects its pods.
///
/// Absent and empty differ only for `tenant_id`: an empty annotation suppresses `AZURE_TENANT_ID`.
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
    /// Keys with the project's prefix that are never read: misspelled, or in the wrong place.
    pub(crate) unread: Box<[UnreadKey]>,
}

/// A service account key that is never read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnreadKey {
    pub kind: KeyKind,
    /// The whole key, truncated to the maximum length of keys.
    pub key: Box<str>,
}

/// Maximum number of such keys per service account, because caches store them too.
const MOST_UNREAD: usize = 4;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServiceAccountLookup {
    Found(ServiceAccount),
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
        let mut unread = Vec::new();
        let mut note = |kind, key: &str| {
            // Of the opt-in label alone it matters more than that it is one of many.
            if key == OPT_IN_LABEL || (key.starts_with(ANNOTATION_PREFIX) && unread.len() < MOST_UNREAD) {
                let longest = ANNOTATION_PREFIX.len() + LONGEST_KEY_NAME;
                let key = key.get(..key.floor_char_boundary(longest)).unwrap_or(key);
                unread.push(UnreadKey { kind, key: key.into() });
            }
        };
        for (key, value) in labels {
            match key {
                OPT_IN_LABEL => account.opt_in_label = Some(kept(value)),
                _ => note(KeyKind::Label, key),
            }
        }
        for (key, value) in annotations {
            match key {
                CLIENT_ID_ANNOTATION => account.client_id = Some(kept(value)),
                TENANT_ID_ANNOTATION => account.tenant_id = Some(kept(value)),
                TOKEN_EXPIRATION_ANNOTATION => account.token_expiration = Some(kept(value)),
                _ => note(KeyKind::Annotation, key),
            }
        }
        account.unread = unread.into();
        account
    }

    /// The annotation that is copied into pods, but is longer than [`LONGEST_IDENTITY`].
    pub(crate) fn too_long_annotation(&self) -> Option<&'static str> {
        let annotations = [(CLIENT_ID_ANNOTATION, &self.client_id), (TENANT_ID_ANNOTATION, &self.tenant_id)];
        let is_too_long =
            |value: &Option<Box<str>>| value.as_deref().is_some_and(|v| v.len() > LONGEST_IDENTITY);
        annotations.into_iter().find(|(_, value)| is_too_long(value)).map(|(key, _)| key)
    }

    /// Whether the service account opts its pods in.
    pub fn is_opted_in(&self) -> bool {
        self.opt_in_label.as_deref() == Some(OPT_IN_VALUE)
    }

    /// The client id, empty if there is none.
    pub fn client_id(&self) -> &str {
        self.client_id.as_deref().unwrap_or_default()
    }

    pub(crate) fn unread_keys(&self) -> impl Iterator<Item = (KeyKind, &str)> {
        self.unread.iter().map(|unread| (unread.kind, &*unread.key))
    }

    /// Whether this key is among the unread ones.
    pub(crate) fn has_unread(&self, kind: KeyKind, key: &str) -> bool {
        self.unread.iter().any(|unread| unread.kind == kind && &*unread.key == key)
    }

    /// Memory besides the struct itself, in bytes.
    pub fn heap_bytes(&self) -> usize {
        let texts = [&self.opt_in_label, &self.client_id, &self.tenant_id, &self.token_expiration];
        let texts = texts.into_iter().flatten().chain(self.unread.iter().map(|unread| &unread.key));
        // The allocator adds about a word to each.
        let texts: usize = texts.map(|text| text.len() + size_of::<usize>()).sum();
        texts + size_of_val(&*self.unread)
    }

    /// Reads a `ServiceAccount` manifest.
    ///
    /// # Errors
    /// One sentence that names the path of the field with the wrong type.
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
    /// The text is not JSON, or see [`ServiceAccount::read`].
    pub fn from_json(text: &str) -> Result<Self, String> {
        Self::read(JsonText::parse_shaped(text, &MANIFEST, MOST_REQUEST_VALUES)?.root())
    }
}

/// Keeps just enough of a text to show that it is too long, because caches store these.
fn kept(value: &str) -> Box<str> {
    value.get(..value.floor_char_boundary(LONGEST_IDENTITY + 4)).unwrap_or(value).into()
}

/// The parts of a `ServiceAccount` manifest to index.
static MANIFEST: Shape = Shape::Object(&[("metadata", &METADATA)]);
