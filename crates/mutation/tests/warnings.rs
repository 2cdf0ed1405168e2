//! Each warning: its cause and its text.

// The lint does not treat test helpers as tests.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;

use azwi_mutation::{ServiceAccountLookup, WarningCode};
use serde_json::{Value, json};
use support::{config, creation, found, verdict_on_request};

const CLIENT_ID: &str = "5d2e50e8-c9fc-4dad-9ab4-bc23cce71bf1";

/// A service account with these annotations.
fn annotated(annotations: &Value) -> Value {
    json!({"metadata": {"annotations": annotations}})
}

/// A labelled pod of service account `sa` with these annotations and these spec members besides one container.
fn labelled(annotations: &Value, spec: &Value) -> Value {
    let mut pod = json!({
        "kind": "Pod",
        "metadata": {
            "name": "web",
            "labels": {"azure.workload.identity/use": "true"},
            "annotations": annotations,
        },
        "spec": {"serviceAccountName": "sa", "containers": [{"name": "c"}]},
    });
    let members = spec.as_object().unwrap().clone();
    pod.pointer_mut("/spec").unwrap().as_object_mut().unwrap().extend(members);
    pod
}

/// A pod of service account `sa` with this metadata.
fn pod(metadata: &Value) -> Value {
    json!({"kind": "Pod", "metadata": metadata, "spec": {"serviceAccountName": "sa"}})
}

fn deployment(labels: &Value, template: &Value) -> Value {
    json!({"kind": "Deployment", "metadata": {"name": "web", "labels": labels}, "spec": {"template": template}})
}

fn with_annotations(mut object: Value, annotations: &Value) -> Value {
    let metadata = object.pointer_mut("/metadata").unwrap().as_object_mut().unwrap();
    metadata.insert("annotations".to_owned(), annotations.clone());
    object
}

struct Case {
    name: &'static str,
    object: Value,
    lookup: ServiceAccountLookup,
    settings: Value,
    warnings: &'static [&'static str],
}

