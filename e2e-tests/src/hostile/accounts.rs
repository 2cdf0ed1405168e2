//! Attacks by a tenant who may create service accounts: the webhook keeps part of each.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::lookups::named_request;
use super::wire::{PATH, Source, ask_once, read_reply, review};
use super::{Attack, Field, Findings, TENANT};
use test_support::api_server::ApiServer;

pub fn attacks() -> Vec<Attack> {
    vec![
        Attack::new("accounts: 200 with 256 KiB of annotations, listed at the start", only_watch)
            .prepared(|api_server| add(api_server, "listed", "other.example/note", 200)),
        Attack::new("accounts: 200 with 256 KiB of a tenant id, listed at the start", only_watch)
            .prepared(|api_server| add(api_server, "listed", "azure.workload.identity/tenant-id", 200)),
        Attack::new("accounts: 30,000 with long names and identities, listed at the start", only_watch)
            .prepared(many_with_identity),
        Attack::new("accounts: 64 reads of 500 KB at once, in eight namespaces", large_reads),
        Attack::new("accounts: 400 with 256 KiB of annotations, made one by one", |field| {
            make(field, "other.example/note")
        }),
        Attack::new("accounts: 400 with 256 KiB of a tenant id, made one by one", |field| {
            make(field, "azure.workload.identity/tenant-id")
        }),
    ]
}

fn add(api_server: &ApiServer, prefix: &str, annotation: &str, count: usize) {
    let long = "x".repeat(255 * 1024);
    for i in 0..count {
        api_server.apply(TENANT, &format!("{prefix}-{i}"), &json!({"annotations": {annotation: long}}));
    }
}

fn many_with_identity(api_server: &ApiServer) {
    let long = "x".repeat(300);
    let metadata = json!({"annotations": {
        "azure.workload.identity/client-id": long,
        "azure.workload.identity/tenant-id": long,
        "azure.workload.identity/service-account-token-expiration": long,
    }});
    for i in 0..30_000 {
        api_server.apply(TENANT, &format!("{}{i}", "a".repeat(240)), &metadata);
    }
}

/// Accounts that are not in the cache, each of the maximum size.
async fn large_reads(field: Field) -> Findings {
    let labels: serde_json::Map<_, _> =
        (0..7_000).map(|i| (format!("k{i}"), json!("v".repeat(50)))).collect();
    let metadata = json!({ "labels": labels });
    let mut askers = tokio::task::JoinSet::new();
    for i in 0..64 {
        let (namespace, name) = (format!("n-{}", i % 8), format!("large-{i}"));
        field.api_server.apply_unseen(&namespace, &name, &metadata);
        let (field, body) = (field.clone(), review(&named_request(&namespace, &name)));
        askers.spawn(async move { ask_once(&field, Source::Crowd, PATH, &body).await.is_ok() });
    }
    let answered = askers.join_all().await.into_iter().filter(|is_answered| *is_answered).count();
    Findings::note(format!("{answered} of 64 were answered"))
}

/// Runs until the webhook has read the whole list.
async fn only_watch(field: Field) -> Findings {
    let listed = async {
        while !is_synced(&field).await.unwrap_or(false) {
            sleep(Duration::from_millis(50)).await;
        }
    };
    let problem = timeout(Duration::from_secs(30), listed).await.err();
    Findings::default().with(problem.map(|_| "the list was not read within 30 s".to_owned()))
}

async fn is_synced(field: &Field) -> Result<bool> {
    let mut stream = TcpStream::connect(field.health).await?;
    stream.write_all(b"GET /readyz?verbose HTTP/1.1\r\nHost: webhook.test\r\n\r\n").await?;
    let (status, text) = read_reply(&mut stream).await?;
    Ok(status == 200 && String::from_utf8_lossy(&text).contains("[+]cache-synced"))
}

async fn make(field: Field, annotation: &str) -> Findings {
    for i in 0..400 {
        add(&field.api_server, &format!("made-{i}"), annotation, 1);
        // No faster than an API server stores them.
        sleep(Duration::from_millis(5)).await;
    }
    Findings::default()
}
