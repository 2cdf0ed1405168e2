//! Each warning: what causes it, and its sentence.

// Helpers of tests are tests to a reader, but not to the lint.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use azwi_mutation::{
    Admission, AdmissionRequest, Config, Json, ServiceAccount, ServiceAccountLookup, WarningCode,
};

const GOOD_ACCOUNT: &str = r#"{"metadata":{"annotations":{
    "azure.workload.identity/client-id":"5d2e50e8-c9fc-4dad-9ab4-bc23cce71bf1"}}}"#;

/// A pod with the opt-in label; `annotations` and `spec` are members of JSON objects.
fn labelled(annotations: &str, spec: &str) -> String {
    format!(
        r#"{{"kind":"Pod","metadata":{{"name":"web","labels":{{"azure.workload.identity/use":"true"}},
            "annotations":{{{annotations}}}}},"spec":{{"serviceAccountName":"sa",{spec}}}}}"#
    )
}

fn container(fields: &str) -> String {
    format!(r#""containers":[{{"name":"c"{fields}}}]"#)
}

struct Case {
    object: String,
    account: &'static str,
    settings: &'static str,
    warnings: &'static [&'static str],
}

impl Case {
    fn pod(annotations: &str, spec: &str, warnings: &'static [&'static str]) -> Self {
        Self { object: labelled(annotations, spec), account: GOOD_ACCOUNT, settings: "", warnings }
    }

    fn account(account: &'static str, warnings: &'static [&'static str]) -> Self {
        Self { account, ..Self::pod("", &container(""), warnings) }
    }

    fn object(object: &str, warnings: &'static [&'static str]) -> Self {
        Self { object: object.to_owned(), account: GOOD_ACCOUNT, settings: "", warnings }
    }

    fn with_settings(self, settings: &'static str) -> Self {
        Self { settings, ..self }
    }

    /// The warnings as they are shown.
    fn run(&self) -> Vec<String> {
        let kind = if self.object.contains(r#""kind":"Deployment""#) { "Deployment" } else { "Pod" };
        let (group, resource) = if kind == "Pod" { ("", "pods") } else { ("apps", "deployments") };
        let request = format!(
            r#"{{"operation":"CREATE","namespace":"team","kind":{{"group":"{group}","kind":"{kind}"}},
                "resource":{{"group":"{group}","resource":"{resource}"}},"object":{}}}"#,
            self.object
        );
        let config =
            Config::from_json(&format!(r#"{{"tenantId":"contoso.example"{}}}"#, self.settings)).unwrap();
        let json = Json::parse(&request).unwrap();
        let answer = match azwi_mutation::admit(&AdmissionRequest::read(json.root()).unwrap(), &config) {
            Admission::Answered(answer) => answer,
            Admission::Pending(pending) => pending.answer(match self.account {
                "unreadable" => ServiceAccountLookup::Failed("connection refused".to_owned()),
                account => ServiceAccountLookup::Found(ServiceAccount::from_json(account).unwrap()),
            }),
        };
        answer.unwrap().warnings.iter().map(ToString::to_string).collect()
    }
}

