//! Certificates and authorities that change under load.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use admission_caller::request::labelled_pod;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedKey, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::json;
use test_support::api_server::ApiServer;
use test_support::setup::{SERVICE_ACCOUNT, Setup, answer, api_server};
use test_support::tls_client::{Caller, new_certificate};
use test_support::webhook::WebhookProcess;
use tokio::task::JoinSet;

use crate::load::{Callers, Load, NO_FAILURE, known};

#[tokio::test(flavor = "multi_thread")]
async fn swapping_the_certificate_fails_no_admission() {
    let api_server = api_server().unwrap();
    let certificates: Vec<_> = (0..6).map(|_| new_certificate().unwrap()).collect();
    let webhook = WebhookProcess::start(&api_server, &certificates[0], &["--cert-check-interval", "100ms"])
        .await
        .unwrap();
    let trusted = certificates.iter().map(|certificate| certificate.cert.der().clone());
    let caller = Caller::new(webhook.address, trusted).unwrap();
    let load = Load::start(&caller, 4, Callers::OpenNewConnections);
    for (reloads, certificate) in (2..).zip(&certificates[1..]) {
        webhook.swap_certificate(certificate).unwrap();
        let is_reloaded = async |webhook: &WebhookProcess| {
            let line = "azwi_certificate_reloads_total{result=\"success\"}";
            webhook.metric(line).await.unwrap() >= f64::from(reloads)
        };
        webhook.wait_until("aware of the new certificate", is_reloaded).await.unwrap();
        load.more_answers(20).await;
    }
    webhook.spoil_certificate("half a file").unwrap();
    let is_counted = async |webhook: &WebhookProcess| {
        webhook.metric("azwi_certificate_reloads_total{result=\"failure\"}").await.unwrap() >= 1.0
    };
    webhook.wait_until("aware of the spoilt certificate", is_counted).await.unwrap();
    load.more_answers(20).await;
    assert_eq!(load.stop().await, NO_FAILURE);
}

/// The bundle that the API server trusts at the moment.
fn bundle(api_server: &ApiServer) -> Vec<CertificateDer<'static>> {
    let pem = api_server.objects.ca_bundle(CONFIGURATION);
    CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().unwrap()
}

const CONFIGURATION: &str = "azure-wi-webhook-mutating-webhook-configuration";

#[tokio::test(flavor = "multi_thread")]
async fn changing_the_authority_of_two_replicas_fails_no_admission() {
    const CHANGES: usize = 4;
    let api_server = Arc::new(api_server().unwrap());
    let entry = json!({"name": "mutation.azure-workload-identity.io", "clientConfig": {}, "sideEffects": "None",
        "admissionReviewVersions": ["v1"]});
    api_server.objects.put(
        CONFIGURATION,
        json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": CONFIGURATION}, "webhooks": [entry]}),
    );
    let flags =
        ["--ca-life", "9s", "--ca-overlap", "1s", "--leaf-life", "3s", "--cert-check-interval", "200ms"];
    let started = tokio::join!(
        WebhookProcess::start_self_managed(&api_server, &flags),
        WebhookProcess::start_self_managed(&api_server, &flags)
    );
    let replicas = [started.0.unwrap(), started.1.unwrap()];

    let (is_over, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut callers = JoinSet::new();
    for address in replicas.iter().map(|replica| replica.address) {
        let (api_server, is_over, answered) =
            (Arc::clone(&api_server), Arc::clone(&is_over), Arc::clone(&answered));
        callers.spawn(async move {
            let mut failures = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                let answer = async {
                    // The API server reads the bundle for each connection.
                    let caller = Caller::new(address, bundle(&api_server))?;
                    let answer = answer(&caller, &labelled_pod(SERVICE_ACCOUNT)).await?;
                    anyhow::ensure!(answer.allowed, "denied");
                    anyhow::Ok(())
                };
                match answer.await {
                    Ok(()) => _ = answered.fetch_add(1, Ordering::Relaxed),
                    Err(error) => failures.push(format!("{error:#}")),
                }
            }
            failures
        });
    }
    let mut bundles = BTreeSet::new();
    let changed = async {
        while bundles.len() <= CHANGES {
            bundles.insert(api_server.objects.ca_bundle(CONFIGURATION));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let has_changed = tokio::time::timeout(Duration::from_secs(90), changed).await;
    is_over.store(true, Ordering::Relaxed);
    let failures: Vec<String> = callers.join_all().await.into_iter().flatten().collect();
    assert_eq!(failures, NO_FAILURE, "{}\n{}", replicas[0].log(), replicas[1].log());
    has_changed.expect("the authority changes");
    assert!(answered.load(Ordering::Relaxed) > 100, "{answered:?}");
}

/// An authority that signs certificates for callers.
struct ClientAuthority {
    certificate: rcgen::Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl ClientAuthority {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(DnType::CommonName, name);
        let certificate = parameters.self_signed(&key).unwrap();
        Self { certificate, issuer: Issuer::new(parameters, key) }
    }

    fn sign(&self, name: &str) -> CertifiedKey<KeyPair> {
        let signing_key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
        let cert = parameters.signed_by(&signing_key, &self.issuer).unwrap();
        CertifiedKey { cert, signing_key }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_callers_with_a_certificate_are_answered_where_one_is_demanded() {
    let (old, new) = (ClientAuthority::new("old"), ClientAuthority::new("new"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.crt");
    std::fs::write(&file, old.certificate.pem()).unwrap();
    let flags = [
        "--client-ca-file",
        file.to_str().unwrap(),
        "--client-allowed-name",
        "other,kube-apiserver",
        "--cert-check-interval",
        "100ms",
    ];
    let Setup { webhook, certificate, .. } = &Setup::start(&flags).await.unwrap();
    let is_answered = async |caller: Caller| caller.review(known()).await.is_ok_and(|it| it.status == 200);
    let trusted = || [certificate.cert.der().clone()];
    let with =
        |own: &CertifiedKey<KeyPair>| Caller::with_certificate(webhook.address, trusted(), own).unwrap();

    assert!(is_answered(with(&old.sign("kube-apiserver"))).await);
    assert!(!is_answered(with(&old.sign("someone"))).await, "the name is not allowed");
    assert!(!is_answered(with(&new.sign("kube-apiserver"))).await, "the authority is not known");
    assert!(!is_answered(Caller::new(webhook.address, trusted()).unwrap()).await, "there is no certificate");

    std::fs::write(&file, "half a file").unwrap();
    let is_counted = async |webhook: &WebhookProcess| {
        webhook.metric("azwi_certificate_reloads_total{result=\"failure\"}").await.unwrap() >= 1.0
    };
    webhook.wait_until("aware of the spoilt file", is_counted).await.unwrap();
    assert!(is_answered(with(&old.sign("kube-apiserver"))).await, "the old authority stays");
    std::fs::write(&file, new.certificate.pem()).unwrap();
    let is_trusted = async |_: &WebhookProcess| is_answered(with(&new.sign("kube-apiserver"))).await;
    webhook.wait_until("aware of the new authority", is_trusted).await.unwrap();
    assert!(!is_answered(with(&old.sign("kube-apiserver"))).await);
}
