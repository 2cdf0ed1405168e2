//! Certificates of the real webhook: changes to its objects by others, wrong clocks, lost keys.

// The lint does not treat test helpers as tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::sync::Arc;
use std::time::Duration;

use admission_caller::request::labelled_pod;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedKey, DistinguishedName, DnType, IsCa, KeyPair,
    date_time_ymd,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use test_support::api_server::{ApiServer, TOKEN};
use test_support::setup;
use test_support::tls_client::{Caller, SERVER_NAME, new_certificate};
use test_support::webhook::WebhookProcess;

const CONFIGURATION: &str = "azure-wi-webhook-mutating-webhook-configuration";
const SECRET: &str = "azure-wi-webhook-ca";
const OFTEN: [&str; 2] = ["--cert-check-interval", "100ms"];
/// Renewed after two seconds.
const SHORT_LIFE: [&str; 4] = ["--cert-check-interval", "100ms", "--leaf-life", "3s"];

fn api_server() -> ApiServer {
    let api_server = setup::api_server().unwrap();
    api_server.objects.put(CONFIGURATION, configuration(""));
    api_server
}

/// A webhook configuration of two entries, applied by Helm.
fn configuration(bundle: &str) -> Value {
    let entry = |name: &str| {
        let mut entry = json!({"name": name, "clientConfig": {"service": {"name": "webhook", "namespace": "test"}},
            "sideEffects": "None", "admissionReviewVersions": ["v1"], "ofALaterVersion": true});
        if !bundle.is_empty() {
            entry["clientConfig"]["caBundle"] = BASE64_STANDARD.encode(bundle).into();
        }
        entry
    };
    let fields = json!({"f:webhooks": {"k:{\"name\":\"a.example\"}": {".": {}, "f:name": {}},
        "k:{\"name\":\"b.example\"}": {".": {}, "f:name": {}}}});
    json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": CONFIGURATION, "managedFields": [owner("helm", "Apply", &fields)]},
        "webhooks": [entry("a.example"), entry("b.example")]})
}

fn owner(manager: &str, operation: &str, fields: &Value) -> Value {
    json!({"manager": manager, "operation": operation, "apiVersion": "admissionregistration.k8s.io/v1",
        "fieldsType": "FieldsV1", "fieldsV1": fields})
}

/// The fields that an earlier version of the webhook applied.
fn applied() -> Value {
    let entry = json!({".": {}, "f:name": {}, "f:clientConfig": {"f:caBundle": {}}});
    let fields =
        json!({"f:webhooks": {"k:{\"name\":\"a.example\"}": entry, "k:{\"name\":\"b.example\"}": entry}});
    owner("azwi-webhook", "Apply", &fields)
}

/// The owners of fields in the webhook configuration, and their operations.
fn owners(api_server: &ApiServer) -> Vec<(String, String)> {
    let object = api_server.objects.object(CONFIGURATION);
    let fields = object["metadata"]["managedFields"].as_array().unwrap().clone();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    fields.iter().map(|it| (text(&it["manager"]), text(&it["operation"]))).collect()
}

fn bundle_text(api_server: &ApiServer) -> String {
    String::from_utf8(api_server.objects.ca_bundle(CONFIGURATION)).unwrap()
}

fn certificates(text: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(text.as_bytes()).collect::<Result<_, _>>().unwrap()
}

/// Sends a review, trusting these certificates; returns an error if they are not enough.
async fn review(webhook: &WebhookProcess, trusted: &str) -> anyhow::Result<()> {
    let caller = Caller::new(webhook.address, certificates(trusted))?;
    anyhow::ensure!(setup::answer(&caller, &labelled_pod(setup::SERVICE_ACCOUNT)).await?.allowed, "denied");
    Ok(())
}

/// An authority like the webhook's, valid from one year to another.
fn authority(from: i32, to: i32) -> CertifiedKey<KeyPair> {
    let signing_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(to, 1, 1));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "azure-workload-identity-ca");
    CertifiedKey { cert: params.self_signed(&signing_key).unwrap(), signing_key }
}