/// A case with a valid service account and valid settings.
fn case(name: &'static str, object: Value, warnings: &'static [&'static str]) -> Case {
    let account = annotated(&json!({"azure.workload.identity/client-id": CLIENT_ID}));
    Case { name, object, lookup: found(&account), settings: json!({}), warnings }
}

/// A case about the service account of a labelled pod.
fn account(name: &'static str, account: &Value, warnings: &'static [&'static str]) -> Case {
    Case { lookup: found(account), ..case(name, labelled(&json!({}), &json!({})), warnings) }
}

impl Case {
    fn with_lookup(self, lookup: ServiceAccountLookup) -> Self {
        Self { lookup, ..self }
    }

    fn with_settings(self, settings: Value) -> Self {
        Self { settings, ..self }
    }

    /// The displayed warnings.
    fn run(&self) -> Vec<String> {
        let kind = match self.object.get("kind").and_then(Value::as_str) {
            Some("Pod") => ("", "Pod", "pods"),
            Some("CronJob") => ("batch", "CronJob", "cronjobs"),
            _ => ("apps", "Deployment", "deployments"),
        };
        let request = creation("team", kind, &self.object.to_string());
        let verdict = verdict_on_request(&request, self.lookup.clone(), &config(&self.settings));
        verdict.unwrap().warnings.iter().map(ToString::to_string).collect()
    }
}

fn cases() -> Vec<Case> {
    let mut cases = cases_of_labels();
    cases.extend(cases_of_service_accounts());
    cases.extend(cases_of_specs());
    cases.extend(cases_of_own_token_volumes());
    cases.extend(cases_of_volumes());
    cases.extend(cases_of_mount_points());
    cases.extend(cases_of_keys());
    cases.extend(cases_of_workload_keys());
    cases.extend(cases_without_client_id());
    cases.extend(cases_of_windows());
    cases
}

fn cases_of_labels() -> Vec<Case> {
    let opted_in_account = json!({"metadata": {
        "labels": {"azure.workload.identity/use": "true"},
        "annotations": {"azure.workload.identity/client-id": CLIENT_ID},
    }});
    let labels = |value: &str| json!({"azure.workload.identity/use": value});
    vec![
        case("nothing is wrong", labelled(&json!({}), &json!({})), &[]),
        case(
            "a label with another value",
            pod(&json!({"generateName": "web-", "labels": labels("True")})),
            &["AZWI003 label azure.workload.identity/use of pod web-* is \"True\"; only \"true\" opts in"],
        ),
        case(
            "a service account's label with another value",
            pod(&json!({"name": "web"})),
            &["AZWI003 label azure.workload.identity/use of service account team/sa is \"yes\"; only \"true\" opts in"],
        )
        .with_lookup(found(&json!({"metadata": {"labels": labels("yes")}}))),
        case(
            "annotations in place of a label, and on the wrong object",
            pod(&json!({"name": "web", "annotations": {
                "azure.workload.identity/use": "true", "azure.workload.identity/client-id": "x",
            }})),
            &[
                "AZWI004 client-id annotation of pod web has no effect; annotate its service account team/sa",
                "AZWI004 azure.workload.identity/use is an annotation of pod web; it must be a label",
            ],
        ),
        case(
            "a label where only the service account's counts",
            labelled(&json!({}), &json!({})),
            &["AZWI004 label azure.workload.identity/use of pod web has no effect; label service account team/sa"],
        )
        .with_settings(json!({"optIn": "serviceAccount"})),
        case(
            "labels of pods that their service account opts in",
            deployment(&labels("true"), &json!({"metadata": {"labels": labels("no")}, "spec": {}})),
            &[],
        )
        .with_lookup(found(&opted_in_account)),
        case("a label that is not looked at", pod(&json!({"name": "web", "labels": labels("no")})), &[])
            .with_settings(json!({"optIn": "all"})),
        case(
            "a label of the workload object only",
            deployment(&labels("true"), &json!({"spec": {}})),
            &["AZWI004 label azure.workload.identity/use of Deployment web has no effect; label its pod template"],
        ),
    ]
}

fn cases_of_service_accounts() -> Vec<Case> {
    vec![
        account(
            "no client id",
            &json!({}),
            &["AZWI001 service account team/sa has no client-id annotation; AZURE_CLIENT_ID is not set"],
        ),
        account(
            "a client id that is not a GUID",
            &annotated(&json!({"azure.workload.identity/client-id": "my-app\n"})),
            &["AZWI002 client-id \"my-app\" of service account team/sa is not a GUID"],
        ),
        account(
            "a client id that is a label",
            &json!({"metadata": {"labels": {"azure.workload.identity/client-id": "x"}}}),
            &[
                "AZWI001 service account team/sa has no client-id annotation; AZURE_CLIENT_ID is not set",
                "AZWI004 client-id of service account team/sa is a label; it must be an annotation",
            ],
        ),
        account(
            "an empty tenant id",
            &annotated(&json!({
                "azure.workload.identity/tenant-id": "", "azure.workload.identity/client-id": CLIENT_ID,
            })),
            &["AZWI005 tenant-id annotation of service account team/sa is empty; AZURE_TENANT_ID is not set"],
        ),
        case(
            "a service account that cannot be read",
            pod(&json!({"name": "web"})),
            &["AZWI011 service account team/sa could not be read, nothing was injected: connection refused"],
        )
        .with_lookup(ServiceAccountLookup::Failed("connection refused".to_owned())),
    ]
}

const OWN_ELSEWHERE: &[&str] = &[
    "AZWI010 container c of pod web must mount volume azure-identity-token at /var/run/secrets/azure/tokens, without subPath",
];

/// A spec with the pod's own token volume and this mount.
fn mounted_own(mount: &Value) -> Value {
    let token = json!({"path": "azure-identity-token", "audience": "api://AzureADTokenExchange"});
    json!({
        "containers": [{"name": "c", "env": [], "volumeMounts": [mount]}],
        "volumes": [
            {"name": "azure-identity-token", "projected": {"sources": [{"serviceAccountToken": token}]}},
        ],
    })
}

fn cases_of_specs() -> Vec<Case> {
    let container = |field: &str, list: Value| json!({"containers": [{"name": "c", field: list}]});
    let none = json!({});
    let own_variables = json!([
        {"name": "AZURE_CLIENT_ID", "value": "mine"},
        {"name": "PATH", "value": "/"},
        {"name": "AZURE_TENANT_ID", "valueFrom": {}},
        {"name": "AZURE_AUTHORITY_HOST", "value": "https://login.microsoftonline.com/"},
    ]);
    let own_mounts = json!([
        {"name": "mine", "mountPath": "/var/run/secrets/azure/tokens/"},
        {"name": "data", "mountPath": "/var/run/secrets/azure/tokens/below"},
    ]);
    vec![
        case(
            "a skipped container whose name is misspelt, and one that a later webhook adds",
            labelled(
                &json!({"azure.workload.identity/skip-containers": "sidecars, istio-proxy;"}),
                &json!({"containers": [{"name": "web"}, {"name": "sidecar"}]}),
            ),
            &["AZWI006 skip-containers of pod web names \"sidecars\", which it does not have; did you mean \"sidecar\"?"],
        ),
        case(
            "names in the skip list that were meant for others, and that were not",
            labelled(
                &json!({"azure.workload.identity/skip-containers": "worker-2;api;web;webb;SIDECAR;app db"}),
                &json!({"containers": [{"name": "worker-1"}, {"name": "app"}, {"name": "web"}, {"name": "sidecar"}]}),
            ),
            &[
                "AZWI006 skip-containers of pod web names \"SIDECAR\", which it does not have; did you mean \"sidecar\"?",
                "AZWI006 skip-containers of pod web names \"app db\", which it does not have; did you mean \"app\"?",
            ],
        ),
        case(
            "variables of the container's own that mean the same",
            labelled(
                &none,
                &container(
                    "env",
                    json!([
                        {"name": "AZURE_CLIENT_ID", "value": CLIENT_ID.to_uppercase()},
                        {"name": "AZURE_AUTHORITY_HOST", "value": "https://login.microsoftonline.com"},
                    ]),
                ),
            ),
            &[],
        ),
        case(
            "a variable of the container's own",
            labelled(&none, &container("env", own_variables)),
            &["AZWI007 container c of pod web keeps its own value of AZURE_CLIENT_ID"],
        ),
        case(
            "another mount in the token's place",
            labelled(&none, &container("volumeMounts", own_mounts)),
            &[
                "AZWI008 container c of pod web mounts volume mine where the token belongs",
                "AZWI008 container c of pod web may not start: it mounts volume data in the read-only token volume",
            ],
        ),
        case(
            "a proxy on Windows",
            labelled(
                &json!({"azure.workload.identity/inject-proxy-sidecar": "true"}),
                &json!({"os": {"name": "windows"}}),
            ),
            &["AZWI009 proxy sidecar of pod web runs on Linux only, but its OS is Windows"],
        ),
        case(
            "pods that would be denied",
            deployment(
                &none,
                &labelled(&json!({"azure.workload.identity/service-account-token-expiration": "1h"}), &none),
            ),
            &["AZWI012 pods of Deployment web would be denied: strconv.ParseInt: parsing \"1h\": invalid syntax"],
        ),
        case(
            "a token endpoint that the layout cannot serve",
            labelled(&json!({"azure.workload.identity/use-identity-binding": "true"}), &none),
            &["AZWI013 token endpoint of pod web is not set up: it needs setting tokenVolume reserved or reserved-per-pod"],
        )
        .with_settings(
            json!({"tokenEndpoint": {"annotationSuffix": "identity-binding", "audience": "api://x"}}),
        ),
    ]
}

fn cases_of_own_token_volumes() -> Vec<Case> {
    let none = json!({});
    let own_volume = json!({"volumes": [{"name": "mine", "projected": {"sources": [
        {"serviceAccountToken": {"path": "azure-identity-token"}},
    ]}}]});
    vec![
        case(
            "a token volume of another name",
            labelled(&none, &own_volume),
            &["AZWI010 volume mine of pod web projects the token already; rename it azure-identity-token"],
        ),
        case(
            "our own volume mounted elsewhere",
            labelled(&none, &mounted_own(&json!({"name": "azure-identity-token", "mountPath": "/tokens"}))),
            OWN_ELSEWHERE,
        ),
        case(
            "one file of our own volume",
            labelled(
                &none,
                &mounted_own(&json!({
                    "name": "azure-identity-token",
                    "mountPath": "/var/run/secrets/azure/tokens",
                    "subPath": "azure-identity-token",
                })),
            ),
            OWN_ELSEWHERE,
        ),
        case(
            "our own volume in its place, spelled differently",
            labelled(
                &none,
                &mounted_own(
                    &json!({"name": "azure-identity-token", "mountPath": "/run/./secrets/azure//tokens/"}),
                ),
            ),
            &[],
        ),
        case(
            "our own volume where the container's own variable says",
            labelled(&none, &{
                let mut spec = mounted_own(&json!({"name": "azure-identity-token", "mountPath": "/tokens"}));
                let path = "/tokens/azure-identity-token";
                *spec.pointer_mut("/containers/0/env").unwrap() =
                    json!([{"name": "AZURE_FEDERATED_TOKEN_FILE", "value": path}]);
                spec
            }),
            &["AZWI007 container c of pod web keeps its own value of AZURE_FEDERATED_TOKEN_FILE"],
        ),
    ]
}

fn cases_of_volumes() -> Vec<Case> {
    let none = json!({});
    let volume = |source: &str, value: Value| {
        labelled(&none, &json!({"volumes": [{"name": "azure-identity-token", source: value}]}))
    };
    let token = |audience: Value| {
        let token = json!({"path": "azure-identity-token", "audience": audience});
        volume("projected", json!({"sources": [{"serviceAccountToken": token}]}))
    };
    let items = json!({"items": [{"key": "k", "path": "azure-identity-token"}]});
    let unclear: &[&str] = &[
        "AZWI014 volume azure-identity-token of pod web is kept; it must contain the token in file azure-identity-token",
    ];
    vec![
        case("a volume of our name that is a driver's", volume("csi", json!({"driver": "d"})), unclear),
        case("a volume of our name that is a Secret", volume("secret", json!({"secretName": "s"})), unclear),
        case("a volume of our name of a kind of the future", volume("later", json!({})), unclear),
        case(
            "a volume of our name that projects a Secret, all of it",
            volume("projected", json!({"sources": [{"secret": {"name": "s"}}]})),
            unclear,
        ),
        case("a volume of our name that shows the file", volume("downwardAPI", items.clone()), &[]),
        case(
            "a volume of our name that projects the file",
            volume("projected", json!({"sources": [{"configMap": items}]})),
            &[],
        ),
        case("our own volume", token(json!("api://AzureADTokenExchange")), &[]),
        case(
            "a volume of our name with the file's path spelled differently",
            volume("downwardAPI", json!({"items": [{"path": ".//azure-identity-token"}]})),
            &[],
        ),
        case(
            "our own volume with a token for somebody else",
            token(json!("vault")),
            &["AZWI015 volume azure-identity-token of pod web projects a token for audience vault; \
               api://AzureADTokenExchange is needed"],
        ),
        case(
            "our own volume with a token for the API server",
            token(Value::Null),
            &["AZWI015 volume azure-identity-token of pod web projects a token for no audience; \
               api://AzureADTokenExchange is needed"],
        ),
    ]
}

fn cases_of_mount_points() -> Vec<Case> {
    let none = json!({});
    let below = |volume: Value, mount: Value| {
        let container = json!({"name": "c", "volumeMounts": [mount]});
        labelled(&none, &json!({"containers": [container], "volumes": [volume]}))
    };
    let cannot_start: &[&str] = &[
        "AZWI008 container c of pod web may not start: read-only volume v at /run/secrets has no folder for the token",
    ];
    let mounted = json!({"name": "v", "mountPath": "/run/secrets"});
    vec![
        case(
            "a Secret above the token's folder",
            below(json!({"name": "v", "secret": {"secretName": "s"}}), mounted.clone()),
            cannot_start,
        ),
        case(
            "a claim above the token's folder, mounted read-only",
            below(
                json!({"name": "v", "persistentVolumeClaim": {"claimName": "c"}}),
                json!({"name": "v", "mountPath": "/run/secrets", "readOnly": true}),
            ),
            cannot_start,
        ),
        case(
            "a share above the token's folder that says itself that it is read-only",
            below(json!({"name": "v", "azureFile": {"shareName": "s", "readOnly": true}}), mounted.clone()),
            cannot_start,
        ),
        case(
            "a share above the token's folder",
            below(json!({"name": "v", "azureFile": {"shareName": "s"}}), mounted.clone()),
            &[],
        ),
        case(
            "a Secret above the token's folder, its path spelled differently",
            below(
                json!({"name": "v", "secret": {"items": [{"key": "k", "path": "k"}]}}),
                json!({"name": "v", "mountPath": "//run/./secrets"}),
            ),
            &[
                "AZWI008 container c of pod web may not start: read-only volume v at //run/./secrets has no folder for the token",
            ],
        ),
        case(
            "a Secret with other folders above the token's folder",
            below(
                json!({"name": "v", "secret": {"items": [
                    {"key": "k", "path": "azure/x"}, {"key": "k", "path": "x/azure/tokens/x"},
                    {"key": "k", "path": "azure/tokens"},
                ]}}),
                mounted.clone(),
            ),
            cannot_start,
        ),
        case(
            "a Secret with folders above the token's folder, mounted read-only",
            below(
                json!({"name": "v", "secret": {"items": [{"key": "k", "path": "azure/tokens/x"}]}}),
                json!({"name": "v", "mountPath": "/run/secrets", "readOnly": true}),
            ),
            &[],
        ),
        case(
            "an empty directory above the token's folder",
            below(json!({"name": "v", "emptyDir": {}}), mounted.clone()),
            &[],
        ),
        case(
            "something read-only above the token's folder that has folders",
            below(
                json!({"name": "v", "secret": {"items": [{"key": "k", "path": "azure/tokens/x"}]}}),
                mounted.clone(),
            ),
            &[],
        ),
        case(
            "something read-only above, and something else between",
            labelled(
                &none,
                &json!({
                    "containers": [{"name": "c", "volumeMounts": [
                        mounted, {"name": "w", "mountPath": "/var/run/secrets/azure"},
                    ]}],
                    "volumes": [{"name": "v", "secret": {}}, {"name": "w", "emptyDir": {}}],
                }),
            ),
            &[],
        ),
    ]
}

fn cases_of_keys() -> Vec<Case> {
    let none = json!({});
    let client_id = ("azure.workload.identity/client-id", CLIENT_ID);
    let with = |key: &str, value: &str| annotated(&json!({key: value, client_id.0: client_id.1}));
    let endpoint = json!({"tokenEndpoint": {"annotationSuffix": "identity-binding", "audience": "api://x"}});
    vec![
        account(
            "a pod's annotation on the service account",
            &with("azure.workload.identity/skip-containers", "c"),
            &[
                "AZWI004 skip-containers annotation of service account team/sa has no effect; annotate pod web",
            ],
        ),
        case(
            "a service account's annotation on the pod",
            labelled(&json!({"azure.workload.identity/tenant-id": "t"}), &none),
            &["AZWI004 tenant-id annotation of pod web has no effect; annotate its service account team/sa"],
        ),
        case(
            "a pod's annotation that is a label",
            pod(&json!({"name": "web", "labels": {"azure.workload.identity/inject-proxy-sidecar": "true"}})),
            &["AZWI004 inject-proxy-sidecar of pod web is a label; it must be an annotation"],
        ),
        account(
            "a misspelt annotation of the service account",
            &with("azure.workload.identity/tenantid", "t"),
            &[
                "AZWI016 annotation azure.workload.identity/tenantid of service account team/sa is unknown; did you mean \
               tenant-id?",
            ],
        ),
        case(
            "a misspelt label of a pod that is not opted in",
            pod(&json!({"name": "web", "labels": {"azure.workload.identity/used": "true"}})),
            &["AZWI016 label azure.workload.identity/used of pod web is unknown; did you mean use?"],
        ),
        case(
            "a part of a key's name",
            labelled(&json!({"azure.workload.identity/expiration": "3600"}), &none),
            &["AZWI016 annotation azure.workload.identity/expiration of pod web is unknown; did you mean \
               service-account-token-expiration?"],
        ),
        case(
            "a suffix that is not configured",
            labelled(&json!({"azure.workload.identity/use-binding": "true"}), &none),
            &["AZWI016 annotation azure.workload.identity/use-binding of pod web is unknown; did you mean \
               use-identity-binding?"],
        )
        .with_settings(endpoint),
        case(
            "a suffix although there is no token endpoint",
            labelled(&json!({"azure.workload.identity/use-identity-binding": "true"}), &none),
            &["AZWI016 annotation azure.workload.identity/use-identity-binding of pod web is unknown: setting tokenEndpoint \
               is missing"],
        ),
        account(
            "the label as an annotation, after many that are unknown",
            &annotated(&json!({
                "azure.workload.identity/a": "", "azure.workload.identity/b": "", "azure.workload.identity/c": "",
                "azure.workload.identity/d": "", "azure.workload.identity/use": "true", client_id.0: client_id.1,
            })),
            &[
                "AZWI004 label azure.workload.identity/use of pod web has no effect; label service account team/sa",
                "AZWI004 azure.workload.identity/use is an annotation of service account team/sa; it must be a label",
                "AZWI016 annotation azure.workload.identity/a of service account team/sa is unknown; did you mean use?",
                "AZWI016 annotation azure.workload.identity/b of service account team/sa is unknown; did you mean use?",
                "AZWI016 annotation azure.workload.identity/c of service account team/sa is unknown; did you mean use?",
                "AZWI016 annotation azure.workload.identity/d of service account team/sa is unknown; did you mean use?",
            ],
        )
        .with_settings(json!({"optIn": "serviceAccount"})),
    ]
}

fn cases_of_workload_keys() -> Vec<Case> {
    let none = json!({});
    vec![
        case(
            "keys of the workload object only",
            with_annotations(
                deployment(
                    &json!({"azure.workload.identity/use": "yes", "azure.workload.identity/clientid": "x"}),
                    &labelled(&json!({"azure.workload.identity/skip-containers": "c"}), &none),
                ),
                &json!({
                    "azure.workload.identity/client-id": "x",
                    "azure.workload.identity/service-account-token-expiration": "3600",
                    "azure.workload.identity/inject-proxy-sidecar": "true",
                    "azure.workload.identity/skip-containers": "c",
                }),
            ),
            &[
                "AZWI016 label azure.workload.identity/clientid of Deployment web is unknown; did you mean client-id?",
                "AZWI004 client-id annotation of Deployment web has no effect; annotate its service account team/sa",
                "AZWI004 inject-proxy-sidecar annotation of Deployment web has no effect; annotate its pod template",
                "AZWI004 service-account-token-expiration annotation of Deployment web has no effect; annotate its pod \
                 template",
            ],
        ),
        case(
            "the label of the workload object as an annotation",
            with_annotations(
                deployment(&none, &json!({"spec": {}})),
                &json!({"azure.workload.identity/use": "true"}),
            ),
            &[
                "AZWI004 annotation azure.workload.identity/use of Deployment web has no effect; label its pod template",
            ],
        ),
        case(
            "the label of the workload object where only the service account's counts",
            deployment(
                &json!({"azure.workload.identity/use": "true"}),
                &json!({"spec": {"serviceAccountName": "sa"}}),
            ),
            &[
                "AZWI004 label azure.workload.identity/use of Deployment web has no effect; label its service account \
                 team/sa",
            ],
        )
        .with_lookup(found(&json!({})))
        .with_settings(json!({"optIn": "serviceAccount"})),
        case(
            "keys of a job template",
            json!({"kind": "CronJob", "metadata": {"name": "web"}, "spec": {"jobTemplate": {
                "metadata": {"labels": {"azure.workload.identity/use": "true"}},
                "spec": {"template": {"spec": {}}},
            }}}),
            &[
                "AZWI004 label azure.workload.identity/use of job template of CronJob web has no effect; label its pod \
                 template",
            ],
        ),
        case(
            "a workload object that opts out",
            deployment(&json!({"azure.workload.identity/use": "false"}), &json!({"spec": {}})),
            &[],
        ),
        case(
            "a label with another value on both",
            deployment(
                &json!({"azure.workload.identity/use": "True"}),
                &json!({"metadata": {"labels": {"azure.workload.identity/use": "True"}}, "spec": {}}),
            ),
            &[
                "AZWI003 label azure.workload.identity/use of pods of Deployment web is \"True\"; only \"true\" opts in",
            ],
        ),
    ]
}

fn cases_without_client_id() -> Vec<Case> {
    let none = json!({});
    let token_file = "/var/run/secrets/azure/tokens/azure-identity-token";
    vec![
        case(
            "a pod whose containers are all skipped",
            labelled(&json!({"azure.workload.identity/skip-containers": "c"}), &none),
            &[],
        )
        .with_lookup(found(&json!({})))
        .with_settings(json!({"requireClientId": true})),
        account(
            "containers that bring their client ids",
            &json!({}),
            &["AZWI001 service account team/sa has no client-id annotation; AZURE_CLIENT_ID is not set"],
        ),
        case(
            "containers that all bring their client ids",
            labelled(
                &json!({"azure.workload.identity/skip-containers": "none"}),
                &json!({"containers": [
                    {"name": "a", "env": [{"name": "AZURE_CLIENT_ID", "value": "x"}]},
                    {"name": "b", "env": [{"name": "AZURE_CLIENT_ID", "valueFrom": {}}]},
                    {"name": "none"},
                ]}),
            ),
            &[],
        )
        .with_lookup(found(&json!({})))
        .with_settings(json!({"requireClientId": true})),
        case(
            "a pod that is mutated again, with a sidecar of another webhook",
            labelled(
                &json!({"azure.workload.identity/inject-proxy-sidecar": "true"}),
                &json!({
                    "containers": [
                        {
                            "name": "c",
                            "env": [
                                {"name": "AZURE_CLIENT_ID", "value": "x"},
                                {"name": "AZURE_AUTHORITY_HOST", "value": "https://login.microsoftonline.com/"},
                                {"name": "AZURE_FEDERATED_TOKEN_FILE", "value": token_file},
                            ],
                            "volumeMounts": [
                                {"name": "azure-identity-token", "mountPath": "/var/run/secrets/azure/tokens"},
                            ],
                        },
                        {"name": "istio-proxy"},
                        {"name": "azwi-proxy"},
                    ],
                    "volumes": [{"name": "azure-identity-token", "projected": {"sources": [
                        {"serviceAccountToken": {"path": "azure-identity-token", "audience": "api://AzureADTokenExchange"}},
                    ]}}],
                }),
            ),
            &[],
        )
        .with_lookup(found(&json!({})))
        .with_settings(json!({"requireClientId": true})),
        case(
            "a container that brings no client id beside one that does",
            labelled(
                &json!({"azure.workload.identity/inject-proxy-sidecar": "true"}),
                &json!({"containers": [
                    {"name": "a", "env": [{"name": "AZURE_CLIENT_ID", "value": "x"}]}, {"name": "b"},
                ]}),
            ),
            &["AZWI001 service account team/sa has no client-id annotation; AZURE_CLIENT_ID is not set"],
        )
        .with_lookup(found(&json!({}))),
    ]
}

fn cases_of_windows() -> Vec<Case> {
    const WARNING: &[&str] = &["AZWI009 proxy sidecar of pod web runs on Linux only, but its OS is Windows"];
    let pod = |spec: Value| labelled(&json!({"azure.workload.identity/inject-proxy-sidecar": "true"}), &spec);
    let selected_by = |key: &str, value: &str| pod(json!({"nodeSelector": {key: value}}));
    let selected = |key: &str| selected_by(key, "windows");
    let of_build = |operator: &str| json!({"matchExpressions": [{"key": "node.kubernetes.io/windows-build", "operator": operator}]});
    let expression = |operator: &str, values: &[&str]| json!({"matchExpressions": [{"key": "kubernetes.io/os", "operator": operator, "values": values}]});
    let required = |terms: &[Value]| {
        pod(json!({"affinity": {"nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms},
        }}}))
    };
    vec![
        case("Windows by node selector", selected("kubernetes.io/os"), WARNING),
        case("Windows by the old node label", selected("beta.kubernetes.io/os"), WARNING),
        case("another node selector", selected("kubernetes.io/arch"), &[]),
        case("Windows by affinity", required(&[expression("In", &["windows"])]), WARNING),
        case("Windows because not Linux", required(&[expression("NotIn", &["linux"])]), WARNING),
        case("perhaps Windows", required(&[expression("In", &["windows", "linux"])]), &[]),
        case("not Windows", required(&[expression("NotIn", &["windows"])]), &[]),
        case(
            "Windows or anything else",
            required(&[
                expression("In", &["windows"]),
                json!({"matchExpressions": [{"key": "kubernetes.io/arch", "operator": "Exists"}]}),
            ]),
            &[],
        ),
        case("no terms", required(&[]), &[]),
        case(
            "Windows or a term that allows no node",
            required(&[expression("In", &["windows"]), json!({})]),
            WARNING,
        ),
        case(
            "Windows or a certain node",
            required(&[
                expression("In", &["windows"]),
                json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]}),
            ]),
            &[],
        ),
        case("only terms that allow no node", required(&[json!({})]), &[]),
        case("a build of Windows", selected_by("node.kubernetes.io/windows-build", "10.0.20348"), WARNING),
        case("any build of Windows", required(&[of_build("Exists")]), WARNING),
        case("no build of Windows", required(&[of_build("DoesNotExist")]), &[]),
        case("a later build of Windows", required(&[of_build("Gt")]), WARNING),
        case("Windows on AKS", selected_by("kubernetes.azure.com/os-sku", "Windows2022"), WARNING),
        case("Linux on AKS", selected_by("kubernetes.azure.com/os-sku", "AzureLinux"), &[]),
        case("Windows on GKE", selected_by("cloud.google.com/gke-os-distribution", "windows_ltsc"), WARNING),
        case(
            "options for Windows",
            pod(json!({"securityContext": {"windowsOptions": {"runAsUserName": "ContainerUser"}}})),
            WARNING,
        ),
        case(
            "options of a container for Windows",
            pod(json!({"containers": [
                {"name": "c", "securityContext": {"windowsOptions": {"runAsUserName": "ContainerUser"}}},
            ]})),
            WARNING,
        ),
        case(
            "options for Windows beside a node selector for Linux",
            pod(json!({
                "nodeSelector": {"kubernetes.io/os": "linux"},
                "securityContext": {"windowsOptions": {"runAsUserName": "ContainerUser"}},
            })),
            &[],
        ),
        case(
            "no options for Windows",
            pod(json!({"securityContext": {"windowsOptions": {"runAsUserName": null}}})),
            &[],
        ),
    ]
}

