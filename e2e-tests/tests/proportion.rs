//! The memory for an answer is proportional to the body, for any body.

// The lint does not treat test helpers as tests.
#![allow(clippy::indexing_slicing)]

use std::ops::Range;

use admission_caller::request::pod_creation;
use e2e_tests::hostile::answering::answer;
use e2e_tests::hostile::bodies::Expensive;
use e2e_tests::hostile::shapes::shapes;
use peak_alloc::PeakAlloc;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

const MEBIBYTE: usize = 1024 * 1024;
/// Largest body that the webhook reads.
const LARGEST: usize = 7 * MEBIBYTE;

/// The peak heap of a body and its answer together.
fn heap(body: &[u8], body_takes: usize) -> usize {
    let others = ALLOCATOR.current_usage() - body_takes;
    ALLOCATOR.reset_peak_usage();
    let answer = answer(body);
    let peak = ALLOCATOR.peak_usage();
    assert!(!answer.is_empty());
    peak - others
}

fn check(what: &str, body: Vec<u8>) -> Result<(), TestCaseError> {
    let body = body.into_boxed_slice();
    let (length, heap) = (body.len(), heap(&body, body.len()));
    prop_assert!(heap <= 5 * length + MEBIBYTE, "{what}: {heap} bytes of heap for a body of {length}");
    Ok(())
}

/// Sizes of all magnitudes equally.
fn size(range: Range<usize>) -> impl Strategy<Value = usize> {
    #[allow(clippy::cast_precision_loss)]
    let (least, most) = ((range.start as f64).ln(), (range.end as f64).ln());
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    (least..most).prop_map(|size| size.exp() as usize)
}

/// Places in a spec: the text before and after each.
const PLACES: &[(&str, &str)] = &[
    (r#""containers":"#, ""),
    (r#""initContainers":"#, ""),
    (r#""volumes":"#, ""),
    (r#""containers":[{"name":"c","env":"#, "}]"),
    (r#""containers":[{"name":"c","volumeMounts":"#, "}]"),
    (r#""containers":[{"name":"c","later":"#, "}]"),
    (r#""volumes":[{"name":"azure-identity-token","projected":{"sources":"#, "}}]"),
    (r#""volumes":[{"name":"v","later":"#, "}]"),
    (r#""later":"#, ""),
    (r#""os":{"name":"linux","later":"#, "}"),
];

/// Pieces to put there, many times.
const PIECES: &[&str] = &[
    "{}",
    "[]",
    "1",
    "-1.5e9",
    "null",
    r#""""#,
    r#""\u0041\u0000""#,
    r#"{"":{}}"#,
    r#"{"name":"c"}"#,
    r#"{"name":"\u0041","env":[{}],"volumeMounts":[{}]}"#,
    r#"{"name":"c","env":[{"name":"AZURE_CLIENT_ID","value":"other"},{"name":"AZURE_TENANT_ID"}]}"#,
    r#"{"name":"AZURE_CLIENT_ID","value":"other"}"#,
    r#"{"name":"v","mountPath":"/var/run/secrets/azure/tokens"}"#,
    r#"{"name":"v","projected":{"sources":[{"serviceAccountToken":{"path":"azure-identity-token"}}]}}"#,
    r#"{"serviceAccountToken":{"path":"azure-identity-token"}}"#,
    r#"{"configMap":{},"clusterTrustBundle":{}}"#,
    "[[[[[[[[]]]]]]]]",
    r#"{"a":{"a":{"a":{"a":{}}}}}"#,
];

/// A pod with lists of all kinds in all places, including wrong ones, one after the other.
fn pod(size: usize, lists: &[(usize, usize)], skip_names: bool, proxy: bool) -> String {
    let share = size / (lists.len() + usize::from(skip_names));
    let list = |(place, piece): &(usize, usize)| {
        let (before, after) = PLACES[*place];
        let piece = PIECES[*piece];
        let pieces = format!("{piece},").repeat((share / (piece.len() + 1)).max(1));
        format!(",{before}[{}]{after}", pieces.trim_end_matches(','))
    };
    let lists: String = lists.iter().map(list).collect();
    let names = if skip_names { "n;".repeat(share / 2) } else { String::new() };
    format!(
        r#"{{"metadata":{{"labels":{{"azure.workload.identity/use":"true"}},"annotations":{{"azure.workload.identity/skip-containers":"{names}","azure.workload.identity/inject-proxy-sidecar":"{proxy}"}}}},"spec":{{"serviceAccountName":"sa"{lists}}}}}"#
    )
}

/// One test, because the heap belongs to the whole process.
#[test]
fn memory_is_in_proportion_to_the_body() {
    let shapes = shapes();
    // The small ones first: a disproportionate one would take very long at large sizes. The bounds on containers and on
    // the patch are reached between 10 and 40 KB.
    for size in [2_000, 8_000, 15_000, 22_000, 28_000, 33_900, 45_000, 65_000, LARGEST] {
        let body = |make: fn(usize) -> Expensive| make(size).body().to_vec();
        let checked = shapes.iter().filter_map(|shape| check(shape.name, body(shape.make)).err());
        let problems: Vec<_> = checked.map(|problem| problem.to_string()).collect();
        assert!(problems.is_empty(), "{}", problems.join("\n"));
    }
    let config = || Config { cases: 100, failure_persistence: None, ..Config::default() };
    let sized = (0..shapes.len(), size(1_000..LARGEST));
    TestRunner::new(config())
        .run(&sized, |(shape, size)| {
            let shape = shapes[shape];
            check(shape.name, (shape.make)(size).body().to_vec())
        })
        .unwrap();
    let lists = prop::collection::vec((0..PLACES.len(), 0..PIECES.len()), 1..6);
    let mixed = (size(1_000..LARGEST - 10_000), lists, any::<bool>(), any::<bool>());
    TestRunner::new(config())
        .run(&mixed, |(size, lists, skip_names, proxy)| {
            let request = pod_creation("ns", &pod(size, &lists, skip_names, proxy));
            let body = format!(r#"{{"apiVersion":"admission.k8s.io/v1","request":{request}}}"#);
            check("a mixture", body.into_bytes())
        })
        .unwrap();
}
