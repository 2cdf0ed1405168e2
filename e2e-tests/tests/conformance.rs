//! All recorded answers of upstream, through the core and through the real wasm.

// The lint does not treat test helpers as tests.
#![allow(clippy::expect_used, clippy::indexing_slicing)]

use std::path::PathBuf;

use e2e_tests::conformance::{Case, Route, ThroughCore, ThroughPolicy, ThroughWebhook, compare, read_cases};
use e2e_tests::host::PolicyHost;
use test_support::repository_root;

/// Number of recorded cases. Cases may be added, never lost.
const RECORDED_CASES: usize = 533;
/// 70 fewer than were recorded: with a second volume of one name, which the API server refuses.
const RECORDED_ANSWERS: usize = 1515;

/// Upstream's recorded answers, and our own cases.
fn recorded() -> Vec<Case> {
    let folder: PathBuf = repository_root().join("e2e-tests/conformance");
    let files = ["handwritten.jsonl", "random.jsonl.gz", "own.jsonl"];
    files.iter().flat_map(|file| read_cases(&folder.join(file)).expect("readable cases")).collect()
}

fn all_agree(route: &dyn Route) {
    let report = compare(route, &recorded(), |_| {}).expect("an answer to each case");
    assert!(report.cases >= RECORDED_CASES, "only {} cases", report.cases);
    assert!(report.comparisons >= RECORDED_ANSWERS, "only {} comparisons", report.comparisons);
    let names: Vec<_> = report.differences.iter().map(|it| format!("{} ({})", it.case, it.layout)).collect();
    assert!(names.is_empty(), "{} differ, see the conformance binary: {names:?}", names.len());
}

#[test]
fn the_core_answers_as_upstream_did() {
    all_agree(&ThroughCore);
}

#[test]
fn the_policy_answers_as_upstream_did() {
    let host = PolicyHost::load(&repository_root().join("policy.wasm")).expect("a policy");
    all_agree(&ThroughPolicy(host));
}

#[test]
fn the_webhook_answers_as_upstream_did() {
    all_agree(&ThroughWebhook::start().expect("a webhook"));
}
