//! Attacks on the path to the API server: invalid names, accounts that do not exist, and deadlines.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper::body::Bytes;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::requests::judge;
use super::wire::{PATH, Source, Tally, ask, ask_once, review};
use super::{Attack, Field, Findings, TENANT, timed};
use admission_caller::answer::Answer;
use admission_caller::request::pod_creation;

pub fn attacks() -> Vec<Attack> {
    let mut attacks = vec![
        Attack::new("lookups: names that are no names", names_that_are_none),
        Attack::new("lookups: namespaces that are no names", namespaces_that_are_none),
        Attack::new("lookups: 2,000 unknown accounts of one namespace", unknown_accounts),
        Attack::new("lookups: 2,000 unknown accounts of as many namespaces", unknown_namespaces),
        Attack::new("lookups: deadlines that are none", deadlines),
        Attack::new("lookups: callers that hang up", hanging_up),
    ];
    attacks.extend([
        Attack::new("lookups: an account that would be a watch, many times", |field| {
            many_times(field, "?watch=true&n=NUMBER")
        }),
        Attack::new("lookups: accounts of another path, many times", |field| {
            many_times(field, "../../secrets/NUMBER")
        }),
    ]);
    attacks
}

/// Texts that someone might use as a name.
pub fn no_names() -> Vec<String> {
    let texts = [
        "?watch=true&n=1",
        "x?watch=true",
        "x#y",
        "x/secrets/azure-wi-webhook-ca?x=",
        "x/secrets/azure-wi-webhook-ca",
        "../../secrets/z",
        "../secrets",
        "..",
        ".",
        "/",
        "//",
        "a/b",
        "a\\b",
        "a%2fb",
        "%2e%2e",
        "%2e%2e%2fsecrets",
        "%00",
        "%",
        "\0",
        "a\0b",
        "a\r\nHost: x\r\n\r\n",
        " ",
        "a b",
        "\u{7f}",
        "\u{202e}",
        "\u{e9}",
        "\u{ff0e}\u{ff0e}",
        "UPPER",
        "Sa",
        "under_score",
        "-a",
        "a-",
        ".a",
        "a.",
        "a..b",
        "a:b",
        "a@b",
        "a;b",
        "*",
        "{name}",
        "$(id)",
    ];
    let mut names: Vec<String> = texts.map(str::to_owned).into();
    names.extend(["a".repeat(254), "a".repeat(300), "a".repeat(100_000), "a.".repeat(150)]);
    names
}

/// A review of a labelled pod, with the names as they are.
pub fn named_request(namespace: &str, account: &str) -> String {
    let pod = json!({"metadata": {"labels": {"azure.workload.identity/use": "true"}},
        "spec": {"serviceAccountName": account, "containers": [{"name": "c"}]}});
    pod_creation(namespace, &pod.to_string())
}

async fn names_that_are_none(field: Field) -> Findings {
    let reviews = no_names().into_iter().map(|name| review(&named_request(TENANT, &name)));
    ask_all(&field, reviews.collect()).await
}

async fn namespaces_that_are_none(field: Field) -> Findings {
    let mut names = no_names();
    names.extend([String::new(), "a.b".to_owned(), "a".repeat(64)]);
    let reviews = names.into_iter().map(|name| review(&named_request(&name, "sa")));
    ask_all(&field, reviews.collect()).await
}

async fn ask_all(field: &Field, reviews: Vec<Bytes>) -> Findings {
    let mut tally = Tally::default();
    for body in reviews {
        let (took, reply) = timed(ask_once(field, Source::ApiServer, PATH, &body)).await;
        tally.add(took, &reply);
    }
    let unanswered = tally.unanswered();
    let unanswered = (unanswered > 0).then(|| format!("{unanswered} reviews were not answered"));
    judge(&tally).with(unanswered).with(strange_paths(field))
}

/// A request by the webhook to the API server for anything but a service account, their list or the version.
fn strange_paths(field: &Field) -> Option<String> {
    let asked: BTreeSet<String> = field.api_server.requests();
    let strange: Vec<&String> = asked.iter().filter(|request| !is_ordinary(request)).collect();
    let first: Vec<_> = strange.iter().take(5).map(|request| format!("{request:?}")).collect();
    (!strange.is_empty())
        .then(|| format!("the API server was asked {} strange things: {}", strange.len(), first.join(", ")))
}

/// Whether a request, `METHOD path?query`, is one that the webhook may make.
fn is_ordinary(request: &str) -> bool {
    let Some(target) = request.strip_prefix("GET ") else { return false };
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    match path.strip_prefix("/api/v1/namespaces/") {
        Some(rest) => match rest.split_once("/serviceaccounts/") {
            Some((namespace, name)) => query.is_none_or(str::is_empty) && is_account(namespace, name),
            None => false,
        },
        None => ["/version", "/api/v1/serviceaccounts"].contains(&path),
    }
}

