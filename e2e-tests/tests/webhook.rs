//! The real webhook as a process, over TLS, with an API server on the loopback.

// The lint does not treat test helpers as tests.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeSet;

use admission_caller::answer::Answer;
use admission_caller::request::labelled_pod;
use serde_json::json;
use test_support::setup::{CLIENT_ID, Setup, pod_review, with_client_id};
use test_support::webhook::WebhookProcess;

fn client_id_in(answer: &Answer) -> Option<&str> {
    let variables = answer.patch.iter().find(|operation| operation["path"] == "/spec/containers/0/env")?;
    let variable = variables["value"].as_array()?.iter().find(|it| it["name"] == "AZURE_CLIENT_ID")?;
    variable["value"].as_str()
}

#[tokio::test]
async fn a_pod_is_mutated_from_the_cache() {
    let setup = Setup::start(&[]).await.unwrap();
    let answer = setup.answer(&labelled_pod("sa")).await.unwrap();
    assert_eq!(client_id_in(&answer), Some(CLIENT_ID));
    assert_eq!(setup.api_server.gets(), 0, "the cache knew it");
    assert!(
        setup.webhook.metric("azwi_requests_total{outcome=\"mutated\",reason=\"found\"}").await.unwrap()
            >= 1.0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_account_made_a_moment_before_is_read_once_for_all_who_wait() {
    let setup = Setup::start(&[]).await.unwrap();
    setup.api_server.apply_unseen("ns", "new", &with_client_id("00000000-0000-0000-0000-000000000001"));
    setup.api_server.answer_reads(false);
    let pod = labelled_pod("new");
    let asked = futures_util::future::join_all((0..8).map(|_| setup.answer(&pod)));
    let released = async {
        let all_wait = async |webhook: &WebhookProcess| {
            webhook.metric("azwi_requests_in_flight").await.is_ok_and(|waiting| waiting >= 8.0)
        };
        setup.webhook.wait_until("busy with all of them", all_wait).await.unwrap();
        setup.api_server.answer_reads(true);
    };
    let (answers, ()) = tokio::join!(asked, released);
    for answer in answers {
        assert_eq!(client_id_in(&answer.unwrap()), Some("00000000-0000-0000-0000-000000000001"));
    }
    assert_eq!(setup.api_server.gets(), 1);
}

#[tokio::test]
async fn a_missing_permission_comes_with_its_usual_reason() {
    let setup = Setup::start(&[]).await.unwrap();
    setup.api_server.forbid("hidden");
    let hint =
        "another installation, such as the AKS add-on, may have replaced the ClusterRole: serviceaccounts";
    let denied = setup.answer(&labelled_pod("hidden")).await.unwrap();
    assert!(!denied.allowed && denied.message.contains(hint), "{}", denied.message);
    let mut unlabelled = labelled_pod("hidden");
    unlabelled["metadata"] = json!({"name": "web"});
    let answer = setup.answer(&unlabelled).await.unwrap();
    assert!(answer.allowed);
    assert!(
        answer.warnings[0].starts_with("AZWI011") && answer.warnings[0].contains(hint),
        "{:?}",
        answer.warnings
    );
}

#[tokio::test]
async fn a_missing_service_account_is_not_remembered() {
    let setup = Setup::start(&[]).await.unwrap();
    let missing = setup.answer(&labelled_pod("nobody")).await.unwrap();
    assert_eq!((missing.allowed, missing.code), (false, Some(404)));
    assert_eq!(missing.message, "serviceaccounts \"nobody\" not found");
    setup.api_server.apply_unseen("ns", "nobody", &with_client_id("00000000-0000-0000-0000-000000000002"));
    assert!(setup.answer(&labelled_pod("nobody")).await.unwrap().allowed);
}

#[tokio::test]
async fn an_account_that_was_annotated_a_moment_before_counts() {
    let setup = Setup::start(&[]).await.unwrap();
    setup.api_server.apply("ns", "late", &json!({}));
    let warns = async |setup: &Setup| !setup.answer(&labelled_pod("late")).await.unwrap().warnings.is_empty();
    assert!(warns(&setup).await, "it has no client id");
    let is_cached =
        async |webhook: &WebhookProcess| webhook.metric("azwi_cached_service_accounts").await.unwrap() >= 2.0;
    setup.webhook.wait_until("aware of the account", is_cached).await.unwrap();
    let id = "00000000-0000-0000-0000-000000000004";
    setup.api_server.apply_unseen("ns", "late", &with_client_id(id));
    let answer = setup.answer(&labelled_pod("late")).await.unwrap();
    assert_eq!((client_id_in(&answer), &*answer.warnings), (Some(id), &[][..]), "read again");
    setup.api_server.apply("ns", "late", &with_client_id(id));
    let is_known = async |_: &WebhookProcess| {
        let before = setup.api_server.gets();
        setup.answer(&labelled_pod("late")).await.unwrap();
        setup.api_server.gets() == before
    };
    setup.webhook.wait_until("aware of the annotation", is_known).await.unwrap();
}

#[tokio::test]
async fn what_the_cache_says_stands_when_the_api_server_does_not_answer() {
    let setup = Setup::start(&[]).await.unwrap();
    setup.api_server.apply("ns", "plain", &json!({}));
    let is_cached =
        async |webhook: &WebhookProcess| webhook.metric("azwi_cached_service_accounts").await.unwrap() >= 2.0;
    setup.webhook.wait_until("aware of the account", is_cached).await.unwrap();
    setup.api_server.answer_reads(false);
    let body = pod_review(&labelled_pod("plain"));
    let mut connection = setup.caller.connect().await.unwrap();
    let reply = connection.send("POST", "/mutate-v1-pod?timeout=1s", "application/json", body).await.unwrap();
    let answer = Answer::from_review(&reply.json().unwrap()).unwrap();
    assert!(answer.allowed && answer.warnings[0].starts_with("AZWI001"), "{answer:?}");
}

#[tokio::test]
async fn an_answer_comes_before_the_api_server_loses_patience() {
    let setup = Setup::start(&[]).await.unwrap();
    setup.api_server.answer_reads(false);
    let path = "/mutate-v1-pod?timeout=1s";
    let body = pod_review(&labelled_pod("slow"));
    let reply =
        setup.caller.connect().await.unwrap().send("POST", path, "application/json", body).await.unwrap();
    let answer = Answer::from_review(&reply.json().unwrap()).unwrap();
    assert_eq!((answer.allowed, answer.code), (false, Some(500)));
    assert!(answer.message.contains("did not answer in time"), "{}", answer.message);
}

#[tokio::test]
async fn a_changed_annotation_counts() {
    let setup = Setup::start(&[]).await.unwrap();
    setup.api_server.apply("ns", "sa", &with_client_id("00000000-0000-0000-0000-000000000003"));
    let is_seen = async |_: &WebhookProcess| {
        client_id_in(&setup.answer(&labelled_pod("sa")).await.unwrap())
            == Some("00000000-0000-0000-0000-000000000003")
    };
    setup.webhook.wait_until("aware of the change", is_seen).await.unwrap();
}

#[tokio::test]
async fn a_bookmark_tells_that_the_cache_is_fresh() {
    let setup = Setup::start(&[]).await.unwrap();
    let age = async |webhook: &WebhookProcess| webhook.metric("azwi_cache_age_seconds").await.unwrap();
    setup.webhook.wait_until("a while without news", async |webhook| age(webhook).await > 0.3).await.unwrap();
    // More than once, because the watch may not have started yet.
    let is_fresh = async |webhook: &WebhookProcess| {
        setup.api_server.bookmark();
        age(webhook).await < 0.3
    };
    setup.webhook.wait_until("fresh again", is_fresh).await.unwrap();
}

#[tokio::test]
async fn what_is_no_review_gets_a_status_and_a_reason() {
    let setup = Setup::start(&["--max-body", "100000"]).await.unwrap();
    let good = pod_review(&labelled_pod("sa"));
    for (method, path, media_type, body, status, reason) in [
        ("POST", "/", "application/json", good.clone(), 404, "the webhook is at /mutate-v1-pod"),
        ("GET", "/mutate-v1-pod", "application/json", String::new(), 405, "POST"),
        ("POST", "/mutate-v1-pod", "text/plain", good.clone(), 415, "application/json"),
        ("POST", "/mutate-v1-pod", "application/json", "{".to_owned(), 400, "not JSON"),
        ("POST", "/mutate-v1-pod", "application/json", "{}".to_owned(), 400, "no request"),
        ("POST", "/mutate-v1-pod", "application/json", " ".repeat(100_001), 413, "100000 bytes"),
        ("POST", "/mutate-v1-pod", "application/json; charset=utf-8", good.clone(), 200, "AdmissionReview"),
    ] {
        let reply = setup.caller.connect().await.unwrap().send(method, path, media_type, body).await.unwrap();
        let text = String::from_utf8_lossy(&reply.body);
        assert_eq!(reply.status, status, "{method} {path} {media_type}: {text}");
        assert!(text.contains(reason), "{method} {path} {media_type}: {text}");
    }
}

#[tokio::test]
async fn health_tells_each_check_and_metrics_are_shown() {
    let setup = Setup::start(&[]).await.unwrap();
    let webhook = &setup.webhook;
    for path in ["/livez", "/healthz", "/readyz"] {
        assert_eq!(webhook.get(webhook.health, path).await.unwrap(), (200, "ok".to_owned()), "{path}");
    }
    let (status, verbose) = webhook.get(webhook.health, "/readyz?verbose").await.unwrap();
    assert_eq!(status, 200);
    let (checks, cache) = verbose.rsplit_once("\n[+]").unwrap();
    assert_eq!(checks, "[+]api-server-answered ok\n[+]certificate-valid ok\n[+]not-draining ok");
    assert!(cache.starts_with("cache-synced ok; the API server was heard "), "{cache}");
    setup.answer(&labelled_pod("sa")).await.unwrap();
    let (_, metrics) = webhook.get(webhook.metrics, "/metrics").await.unwrap();
    for name in [
        "azwi_mutation_request_bucket{le=\"0.001\",service_name=\"webhook\"}",
        "azwi_service_account_lookups_total{source=\"cache\",result=\"found\"} 1",
        "azwi_cached_service_accounts 1",
        "azwi_certificate_not_after_timestamp_seconds",
        "azwi_build_info{version=\"v",
        "process_resident_memory_bytes",
    ] {
        assert!(metrics.contains(name), "{name} is not in\n{metrics}");
    }
    assert!(!metrics.contains("namespace="), "a namespace is a label without a bound");
}

#[tokio::test]
async fn the_log_level_of_a_running_webhook_changes() {
    let setup = Setup::start(&[]).await.unwrap();
    let webhook = &setup.webhook;
    assert_eq!(webhook.get(webhook.health, "/log-level").await.unwrap(), (200, "info\n".to_owned()));
    setup.answer(&labelled_pod("sa")).await.unwrap();
    assert!(!webhook.log().contains("\"answered\""));
    let put = async |path: &str| webhook.send(webhook.health, "PUT", path).await.unwrap();
    assert_eq!(put("/log-level?level=debug").await, (200, "debug\n".to_owned()));
    setup.answer(&labelled_pod("sa")).await.unwrap();
    let is_logged = async |webhook: &WebhookProcess| webhook.log().contains("\"answered\"");
    webhook.wait_until("logging requests", is_logged).await.unwrap();
    let (status, text) = put("/log-level?level=loud").await;
    assert!(status == 400 && text.contains("valid choices are"), "{text}");
}

/// Names of metrics in a text, without the suffixes of Prometheus' text format.
fn metric_names(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let names = words.filter(|word| word.starts_with("azwi_") || word.starts_with("process_"));
    names
        .map(|name| ["_total", "_bucket", "_info"].iter().fold(name, |name, end| name.trim_end_matches(end)))
        .collect()
}

#[tokio::test]
async fn dashboard_alerts_and_docs_name_metrics_that_there_are() {
    let setup = Setup::start(&[]).await.unwrap();
    // Some appear only after they have counted something.
    setup.answer(&labelled_pod("sa")).await.unwrap();
    drop(tokio::net::TcpStream::connect(setup.webhook.address).await.unwrap());
    let has_failed = async |webhook: &WebhookProcess| {
        webhook.metric("azwi_handshake_failures_total").await.unwrap() >= 1.0
    };
    setup.webhook.wait_until("aware of the connection", has_failed).await.unwrap();
    let (_, metrics) = setup.webhook.get(setup.webhook.metrics, "/metrics").await.unwrap();
    let shown: BTreeSet<&str> =
        metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    for file in
        ["deploy/monitoring/grafana-dashboard.json", "deploy/monitoring/alerts.yaml", "docs/webhook.md"]
    {
        let text = std::fs::read_to_string(test_support::repository_root().join(file)).unwrap();
        let named = metric_names(&text);
        assert!(named.len() > 3, "{file} names {named:?}");
        // In the docs, `process_*` stands for all of them.
        let unknown: Vec<_> =
            named.into_iter().filter(|name| *name != "process_" && !shown.contains(name)).collect();
        assert!(unknown.is_empty(), "{file} names {unknown:?}; there are {shown:?}");
    }
    let docs = std::fs::read_to_string(test_support::repository_root().join("docs/webhook.md")).unwrap();
    let documented = metric_names(&docs);
    let undocumented: Vec<_> =
        shown.iter().filter(|name| name.starts_with("azwi_") && !documented.contains(*name)).collect();
    assert!(undocumented.is_empty(), "docs/webhook.md does not name {undocumented:?}");
}

#[tokio::test]
async fn a_review_of_v1beta1_is_answered_as_one() {
    let setup = Setup::start(&[]).await.unwrap();
    let body = pod_review(&labelled_pod("sa")).replace("admission.k8s.io/v1", "admission.k8s.io/v1beta1");
    let reply = setup.caller.review(body).await.unwrap().json().unwrap();
    assert_eq!(reply["apiVersion"], "admission.k8s.io/v1beta1");
    assert_eq!(reply["response"]["patchType"], "JSONPatch");
}
