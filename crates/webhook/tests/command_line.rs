//! The program itself: what it reads and writes, and its exit codes.

// The lint does not treat test helpers as tests.
#![allow(clippy::unwrap_used)]

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

const POD: &str = "\
apiVersion: v1
kind: Pod
metadata: {name: p, labels: {azure.workload.identity/use: 'true'}}
spec: {serviceAccountName: sa, containers: [{name: c}]}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: sa, annotations: {azure.workload.identity/client-id: 5d2e50e8-c9fc-4dad-9ab4-bc23cce71bf1}}
";

/// Runs the program without a cluster.
fn run(arguments: &[&str], input: &str) -> (Option<i32>, String, String) {
    let mut program = Command::new(env!("CARGO_BIN_EXE_azwi-webhook"))
        .args(arguments)
        .env_clear()
        .env("AZURE_TENANT_ID", "contoso.example")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    program.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let Output { status, stdout, stderr } = program.wait_with_output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

#[test]
fn inject_writes_the_equipped_pod_to_standard_output() {
    let (code, written, said) = run(&["inject", "-f", "-"], POD);
    assert_eq!(code, Some(0), "{said}");
    assert!(written.contains("AZURE_FEDERATED_TOKEN_FILE"), "{written}");
}

#[test]
fn what_cannot_be_read_is_said_on_standard_error_only() {
    let (code, written, said) = run(&["inject", "-f", "-"], "kind: [");
    assert_eq!((code, &*written), (Some(2), ""), "{said}");
    assert!(said.contains("document 1"), "{said}");
}

#[test]
fn an_unknown_flag_is_refused_with_its_name() {
    let (code, written, said) = run(&["--bogus"], "");
    assert_eq!((code, &*written), (Some(2), ""));
    assert!(said.contains("'--bogus'"), "{said}");
}