#[allow(clippy::too_many_lines)] // A table is as long as it is.
fn cases() -> Vec<Case> {
    let own_variable = r#","env":[{"name":"AZURE_CLIENT_ID","value":"mine"},{"name":"PATH","value":"/"},
        {"name":"AZURE_TENANT_ID","valueFrom":{}},{"name":"AZURE_AUTHORITY_HOST","value":"https://login.microsoftonline.com/"}]"#;
    let own_mount = r#","volumeMounts":[{"name":"mine","mountPath":"/var/run/secrets/azure/tokens/"},
        {"name":"data","mountPath":"/var/run/secrets/azure/tokens/below"}]"#;
    let own_volume = r#","volumes":[{"name":"mine","projected":{"sources":[
        {"serviceAccountToken":{"path":"azure-identity-token"}}]}}]"#;
    vec![
        Case::pod("", &container(""), &[]),
        Case::account("{}", &["AZWI001 service account team/sa has no client-id annotation; AZURE_CLIENT_ID is not set"]),
        Case::account(
            r#"{"metadata":{"annotations":{"azure.workload.identity/client-id":"my-app\n"}}}"#,
            &["AZWI002 client-id \"my-app\" of service account team/sa is not a GUID"],
        ),
        Case::object(
            r#"{"kind":"Pod","metadata":{"generateName":"web-","labels":{"azure.workload.identity/use":"True"}},"spec":{}}"#,
            &["AZWI003 label azure.workload.identity/use of pod web-* is \"True\"; only \"true\" opts in"],
        ),
        Case {
            account: r#"{"metadata":{"labels":{"azure.workload.identity/use":"yes"}}}"#,
            ..Case::object(
                r#"{"kind":"Pod","metadata":{"name":"web"},"spec":{"serviceAccountName":"sa"}}"#,
                &["AZWI003 label azure.workload.identity/use of service account team/sa is \"yes\"; only \"true\" opts in"],
            )
        },
        Case::object(
            r#"{"kind":"Pod","metadata":{"name":"web","annotations":{"azure.workload.identity/use":"true",
                "azure.workload.identity/client-id":"x"}},"spec":{}}"#,
            &[
                "AZWI004 client-id annotation of pod web has no effect; annotate its service account",
                "AZWI004 azure.workload.identity/use is an annotation of pod web; it must be a label",
            ],
        ),
        Case::account(
            r#"{"metadata":{"labels":{"azure.workload.identity/client-id":"x"}}}"#,
            &[
                "AZWI001 service account team/sa has no client-id annotation; AZURE_CLIENT_ID is not set",
                "AZWI004 client-id of service account team/sa is a label; it must be an annotation",
            ],
        ),
        Case::pod("", &container(""), &["AZWI004 label azure.workload.identity/use of pod web has no effect; label service account team/sa"])
            .with_settings(r#","optIn":"serviceAccount""#),
        // Opted in by its service account, or where the label is not looked at, a pod is told nothing of its label.
        Case {
            account: r#"{"metadata":{"labels":{"azure.workload.identity/use":"true"},"annotations":{
                "azure.workload.identity/client-id":"5d2e50e8-c9fc-4dad-9ab4-bc23cce71bf1"}}}"#,
            ..Case::object(
                r#"{"kind":"Deployment","metadata":{"name":"web","labels":{"azure.workload.identity/use":"true"}},
                    "spec":{"template":{"metadata":{"labels":{"azure.workload.identity/use":"no"}},"spec":{}}}}"#,
                &[],
            )
        },
        Case::object(
            r#"{"kind":"Pod","metadata":{"name":"web","labels":{"azure.workload.identity/use":"no"}},"spec":{}}"#,
            &[],
        )
        .with_settings(r#","optIn":"all""#),
        Case::object(
            r#"{"kind":"Deployment","metadata":{"name":"web","labels":{"azure.workload.identity/use":"true"}},
                "spec":{"template":{"spec":{}}}}"#,
            &["AZWI004 label azure.workload.identity/use of Deployment web has no effect; label its pod template"],
        ),
        Case::account(
            r#"{"metadata":{"annotations":{"azure.workload.identity/tenant-id":"",
                "azure.workload.identity/client-id":"5d2e50e8-c9fc-4dad-9ab4-bc23cce71bf1"}}}"#,
            &["AZWI005 tenant-id annotation of service account team/sa is empty; AZURE_TENANT_ID is not set"],
        ),
        Case::pod(
            r#""azure.workload.identity/skip-containers":"c, side;""#,
            &container(""),
            &["AZWI006 skip-containers of pod web names \"side\", which is no container of it"],
        ),
        Case::pod("", &container(own_variable), &["AZWI007 container c of pod web keeps its own value of AZURE_CLIENT_ID"]),
        Case::pod("", &container(own_mount), &["AZWI008 container c of pod web mounts volume mine where the token belongs"]),
        Case::pod(
            r#""azure.workload.identity/inject-proxy-sidecar":"true""#,
            &format!(r#"{},"os":{{"name":"windows"}}"#, container("")),
            &["AZWI009 proxy sidecar of pod web runs on Linux only, but its OS is Windows"],
        ),
        Case::pod(
            "",
            &format!("{}{own_volume}", container("")),
            &["AZWI010 volume mine of pod web projects the token already; rename it azure-identity-token"],
        ),
        Case {
            account: "unreadable",
            ..Case::object(
                r#"{"kind":"Pod","metadata":{"name":"web"},"spec":{"serviceAccountName":"sa"}}"#,
                &["AZWI011 service account team/sa could not be read, nothing was injected: connection refused"],
            )
        },
        Case::object(
            r#"{"kind":"Deployment","metadata":{"name":"web"},"spec":{"template":{"metadata":{
                "labels":{"azure.workload.identity/use":"true"},
                "annotations":{"azure.workload.identity/service-account-token-expiration":"1h"}},
                "spec":{"serviceAccountName":"sa"}}}}"#,
            &["AZWI012 pods of Deployment web would be denied: strconv.ParseInt: parsing \"1h\": invalid syntax"],
        ),
        Case::pod(
            r#""azure.workload.identity/use-identity-binding":"true""#,
            &container(""),
            &["AZWI013 token endpoint of pod web is not set up: it needs setting tokenVolume reserved or reserved-per-pod"],
        )
        .with_settings(r#","tokenEndpoint":{"annotationSuffix":"identity-binding","audience":"api://x"}"#),
    ]
}

#[test]
fn each_cause_gets_its_sentence_and_nothing_else_does() {
    for case in cases() {
        let warnings = case.run();
        assert_eq!(warnings, case.warnings, "{}", case.object);
        for warning in warnings {
            assert!(warning.len() <= 128, "too long for a terminal line: {warning}");
        }
    }
}

#[test]
fn every_code_has_a_case_and_a_place_in_the_docs() {
    let documented = include_str!("../../../docs/warnings.md");
    let seen: BTreeSet<String> =
        cases().iter().flat_map(Case::run).map(|warning| warning[..7].to_owned()).collect();
    for code in WarningCode::ALL {
        assert!(seen.contains(code.as_str()), "no case for {code:?}");
        assert!(documented.contains(&format!("`{}`", code.as_str())), "docs/warnings.md lacks {code:?}");
    }
}

#[test]
fn long_names_are_cut_and_cannot_forge_lines() {
    let name = format!("a\\u001b[31m\\n{}", "b".repeat(300));
    let pod = format!(
        r#"{{"kind":"Pod","metadata":{{"name":"{name}","labels":{{"azure.workload.identity/use":"{name}"}}}},"spec":{{}}}}"#
    );
    for warning in Case::object(&pod, &[]).run() {
        assert!(warning.len() < 250 && !warning.chars().any(char::is_control), "{warning}");
    }
}
