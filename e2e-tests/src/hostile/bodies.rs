//! Bodies of reviews, and the JSON that they are made of.

use std::fmt::Write as _;

use hyper::body::Bytes;
use serde_json::{Value, json};

use super::{TENANT, TENANT_ACCOUNT, wire};
use admission_caller::request::{REQUEST_UID, creation, pod_creation};

/// An expensive input.
#[derive(Debug, Clone)]
pub enum Expensive {
    /// An admission request, which a policy can get as well.
    Request(String),
    /// A whole body, which only a webhook can get.
    Body(Vec<u8>),
}

impl Expensive {
    /// The body of the webhook's request.
    pub fn body(self) -> Bytes {
        match self {
            Self::Request(request) => wire::review(&request),
            Self::Body(body) => body.into(),
        }
    }
}

/// Size of the part that does not grow.
const AROUND: usize = 1000;

/// As many pieces as fit in `size`, except for their surroundings.
pub(super) fn repeated(size: usize, separator: &str, piece: impl Fn(usize) -> String) -> String {
    let size = size.saturating_sub(AROUND);
    let mut text = String::with_capacity(size);
    for i in 0.. {
        let piece = piece(i);
        if text.len() + separator.len() + piece.len() > size {
            break;
        }
        if i > 0 {
            text.push_str(separator);
        }
        text.push_str(&piece);
    }
    text
}

/// Like [`repeated`], with a single piece.
pub(super) fn same(size: usize, separator: &str, piece: &str) -> String {
    let count = size.saturating_sub(AROUND) / (separator.len() + piece.len());
    let mut text = format!("{piece}{separator}").repeat(count);
    text.truncate(text.len().saturating_sub(separator.len()));
    text
}

pub(super) fn list_of(size: usize, element: &str) -> String {
    format!("[{}]", same(size, ",", element))
}

pub(super) fn list(size: usize, element: impl Fn(usize) -> String) -> String {
    format!("[{}]", repeated(size, ",", element))
}

pub(super) fn nested(size: usize, open: &str, close: &str) -> String {
    let depth = size.saturating_sub(AROUND) / (open.len() + close.len());
    format!("{}1{}", open.repeat(depth), close.repeat(depth))
}

/// Names of a skip list, as short as possible if there is no prefix.
pub(super) fn names(size: usize, prefix: &str, suffix: &str) -> String {
    same(size, ";", &format!("{prefix}{}", if suffix.is_empty() { "n" } else { suffix }))
}

/// An exact number of containers and skip names.
pub fn containers_and_skip_names(containers: usize, skip_names: usize) -> Expensive {
    let containers: Vec<String> = (0..containers).map(named_container).collect();
    skipping(&format!("[{}]", containers.join(",")), &vec!["n"; skip_names].join(";"))
}

/// An exact number of empty containers.
pub fn empty_containers(count: usize) -> Expensive {
    spec("containers", &format!("[{}]", vec!["{}"; count].join(",")))
}

/// An exact number of containers whose lists must be extended, not created.
pub fn containers_with_lists(count: usize) -> Expensive {
    spec("containers", &format!("[{}]", vec![container_with_lists(0); count].join(",")))
}

