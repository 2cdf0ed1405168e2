//! Generated pods, as text: keys in any order, numbers in any format, fields unknown to all Kubernetes versions.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// JSON whose key order and scalar texts are part of the value.
#[derive(Debug, Clone)]
pub(crate) enum Tree {
    /// A scalar as written.
    Scalar(String),
    List(Vec<Tree>),
    /// An object, keys in order.
    Object(Vec<(&'static str, Tree)>),
}

impl Tree {
    /// The JSON text, with some white space.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Scalar(text) => text.clone(),
            Self::List(elements) => {
                format!("[{}]", elements.iter().map(Self::text).collect::<Vec<_>>().join(" ,"))
            }
            Self::Object(members) => {
                let member = |(key, value): &(&str, Tree)| format!("\"{key}\": {}", value.text());
                format!("{{{}}}", members.iter().map(member).collect::<Vec<_>>().join(","))
            }
        }
    }
}

fn string(text: &str) -> Tree {
    Tree::Scalar(serde_json::Value::from(text).to_string())
}

fn any_of(texts: &'static [&'static str]) -> impl Strategy<Value = Tree> {
    select(texts).prop_map(string)
}

fn scalar(texts: &'static [&'static str]) -> impl Strategy<Value = Tree> {
    select(texts).prop_map(|text| Tree::Scalar(text.to_owned()))
}

/// A value unknown to all API versions, so that nothing can be assumed about it.
fn unknown() -> BoxedStrategy<Tree> {
    let leaf = scalar(&["null", "true", "1e2", "1.50", "9007199254740993", "-0", r#""\u00e9\/""#, "\"\""]);
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Tree::List),
            vec(inner, 0..3)
                .prop_map(|values| Tree::Object(["zeta", "alpha", "Beta"].into_iter().zip(values).collect())),
        ]
    })
    .boxed()
}

/// Some of the fields, in any order.
fn object(fields: Vec<(&'static str, BoxedStrategy<Option<Tree>>)>) -> BoxedStrategy<Tree> {
    let (keys, values): (Vec<_>, Vec<_>) = fields.into_iter().unzip();
    values
        .prop_map(move |values| {
            let members = keys.iter().zip(values).filter_map(|(key, value)| Some((*key, value?)));
            members.collect::<Vec<_>>()
        })
        .prop_shuffle()
        .prop_map(Tree::Object)
        .boxed()
}

/// A field that is always present.
fn always(value: impl Strategy<Value = Tree> + 'static) -> BoxedStrategy<Option<Tree>> {
    value.prop_map(Some).boxed()
}

/// A field that is present one time in `1 / probability`.
fn rarely(probability: f64, value: impl Strategy<Value = Tree> + 'static) -> BoxedStrategy<Option<Tree>> {
    proptest::option::weighted(probability, value).boxed()
}

/// Volume names that this software uses, and others.
const VOLUME_NAMES: &[&str] = &[
    "azure-identity-token",
    "azure-workload-identity-reserved-f19ff678f2cb1dbea8d2f468a5897c",
    "azure-workload-identity-reserved-5d2e50e8c9fc80ad3ab4bc23cce71b",
    "azure-workload-identity-reserved-",
    "data",
    "cache",
];

const MOUNT_PATHS: &[&str] = &[
    "/data",
    "/var/run/secrets/azure/tokens",
    "/var/run/secrets/azure/tokens/",
    "/var/run/secrets/azure/wi",
    "/var/run/secrets/azure/wi/f19ff678f2cb1dbea8d2f468a5897c",
];

fn env() -> BoxedStrategy<Tree> {
    const NAMES: &[&str] =
        &["AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_AUTHORITY_HOST", "azure_client_id", "PATH"];
    object(vec![
        ("name", always(any_of(NAMES))),
        (
            "value",
            rarely(0.7, any_of(&["", "other", "$(AZURE_CLIENT_ID)", "https://login.microsoftonline.com/"])),
        ),
        (
            "valueFrom",
            rarely(
                0.2,
                Just(Tree::Object(vec![(
                    "fieldRef",
                    Tree::Object(vec![("fieldPath", string("metadata.name"))]),
                )])),
            ),
        ),
    ])
}

fn mount() -> BoxedStrategy<Tree> {
    object(vec![
        ("name", always(any_of(VOLUME_NAMES))),
        ("mountPath", always(any_of(MOUNT_PATHS))),
        ("readOnly", rarely(0.5, scalar(&["true", "false"]))),
        ("subPath", rarely(0.1, any_of(&["part"]))),
        ("laterField", rarely(0.1, unknown())),
    ])
}

fn list(probability: f64, element: BoxedStrategy<Tree>, most: usize) -> BoxedStrategy<Option<Tree>> {
    let lists = prop_oneof![1 => scalar(&["null"]), 12 => vec(element, 0..=most).prop_map(Tree::List)];
    rarely(probability, lists)
}

fn container(name: &'static str) -> BoxedStrategy<Tree> {
    let quantity = scalar(&["\"0.5\"", "\"1024Mi\"", "\"1e3\""]);
    let requests =
        quantity.prop_map(|cpu| Tree::Object(vec![("requests", Tree::Object(vec![("cpu", cpu)]))]));
    object(vec![
        ("name", always(Just(string(name)))),
        ("image", always(any_of(&["img:1", "img@sha256:0"]))),
        ("env", list(0.7, env(), 4)),
        ("volumeMounts", list(0.7, mount(), 3)),
        ("resources", rarely(0.4, requests)),
        ("restartPolicyRules2", rarely(0.3, unknown())),
    ])
}

/// A list of containers with different names.
fn containers(names: &'static [&'static str]) -> BoxedStrategy<Tree> {
    proptest::sample::subsequence(names, 0..=names.len().min(3))
        .prop_flat_map(|names| names.into_iter().map(container).collect::<Vec<_>>())
        .prop_map(Tree::List)
        .boxed()
}

