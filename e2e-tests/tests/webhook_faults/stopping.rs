//! Behaviour on SIGTERM.

use std::fs::{File, write};
use std::process::Command;
use std::time::Duration;

use test_support::setup::{Setup, api_server};
use test_support::tls_client::new_certificate;
use test_support::webhook::{WebhookProcess, program, write_certificate};

use crate::load::{Callers, Load, NO_FAILURE, known};

#[tokio::test(flavor = "multi_thread")]
async fn stopping_under_load_fails_no_admission_of_those_who_heed_the_close() {
    let Setup { webhook, caller, .. } = &mut Setup::start(&["--lame-duck", "6s"]).await.unwrap();
    let mut open = caller.connect().await.unwrap();
    let load = Load::start(caller, 8, Callers::KeepTheirConnections);
    load.more_answers(100).await;
    webhook.terminate().await.unwrap();
    let is_draining = async |webhook: &WebhookProcess| {
        let (status, text) = webhook.get(webhook.health, "/readyz").await.unwrap();
        status == 503 && text.contains("[-]not-draining failed")
    };
    webhook.wait_until("not ready", is_draining).await.unwrap();
    assert!(open.review(known()).await.unwrap().closes, "a connection is closed after its next answer");
    load.more_answers(100).await;
    // The callers move elsewhere, as endpoint updates make them do within the lame-duck time.
    assert_eq!(load.stop().await, NO_FAILURE);
    let status =
        tokio::time::timeout(Duration::from_secs(30), webhook.child.wait()).await.expect("it ends").unwrap();
    assert!(status.success(), "{status}\n{}", webhook.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_at_once() {
    let Setup { webhook, .. } = &mut Setup::start(&["--lame-duck", "1h"]).await.unwrap();
    webhook.terminate().await.unwrap();
    let is_draining =
        async |webhook: &WebhookProcess| webhook.get(webhook.health, "/readyz").await.unwrap().0 == 503;
    webhook.wait_until("not ready", is_draining).await.unwrap();
    webhook.terminate().await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), webhook.child.wait()).await.expect("it ends").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_behind_the_log_ends_nothing() {
    let (api_server, folder) = (api_server().unwrap(), tempfile::tempdir().unwrap());
    write_certificate(folder.path(), &new_certificate().unwrap()).unwrap();
    let kubeconfig = folder.path().join("kubeconfig");
    write(&kubeconfig, api_server.kubeconfig()).unwrap();
    let any = "127.0.0.1:0";
    let mut webhook = Command::new(program().unwrap())
        .args(["--webhook-addr", any, "--health-addr", any, "--metrics-addr", any, "--lame-duck", "0s"])
        .args(["--log-level", "all", "--disable-cert-rotation", "--webhook-cert-dir"])
        .arg(folder.path())
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .env("AZURE_TENANT_ID", "contoso.example")
        .stderr(File::options().write(true).open("/dev/full").unwrap())
        .spawn()
        .unwrap();
    // Its log cannot tell when it runs.
    while webhook.try_wait().unwrap().is_none() && api_server.requests().len() < 2 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Command::new("kill").arg(webhook.id().to_string()).status().unwrap();
    let status = webhook.wait().unwrap();
    assert!(status.success(), "{status}");
}
