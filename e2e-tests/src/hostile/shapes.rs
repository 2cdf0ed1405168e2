//! Reviews made to be expensive, of any size.

use super::bodies::{
    Expensive, allowed_maxima, annotation, annotations, container, container_with_lists, defaulted_container,
    deployment, entries, labelled, list, list_of, managed_fields, named_container, names, nested, pod,
    projected, repeated, request_with, same, skipping, spec, template, workload,
};

/// A kind of expensive input, of about as many bytes as requested and never more.
#[derive(Clone, Copy)]
pub struct Shape {
    pub name: &'static str,
    /// Builds one.
    pub make: fn(usize) -> Expensive,
}

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
    ("white space", |size| spec("later", &format!("{}1", same(size, "", " ")))),
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
    ("a Deployment with the same keys as its template", |size| {
        let key = |i: usize| format!(r#""azure.workload.identity/k{i:07}":"""#);
        let labels = list(size / 2, key);
        let labels = labels.trim_matches(['[', ']']);
        let deployment = format!(
            r#"{{"kind":"Deployment","apiVersion":"apps/v1","metadata":{{"labels":{{{labels}}}}},"spec":{{"template":{{"metadata":{{"labels":{{{labels}}}}},"spec":{{}}}}}}}}"#
        );
        workload(&deployment)
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
