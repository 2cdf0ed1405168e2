//! `validate_settings` rejects every invalid form of every setting with one sentence that names the key, the value and
//! the accepted values.

// The lint does not treat test helpers as tests.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use azure_workload_identity_policy::validate_settings;
use serde_json::{Value, json};

/// The policy's verdict: `None` if the settings are valid, otherwise the message.
fn refusal(settings: &str) -> Option<String> {
    let verdict: Value = serde_json::from_slice(&validate_settings(settings.as_bytes()).unwrap()).unwrap();
    if let Value::String(message) = &verdict["message"] {
        assert_eq!(verdict["valid"], false, "{verdict}");
        Some(message.clone())
    } else {
        assert_eq!(verdict["valid"], true, "{verdict}");
        None
    }
}

/// Valid settings with one value set at a dotted path.
fn with(path: &str, value: Value) -> String {
    let mut settings = json!({"tenantId": "contoso.example"});
    let mut place = &mut settings;
    for key in path.split('.') {
        if place.is_null() {
            *place = json!({});
        }
        place = &mut place[key];
    }
    *place = value;
    let endpoint = &mut settings["tokenEndpoint"];
    if let Value::Object(endpoint) = endpoint {
        // The rest of a token endpoint, so that the value under test is the only error.
        endpoint.entry("annotationSuffix").or_insert(json!("identity-binding"));
        endpoint.entry("audience").or_insert(json!("api://AKSIdentityBinding"));
        if let Some(Value::Object(bundle)) = endpoint.get_mut("caTrustBundle") {
            bundle.entry("signerName").or_insert(json!("example.com/signer"));
        }
    }
    if settings["tokenEndpoint"].is_null() && !path.starts_with("tokenEndpoint") {
        settings.as_object_mut().unwrap().remove("tokenEndpoint");
    }
    settings.to_string()
}