#[test]
fn each_cause_gets_its_sentence_and_nothing_else_does() {
    let mut problems = Vec::new();
    for case in cases() {
        let warnings = case.run();
        if warnings != case.warnings {
            problems.push(format!("{}: {warnings:#?} instead of {:#?}", case.name, case.warnings));
        }
        problems.extend(
            warnings
                .iter()
                .filter(|warning| warning.len() > 128)
                .map(|warning| format!("{}: too long for a terminal line: {warning}", case.name)),
        );
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn every_code_has_a_case_and_a_place_in_the_docs() {
    let documented = include_str!("../../../docs/warnings.md");
    let seen: BTreeSet<String> =
        cases().iter().flat_map(Case::run).map(|warning| warning[..7].to_owned()).collect();
    for code in WarningCode::ALL {
        assert!(seen.contains(code.as_str()), "no case for {code:?}");
        assert!(
            documented.contains(&format!("`{}`", code.as_str())),
            "{code:?} is missing in docs/warnings.md"
        );
    }
}

#[test]
fn text_of_strangers_cannot_forge_lines_or_fill_the_log() {
    let name = format!("web\n\u{1b}[31m{}", "b".repeat(300));
    let labelled = json!({"name": name, "labels": {"azure.workload.identity/use": name}});
    for warning in case("hostile text", pod(&labelled), &[]).run() {
        assert!(warning.len() < 250 && !warning.chars().any(char::is_control), "{warning}");
    }
}
