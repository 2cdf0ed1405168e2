//! Pod templates of workload objects. The user who applies the object gets the warnings that its pods would get.

use std::borrow::Cow;

use azwi_json::{JsonValue, printable};

use super::metadata::{KeyKind, PrefixedEntries};
use super::request::AdmissionRequest;
use crate::names::OPT_IN_LABEL;

/// Path of the pod template for a kind of workload object and its API group; `None` if the kind has none.
pub fn pod_template_path(group: &str, kind: &str) -> Option<&'static str> {
    match (group, kind) {
        ("apps", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet")
        | ("", "ReplicationController")
        | ("batch", "Job") => Some("spec.template"),
        ("batch", "CronJob") => Some("spec.jobTemplate.spec.template"),
        _ => None,
    }
}

/// A workload object and its pod template.
#[derive(Debug)]
pub(crate) struct Workload<'a> {
    /// Its pods in a message, for example `pods of Deployment web`.
    pub pods: String,
    /// Path of the pod template, for a message.
    pub template_path: &'static str,
    pub template: JsonValue<'a>,
    /// The objects around the pod template with their metadata, outermost first, as named in a message. A `CronJob` has a
    /// job template too.
    pub layers: Vec<(String, JsonValue<'a>)>,
}

impl<'a> Workload<'a> {
    /// Finds the pod template in the object of a request; returns `None` for other kinds, objects without a template,
    /// and objects so invalid that the API server will reject them.
    pub(crate) fn of(request: &AdmissionRequest<'a>) -> Option<Self> {
        let path = pod_template_path(&request.group, &request.kind)?;
        let object = request.object?;
        let template = path.split('.').try_fold(object, JsonValue::get)?;
        let metadata = object.get("metadata")?;
        let text = |key| metadata.get(key).and_then(|value| value.short_text().ok());
        let name = text("name").or_else(|| text("generateName")).unwrap_or_default();
        let subject = format!("{} {}", request.kind, printable(&name, 63));
        let pods = format!("pods of {subject}");
        let job_template = object.get("spec").and_then(|spec| spec.get("jobTemplate")?.get("metadata"));
        let job_template = job_template.map(|metadata| (format!("job template of {subject}"), metadata));
        let mut layers = vec![(subject, metadata)];
        layers.extend(job_template);
        Some(Self { pods, template_path: path, template, layers })
    }
}

/// Labels and annotations with the project's prefix, unless the API server will reject them. Not the opt-in label
/// `"false"`: opting out is no mistake.
pub(crate) fn prefixed_keys(metadata: JsonValue<'_>) -> Vec<(KeyKind, Cow<'_, str>)> {
    let mut keys = Vec::new();
    for (kind, field) in [(KeyKind::Label, "labels"), (KeyKind::Annotation, "annotations")] {
        let entries = PrefixedEntries::read(metadata, field).unwrap_or_default();
        let entries = entries.into_iter().filter(|(key, value)| key != OPT_IN_LABEL || value != "false");
        keys.extend(entries.map(|(key, _)| (kind, key)));
    }
    keys
}