/// Path, value to set there, and the words for the accepted values.
fn invalid_values() -> Vec<(&'static str, Value, &'static str)> {
    let long_suffix = "a".repeat(60);
    let url = "an https URL";
    let word_types =
        |path: &'static str| [json!(5), json!(true), json!([]), json!({})].map(|it| (path, it, "a string"));
    let mut table = vec![
        ("tenantId", json!(""), "a tenant's GUID or verified domain name"),
        ("tenantId", json!("contoso"), "a tenant's GUID or verified domain name"),
        ("tenantId", json!("72f988bf-86f1-41ef-91ab"), "a tenant's GUID or verified domain name"),
        ("tenantId", json!(" contoso.example"), "a tenant's GUID or verified domain name"),
        ("tenantId", json!("${AZURE_TENANT_ID}"), "a tenant's GUID or verified domain name"),
        ("azureEnvironment", json!("AzureMoonCloud"), "AzurePublicCloud"),
        ("azureEnvironment", json!(" AzureCloud"), "AzurePublicCloud"),
        ("authorityHost", json!(""), url),
        ("authorityHost", json!("login.microsoftonline.com"), url),
        ("authorityHost", json!("http://login.microsoftonline.com/"), url),
        ("authorityHost", json!("https://"), url),
        ("authorityHost", json!("https://user@login.example/"), url),
        ("authorityHost", json!("https://login.example/?a=b"), url),
        ("authorityHost", json!("https://login.example:0/"), url),
        ("authorityHost", json!("https://login.example:port/"), url),
        ("authorityHost", json!("https://login example/"), url),
        ("audience", json!(""), "the audience of the token"),
        ("audience", json!("two words"), "the audience of the token"),
        ("tokenExpirationSeconds", json!(3599), "a number of seconds from 3600 to 86400"),
        ("tokenExpirationSeconds", json!(86401), "a number of seconds from 3600 to 86400"),
        ("tokenExpirationSeconds", json!(-1), "a number of seconds from 3600 to 86400"),
        ("tokenExpirationSeconds", json!(3600.5), "an integer"),
        ("tokenExpirationSeconds", json!("3600"), "an integer"),
        ("tokenExpirationSeconds", json!({}), "an integer"),
        ("optIn", json!(""), "pod, serviceAccount, podOrServiceAccount or all"),
        ("optIn", json!("Pod"), "pod, serviceAccount, podOrServiceAccount or all"),
        ("tokenVolume", json!(""), "azure-identity-token, reserved or reserved-per-pod"),
        ("tokenVolume", json!("l1"), "azure-identity-token, reserved or reserved-per-pod"),
        ("requireClientId", json!("true"), "true or false"),
        ("requireClientId", json!(1), "true or false"),
        ("proxy", json!("on"), "an object"),
        ("proxy", json!([]), "an object"),
        ("proxy.image", json!(""), "an image reference"),
        ("proxy.image", json!("an image"), "an image reference"),
        ("proxy.initImage", json!(""), "an image reference"),
        ("proxy.initImage", json!("tab\there"), "an image reference"),
        ("proxy.nativeSidecar", json!("auto"), "true or false"),
        ("proxy.nativeSidecar", json!(0), "true or false"),
        ("proxy.logLevel", json!("warn"), "empty, info, debug, trace or all"),
        ("proxy.initPrivileged", json!("no"), "true or false"),
        ("proxy.resources", json!("small"), "an object"),
        ("proxy.resources.limits", json!([]), "an object"),
        ("proxy.resources.limits.memory", json!("64MB"), "a quantity"),
        ("proxy.initResources.requests.cpu", json!("-1"), "a quantity"),
        ("proxy.initResources.requests.cpu", json!(true), "a quantity"),
        ("proxy.resources.limits.gpu", json!(1), "for a resource"),
        ("tokenEndpoint", json!(true), "an object"),
        ("tokenEndpoint.annotationSuffix", json!(""), "1 to 59 letters"),
        ("tokenEndpoint.annotationSuffix", json!("identity binding"), "1 to 59 letters"),
        ("tokenEndpoint.annotationSuffix", json!("identity-"), "1 to 59 letters"),
        ("tokenEndpoint.annotationSuffix", json!("a/b"), "1 to 59 letters"),
        ("tokenEndpoint.annotationSuffix", json!(long_suffix), "1 to 59 letters"),
        ("tokenEndpoint.audience", json!(""), "an audience other than api://AzureADTokenExchange"),
        ("tokenEndpoint.audience", json!("API://azureadtokenexchange"), "an audience other than"),
        ("tokenEndpoint.tokenProxy", json!("http://proxy.example"), url),
        ("tokenEndpoint.tokenProxy", json!(""), url),
        ("tokenEndpoint.sniName", json!(""), "a DNS name"),
        ("tokenEndpoint.sniName", json!("a_b.example"), "a DNS name"),
        ("tokenEndpoint.caData", json!(""), "a PEM certificate"),
        ("tokenEndpoint.caConfigMapName", json!(""), "the name of a ConfigMap"),
        ("tokenEndpoint.caConfigMapName", json!("Kube-Root"), "the name of a ConfigMap"),
        ("tokenEndpoint.caTrustBundle", json!("e.com/s"), "an object"),
        ("tokenEndpoint.caTrustBundle.signerName", json!(""), "a signer name"),
        ("tokenEndpoint.caTrustBundle.labelSelector", json!([]), "an object"),
        ("tokenEndpoint.caTrustBundle.labelSelector.matchLabels", json!([]), "an object"),
        ("tokenEndpoint.caTrustBundle.labelSelector.matchLabels.app", json!(5), "a string"),
        ("tokenEndpoint.caTrustBundle.labelSelector.matchExpressions", json!({}), "a list"),
    ];
    for path in [
        "tenantId",
        "azureEnvironment",
        "authorityHost",
        "audience",
        "optIn",
        "tokenVolume",
        "proxy.image",
        "proxy.initImage",
        "proxy.logLevel",
        "tokenEndpoint.annotationSuffix",
        "tokenEndpoint.audience",
        "tokenEndpoint.tokenProxy",
        "tokenEndpoint.sniName",
        "tokenEndpoint.caData",
        "tokenEndpoint.caConfigMapName",
        "tokenEndpoint.caTrustBundle.signerName",
    ] {
        table.extend(word_types(path));
    }
    table
}

