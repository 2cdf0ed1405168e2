//! The parts of a pod that decide whether it is opted in: its metadata and service account name.

use std::borrow::Cow;

use azwi_json::{JsonValue, Shape, TypeError, printable};

use super::metadata::{KeyKind, METADATA, Metadata};
use crate::denial::Denial;
use crate::names::{DEFAULT_SERVICE_ACCOUNT, OPT_IN_LABEL, OPT_IN_VALUE};

/// The parts of a pod or pod template to index for the opt-in decision.
pub(super) static POD: Shape = Shape::Object(&[
    ("metadata", &METADATA),
    ("spec", &Shape::Object(&[("serviceAccountName", &Shape::Leaf), ("serviceAccount", &Shape::Leaf)])),
]);

/// A pod, or the pod template of a workload object, before its spec is read.
#[derive(Debug)]
pub(crate) struct PodHead<'a> {
    /// Name of the pod or the template in errors.
    subject: &'static str,
    metadata: Metadata<'a>,
    service_account_name: Cow<'a, str>,
    spec: Option<JsonValue<'a>>,
}

impl<'a> PodHead<'a> {
    /// Reads a pod or pod template; `subject` names it in errors.
    ///
    /// # Errors
    /// A denial with the path of the metadata field that has the wrong type.
    pub(crate) fn read(pod: JsonValue<'a>, subject: &'static str) -> Result<Self, Denial> {
        let read_metadata = || match pod.object()?.optional_object("metadata")? {
            Some(metadata) => Metadata::read(metadata),
            None => Ok(Metadata::default()),
        };
        let metadata =
            read_metadata().map_err(|error: TypeError<'a>| Denial::invalid(error.sentence(subject, pod)))?;
        let spec = pod.get("spec");
        // Type errors matter only once the pod is opted in, and are reported then.
        let text =
            |key| spec.and_then(|spec| spec.get(key)?.short_text().ok()).filter(|text| !text.is_empty());
        // The older spelling is the only one if no API server has set the other.
        let service_account_name = text("serviceAccountName").or_else(|| text("serviceAccount"));
        let service_account_name = service_account_name.unwrap_or(Cow::Borrowed(DEFAULT_SERVICE_ACCOUNT));
        Ok(Self { subject, metadata, service_account_name, spec })
    }

    /// The pod's name; empty if only its prefix is known.
    pub(crate) fn name(&self) -> &str {
        &self.metadata.name
    }

    /// The prefix from which the API server will generate the name.
    pub(crate) fn generate_name(&self) -> &str {
        &self.metadata.generate_name
    }

    /// The pod's name for a message, or its prefix and an asterisk, truncated to `limit` characters.
    pub(crate) fn display_name(&self, limit: usize) -> String {
        if self.name().is_empty() {
            printable(self.generate_name(), limit) + "*"
        } else {
            printable(self.name(), limit)
        }
    }

    /// Whether this is the mirror pod of a static pod: the API server rejects it if it requests a token.
    pub(crate) fn is_mirror(&self) -> bool {
        self.metadata.is_mirror
    }

    /// Labels and annotations with the project's prefix, in order, and the kind of each.
    pub(crate) fn prefixed_keys(&self) -> impl Iterator<Item = (KeyKind, &str)> {
        let labels = self.metadata.labels.iter().map(|(key, _)| (KeyKind::Label, key));
        labels.chain(self.metadata.annotations.iter().map(|(key, _)| (KeyKind::Annotation, key)))
    }

    /// Whether the pod's own label opts it in.
    pub(crate) fn is_labelled(&self) -> bool {
        self.opt_in_label() == Some(OPT_IN_VALUE)
    }

    pub(crate) fn opt_in_label(&self) -> Option<&str> {
        self.metadata.labels.get(OPT_IN_LABEL)
    }

    /// Value of an annotation with the project's prefix.
    pub(crate) fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata.annotations.get(key)
    }

    /// The service account whose identity the pod gets.
    pub(crate) fn service_account_name(&self) -> &str {
        &self.service_account_name
    }

    /// Memory besides the request's text, in bytes, except for short names.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.metadata.labels.heap_bytes() + self.metadata.annotations.heap_bytes()
    }

    pub(crate) fn has_spec(&self) -> bool {
        self.spec.is_some()
    }

    /// The original spec.
    pub(super) fn spec(&self) -> Option<JsonValue<'a>> {
        self.spec
    }

    /// Name of the pod or the template in errors.
    pub(super) fn subject(&self) -> &'static str {
        self.subject
    }
}
