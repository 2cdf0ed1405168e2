//! Attacks on the policy, each in a fresh instance as in policy-server: an API server sends at most 3 MiB.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use serde_json::{Value, json};

use super::bodies::{Expensive, containers_and_skip_names, containers_of_account, defaulted_containers};
use super::lookups::{named_request, no_names};
use super::report::Row;
use super::requests::{Exact, LONG_ACCOUNT};
use super::shapes::shapes;
use super::{CLIENT_ID, Findings, TENANT, TENANT_ACCOUNT};
use admission_caller::cluster::Cluster;
use admission_caller::policy::{HostCapabilities, Policy as _};

use crate::host::PolicyHost;

/// Largest request that an API server accepts.
const LARGEST: usize = 3 * 1024 * 1024;
/// Memory limit of an instance, in MiB.
const LIMIT: u64 = 16;
/// Limits tried to find out how much it needs, in MiB.
const LADDER: [u64; 12] = [2, 4, 6, 8, 10, 12, 14, LIMIT, 24, 32, 64, 128];

/// Part of the error of a guest that was stopped.
const OUT_OF_TIME: &str = "interrupt";

/// An attack on the policy: requests that must all be answered.
pub struct PolicyAttack {
    /// Its unique name.
    pub name: String,
    make: Box<dyn Fn() -> Vec<String>>,
}

pub fn attacks() -> Vec<PolicyAttack> {
    let mut attacks = Vec::new();
    let mut add = |name: String, make: Box<dyn Fn() -> Vec<String>>| {
        attacks.push(PolicyAttack { name: format!("policy: {name}"), make });
    };
    for shape in shapes() {
        if matches!((shape.make)(0), Expensive::Request(_)) {
            add(format!("3 MiB: {}", shape.name), Box::new(move || request((shape.make)(LARGEST))));
        }
    }
    let exact: [Exact; 4] = [
        ("16,000 empty containers with their defaults", || defaulted_containers(16_000)),
        ("5,000 containers, 700,000 skip names", || containers_and_skip_names(5_000, 700_000)),
        ("20,000 containers, 200,000 skip names", || containers_and_skip_names(20_000, 200_000)),
        ("500 containers, an account with 256 KiB of annotations", || {
            containers_of_account(500, LONG_ACCOUNT)
        }),
    ];
    for (name, make) in exact {
        add(name.to_owned(), Box::new(move || request(make())));
    }
    add(
        "names that are no names".to_owned(),
        Box::new(|| no_names().iter().map(|name| named_request(TENANT, name)).collect()),
    );
    add(
        "namespaces that are no names".to_owned(),
        Box::new(|| no_names().iter().map(|name| named_request(name, "sa")).collect()),
    );
    attacks
}

fn request(expensive: Expensive) -> Vec<String> {
    match expensive {
        Expensive::Request(request) => vec![request],
        Expensive::Body(_) => Vec::new(),
    }
}

/// The policy with different memory limits.
pub struct Policy {
    hosts: Vec<(u64, PolicyHost)>,
    accounts: Vec<Value>,
}

/// Result of a request under a limit.
enum Outcome {
    Answered,
    /// It trapped or ran out of time, with the error.
    Ended(String),
}

/// Service accounts, and requested names that cannot exist.
struct Watching {
    cluster: Cluster,
    strange: std::sync::Mutex<Vec<String>>,
}

impl HostCapabilities for Watching {
    fn get_resource(&self, request: &Value) -> Result<Vec<u8>, String> {
        let field = |key: &str| request.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (namespace, name) = (field("namespace"), field("name"));
        if !super::lookups::is_account(&namespace, &name) {
            let mut strange = self.strange.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            strange.push(format!("{namespace:?}/{name:?}"));
        }
        self.cluster.get_resource(request)
    }
}

impl Policy {
    /// Compiles the policy.
    pub fn load(path: &Path) -> Result<Self> {
        let unlimited = PolicyHost::load(path)?;
        let hosts = LADDER.map(|mebibytes| {
            let bytes = usize::try_from(mebibytes * 1024 * 1024).unwrap_or(usize::MAX);
            Ok((mebibytes, unlimited.with_memory_limit(bytes)))
        });
        let hosts = hosts.into_iter().collect::<Result<_>>()?;
        let long = "x".repeat(127 * 1024);
        let accounts = vec![
            json!({"metadata": {"name": TENANT_ACCOUNT,
                "annotations": {"azure.workload.identity/client-id": CLIENT_ID}}}),
            json!({"metadata": {"name": LONG_ACCOUNT, "annotations": {
                "azure.workload.identity/tenant-id": long, "azure.workload.identity/client-id": long}}}),
        ];
        Ok(Self { hosts, accounts })
    }

