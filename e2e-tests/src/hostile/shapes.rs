//! Reviews made to be expensive, of any size.

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

/// A kind of expensive input, of about as many bytes as requested and never more.
#[derive(Clone, Copy)]
pub struct Shape {
    pub name: &'static str,
    /// Builds one.
    pub make: fn(usize) -> Expensive,
}

/// Size of the part that does not grow.
const AROUND: usize = 1000;

pub fn shapes() -> Vec<Shape> {
    let mut shapes = Vec::new();
    for table in [LISTS, TEXTS, DEPTHS, WHOLES, WORKLOADS] {
        shapes.extend(table.iter().map(|(name, make)| Shape { name, make: *make }));
    }
    shapes
}

type Table = &'static [(&'static str, fn(usize) -> Expensive)];

/// Long lists of fields that are read.
const LISTS: Table = &[
    ("empty containers", |size| spec("containers", &list_of(size, "{}"))),
    ("empty init containers", |size| spec("initContainers", &list_of(size, "{}"))),
    ("defaulted containers", |size| spec("containers", &list(size, defaulted_container))),
    ("named containers", |size| spec("containers", &list(size, named_container))),
    ("containers and skip names", |size| {
        skipping(&list(size / 2, named_container), &names(size / 2, "", ""))
    }),
    ("short containers and skip names", |size| {
        skipping(&list_of(size / 8, "{}"), &names(size / 8 * 7, "", ""))
    }),
    ("containers and skip names that are long and alike", |size| {
        let prefix = "x".repeat(60);
        let container = |i: usize| format!(r#"{{"name":"{prefix}{i}"}}"#);
        skipping(&list(size / 2, container), &names(size / 2, &prefix, "y"))
    }),
    ("skip names that differ and print alike", |size| {
        // Five of eight control characters.
        let digit = |i: usize, place: usize| (i >> (3 * place) & 7) + 1;
        let name = |i: usize| {
            ["\\u000"; 5]
                .iter()
                .enumerate()
                .fold(String::new(), |name, (place, escape)| name + escape + &digit(i, place).to_string())
        };
        skipping(r#"[{"name":"c"}]"#, &repeated(size, ";", name))
    }),
    ("skip names of nobody", |size| skipping(r#"[{"name":"c"}]"#, &names(size, "", ""))),
    ("empty variables", |size| container("env", &list_of(size, "{}"))),
    ("named variables", |size| {
        container("env", &list(size, |i| format!(r#"{{"name":"V{i}","value":"x"}}"#)))
    }),
    ("variables of our names", |size| {
        container("env", &list_of(size, r#"{"name":"AZURE_CLIENT_ID","value":"other"}"#))
    }),
    ("containers with variables of our names", |size| {
        let container =
            |i: usize| format!(r#"{{"name":"c{i}","env":[{{"name":"AZURE_TENANT_ID","value":"o"}}]}}"#);
        spec("containers", &list(size, container))
    }),
    ("containers with nulls for lists", |size| {
        spec("containers", &list_of(size, r#"{"env":null,"volumeMounts":null}"#))
    }),
    ("containers with lists of empty elements", |size| spec("containers", &list(size, container_with_lists))),
    ("containers with empty lists", |size| {
        spec("containers", &list_of(size, r#"{"env":[],"volumeMounts":[]}"#))
    }),
    ("empty mounts", |size| container("volumeMounts", &list_of(size, "{}"))),
    ("mounts in the token's place", |size| {
        let mount = |i: usize| format!(r#"{{"name":"v{i}","mountPath":"/var/run/secrets/azure/tokens"}}"#);
        container("volumeMounts", &list(size, mount))
    }),
    ("empty volumes", |size| spec("volumes", &list_of(size, "{}"))),
    ("volumes of our name", |size| {
        spec("volumes", &list_of(size, r#"{"name":"azure-identity-token","emptyDir":{}}"#))
    }),
    ("volumes that project a token", |size| {
        let volume = |i: usize| {
            format!(
                r#"{{"name":"v{i}","projected":{{"sources":[{{"serviceAccountToken":{{"path":"azure-identity-token"}}}}]}}}}"#
            )
        };
        spec("volumes", &list(size, volume))
    }),
    ("empty projected sources", |size| projected(&list_of(size, "{}"))),
    ("projected tokens", |size| {
        projected(&list_of(size, r#"{"serviceAccountToken":{"path":"azure-identity-token"}}"#))
    }),
    ("annotations with our prefix", |size| annotations(size, "azure.workload.identity/")),
    ("annotations with any prefix", |size| annotations(size, "")),
    ("labels with our prefix", |size| {
        let entries = entries(size, "azure.workload.identity/");
        labelled(
            &format!(r#","annotations":{{}},"labels":{{{entries},"azure.workload.identity/use":"true"}}"#),
            "",
        )
    }),
    ("proxies wanted by many containers", |size| {
        let metadata = r#","annotations":{"azure.workload.identity/inject-proxy-sidecar":"true"}"#;
        let half = list(size / 2, named_container);
        labelled(metadata, &format!(r#","initContainers":{half},"containers":{half}"#))
    }),
    ("everything that is allowed", allowed_maxima),
    ("repeated lists of containers", |size| {
        let lists = same(size, ",", r#""containers":[{},{},{},{},{},{},{},{}]"#);
        labelled("", &format!(",{lists}"))
    }),
    ("repeated names", |size| {
        let names = same(size, ",", r#""name":"c""#);
        spec("containers", &format!("[{{{names}}}]"))
    }),
    ("repeated metadata", |size| {
        let metadata = same(size, ",", r#""metadata":{}"#);
        pod(&format!(r#"{{{metadata},"metadata":{{"labels":{{"azure.workload.identity/use":"true"}}}}}}"#))
    }),
];

/// Long texts.
const TEXTS: Table = &[
    ("a container's name of escapes", |size| {
        spec("containers", &format!(r#"[{{"name":"{}"}}]"#, same(size, "", r"\u0041")))
    }),
    ("a container's name of control characters", |size| {
        let name = same(size, "", r"\u0000");
        spec(
            "containers",
            &format!(r#"[{{"name":"{name}","env":[{{"name":"AZURE_CLIENT_ID","value":"o"}}]}}]"#),
        )
    }),
    ("a generateName of escapes", |size| {
        labelled(&format!(r#","generateName":"{}""#, same(size, "", r"\u0041")), "")
    }),
    ("a generateName of control characters", |size| {
        labelled(&format!(r#","generateName":"{}""#, same(size, "", r"\n\u001b")), "")
    }),
    ("a name of quotes", |size| labelled(&format!(r#","name":"{}""#, same(size, "", r#"\""#)), "")),
    ("an annotation of escapes", |size| annotation("skip-containers", &same(size, "", r"\u003b"))),
    ("an annotation of separators", |size| annotation("skip-containers", &same(size, "", ";"))),
    ("a port that is a text without end", |size| {
        let port = same(size, "", "9");
        let annotations = format!(
            r#","annotations":{{"azure.workload.identity/inject-proxy-sidecar":"true","azure.workload.identity/proxy-sidecar-port":"{port}"}}"#
        );
        labelled(&annotations, r#","containers":[{"name":"c"}]"#)
    }),
    ("an expiration that is a text without end", |size| {
        annotation("service-account-token-expiration", &same(size, "", "9"))
    }),
    ("a label's value without end", |size| {
        let value = same(size, "", r"\u00e9");
        pod(&format!(
            r#"{{"metadata":{{"labels":{{"azure.workload.identity/use":"{value}"}}}},"spec":{{}}}}"#
        ))
    }),
    ("a service account's name without end", |size| {
        let name = same(size, "", "a");
        pod(&format!(
            r#"{{"metadata":{{"labels":{{"azure.workload.identity/use":"true"}}}},"spec":{{"serviceAccountName":"{name}"}}}}"#
        ))
    }),
    ("a uid without end", |size| {
        let uid = same(size, "", r"\u0041");
        request_with(&[("uid", &format!(r#""{uid}""#))])
    }),
    ("a uid of control characters", |size| {
        let uid = same(size, "", r"\u0001");
        request_with(&[("uid", &format!(r#""{uid}""#))])
    }),
    ("variables' names of escapes", |size| {
        let name = r"\n".repeat(360);
        container("env", &list(size, |i| format!(r#"{{"name":"{name}{i}"}}"#)))
    }),
    ("mounts' volumes of escapes", |size| {
        let name = r"\n".repeat(360);
        container("volumeMounts", &list(size, |i| format!(r#"{{"name":"{name}{i}","mountPath":"{name}"}}"#)))
    }),
    ("a namespace without end", |size| {
        let namespace = same(size, "", "a");
        request_with(&[("namespace", &format!(r#""{namespace}""#))])
    }),
    ("a variable's value without end", |size| {
        let value = same(size, "", r"\\");
        container("env", &format!(r#"[{{"name":"AZURE_CLIENT_ID","value":"{value}"}}]"#))
    }),
    ("a field of the wrong type with a key without end", |size| {
        let key = same(size, "", r"\u0001");
        let metadata = format!(r#","annotations":{{"{key}":5}}"#);
        labelled(&metadata, "")
    }),
    ("a text in a field that nobody reads", |size| {
        spec("later", &format!(r#""{}""#, same(size, "", r"\u0041")))
    }),
    ("a number without end", |size| spec("later", &same(size, "", "1"))),
    ("white space", |size| spec("later", &same(size, "", " ").add("1"))),
];

/// Deep nesting, or many fields that nobody reads.
const DEPTHS: Table = &[
    ("brackets in a field that nobody reads", |size| spec("later", &nested(size, "[", "]"))),
    ("objects in a field that nobody reads", |size| spec("later", &nested(size, r#"{"a":"#, "}"))),
    ("brackets in managedFields", |size| managed_fields(&nested(size, "[", "]"))),
    ("objects in managedFields", |size| managed_fields(&nested(size, r#"{"a":"#, "}"))),
    ("brackets in a variable", |size| container("env", &nested(size, "[", "]"))),
    ("brackets in the old object", |size| request_with(&[("oldObject", &nested(size, "[", "]"))])),
    ("numbers in a field that nobody reads", |size| spec("later", &list_of(size, "1"))),
    ("numbers in managedFields", |size| managed_fields(&list_of(size, "1"))),
    ("numbers among the variables", |size| container("env", &list_of(size, "1"))),
    ("numbers among the containers", |size| spec("containers", &list_of(size, "1"))),
    ("numbers in the old object", |size| request_with(&[("oldObject", &list_of(size, "1"))])),
    ("numbers in the status", |size| {
        let numbers = list_of(size, "1");
        pod(&format!(
            r#"{{"metadata":{{"labels":{{"azure.workload.identity/use":"true"}}}},"status":{numbers}}}"#
        ))
    }),
    ("empty texts in a field that nobody reads", |size| spec("later", &list_of(size, r#""""#))),
    ("keys in a field that nobody reads", |size| {
        spec("later", &format!("{{{}}}", same(size, ",", r#""":0"#)))
    }),
    ("keys beside those that are read", |size| {
        let keys = same(size, ",", r#""":0"#);
        labelled("", &format!(",{keys}"))
    }),
    ("a key of a volume of escapes", |size| {
        spec("volumes", &format!(r#"[{{"{}":0}}]"#, same(size, "", r"\n")))
    }),
    ("a key of our volume of escapes, and a mount above the token", |size| {
        let volume = format!(
            r#"{{"name":"azure-identity-token","csi":{{"readOnly":true}},"{}":0}}"#,
            same(size, "", r"\n")
        );
        let container =
            r#"{"name":"c","volumeMounts":[{"name":"azure-identity-token","mountPath":"/var/run"}]}"#;
        labelled("", &format!(r#","volumes":[{volume}],"containers":[{container}]"#))
    }),
    ("a key with our prefix without end", |size| annotation(&same(size.min(260_000), "", "a"), "")),
    ("many keys with our prefix", |size| {
        let keys = repeated(size, ",", |i| format!(r#""azure.workload.identity/k{i}":"""#));
        labelled(&format!(r#","annotations":{{{keys}}}"#), r#","containers":[{"name":"c"}]"#)
    }),
    ("items of a volume above the token, for many containers", |size| {
        let items = same(size / 2, ",", r#"{"path":"x"}"#);
        let volume = format!(r#"{{"name":"v","secret":{{"items":[{items}]}}}}"#);
        let containers = list(size / 2, |i| {
            format!(r#"{{"name":"c{i}","volumeMounts":[{{"name":"v","mountPath":"/run","readOnly":true}}]}}"#)
        });
        labelled("", &format!(r#","volumes":[{volume}],"containers":{containers}"#))
    }),
    ("terms of a node affinity", |size| {
        let terms = same(
            size,
            ",",
            r#"{"matchExpressions":[{"key":"kubernetes.io/os","operator":"In","values":["windows"]}]}"#,
        );
        labelled(
            r#","annotations":{"azure.workload.identity/inject-proxy-sidecar":"true"}"#,
            &format!(
                r#","affinity":{{"nodeAffinity":{{"requiredDuringSchedulingIgnoredDuringExecution":{{"nodeSelectorTerms":[{terms}]}}}}}}"#
            ),
        )
    }),
    ("a key of the spec of escapes", |size| labelled("", &format!(r#","{}":0"#, same(size, "", r"\n")))),
    ("keys of a volume beside containers", |size| {
        let keys = same(size / 4, ",", r#""":0"#);
        let containers = list(size / 4 * 3, named_container);
        labelled("", &format!(r#","volumes":[{{{keys}}}],"containers":{containers}"#))
    }),
    ("keys of a volume", |size| {
        let keys = repeated(size, ",", |i| format!(r#""k{i}":0"#));
        spec("volumes", &format!("[{{{keys}}}]"))
    }),
];

/// Bodies that are not admission requests.
const WHOLES: Table = &[
    ("a body of brackets", |size| Expensive::Body("[".repeat(size).into_bytes())),
    ("a body of objects", |size| Expensive::Body(r#"{"a":"#.repeat(size / 5).into_bytes())),
    ("a body of closed brackets", |size| Expensive::Body(nested(size, "[", "]").into_bytes())),
    ("a body of numbers", |size| Expensive::Body(list_of(size, "1").into_bytes())),
    ("a body of white space", |size| Expensive::Body(vec![b' '; size])),
    ("a body of zeros", |size| Expensive::Body(vec![0; size])),
    ("a body that is not UTF-8", |size| {
        let mut body = br#"{"kind":"AdmissionReview","request":{"uid":""#.to_vec();
        body.resize(size.max(body.len()), 0xff);
        Expensive::Body(body)
    }),
    ("a version without end", |size| {
        let version = same(size, "", r"\u0000");
        Expensive::Body(format!(r#"{{"apiVersion":"{version}","request":{{"uid":"u"}}}}"#).into_bytes())
    }),
    ("repeated requests", |size| {
        let requests = same(size, ",", r#""request":{}"#);
        Expensive::Body(format!(r#"{{"apiVersion":"admission.k8s.io/v1",{requests}}}"#).into_bytes())
    }),
];

/// The same in pod templates, whose pods are warned about.
const WORKLOADS: Table = &[
    ("a Deployment of empty containers", |size| deployment("", &list_of(size, "{}"))),
    ("a Deployment of containers and skip names", |size| {
        deployment(&names(size / 2, "", ""), &list(size / 2, named_container))
    }),
    ("a Deployment of variables of our names", |size| {
        let variables = list_of(size, r#"{"name":"AZURE_CLIENT_ID","value":"other"}"#);
        deployment("", &format!(r#"[{{"name":"c","env":{variables}}}]"#))
    }),
    ("a Deployment of containers with variables of our names", |size| {
        let container =
            |i: usize| format!(r#"{{"name":"c{i}","env":[{{"name":"AZURE_TENANT_ID","value":"o"}}]}}"#);
        deployment("", &list(size, container))
    }),
    ("a Deployment with numbers in managedFields", |size| {
        let numbers = list_of(size, "1");
        let deployment = format!(
            r#"{{"kind":"Deployment","apiVersion":"apps/v1","metadata":{{"managedFields":{numbers}}},"spec":{{"template":{}}}}}"#,
            template("", "[]")
        );
        workload(&deployment)
    }),
];

trait Add {
    fn add(self, end: &str) -> String;
}

impl Add for String {
    fn add(mut self, end: &str) -> String {
        self.push_str(end);
        self
    }
}

/// As many pieces as fit in `size`, except for their surroundings.
fn repeated(size: usize, separator: &str, piece: impl Fn(usize) -> String) -> String {
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
fn same(size: usize, separator: &str, piece: &str) -> String {
    let count = size.saturating_sub(AROUND) / (separator.len() + piece.len());
    let mut text = format!("{piece}{separator}").repeat(count);
    text.truncate(text.len().saturating_sub(separator.len()));
    text
}

fn list_of(size: usize, element: &str) -> String {
    format!("[{}]", same(size, ",", element))
}

fn list(size: usize, element: impl Fn(usize) -> String) -> String {
    format!("[{}]", repeated(size, ",", element))
}

fn nested(size: usize, open: &str, close: &str) -> String {
    let depth = size.saturating_sub(AROUND) / (open.len() + close.len());
    format!("{}1{}", open.repeat(depth), close.repeat(depth))
}

/// Names of a skip list, as short as possible if there is no prefix.
fn names(size: usize, prefix: &str, suffix: &str) -> String {
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

fn container_with_lists(_: usize) -> String {
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

fn defaulted_container(_: usize) -> String {
    r#"{"name":"","resources":{},"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File","imagePullPolicy":"IfNotPresent"}"#
        .to_owned()
}

fn named_container(i: usize) -> String {
    format!(r#"{{"name":"c{i}"}}"#)
}

/// The request that creates a pod.
fn pod(pod: &str) -> Expensive {
    Expensive::Request(pod_creation(TENANT, pod))
}

/// A labelled pod with extra metadata and spec members, each starting with a comma.
fn labelled(metadata: &str, spec: &str) -> Expensive {
    pod(&format!(
        r#"{{"kind":"Pod","apiVersion":"v1","metadata":{{"namespace":"{TENANT}","labels":{{"azure.workload.identity/use":"true"}}{metadata}}},"spec":{{"serviceAccountName":"{TENANT_ACCOUNT}"{spec}}}}}"#
    ))
}

fn spec(field: &str, value: &str) -> Expensive {
    labelled("", &format!(r#","{field}":{value}"#))
}

fn container(field: &str, value: &str) -> Expensive {
    spec("containers", &format!(r#"[{{"name":"c","{field}":{value}}}]"#))
}

fn projected(sources: &str) -> Expensive {
    spec("volumes", &format!(r#"[{{"name":"azure-identity-token","projected":{{"sources":{sources}}}}}]"#))
}

fn managed_fields(value: &str) -> Expensive {
    labelled(
        &format!(r#","managedFields":[{{"manager":"m","fieldsV1":{value}}}]"#),
        r#","containers":[{"name":"c"}]"#,
    )
}

fn annotation(name: &str, value: &str) -> Expensive {
    labelled(
        &format!(r#","annotations":{{"azure.workload.identity/{name}":"{value}"}}"#),
        r#","containers":[{"name":"c"}]"#,
    )
}

fn skipping(containers: &str, names: &str) -> Expensive {
    labelled(
        &format!(r#","annotations":{{"azure.workload.identity/skip-containers":"{names}"}}"#),
        &format!(r#","containers":{containers}"#),
    )
}

/// Entries of a string map.
fn entries(size: usize, prefix: &str) -> String {
    repeated(size, ",", |i| format!(r#""{prefix}k{i}":"v""#))
}

fn annotations(size: usize, prefix: &str) -> Expensive {
    let metadata = format!(r#","annotations":{{{}}}"#, entries(size, prefix));
    labelled(&metadata, r#","containers":[{"name":"c"}]"#)
}

/// As much of everything as an API server allows in one object.
fn allowed_maxima(size: usize) -> Expensive {
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
fn request_with(fields: &[(&str, &str)]) -> Expensive {
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
    Expensive::Request(request.add("}"))
}

fn template(skip_names: &str, containers: &str) -> String {
    format!(
        r#"{{"metadata":{{"labels":{{"azure.workload.identity/use":"true"}},"annotations":{{"azure.workload.identity/skip-containers":"{skip_names}"}}}},"spec":{{"serviceAccountName":"{TENANT_ACCOUNT}","containers":{containers}}}}}"#
    )
}

fn deployment(skip_names: &str, containers: &str) -> Expensive {
    let template = template(skip_names, containers);
    workload(&format!(
        r#"{{"kind":"Deployment","apiVersion":"apps/v1","metadata":{{"name":"web"}},"spec":{{"template":{template}}}}}"#
    ))
}

/// The request that creates a Deployment, as text, so that it is not rewritten.
fn workload(deployment: &str) -> Expensive {
    const PLACE: &str = r#"{"kind":"Deployment"}"#;
    let request = creation(TENANT, ("apps", "deployments"), &json!({"kind": "Deployment"}));
    Expensive::Request(request.replace(&format!(r#""object":{PLACE}"#), &format!(r#""object":{deployment}"#)))
}

#[cfg(test)]
mod tests {
    use super::{Expensive, shapes};

    #[test]
    fn shapes_are_as_long_as_they_are_asked_to_be() {
        for shape in shapes() {
            for size in [2_000, 100_000] {
                let body = (shape.make)(size).body();
                assert!(body.len() <= size, "{}: {} for {size}", shape.name, body.len());
            }
            let body = (shape.make)(100_000).body();
            assert!(body.len() >= 80_000, "{}: only {}", shape.name, body.len());
        }
    }

    #[test]
    fn requests_are_json() {
        for shape in shapes() {
            if let Expensive::Request(request) = (shape.make)(3_000) {
                let read: Result<serde_json::Value, _> = serde_json::from_str(&request);
                // serde_json has its own limits for the depth of a text and the length of a number.
                assert!(
                    read.is_ok()
                        || shape.name.contains("brackets")
                        || shape.name.contains("objects")
                        || shape.name.contains("number without"),
                    "{}",
                    shape.name
                );
            }
        }
    }

    #[test]
    fn names_are_all_different() {
        let mut names: Vec<_> = shapes().iter().map(|shape| shape.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), shapes().len());
    }
}