/// Puts an authority into the Secret, and makes callers trust it.
fn keep(api_server: &ApiServer, authority: &CertifiedKey<KeyPair>) {
    let data = json!({"ca.crt": BASE64_STANDARD.encode(authority.cert.pem()),
        "ca.key": BASE64_STANDARD.encode(authority.signing_key.serialize_pem())});
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": SECRET}, "data": data});
    api_server.objects.put(SECRET, secret);
    api_server.objects.put(CONFIGURATION, configuration(&authority.cert.pem()));
}

/// A value of the Secret as text.
fn held(api_server: &ApiServer, key: &str) -> String {
    let secret = api_server.objects.object(SECRET);
    let text = BASE64_STANDARD.decode(secret["data"][key].as_str().unwrap_or_default()).unwrap();
    String::from_utf8(text).unwrap()
}

async fn not_after(webhook: &WebhookProcess) -> f64 {
    webhook.metric("azwi_certificate_not_after_timestamp_seconds").await.unwrap()
}

/// Waits until the certificate was renewed, twice.
async fn is_renewed(webhook: &WebhookProcess) {
    for _ in 0..2 {
        let before = not_after(webhook).await;
        let is_later = async |webhook: &WebhookProcess| not_after(webhook).await > before;
        webhook.wait_until("in use of a newer certificate", is_later).await.unwrap();
    }
    assert_eq!(webhook.get(webhook.health, "/readyz").await.unwrap().0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bundle_is_written_and_no_entry_is_owned() {
    let api_server = api_server();
    let webhook = WebhookProcess::start_self_managed(&api_server, &OFTEN).await.unwrap();
    let bundle = bundle_text(&api_server);
    let mut expected = configuration(&bundle);
    let mut found = api_server.objects.object(CONFIGURATION);
    let helms = expected["metadata"]["managedFields"][0].clone();
    assert_eq!(found["metadata"]["managedFields"][0], helms);
    for object in [&mut expected, &mut found] {
        object["metadata"] = Value::Null;
    }
    assert_eq!(found, expected, "nothing else is touched");
    assert_eq!(owners(&api_server), [("helm", "Apply"), ("azwi-webhook", "Update")].map(owned));

    // The ownership of an earlier version is released, even if nothing else has to be done.
    api_server.objects.update(CONFIGURATION, "kubectl", |object| {
        object["metadata"]["managedFields"].as_array_mut().unwrap().insert(1, applied());
    });
    let is_let_go = async |_: &WebhookProcess| owners(&api_server).len() == 2;
    webhook.wait_until("no owner of entries", is_let_go).await.unwrap();
    assert_eq!(owners(&api_server), [("helm", "Apply"), ("azwi-webhook", "Update")].map(owned));
    assert_eq!(bundle_text(&api_server), bundle);
    review(&webhook, &bundle).await.unwrap();
}

fn owned((manager, operation): (&str, &str)) -> (String, String) {
    (manager.to_owned(), operation.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_only_update_does_the_same_by_an_update() {
    let api_server = api_server();
    api_server.objects.forbid("patch");
    api_server.objects.update(CONFIGURATION, "kubectl", |object| {
        object["metadata"]["managedFields"].as_array_mut().unwrap().push(applied());
    });
    let webhook = WebhookProcess::start_self_managed(&api_server, &OFTEN).await.unwrap();
    assert_eq!(owners(&api_server), [("helm", "Apply"), ("azwi-webhook", "Update")].map(owned));
    review(&webhook, &bundle_text(&api_server)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_slower_than_somebody_else_looks_again() {
    for may_patch in [true, false] {
        let api_server = api_server();
        if !may_patch {
            api_server.objects.forbid("patch");
        }
        // Meanwhile, the entries swap places, and others become owners of fields.
        let mut late = configuration("");
        late["webhooks"].as_array_mut().unwrap().reverse();
        late["metadata"]["managedFields"]
            .as_array_mut()
            .unwrap()
            .extend([applied(), owner("kubectl", "Update", &json!({}))]);
        api_server.objects.put_before_next_write(CONFIGURATION, late);
        let webhook = WebhookProcess::start_self_managed(&api_server, &OFTEN).await.unwrap();
        let found = api_server.objects.object(CONFIGURATION);
        assert_eq!(found["webhooks"][0]["name"], "b.example", "what came in between is not undone");
        let bundles = [0, 1].map(|place| found["webhooks"][place]["clientConfig"]["caBundle"].clone());
        assert!(bundles[0] == bundles[1] && bundles[0].is_string(), "{found}");
        let expected = [("helm", "Apply"), ("kubectl", "Update"), ("azwi-webhook", "Update")];
        assert_eq!(owners(&api_server), expected.map(owned));
        assert!(!webhook.log().contains("WARN"), "{}", webhook.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_somebody_else_writes_the_bundle_certificates_are_renewed_and_people_are_told_once() {
    let api_server = Arc::new(api_server());
    let webhook = WebhookProcess::start_self_managed(&api_server, &SHORT_LIFE).await.unwrap();
    let foreign = BASE64_STANDARD.encode(new_certificate().unwrap().cert.pem());
    let rewriter = Arc::clone(&api_server);
    let rewriter = tokio::spawn(async move {
        loop {
            rewriter.objects.update(CONFIGURATION, "argocd-controller", |object| {
                for entry in object["webhooks"].as_array_mut().unwrap() {
                    entry["clientConfig"]["caBundle"] = foreign.clone().into();
                }
            });
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    is_renewed(&webhook).await;
    let is_counted = async |webhook: &WebhookProcess| {
        webhook.metric("azwi_ca_bundle_rewrites_total").await.unwrap() >= 5.0
    };
    webhook.wait_until("aware of the other", is_counted).await.unwrap();
    rewriter.abort();
    let log = webhook.log();
    let told: Vec<_> = log.lines().filter(|line| line.contains("keeps writing the caBundle")).collect();
    assert!(
        told.len() == 1 && told[0].contains("\"WARN\"") && told[0].contains("argocd-controller"),
        "{log}"
    );
    let is_mended = async |webhook: &WebhookProcess| review(webhook, &bundle_text(&api_server)).await.is_ok();
    webhook.wait_until("trusted again", is_mended).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_renewed_without_a_webhook_configuration() {
    let api_server = api_server();
    let webhook = WebhookProcess::start_self_managed(&api_server, &SHORT_LIFE).await.unwrap();
    api_server.objects.remove(CONFIGURATION);
    is_renewed(&webhook).await;
    assert!(webhook.log().contains(&format!("MutatingWebhookConfiguration {CONFIGURATION}: ")));
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_renewed_though_the_next_authority_cannot_be_written() {
    let api_server = api_server();
    // More than two thirds of its lifetime are over, in every year in which this test may run.
    keep(&api_server, &authority(1951, 2060));
    api_server.objects.forbid("update");
    let webhook = WebhookProcess::start_self_managed(&api_server, &SHORT_LIFE).await.unwrap();
    is_renewed(&webhook).await;
    assert!(webhook.log().contains(&format!("Secret {SECRET}: ")), "{}", webhook.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_from_the_future_is_replaced_and_stays_trusted() {
    let api_server = api_server();
    let future = authority(2100, 2101);
    keep(&api_server, &future);
    let webhook = WebhookProcess::start_self_managed(&api_server, &OFTEN).await.unwrap();
    let bundle = bundle_text(&api_server);
    review(&webhook, &bundle).await.unwrap();
    assert!(bundle.starts_with(&held(&api_server, "ca.crt")));
    let both = certificates(&bundle);
    assert!(both.len() == 2 && both[1] == *future.cert.der());
    assert_ne!(held(&api_server, "ca.key"), future.signing_key.serialize_pem());
}

/// Writes the Secret's annotation, like `kubectl annotate` does.
fn annotate(api_server: &ApiServer, value: &str) {
    api_server.objects.update(SECRET, "kubectl-annotate", |secret| {
        secret["metadata"]["annotations"] = json!({"azure.workload.identity/revoke-before": value});
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_authority_is_revoked_by_an_annotation() {
    let api_server = api_server();
    let lost = authority(2020, 2200);
    keep(&api_server, &lost);
    let started = tokio::join!(
        WebhookProcess::start_self_managed(&api_server, &OFTEN),
        WebhookProcess::start_self_managed(&api_server, &OFTEN)
    );
    let replicas = [started.0.unwrap(), started.1.unwrap()];
    for replica in &replicas {
        review(replica, &lost.cert.pem()).await.unwrap();
    }

    for value in ["yesterday", "2150-01-01T00:00:00Z"] {
        annotate(&api_server, value);
        for replica in &replicas {
            let is_told = async |replica: &WebhookProcess| {
                let log = replica.log();
                log.lines()
                    .any(|line| line.contains("no certificate authority is revoked") && line.contains(value))
            };
            replica.wait_until("aware of the value", is_told).await.unwrap();
        }
        assert_eq!(bundle_text(&api_server), lost.cert.pem().replace("\r\n", "\n"));
    }

    annotate(&api_server, "2021-01-01T00:00:00Z");
    for replica in &replicas {
        let is_replaced = async |replica: &WebhookProcess| {
            let bundle = bundle_text(&api_server);
            certificates(&bundle)[0] != *lost.cert.der() && review(replica, &bundle).await.is_ok()
        };
        replica.wait_until("in use of another certificate", is_replaced).await.unwrap();
        assert!(review(replica, &lost.cert.pem()).await.is_err());
    }
    let data = api_server.objects.object(SECRET)["data"].clone();
    assert_eq!(data.as_object().unwrap().len(), 2, "nothing is left of the lost one: {data}");
    assert_ne!(held(&api_server, "ca.crt"), lost.cert.pem());
    assert_eq!(certificates(&bundle_text(&api_server)).len(), 1);

    // The annotation stays, and the new authority is made after its time, so nothing more changes.
    annotate(&api_server, "later");
    for replica in &replicas {
        let is_told = async |replica: &WebhookProcess| replica.log().contains("later");
        replica.wait_until("at its next look", is_told).await.unwrap();
    }
    assert_eq!(api_server.objects.object(SECRET)["data"], data);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_secret_holds_and_the_own_credential_get_into_no_log() {
    let api_server = api_server();
    let flags = [&SHORT_LIFE[..], &["--log-level", "all"]].concat();
    let webhook = WebhookProcess::start_self_managed(&api_server, &flags).await.unwrap();
    let key = held(&api_server, "ca.key");
    let base64 = BASE64_STANDARD.encode(&key);
    let certificate = BASE64_STANDARD.encode(bundle_text(&api_server));
    let cut: String = key.chars().take(120).collect();
    for (spoilt, problem) in [
        (json!(base64), "the answer cannot be read"),
        (json!(key), "the answer cannot be read"),
        (json!({"ca.crt": base64, "ca.key": base64}), "ca.crt holds no certificate"),
        (json!({"ca.key": base64}), "ca.crt and ca.key must be there together"),
        (
            json!({"ca.crt": certificate, "ca.key": BASE64_STANDARD.encode(cut)}),
            "ca.key cannot be used to sign",
        ),
    ] {
        api_server.objects.update(SECRET, "somebody", |secret| secret["data"] = spoilt);
        webhook.wait_until("aware of it", async |webhook| webhook.log().contains(problem)).await.unwrap();
    }
    let log = webhook.log();
    let lines = key.lines().filter(|line| !line.starts_with("-----"));
    for text in lines.chain([&*base64]) {
        assert!(!log.contains(text) && !log.contains(&text[..32]), "{text} is in the log");
    }
    assert!(log.contains("hyper_util::client"), "the HTTP client logs too at this level");
    assert!(!log.contains(TOKEN), "the credential is in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pair_that_does_not_hold_now_takes_no_good_ones_place() {
    let good = new_certificate().unwrap();
    let webhook = WebhookProcess::start(&api_server(), &good, &OFTEN).await.unwrap();
    for (failures, (from, to)) in (1..).zip([(1990, 2000), (2100, 2101)]) {
        let signing_key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([SERVER_NAME.to_owned()]).unwrap();
        (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(to, 1, 1));
        let cert = params.self_signed(&signing_key).unwrap();
        webhook.swap_certificate(&CertifiedKey { cert, signing_key }).unwrap();
        let is_told = async |webhook: &WebhookProcess| {
            let line = "azwi_certificate_reloads_total{result=\"failure\"}";
            webhook.metric(line).await.unwrap() >= f64::from(failures)
                && webhook.log().contains(&format!("holds only from {from}-01-01T00:00:00Z to {to}-01-01"))
        };
        webhook.wait_until("aware of the pair", is_told).await.unwrap();
        review(&webhook, &good.cert.pem()).await.unwrap();
        assert_eq!(webhook.get(webhook.health, "/readyz").await.unwrap().0, 200);
    }
}