fn projected_source() -> BoxedStrategy<Tree> {
    let token = object(vec![
        ("path", always(any_of(&["azure-identity-token", "token/azure-identity-token", "token"]))),
        ("audience", rarely(0.7, any_of(&["api://AzureADTokenExchange", "vault"]))),
        ("expirationSeconds", rarely(0.7, scalar(&["3600", "7200"]))),
    ]);
    prop_oneof![
        3 => token.prop_map(|token| Tree::Object(vec![("serviceAccountToken", token)])),
        1 => any_of(&["kube-root-ca.crt"])
            .prop_map(|name| Tree::Object(vec![("configMap", Tree::Object(vec![("name", name)]))])),
        1 => unknown().prop_map(|value| Tree::Object(vec![("laterSource", value)])),
    ]
    .boxed()
}

fn volume() -> BoxedStrategy<Tree> {
    let projected = object(vec![
        ("sources", list(0.9, projected_source(), 2)),
        ("defaultMode", rarely(0.3, scalar(&["420", "256"]))),
    ]);
    object(vec![
        ("name", always(any_of(VOLUME_NAMES))),
        ("projected", rarely(0.6, projected)),
        ("emptyDir", rarely(0.3, Just(Tree::Object(Vec::new())))),
        ("laterVolume", rarely(0.1, unknown())),
    ])
}

fn annotations() -> BoxedStrategy<Tree> {
    object(vec![
        ("azure.workload.identity/inject-proxy-sidecar", rarely(0.4, any_of(&["true", "", "False", "yes"]))),
        ("azure.workload.identity/proxy-sidecar-port", rarely(0.2, any_of(&["8080", "+9000", "0", "x"]))),
        (
            "azure.workload.identity/skip-containers",
            rarely(0.3, any_of(&["", "c0", "c0; i0,azwi-proxy", "nobody"])),
        ),
        (
            "azure.workload.identity/service-account-token-expiration",
            rarely(0.3, any_of(&["", "7200", "007200", "100"])),
        ),
        ("azure.workload.identity/use-identity-binding", rarely(0.4, any_of(&["true", "TRUE", "no"]))),
        ("azure.workload.identity/client-id", rarely(0.1, any_of(&["x"]))),
        ("example.com/other", rarely(0.3, any_of(&["\u{e9}\n"]))),
    ])
}

/// Pods that the API's own type accepts, in every shape that the mutation reads.
pub(crate) fn pod() -> BoxedStrategy<Tree> {
    let labels = any_of(&["true", "false", "True"])
        .prop_map(|value| Tree::Object(vec![("azure.workload.identity/use", value), ("app", string("x"))]));
    let metadata = object(vec![
        ("name", rarely(0.4, any_of(&["db-0", "p", ""]))),
        ("generateName", rarely(0.7, any_of(&["web-7d4-", ""]))),
        ("labels", rarely(0.8, labels)),
        ("annotations", rarely(0.8, annotations())),
        ("creationTimestamp", rarely(0.5, scalar(&["null"]))),
        ("laterMetadata", rarely(0.2, unknown())),
    ]);
    let os = any_of(&["windows", "linux"]).prop_map(|name| Tree::Object(vec![("name", name)]));
    let spec = object(vec![
        ("serviceAccountName", rarely(0.7, any_of(&["", "sa"]))),
        ("serviceAccount", rarely(0.2, any_of(&["", "sa"]))),
        ("hostNetwork", rarely(0.1, scalar(&["true", "false"]))),
        ("os", rarely(0.2, os)),
        ("initContainers", rarely(0.5, containers(&["i0", "azwi-proxy-init", "azwi-proxy"]))),
        ("containers", always(containers(&["c0", "c1", "azwi-proxy"]))),
        ("volumes", list(0.7, volume(), 3)),
        ("laterSpec", rarely(0.5, unknown())),
    ]);
    object(vec![
        ("apiVersion", always(Just(string("v1")))),
        ("kind", always(Just(string("Pod")))),
        ("metadata", rarely(0.98, metadata)),
        ("spec", rarely(0.98, spec)),
        ("laterField", rarely(0.2, unknown())),
        ("status", rarely(0.5, Just(Tree::Object(Vec::new())))),
    ])
}

/// Keys that are read, so that values of every type appear in every place.
const KEYS: &[&str] = &[
    "metadata",
    "spec",
    "containers",
    "initContainers",
    "volumes",
    "env",
    "volumeMounts",
    "name",
    "generateName",
    "labels",
    "annotations",
    "projected",
    "sources",
    "serviceAccountToken",
    "azure.workload.identity/use",
    "template",
    "tenantId",
    "proxy",
    "tokenEndpoint",
    "caTrustBundle",
    "labelSelector",
    "matchExpressions",
    "hostNetwork",
    "os",
    "jobTemplate",
    "value",
    "valueFrom",
    "mountPath",
    "path",
    "expirationSeconds",
];

/// Any JSON.
pub(crate) fn any_json() -> BoxedStrategy<serde_json::Value> {
    use serde_json::Value;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 48, 5, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((select(KEYS), inner), 0..6).prop_map(|members| members
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect()),
        ]
    })
    .boxed()
}