/// Lower-case letters, digits and dashes, with no dash at either end.
fn is_part(text: &str) -> bool {
    let is_alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    !text.is_empty()
        && text.chars().all(|c| is_alphanumeric(c) || c == '-')
        && text.starts_with(is_alphanumeric)
        && text.ends_with(is_alphanumeric)
}

fn is_label(text: &str) -> bool {
    text.len() <= 63 && is_part(text)
}

/// Whether these can be a service account's namespace and name.
pub fn is_account(namespace: &str, name: &str) -> bool {
    is_label(namespace) && is_subdomain(name)
}

fn is_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_part)
}

/// Many callers that request one account after the other while the API server answers no reads.
async fn unknown_accounts(field: Field) -> Findings {
    flood_of_lookups(field, |i| named_request(TENANT, &format!("unknown-{i}"))).await
}

async fn unknown_namespaces(field: Field) -> Findings {
    flood_of_lookups(field, |i| named_request(&format!("unknown-{i}"), "sa")).await
}

/// Meanwhile, another namespace must get its reads, and be answered when the API server is back.
async fn flood_of_lookups(field: Field, request: fn(usize) -> String) -> Findings {
    const CALLERS: usize = 100;
    const ACCOUNTS: usize = 2_000;
    // Like an API server with a short timeout; reads continue without their waiters.
    const SHORT: &str = "/mutate-v1-pod?timeout=200ms";
    field.api_server.apply_unseen("elsewhere", "late", &super::account_metadata());
    field.api_server.answer_reads(false);
    let next = Arc::new(AtomicUsize::new(0));
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (field, next) = (field.clone(), Arc::clone(&next));
        callers.spawn(async move {
            let mut tally = Tally::default();
            let mut stream = None;
            loop {
                let i = next.fetch_add(1, Ordering::Relaxed);
                if i >= ACCOUNTS {
                    break tally;
                }
                let body = review(&request(i));
                let asked = async {
                    let mut open = match stream.take() {
                        Some(open) => open,
                        None => field.tls(Source::ApiServer, 0).await?,
                    };
                    let reply = ask(&mut open, SHORT, &body).await?;
                    stream = Some(open);
                    Ok(reply)
                };
                let (took, reply) = timed(timeout(super::wire::PATIENCE, asked)).await;
                tally.add(took, &reply.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer"))));
            }
        });
    }
    sleep(field.duration / 2).await;
    let late = review(&named_request("elsewhere", "late"));
    // Its reads hang like all others, but must be sent.
    _ = ask_once(&field, Source::ApiServer, PATH, &late).await;
    let was_read =
        field.api_server.requests().contains("GET /api/v1/namespaces/elsewhere/serviceaccounts/late");
    let mut tallies = Vec::new();
    while let Ok(Some(done)) = timeout(field.duration * 2, callers.join_next()).await {
        tallies.extend(done);
    }
    field.api_server.answer_reads(true);
    let afterwards = mutated_within(&field, &late, Duration::from_secs(5)).await;
    let mut findings = Findings::default();
    let faults: usize = tallies.iter().map(|tally| tally.with_status(500)).sum();
    findings.notes.extend(tallies.first().map(|tally| format!("one of {}: {tally}", tallies.len())));
    findings
        .with((faults > 0).then(|| format!("{faults} answers have status 500")))
        .with((!was_read).then(|| "an account of another namespace was not read meanwhile".to_owned()))
        .with(afterwards.err().map(|error| {
            format!(
                "when reads were answered again, another namespace's pod was not mutated within 5 s: {error}"
            )
        }))
        .with(strange_paths(&field))
}

