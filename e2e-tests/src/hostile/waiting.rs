//! Attacks by pods that wait for the API server: of unknown accounts, and of known ones without a client id, which are read
//! again. Each holds memory for as long as the API server takes, and may come from the API server's own address.

use std::time::Duration;

use serde_json::json;
use test_support::api_server::ApiServer;

use super::connections::loop_together;
use super::memory::pod_of_account;
use super::wire::{PATH, Source, ask_once, review};
use super::{Attack, Field, Findings, TENANT};

/// The cache knows it, and it has no client id.
const BARE: &str = "bare";
const UNKNOWN: &str = "nobody";
/// Callers, each with one pod at a time. Ninety of these would fill the memory of small requests.
const CALLERS: usize = 120;
const POD_BYTES: usize = 50_000;

pub fn attacks() -> Vec<Attack> {
    let mut attacks = Vec::new();
    for account in [BARE, UNKNOWN] {
        for source in [Source::ApiServer, Source::Crowd] {
            for milliseconds in [100, 900] {
                let name = format!("waiting: {account} accounts, reads take {milliseconds} ms, {source}");
                attacks.push(attack(name, account, source, Some(Duration::from_millis(milliseconds))));
            }
            let name = format!("waiting: {account} accounts, no answers, {source}");
            attacks.push(attack(name, account, source, None));
        }
    }
    attacks
}

fn attack(name: String, account: &'static str, source: Source, pause: Option<Duration>) -> Attack {
    Attack::new(name, move |field| wait(field, account, source, pause)).prepared(add_account)
}

fn add_account(api_server: &ApiServer) {
    api_server.apply(TENANT, BARE, &json!({}));
}

async fn wait(field: Field, account: &'static str, source: Source, pause: Option<Duration>) -> Findings {
    match pause {
        Some(pause) => field.api_server.slow_down(account, pause),
        None => field.api_server.answer_reads(false),
    }
    let body = review(&pod_of_account(account, POD_BYTES));
    loop_together(&field, CALLERS, move |field, _| {
        let body = body.clone();
        async move { ask_once(&field, source, PATH, &body).await.is_ok() }
    })
    .await;
    field.api_server.answer_reads(true);
    Findings::default()
}