/// The value as shown in a message: a string's text, or JSON for other types.
fn shown(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
    text.replace('\t', "").chars().take(100).collect()
}

/// Each of these settings is rejected with one sentence that contains all these words; prints all that are not.
fn assert_refused(cases: impl IntoIterator<Item = (String, Vec<String>)>) {
    let fault = |(settings, words): (String, Vec<String>)| match refusal(&settings) {
        None => Some(format!("accepted: {settings}")),
        Some(message) if message.contains('\n') || message.contains(". ") => {
            Some(format!("more than a sentence: {message}"))
        }
        Some(message) => {
            let missing: Vec<_> = words.iter().filter(|words| !message.contains(*words)).collect();
            (!missing.is_empty()).then(|| format!("{missing:?} is not in: {message}; settings: {settings}"))
        }
    };
    let faults: Vec<_> = cases.into_iter().filter_map(fault).collect();
    assert!(faults.is_empty(), "{} are wrong:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn every_invalid_value_is_refused_by_key_value_and_remedy() {
    let cases = invalid_values().into_iter().map(|(path, value, accepted)| {
        let words = vec![format!("setting {path}"), shown(&value), accepted.to_owned()];
        (with(path, value), words)
    });
    assert_refused(cases);
}

#[test]
fn unknown_keys_are_refused_at_every_level() {
    let paths = [
        "tenantID",
        "proxy.images",
        "proxy.resources.claims",
        "tokenEndpoint.suffix",
        "tokenEndpoint.caTrustBundle.name",
        "tokenEndpoint.caTrustBundle.labelSelector.labels",
    ];
    assert_refused(paths.into_iter().map(|path| {
        let unknown = format!("setting {path} (with value \"x7\") is unknown");
        (with(path, json!("x7")), vec![unknown, "the keys here are ".to_owned()])
    }));
}

#[test]
fn what_is_missing_or_contradicts_itself_is_refused() {
    let endpoint = |fields: &str| format!(r#"{{"tenantId":"contoso.example","tokenEndpoint":{{{fields}}}}}"#);
    let complete = r#""annotationSuffix":"identity-binding","audience":"api://AKSIdentityBinding""#;
    let requirement = |text: &str| {
        endpoint(&format!(
            r#"{complete},"caTrustBundle":{{"signerName":"e.com/s","labelSelector":{{"matchExpressions":[{text}]}}}}"#
        ))
    };
    let two_sources = |first: &str, second: &str| endpoint(&format!("{complete},{first},{second}"));
    let data = r#""caData":"-----BEGIN CERTIFICATE-----\nMIIC\n-----END CERTIFICATE-----\n""#;
    let config_map = r#""caConfigMapName":"ca""#;
    let bundle = r#""caTrustBundle":{"signerName":"e.com/s"}"#;
    let key = "tokenEndpoint.caTrustBundle.labelSelector.matchExpressions";
    let cases = [
        ("{}".to_owned(), vec!["setting tenantId is missing", "GUID"]),
        (r#"{"tenantId":null}"#.to_owned(), vec!["setting tenantId is missing", "GUID"]),
        (
            r#"{"tenantId":"contoso.example","azureEnvironment":"AzureStackCloud"}"#.to_owned(),
            vec!["setting authorityHost is missing", "AzureStackCloud", "an https URL"],
        ),
        (endpoint(""), vec!["setting tokenEndpoint.annotationSuffix is missing"]),
        (endpoint(r#""annotationSuffix":"x""#), vec!["setting tokenEndpoint.audience is missing"]),
        (
            endpoint(&format!(r#"{complete},"caTrustBundle":{{}}"#)),
            vec!["tokenEndpoint.caTrustBundle.signerName is missing"],
        ),
        (two_sources(data, config_map), vec!["setting tokenEndpoint", "only one of", "caConfigMapName"]),
        (two_sources(data, bundle), vec!["setting tokenEndpoint", "only one of", "caTrustBundle"]),
        (two_sources(config_map, bundle), vec!["setting tokenEndpoint", "only one of", "caData"]),
        (requirement(r#"{"key":"a","operator":"Is"}"#), vec![key, "a Is", "In or NotIn"]),
        (requirement(r#"{"key":"a","operator":"In"}"#), vec![key, "a In", "values"]),
        (requirement(r#"{"key":"a","operator":"Exists","values":["b"]}"#), vec![key, "a Exists", "none"]),
        (requirement(r#"{"operator":"Exists"}"#), vec![key, "Exists", "a key"]),
        (requirement("5"), vec![key, "5", "an object"]),
        ("[]".to_owned(), vec!["the settings are []", "an object"]),
        ("{".to_owned(), vec!["not JSON"]),
    ];
    assert_refused(
        cases.map(|(settings, words)| (settings, words.into_iter().map(ToOwned::to_owned).collect())),
    );
}

#[test]
fn hostile_values_cannot_forge_lines_of_a_log() {
    let message = refusal(&with("tenantId", json!(format!("a\n\u{1b}[31m{}", "b".repeat(5000))))).unwrap();
    assert!(!message.chars().any(char::is_control) && message.len() < 400, "{message}");
}

#[test]
fn every_setting_is_accepted_in_its_valid_forms() {
    let refusals = [
        json!({"tenantId": "72F988BF-86f1-41ef-91ab-2d7cd011db47"}),
        json!({"tenantId": "contoso.onmicrosoft.com", "azureEnvironment": "AZUREUSGOVERNMENT", "audience": "api://other",
            "tokenExpirationSeconds": 86400, "optIn": "serviceAccount", "tokenVolume": "reserved", "requireClientId": true,
            "proxy": {"image": "r.example:5000/proxy@sha256:0", "initImage": "i", "nativeSidecar": false, "logLevel": "",
                "resources": {"requests": {"cpu": "10m", "example.com/device": 1}, "limits": {"cpu": 1, "hugepages-2Mi": "4Mi"}},
                "initResources": {}, "initPrivileged": false}}),
        json!({"tenantId": "contoso.example", "azureEnvironment": "AzureStackCloud",
            "authorityHost": "https://[fd00::1]:8443/adfs"}),
        json!({"tenantId": "contoso.example", "proxy": null, "tokenEndpoint": {"annotationSuffix": "identity-binding",
            "audience": "api://AKSIdentityBinding", "tokenProxy": "https://proxy.example", "sniName": "proxy.example",
            "caTrustBundle": {"signerName": "e.com/s", "labelSelector": {"matchLabels": {"a": "b"},
                "matchExpressions": [{"key": "c", "operator": "In", "values": ["d"]}, {"key": "e", "operator": "Exists"}]}}}}),
        json!({"tenantId": "contoso.example", "tokenEndpoint": {"annotationSuffix": "x", "audience": "y",
            "caData": "-----BEGIN CERTIFICATE-----\nMIIC\n-----END CERTIFICATE-----\n"}}),
        json!({"tenantId": "contoso.example", "tokenEndpoint": {"annotationSuffix": "x", "audience": "y",
            "caConfigMapName": "kube-root-ca.crt"}}),
    ]
    .map(|settings| refusal(&settings.to_string()));
    assert_eq!(refusals.iter().flatten().collect::<Vec<_>>(), Vec::<&String>::new());
}
