//! Single-request attacks by a tenant, whose pods the API server sends, so from the bystanders' own address.

use std::sync::Arc;

use hyper::body::Bytes;
use serde_json::json;
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::bodies::{
    Expensive, containers_and_skip_names, containers_of_account, defaulted_containers, empty_containers,
};
use super::shapes::shapes;
use super::wire::{PATH, PATIENCE, Source, Tally, ask, ask_once};
use super::{Attack, CLIENT_ID, Field, Findings, TENANT, timed};
use test_support::api_server::ApiServer;

/// Largest body that the webhook reads.
const LARGEST: usize = 7 * 1024 * 1024;
/// How often a request is sent, one after the other.
const TIMES: usize = 3;
/// How many callers send it together.
const TOGETHER: usize = 20;

/// A service account whose annotations have the maximum length in Kubernetes.
pub const LONG_ACCOUNT: &str = "long";

/// All attacks: each one after the other, and then from many callers together.
pub fn attacks() -> Vec<Attack> {
    let mut attacks = Vec::new();
    for (name, make) in EXACT {
        add(&mut attacks, name, *make);
    }
    for shape in shapes() {
        attacks.push(Attack::new(format!("requests: 7 MiB: {}", shape.name), move |field| async move {
            let body = (shape.make)(LARGEST).body();
            let mut findings = one_after_the_other(field.clone(), body.clone()).await;
            findings.extend(together(field, body).await);
            findings
        }));
    }
    attacks.push(
        Attack::new("requests: 500 containers, an account with 256 KiB of annotations", |field| {
            one_after_the_other(field, containers_of_account(500, LONG_ACCOUNT).body())
        })
        .prepared(add_long_account),
    );
    attacks.push(
        Attack::new("requests: 7 MiB of containers, an account with 256 KiB of annotations", |field| {
            one_after_the_other(field, containers_of_account(300_000, LONG_ACCOUNT).body())
        })
        .prepared(add_long_account),
    );
    attacks
}

/// A request of an exact size, by name.
pub type Exact = (&'static str, fn() -> Expensive);

/// The requests measured first, unchanged.
const EXACT: &[Exact] = &[
    ("65 KB: 21,600 empty containers", || empty_containers(21_600)),
    ("16,000 empty containers with their defaults", || defaulted_containers(16_000)),
    ("1 MB of opening brackets", || Expensive::Body("[".repeat(1_000_000).into_bytes())),
    ("700,000 objects within each other", || Expensive::Body(r#"{"a":"#.repeat(700_000).into_bytes())),
    ("3,000,000 numbers", || Expensive::Body(format!("[{}1]", "1,".repeat(2_999_999)).into_bytes())),
    ("5,000 containers, 700,000 skip names", || containers_and_skip_names(5_000, 700_000)),
    ("20,000 containers, 200,000 skip names", || containers_and_skip_names(20_000, 200_000)),
];

fn add(attacks: &mut Vec<Attack>, name: &str, make: impl Fn() -> Expensive + Copy + Send + Sync + 'static) {
    let one =
        Attack::new(format!("requests: {name}"), move |field| one_after_the_other(field, make().body()));
    let many = Attack::new(format!("requests: {name}, {TOGETHER} together"), move |field| {
        together(field, make().body())
    });
    attacks.extend([one, many]);
}

fn add_long_account(api_server: &ApiServer) {
    // The limit is on the sum of keys and values.
    let long = "x".repeat(127 * 1024);
    api_server.apply(
        TENANT,
        LONG_ACCOUNT,
        &json!({"annotations": {"azure.workload.identity/tenant-id": long,
            "azure.workload.identity/client-id": format!("{CLIENT_ID}{long}")}}),
    );
}

async fn one_after_the_other(field: Field, body: Bytes) -> Findings {
    let mut tally = Tally::default();
    for _ in 0..TIMES {
        let (took, reply) = timed(ask_once(&field, Source::ApiServer, PATH, &body)).await;
        let is_answered = reply.is_ok();
        tally.add(took, &reply);
        if !is_answered {
            break;
        }
    }
    let unanswered = (tally.unanswered() > 0).then(|| "the request was not answered".to_owned());
    judge(&tally).with(unanswered)
}

async fn together(field: Field, body: Bytes) -> Findings {
    let mut askers = JoinSet::new();
    let open = Arc::new(Barrier::new(TOGETHER));
    for _ in 0..TOGETHER {
        let (field, body, open) = (field.clone(), body.clone(), Arc::clone(&open));
        askers.spawn(async move {
            let stream = field.tls(Source::ApiServer, 0).await;
            open.wait().await;
            let asked = async { ask(&mut stream?, PATH, &body).await };
            let (took, reply) = timed(timeout(PATIENCE, asked)).await;
            (
                took,
                reply.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer within {} s", PATIENCE.as_secs()))),
            )
        });
    }
    let mut tally = Tally::default();
    for (took, reply) in askers.join_all().await {
        tally.add(took, &reply);
    }
    judge(&tally)
}

/// No request may make the webhook fail.
pub fn judge(tally: &Tally) -> Findings {
    let faults = tally.with_status(500);
    Findings::note(tally.to_string()).with((faults > 0).then(|| format!("{faults} answers have status 500")))
}
