//! The fields of an admission request that the decision needs, borrowed from its text.

use std::borrow::Cow;

use super::metadata::METADATA;
use super::pod::POD;
use azwi_json::{JsonValue, Shape, TypeError};

/// An `AdmissionRequest` of `admission.k8s.io/v1` or `v1beta1`. Other fields are ignored.
#[derive(Debug)]
pub struct AdmissionRequest<'a> {
    pub uid: Cow<'a, str>,
    /// Namespace of the object.
    pub namespace: Cow<'a, str>,
    /// API group of the object, empty for the core group.
    pub group: Cow<'a, str>,
    /// Kind of the object, for example `Pod`.
    pub kind: Cow<'a, str>,
    /// The object; `None` for a DELETE.
    pub object: Option<JsonValue<'a>>,
    operation: Cow<'a, str>,
    sub_resource: Cow<'a, str>,
    resource: (Cow<'a, str>, Cow<'a, str>),
}

/// The parts of a pod or workload object to index. Its kind may come after it in the text.
static OBJECT: Shape = Shape::Object(&[
    ("apiVersion", &Shape::Leaf),
    ("kind", &Shape::Leaf),
    ("metadata", &METADATA),
    (
        "spec",
        &Shape::Object(&[
            ("serviceAccountName", &Shape::Leaf),
            ("serviceAccount", &Shape::Leaf),
            ("template", &POD),
            (
                "jobTemplate",
                &Shape::Object(&[("metadata", &METADATA), ("spec", &Shape::Object(&[("template", &POD)]))]),
            ),
        ]),
    ),
]);

static GROUP_AND_NAME: Shape =
    Shape::Object(&[("group", &Shape::Leaf), ("kind", &Shape::Leaf), ("resource", &Shape::Leaf)]);

impl<'a> AdmissionRequest<'a> {
    /// The parts of a request to index.
    pub const SHAPE: &'static Shape = &Shape::Object(&[
        ("uid", &Shape::Leaf),
        ("namespace", &Shape::Leaf),
        ("operation", &Shape::Leaf),
        ("subResource", &Shape::Leaf),
        ("kind", &GROUP_AND_NAME),
        ("resource", &GROUP_AND_NAME),
        ("object", &OBJECT),
    ]);

    /// Reads a request.
    ///
    /// # Errors
    /// One sentence that names the path of the field with the wrong type.
    pub fn read(request: JsonValue<'a>) -> Result<Self, String> {
        let read = |request: JsonValue<'a>| {
            let request = request.object()?;
            let pair = |key: &str, name: &'static str| {
                let Some(value) = request.optional_object(key)? else { return Ok(Default::default()) };
                Ok::<_, TypeError<'a>>((
                    value.short_text_or_empty("group")?,
                    value.short_text_or_empty(name)?,
                ))
            };
            let (group, kind) = pair("kind", "kind")?;
            Ok(Self {
                uid: request.short_text_or_empty("uid")?,
                namespace: request.short_text_or_empty("namespace")?,
                group,
                kind,
                object: request.get("object"),
                operation: request.short_text_or_empty("operation")?,
                sub_resource: request.short_text_or_empty("subResource")?,
                resource: pair("resource", "resource")?,
            })
        };
        read(request).map_err(|error: TypeError<'_>| error.sentence("admission request", request))
    }

    /// The request that an API server would send to create this pod.
    pub fn pod_creation(namespace: &'a str, pod: JsonValue<'a>) -> Self {
        Self {
            resource: (Cow::default(), Cow::Borrowed("pods")),
            ..Self::creation(namespace, "", "Pod", pod)
        }
    }

    /// The request that an API server would send to create a workload object of this API group and kind.
    pub fn creation(namespace: &'a str, group: &'a str, kind: &'a str, object: JsonValue<'a>) -> Self {
        Self {
            uid: Cow::default(),
            namespace: Cow::Borrowed(namespace),
            group: Cow::Borrowed(group),
            kind: Cow::Borrowed(kind),
            object: Some(object),
            operation: Cow::Borrowed("CREATE"),
            sub_resource: Cow::default(),
            resource: Default::default(),
        }
    }

    /// Whether an object is created, not one of its subresources.
    pub fn is_create(&self) -> bool {
        self.operation == "CREATE" && self.sub_resource.is_empty()
    }

    /// Whether an object is updated, not one of its subresources.
    pub fn is_update(&self) -> bool {
        self.operation == "UPDATE" && self.sub_resource.is_empty()
    }

    pub fn is_about_pods(&self) -> bool {
        let (group, resource) = &self.resource;
        self.group.is_empty() && self.kind == "Pod" && group.is_empty() && resource == "pods"
    }
}