/// Sends the review until a pod is mutated.
async fn mutated_within(field: &Field, body: &Bytes, limit: Duration) -> Result<(), String> {
    let mut problem = String::new();
    let asked = async {
        loop {
            let mutated = async {
                let (status, reply) = ask_once(field, Source::ApiServer, PATH, body).await?;
                anyhow::ensure!(status == 200, "status {status}");
                let answer = Answer::from_review(&serde_json::from_slice(&reply)?)?;
                anyhow::ensure!(!answer.patch.is_empty(), "{}", answer.message);
                anyhow::Ok(())
            };
            match mutated.await {
                Ok(()) => return,
                Err(error) => problem = format!("{error:#}"),
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    let is_over = timeout(limit, asked).await.is_ok();
    if is_over { Ok(()) } else { Err(problem) }
}

/// Plausible and implausible API server deadlines.
async fn deadlines(field: Field) -> Findings {
    let mut tally = Tally::default();
    for timeout in [
        "3000000000000000h",
        "99999999999999999999999999h",
        "1e300h",
        "5124095h",
        "18446744073709551615s",
        "9223372036854775807ns",
        "-1s",
        "",
        "1ns",
        "0",
        "0s",
        ".s",
        "..1s",
        "1",
        "NaNs",
        "infs",
        "1s1s1s1s1s",
        "%31s",
        "1s&timeout=2s",
    ] {
        let path = format!("/mutate-v1-pod?timeout={timeout}");
        for account in ["sa", "unknown"] {
            let body = review(&named_request(TENANT, account));
            let (took, reply) = timed(ask_once(&field, Source::ApiServer, &path, &body)).await;
            tally.add(took, &reply);
        }
    }
    for path in [
        format!("/mutate-v1-pod?timeout={}", "9".repeat(5_000)),
        format!("/mutate-v1-pod?{}", "timeout=1ms&".repeat(400)),
        format!("/mutate-v1-pod?timeout={}", "1ns".repeat(1_500)),
    ] {
        let body = review(&named_request(TENANT, "unknown"));
        let (took, reply) = timed(ask_once(&field, Source::ApiServer, &path, &body)).await;
        tally.add(took, &reply);
    }
    let unanswered = tally.unanswered();
    let unanswered = (unanswered > 0).then(|| format!("{unanswered} reviews were not answered"));
    judge(&tally).with(unanswered).with(strange_paths(&field))
}

/// Callers that request an account that must be read, and hang up.
async fn hanging_up(field: Field) -> Findings {
    field.api_server.answer_reads(false);
    let (begun, _) = super::wire::crowd(&field, 200, 300, |i| {
        let field = field.clone();
        async move {
            let Ok(mut stream) = field.tls(Source::ApiServer, i).await else { return };
            let body = review(&named_request(TENANT, &format!("gone-{i}")));
            // Dropped in the middle of the wait.
            _ = timeout(Duration::from_millis(100), ask(&mut stream, PATH, &body)).await;
        }
    })
    .await;
    field.api_server.answer_reads(true);
    field.api_server.apply_unseen("elsewhere", "late", &super::account_metadata());
    let late = review(&named_request("elsewhere", "late"));
    let afterwards = mutated_within(&field, &late, Duration::from_secs(5)).await;
    Findings::note(format!("{begun} hung up")).with(afterwards.err())
}

/// Many of these at once; their API server connections must not stay open.
async fn many_times(field: Field, account: &str) -> Findings {
    let tally = Arc::new(std::sync::Mutex::new(Tally::default()));
    let mut callers = JoinSet::new();
    for i in 0..200_usize {
        let (field, tally) = (field.clone(), Arc::clone(&tally));
        let body = review(&named_request(TENANT, &account.replace("NUMBER", &i.to_string())));
        callers.spawn(async move {
            let (took, reply) =
                timed(ask_once(&field, Source::ApiServer, "/mutate-v1-pod?timeout=2s", &body)).await;
            tally.lock().unwrap_or_else(std::sync::PoisonError::into_inner).add(took, &reply);
        });
    }
    callers.join_all().await;
    let tally = tally.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
    judge(&tally).with(strange_paths(&field))
}

#[cfg(test)]
mod tests {
    use super::{is_ordinary, no_names};

    #[test]
    fn requests_that_the_webhook_makes_are_ordinary() {
        for request in [
            "GET /version",
            "GET /api/v1/serviceaccounts?limit=100&resourceVersion=0",
            "GET /api/v1/serviceaccounts?watch=true&resourceVersion=7",
            "GET /api/v1/namespaces/team-a/serviceaccounts/web.v2",
            "GET /api/v1/namespaces/team-a/serviceaccounts/web?",
        ] {
            assert!(is_ordinary(request), "{request}");
        }
        let long = format!("GET /api/v1/namespaces/a/serviceaccounts/{}", "a".repeat(253));
        assert!(is_ordinary(&long));
    }

    #[test]
    fn no_name_makes_an_ordinary_request() {
        for name in no_names() {
            assert!(!is_ordinary(&format!("GET /api/v1/namespaces/team-a/serviceaccounts/{name}")), "{name}");
            assert!(!is_ordinary(&format!("GET /api/v1/namespaces/{name}/serviceaccounts/web")), "{name}");
        }
        assert!(!is_ordinary("DELETE /api/v1/namespaces/team-a/serviceaccounts/web"));
        assert!(!is_ordinary("GET /api/v1/namespaces/team-a/secrets/web"));
        assert!(!is_ordinary("GET /api/v1/namespaces/team-a/serviceaccounts/web?watch=true"));
        assert!(!is_ordinary("GET /api/v1/namespaces/team-a/serviceaccounts/?watch=true"));
    }
}