    /// Runs an attack and judges the result.
    pub fn run(&self, attack: &PolicyAttack) -> Row {
        let requests = (attack.make)();
        // The guest prints there that it got no memory, which is expected.
        let _silence = Silence::new();
        let watching = Arc::new(Watching {
            cluster: Cluster { service_accounts: self.accounts.clone(), fault: None },
            strange: std::sync::Mutex::default(),
        });
        let start = Instant::now();
        let problems: Vec<String> = requests
            .iter()
            .filter_map(|request| match self.answer(LIMIT, request, &watching) {
                Outcome::Answered => None,
                Outcome::Ended(error) => Some(error),
            })
            .collect();
        let took = start.elapsed();
        // More memory does not make it faster.
        let is_slow = problems.iter().any(|problem| problem.contains(OUT_OF_TIME));
        let largest = requests.iter().max_by_key(|request| request.len()).filter(|_| !is_slow);
        let needed = largest.and_then(|request| self.needed(request, &watching));
        let mut row = Row::alone(&attack.name, took, needed.map(|mebibytes| mebibytes * 1024 * 1024));
        let Findings { defects, notes } = &mut row.findings;
        defects.extend(problems.first().map(|error| {
            format!("{} of {} not answered with {LIMIT} MiB: {error}", problems.len(), requests.len())
        }));
        if needed.is_none() {
            let most = LADDER.last().copied().unwrap_or_default();
            notes.push(if is_slow {
                "it runs out of time".to_owned()
            } else {
                format!("{most} MiB are not enough")
            });
        }
        let strange = watching.strange.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        defects.extend(strange.first().map(|first| format!("the host was asked for {first}")));
        row
    }

    /// The lowest limit on the ladder with which there is an answer.
    fn needed(&self, request: &str, watching: &Arc<Watching>) -> Option<u64> {
        let is_too_little = |(mebibytes, _): &(u64, PolicyHost)| {
            !matches!(self.answer(*mebibytes, request, watching), Outcome::Answered)
        };
        let enough = self.hosts.partition_point(is_too_little);
        self.hosts.get(enough).map(|(mebibytes, _)| *mebibytes)
    }

    fn answer(&self, limit: u64, request: &str, watching: &Arc<Watching>) -> Outcome {
        let payload = format!(r#"{{"request":{request},"settings":{{"tenantId":"contoso.example"}}}}"#);
        let capabilities: Arc<dyn HostCapabilities> = Arc::clone(watching) as _;
        let Some((_, host)) = self.hosts.iter().find(|(mebibytes, _)| *mebibytes == limit) else {
            return Outcome::Ended("there is no host with this limit".to_owned());
        };
        match host.call("validate", payload.as_bytes(), &capabilities) {
            Ok(_) => Outcome::Answered,
            Err(error) => {
                let text = format!("{error:#}");
                let is_end = ["wasm backtrace", "wasm trap", "unreachable", OUT_OF_TIME]
                    .iter()
                    .any(|sign| text.contains(sign));
                // An error from the guest itself is an answer too.
                if is_end { Outcome::Ended(text) } else { Outcome::Answered }
            }
        }
    }
}

/// Discards standard error, which the guest shares with this process, until dropped.
struct Silence(Option<OwnedFd>);

impl Silence {
    fn new() -> Self {
        let redirected = || {
            let kept = rustix::io::dup(rustix::stdio::stderr())?;
            let nowhere = std::fs::OpenOptions::new().write(true).open("/dev/null")?;
            rustix::stdio::dup2_stderr(nowhere)?;
            std::io::Result::Ok(kept)
        };
        // If it cannot be silenced, its output is printed.
        Self(redirected().ok())
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        if let Some(kept) = &self.0 {
            _ = rustix::stdio::dup2_stderr(kept);
        }
    }
}
