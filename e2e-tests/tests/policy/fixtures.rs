//! The recorded requests and sessions, answered by the embedded host exactly as by kwctl (`e2e-tests/policy.bats` runs
//! the same folders through kwctl).

use std::path::Path;
use std::sync::Arc;

use admission_caller::manifests::read_document;
use admission_caller::policy::{HostCapabilities, Policy as _};
use e2e_tests::session::Session;
use serde_json::Value;
use test_support::repository_root;

use super::HOST;

/// Minimum number of folders, so that none gets lost.
const FIXTURES: usize = 15;

fn expected_response(folder: &Path) -> Value {
    read_document(&folder.join("response.json")).expect("a recorded response")
}

/// The response with its patch decoded, as it is recorded.
fn decoded(mut response: Value, patch: Vec<Value>) -> Value {
    if response.get("patch").is_some() {
        response["patch"] = patch.into();
    }
    response
}

#[test]
fn every_fixture_is_answered_as_recorded() {
    let mut answered = 0;
    for folder in std::fs::read_dir(repository_root().join("e2e-tests/fixtures")).expect("fixtures") {
        let folder = folder.expect("a folder").path();
        let request = std::fs::read_to_string(folder.join("request.json")).expect("a request");
        let settings = read_document(&folder.join("settings.json")).expect("settings");
        let session = Arc::new(Session::read(&folder.join("session.yaml")).expect("a session"));
        let recorded_calls = session.remaining();
        let capabilities: Arc<dyn HostCapabilities> = Arc::clone(&session) as _;

        assert_eq!(HOST.validate_settings(&settings).expect("a verdict"), Ok(()), "{}", folder.display());
        let evaluation = HOST.validate(&request, &settings, &capabilities).expect("an answer");
        let response = decoded(evaluation.answer.admission_response(), evaluation.answer.patch);
        assert_eq!(response, expected_response(&folder), "{}", folder.display());
        assert_eq!(session.remaining(), 0, "{}: a recorded call was not made", folder.display());
        assert_eq!(evaluation.host_calls, recorded_calls, "{}: other calls than recorded", folder.display());
        answered += 1;
    }
    assert!(answered >= FIXTURES, "only {answered} fixtures");
}
