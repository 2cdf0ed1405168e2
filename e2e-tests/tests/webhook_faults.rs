//! What may go wrong around the webhook, under load: admissions that fail are counted, and none may.

// Helpers of tests are tests to a reader, but not to the lint.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use admission_caller::answer::Answer;
use admission_caller::request::pod_creation;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedKey, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::json;
use test_support::api_server::ApiServer;
use test_support::tls_client::{Caller, new_certificate};
use test_support::webhook::WebhookProcess;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;

const POD: &str = r#"{"metadata":{"name":"p","labels":{"azure.workload.identity/use":"true"}},
    "spec":{"serviceAccountName":"sa","containers":[{"name":"c"}]}}"#;

fn review() -> String {
    review_for("sa")
}

fn review_for(service_account: &str) -> String {
    let pod = POD.replace("\"sa\"", &format!("\"{service_account}\""));
    let request = pod_creation("ns", &pod);
    format!(r#"{{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{request}}}"#)
}

fn api_server() -> ApiServer {
    let api_server = ApiServer::start().unwrap();
    let metadata =
        json!({"annotations": {"azure.workload.identity/client-id": "5d2e50e8-c9fc-4dad-9ab4-bc23cce71bf1"}});
    api_server.apply("ns", "sa", &metadata);
    api_server
}

/// Callers that send reviews one after the other, over connections that they keep, until they are stopped.
struct Load {
    is_over: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    callers: JoinSet<Vec<String>>,
}

impl Load {
    /// With `connections` callers; each opens a new connection when the server closes the old one.
    fn start(caller: &Caller, connections: usize, keeps_connections: bool) -> Self {
        let (is_over, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut callers = JoinSet::new();
        for _ in 0..connections {
            let (caller, is_over, answered) = (caller.clone(), Arc::clone(&is_over), Arc::clone(&answered));
            callers.spawn(async move {
                let mut failures = Vec::new();
                let mut connection = None;
                while !is_over.load(Ordering::Relaxed) {
                    let answer = async {
                        let mut open = match connection.take() {
                            Some(open) => open,
                            None => caller.connect().await?,
                        };
                        let reply = open.review(review()).await?;
                        anyhow::ensure!(Answer::from_review(&reply.json()?)?.allowed, "denied");
                        anyhow::Ok((open, reply.closes))
                    };
                    match answer.await {
                        Ok((open, closes)) => {
                            answered.fetch_add(1, Ordering::Relaxed);
                            connection = (keeps_connections && !closes).then_some(open);
                        }
                        Err(error) => failures.push(format!("{error:#}")),
                    }
                }
                failures
            });
        }
        Self { is_over, answered, callers }
    }

    /// Waits for so many more answers, at most half a minute.
    async fn more_answers(&self, count: usize) {
        let goal = self.answered.load(Ordering::Relaxed) + count;
        let reached = async {
            while self.answered.load(Ordering::Relaxed) < goal {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), reached).await.expect("the webhook answers");
    }

    /// Ends the load; the failures that there were.
    async fn stop(self) -> Vec<String> {
        self.is_over.store(true, Ordering::Relaxed);
        self.callers.join_all().await.into_iter().flatten().collect()
    }
}

const NO_FAILURE: Vec<String> = Vec::new();

#[tokio::test(flavor = "multi_thread")]
async fn swapping_the_certificate_fails_no_admission() {
    let api_server = api_server();
    let certificates: Vec<_> = (0..6).map(|_| new_certificate().unwrap()).collect();
    let webhook = WebhookProcess::start(&api_server, &certificates[0], &["--cert-check-interval", "100ms"])
        .await
        .unwrap();
    let trusted = certificates.iter().map(|certificate| certificate.cert.der().clone());
    let caller = Caller::new(webhook.address, trusted).unwrap();
    let load = Load::start(&caller, 4, false);
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

/// What the API server trusts at the moment.
fn bundle(api_server: &ApiServer) -> Vec<CertificateDer<'static>> {
    let pem = api_server.objects.ca_bundle(CONFIGURATION);
    CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().unwrap()
}

const CONFIGURATION: &str = "azure-wi-webhook-mutating-webhook-configuration";

#[tokio::test(flavor = "multi_thread")]
async fn changing_the_authority_of_two_replicas_fails_no_admission() {
    const CHANGES: usize = 4;
    let api_server = Arc::new(api_server());
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
                    let reply = caller.review(review()).await?;
                    anyhow::ensure!(Answer::from_review(&reply.json()?)?.allowed, "denied");
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

/// An authority, and certificates for callers that it signs.
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
    let api_server = api_server();
    let certificate = new_certificate().unwrap();
    let webhook = WebhookProcess::start(&api_server, &certificate, &flags).await.unwrap();
    let is_answered = async |caller: Caller| caller.review(review()).await.is_ok_and(|it| it.status == 200);
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

/// More pods than one namespace may have reads, each with an account that the cache does not know.
fn more_than_it_can_take(api_server: &ApiServer, caller: &Caller) -> JoinSet<Answer> {
    let mut callers = JoinSet::new();
    for number in 0..32 {
        let name = format!("sa-{number}");
        api_server.apply_unseen("ns", &name, &json!({}));
        let (caller, review) = (caller.clone(), review_for(&name));
        callers.spawn(async move {
            Answer::from_review(&caller.review(review).await.unwrap().json().unwrap()).unwrap()
        });
    }
    callers
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_it_can_take_waits_for_a_place() {
    let certificate = new_certificate().unwrap();
    let api_server = api_server();
    let webhook = WebhookProcess::start(&api_server, &certificate, &["--max-in-flight", "64"]).await.unwrap();
    let caller = Caller::new(webhook.address, [certificate.cert.der().clone()]).unwrap();
    api_server.answer_reads(false);
    let callers = more_than_it_can_take(&api_server, &caller);
    let is_full = async |webhook: &WebhookProcess| {
        (webhook.metric("azwi_requests_in_flight").await.unwrap() - 8.0).abs() < 0.5
    };
    webhook.wait_until("full", is_full).await.unwrap();
    api_server.answer_reads(true);
    for answer in callers.join_all().await {
        // One that did not answer for a second, on a machine that is very busy, has given its place to another.
        let gave_way = answer.message.contains("others waited for this read's place");
        assert!(answer.allowed || gave_way, "{}", answer.message);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_it_can_take_is_shed_when_the_time_is_up() {
    let certificate = new_certificate().unwrap();
    let api_server = api_server();
    let webhook = WebhookProcess::start(&api_server, &certificate, &["--max-in-flight", "1"]).await.unwrap();
    let caller = Caller::new(webhook.address, [certificate.cert.der().clone()]).unwrap();
    api_server.answer_reads(false);
    let answers = more_than_it_can_take(&api_server, &caller).join_all().await;
    let (shed, unanswered): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.code == Some(503));
    assert!(!shed.is_empty() && !unanswered.is_empty(), "{answers:?}");
    for answer in shed {
        assert!(answer.message.contains("too many requests"), "{}", answer.message);
    }
    for answer in unanswered {
        assert!(!answer.allowed && answer.code == Some(500), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_under_load_fails_no_admission_of_those_who_heed_the_close() {
    let api_server = api_server();
    let certificate = new_certificate().unwrap();
    let mut webhook = WebhookProcess::start(&api_server, &certificate, &["--lame-duck", "6s"]).await.unwrap();
    let caller = Caller::new(webhook.address, [certificate.cert.der().clone()]).unwrap();
    let mut open = caller.connect().await.unwrap();
    let load = Load::start(&caller, 8, true);
    load.more_answers(100).await;
    webhook.terminate().await.unwrap();
    let is_draining = async |webhook: &WebhookProcess| {
        let (status, text) = webhook.get(webhook.health, "/readyz").await.unwrap();
        status == 503 && text.contains("[-]not-draining failed")
    };
    webhook.wait_until("not ready", is_draining).await.unwrap();
    assert!(open.review(review()).await.unwrap().closes, "a connection is closed after its next answer");
    load.more_answers(100).await;
    // As endpoints do within the lame-duck time, the callers go elsewhere.
    assert_eq!(load.stop().await, NO_FAILURE);
    let status =
        tokio::time::timeout(Duration::from_secs(30), webhook.child.wait()).await.expect("it ends").unwrap();
    assert!(status.success(), "{status}\n{}", webhook.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_at_once() {
    let certificate = new_certificate().unwrap();
    let mut webhook =
        WebhookProcess::start(&api_server(), &certificate, &["--lame-duck", "1h"]).await.unwrap();
    webhook.terminate().await.unwrap();
    let is_draining =
        async |webhook: &WebhookProcess| webhook.get(webhook.health, "/readyz").await.unwrap().0 == 503;
    webhook.wait_until("not ready", is_draining).await.unwrap();
    webhook.terminate().await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), webhook.child.wait()).await.expect("it ends").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_may_go_away_for_a_minute_and_forget_the_watch() {
    const OUTAGE: Duration = Duration::from_mins(1);
    let api_server = api_server();
    let certificate = new_certificate().unwrap();
    let webhook = WebhookProcess::start(&api_server, &certificate, &[]).await.unwrap();
    let caller = Caller::new(webhook.address, [certificate.cert.der().clone()]).unwrap();
    let load = Load::start(&caller, 1, true);
    load.more_answers(50).await;
    api_server.expire_watches();
    load.more_answers(50).await;
    let (restart, gone_since) = (api_server.stop(), Instant::now());
    while gone_since.elapsed() < OUTAGE {
        load.more_answers(50).await;
    }
    let unknown = caller.review(review_for("unknown")).await.unwrap();
    let unknown = Answer::from_review(&unknown.json().unwrap()).unwrap();
    assert_eq!((unknown.allowed, unknown.code), (false, Some(500)), "{}", unknown.message);
    assert_eq!(
        webhook.get(webhook.health, "/readyz").await.unwrap().0,
        200,
        "it goes on serving from its cache"
    );
    let api_server = restart().unwrap();
    api_server.apply("ns", "unknown", &json!({}));
    let is_known = async |_: &WebhookProcess| {
        let reply = caller.review(review_for("unknown")).await.unwrap();
        Answer::from_review(&reply.json().unwrap()).unwrap().allowed
    };
    webhook.wait_until("aware of the API server", is_known).await.unwrap();
    // The watch is tried again at growing intervals, at most half a minute.
    let changed_id = "00000000-0000-0000-0000-00000000000a";
    let is_changed = async {
        loop {
            api_server.apply(
                "ns",
                "sa",
                &json!({"annotations": {"azure.workload.identity/client-id": changed_id}}),
            );
            let reply = caller.review(review()).await.unwrap();
            let answer = Answer::from_review(&reply.json().unwrap()).unwrap();
            if answer.patch.iter().any(|operation| operation.to_string().contains(changed_id)) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(45), is_changed).await.expect("changes are seen again");
    load.more_answers(50).await;
    assert_eq!(load.stop().await, NO_FAILURE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_connection_may_be_idle_for_longer_than_a_head_may_take() {
    let certificate = new_certificate().unwrap();
    let webhook =
        WebhookProcess::start(&api_server(), &certificate, &["--header-timeout", "300ms"]).await.unwrap();
    let caller = Caller::new(webhook.address, [certificate.cert.der().clone()]).unwrap();
    let mut connection = caller.connect().await.unwrap();
    assert_eq!(connection.review(review()).await.unwrap().status, 200);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(connection.review(review()).await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_who_hang_up_are_not_counted_as_in_flight() {
    let api_server = api_server();
    let certificate = new_certificate().unwrap();
    let webhook = WebhookProcess::start(&api_server, &certificate, &[]).await.unwrap();
    let caller = Caller::new(webhook.address, [certificate.cert.der().clone()]).unwrap();
    api_server.answer_reads(false);
    let waiting = tokio::spawn(async move { caller.review(review_for("unknown")).await });
    let in_flight = async |webhook: &WebhookProcess| webhook.metric("azwi_requests_in_flight").await.unwrap();
    webhook.wait_until("busy", async |webhook| in_flight(webhook).await >= 1.0).await.unwrap();
    waiting.abort();
    webhook.wait_until("idle", async |webhook| in_flight(webhook).await < 1.0).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_body_goes_when_its_memory_is_needed() {
    let certificate = new_certificate().unwrap();
    let flags = ["--max-body", "700000", "--request-memory", "1000000"];
    let webhook = WebhookProcess::start(&api_server(), &certificate, &flags).await.unwrap();
    let caller = Caller::new(webhook.address, [certificate.cert.der().clone()]).unwrap();
    let mut stalled = caller.stream().await.unwrap();
    let head = "POST /mutate-v1-pod HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 650000\r\n\r\n";
    stalled.write_all(head.as_bytes()).await.unwrap();
    stalled.flush().await.unwrap();
    let large = format!("{}{}", review(), " ".repeat(200_000));
    let is_answered = async |_: &WebhookProcess| caller.review(large.clone()).await.unwrap().status == 200;
    webhook.wait_until("rid of the stalled body", is_answered).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(10), stalled.read_to_end(&mut Vec::new())).await;
    assert!(ended.is_ok(), "the connection is closed");
    assert!(webhook.metric("azwi_connections_evicted_total").await.unwrap() >= 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_do_not_keep_others_out() {
    let certificate = new_certificate().unwrap();
    let webhook =
        WebhookProcess::start(&api_server(), &certificate, &["--max-connections", "4"]).await.unwrap();
    let caller = Caller::new(webhook.address, [certificate.cert.der().clone()]).unwrap();
    let mut kept = caller.connect().await.unwrap();
    assert_eq!(kept.review(review()).await.unwrap().status, 200);
    let mut idle = Vec::new();
    for _ in 0..8 {
        idle.push(caller.stream().await.unwrap());
        assert_eq!(kept.review(review()).await.unwrap().status, 200, "one that sends reviews is kept");
    }
    assert_eq!(caller.review(review()).await.unwrap().status, 200, "a new one gets a place");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_review_of_unknown_length_is_refused() {
    let certificate = new_certificate().unwrap();
    let webhook = WebhookProcess::start(&api_server(), &certificate, &[]).await.unwrap();
    let caller = Caller::new(webhook.address, [certificate.cert.der().clone()]).unwrap();
    let mut stream = caller.stream().await.unwrap();
    let request = "POST /mutate-v1-pod HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                   transfer-encoding: chunked\r\n\r\n1\r\n{\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 411");
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_and_half_open_clients_are_dropped_and_hinder_nobody() {
    let certificate = new_certificate().unwrap();
    let flags = ["--header-timeout", "2s", "--body-timeout", "2s", "--handshake-timeout", "2s"];
    let api_server = api_server();
    let webhook = WebhookProcess::start(&api_server, &certificate, &flags).await.unwrap();
    let caller = Caller::new(webhook.address, [certificate.cert.der().clone()]).unwrap();
    let load = Load::start(&caller, 2, true);

    // One that never starts the handshake, one that never ends its head, one that never ends its body.
    let mut silent = tokio::net::TcpStream::connect(webhook.address).await.unwrap();
    let mut no_head = caller.stream().await.unwrap();
    no_head.write_all(b"POST /mutate-v1-pod HTTP/1.1\r\nhost: x\r\n").await.unwrap();
    let mut no_body = caller.stream().await.unwrap();
    let head = "POST /mutate-v1-pod HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{";
    no_body.write_all(head.as_bytes()).await.unwrap();

    let mut answer = Vec::new();
    let ended = async {
        _ = silent.read_to_end(&mut Vec::new()).await;
        _ = no_head.read_to_end(&mut Vec::new()).await;
        _ = no_body.read_to_end(&mut answer).await;
    };
    tokio::time::timeout(Duration::from_secs(10), ended).await.expect("the webhook ends slow connections");
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("did not arrive"), "{answer}");
    assert!(webhook.metric("azwi_handshake_failures_total").await.unwrap() >= 1.0);
    load.more_answers(50).await;
    assert_eq!(load.stop().await, NO_FAILURE);
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_its_limit_it_says_so_to_those_who_asked_and_lets_the_rest_in() {
    let certificate = new_certificate().unwrap();
    let api_server = api_server();
    let webhook = WebhookProcess::start(&api_server, &certificate, &["--max-in-flight", "1"]).await.unwrap();
    let caller = Caller::new(webhook.address, [certificate.cert.der().clone()]).unwrap();
    api_server.answer_reads(false);
    // It takes the only place for longer than the others wait for it.
    let first = tokio::spawn({
        let (caller, review) = (caller.clone(), review_for("hangs"));
        async move { caller.review(review).await }
    });
    let is_full =
        async |webhook: &WebhookProcess| webhook.metric("azwi_requests_in_flight").await.unwrap() >= 1.0;
    webhook.wait_until("full", is_full).await.unwrap();
    let known = Answer::from_review(&caller.review(review()).await.unwrap().json().unwrap()).unwrap();
    assert!(known.allowed, "an account that the cache knows needs no read");
    let labelled = review_for("unknown");
    let unlabelled = labelled.replace("\"azure.workload.identity/use\":\"true\"", "");
    let (labelled, unlabelled) = tokio::join!(caller.review(labelled), caller.review(unlabelled));
    let shed = Answer::from_review(&labelled.unwrap().json().unwrap()).unwrap();
    assert_eq!((shed.allowed, shed.code), (false, Some(503)));
    assert!(shed.message.contains("too many requests"), "{}", shed.message);
    let open = Answer::from_review(&unlabelled.unwrap().json().unwrap()).unwrap();
    assert!(open.allowed && open.warnings[0].starts_with("AZWI011"), "{:?}", open.warnings);
    assert!(webhook.metric("azwi_requests_shed_total").await.unwrap() >= 2.0);
    first.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_malformed_reviews_change_nothing() {
    let certificate = new_certificate().unwrap();
    let api_server = api_server();
    let webhook = WebhookProcess::start(&api_server, &certificate, &[]).await.unwrap();
    let caller = Caller::new(webhook.address, [certificate.cert.der().clone()]).unwrap();
    let load = Load::start(&caller, 2, true);
    let whole = review();
    let mut connection = caller.connect().await.unwrap();
    for number in 0..1000 {
        // A review that ends too early, at a place that differs from time to time.
        let end = (number * 7) % (whole.len() - 1);
        let reply = connection.review(whole[..end].to_owned()).await.unwrap();
        assert_eq!(reply.status, 400, "{}", &whole[..end]);
    }
    let too_large = caller.connect().await.unwrap().review(vec![b' '; 7 * 1024 * 1024 + 1]).await.unwrap();
    assert_eq!(too_large.status, 413);
    load.more_answers(50).await;
    assert_eq!(load.stop().await, NO_FAILURE);
}