pub(super) fn container_with_lists(_: usize) -> String {
    let nine = ["{}"; 9].join(",");
    format!(r#"{{"env":[{nine}],"volumeMounts":[{nine}]}}"#)
}

/// An exact number of containers that were written as `{}`, as an API server sends them.
pub fn defaulted_containers(count: usize) -> Expensive {
    let containers: Vec<String> = (0..count).map(defaulted_container).collect();
    spec("containers", &format!("[{}]", containers.join(",")))
}

/// Containers of a pod that runs as `account`.
pub fn containers_of_account(count: usize, account: &str) -> Expensive {
    let containers: Vec<String> = (0..count).map(named_container).collect();
    pod(&format!(
        r#"{{"metadata":{{"labels":{{"azure.workload.identity/use":"true"}}}},"spec":{{"serviceAccountName":"{account}","containers":[{}]}}}}"#,
        containers.join(",")
    ))
}

pub(super) fn defaulted_container(_: usize) -> String {
    r#"{"name":"","resources":{},"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File","imagePullPolicy":"IfNotPresent"}"#
        .to_owned()
}

pub(super) fn named_container(i: usize) -> String {
    format!(r#"{{"name":"c{i}"}}"#)
}

/// The request that creates a pod.
pub(super) fn pod(pod: &str) -> Expensive {
    Expensive::Request(pod_creation(TENANT, pod))
}

/// A labelled pod with extra metadata and spec members, each starting with a comma.
pub(super) fn labelled(metadata: &str, spec: &str) -> Expensive {
    pod(&format!(
        r#"{{"kind":"Pod","apiVersion":"v1","metadata":{{"namespace":"{TENANT}","labels":{{"azure.workload.identity/use":"true"}}{metadata}}},"spec":{{"serviceAccountName":"{TENANT_ACCOUNT}"{spec}}}}}"#
    ))
}

pub(super) fn spec(field: &str, value: &str) -> Expensive {
    labelled("", &format!(r#","{field}":{value}"#))
}

pub(super) fn container(field: &str, value: &str) -> Expensive {
    spec("containers", &format!(r#"[{{"name":"c","{field}":{value}}}]"#))
}

pub(super) fn projected(sources: &str) -> Expensive {
    spec("volumes", &format!(r#"[{{"name":"azure-identity-token","projected":{{"sources":{sources}}}}}]"#))
}

pub(super) fn managed_fields(value: &str) -> Expensive {
    labelled(
        &format!(r#","managedFields":[{{"manager":"m","fieldsV1":{value}}}]"#),
        r#","containers":[{"name":"c"}]"#,
    )
}

pub(super) fn annotation(name: &str, value: &str) -> Expensive {
    labelled(
        &format!(r#","annotations":{{"azure.workload.identity/{name}":"{value}"}}"#),
        r#","containers":[{"name":"c"}]"#,
    )
}

pub(super) fn skipping(containers: &str, names: &str) -> Expensive {
    labelled(
        &format!(r#","annotations":{{"azure.workload.identity/skip-containers":"{names}"}}"#),
        &format!(r#","containers":{containers}"#),
    )
}

/// Entries of a string map.
pub(super) fn entries(size: usize, prefix: &str) -> String {
    repeated(size, ",", |i| format!(r#""{prefix}k{i}":"v""#))
}

pub(super) fn annotations(size: usize, prefix: &str) -> Expensive {
    let metadata = format!(r#","annotations":{{{}}}"#, entries(size, prefix));
    labelled(&metadata, r#","containers":[{"name":"c"}]"#)
}

/// As much of everything as an API server allows in one object.
pub(super) fn allowed_maxima(size: usize) -> Expensive {
    let half = size / 2;
    let container = |i: usize| {
        let mut text = format!(r#"{{"name":"container-{i}","image":"registry.example/team/image:1","env":["#);
        for variable in 0..40 {
            let comma = if variable == 0 { "" } else { "," };
            // Writing to a String cannot fail.
            _ = write!(text, r#"{comma}{{"name":"VARIABLE_{variable}","value":"value"}}"#);
        }
        text.push_str(r#"],"volumeMounts":["#);
        for mount in 0..20 {
            let comma = if mount == 0 { "" } else { "," };
            _ = write!(
                text,
                r#"{comma}{{"name":"volume-{mount}","mountPath":"/mnt/{mount}","readOnly":true}}"#
            );
        }
        text.push_str("]}");
        text
    };
    let volume = |i: usize| format!(r#"{{"name":"volume-{i}","emptyDir":{{"sizeLimit":"1Gi"}}}}"#);
    let annotations = entries((size / 4).min(200 * 1024), "azure.workload.identity/");
    let skip_names = r#""azure.workload.identity/skip-containers":"container-1;container-3""#;
    let comma = if annotations.is_empty() { "" } else { "," };
    let metadata = format!(r#","annotations":{{{annotations}{comma}{skip_names}}}"#);
    let (containers, volumes) = (list(half, container), list(size / 4, volume));
    labelled(&metadata, &format!(r#","containers":{containers},"volumes":{volumes}"#))
}

/// A pod's creation with other fields of the request, given as JSON.
pub(super) fn request_with(fields: &[(&str, &str)]) -> Expensive {
    let kind = json!({"group": "", "version": "v1", "kind": "Pod"});
    let resource = json!({"group": "", "version": "v1", "resource": "pods"});
    let object = json!({"metadata": {"labels": {"azure.workload.identity/use": "true"}},
        "spec": {"serviceAccountName": TENANT_ACCOUNT, "containers": [{"name": "c"}]}});
    let known: [(&str, Value); 6] = [
        ("uid", REQUEST_UID.into()),
        ("kind", kind),
        ("resource", resource),
        ("operation", "CREATE".into()),
        ("namespace", TENANT.into()),
        ("object", object),
    ];
    let mut request = String::from("{");
    let given = |name: &str| fields.iter().any(|(field, _)| *field == name);
    for (name, value) in known.iter().filter(|(name, _)| !given(name)) {
        // Writing to a String cannot fail.
        _ = write!(request, r#""{name}":{value},"#);
    }
    for (name, value) in fields {
        _ = write!(request, r#""{name}":{value},"#);
    }
    request.pop();
    request.push('}');
    Expensive::Request(request)
}

pub(super) fn template(skip_names: &str, containers: &str) -> String {
    format!(
        r#"{{"metadata":{{"labels":{{"azure.workload.identity/use":"true"}},"annotations":{{"azure.workload.identity/skip-containers":"{skip_names}"}}}},"spec":{{"serviceAccountName":"{TENANT_ACCOUNT}","containers":{containers}}}}}"#
    )
}

pub(super) fn deployment(skip_names: &str, containers: &str) -> Expensive {
    let template = template(skip_names, containers);
    workload(&format!(
        r#"{{"kind":"Deployment","apiVersion":"apps/v1","metadata":{{"name":"web"}},"spec":{{"template":{template}}}}}"#
    ))
}

/// The request that creates a Deployment, as text, so that it is not rewritten.
pub(super) fn workload(deployment: &str) -> Expensive {
    const PLACE: &str = r#"{"kind":"Deployment"}"#;
    let request = creation(TENANT, ("apps", "deployments"), &json!({"kind": "Deployment"}));
    Expensive::Request(request.replace(&format!(r#""object":{PLACE}"#), &format!(r#""object":{deployment}"#)))
}
