//! The policy answers any payload with JSON, or refuses it.

#![no_main]

use azure_workload_identity_policy::validate;
use azwi_mutation::ServiceAccountLookup;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|payload: &[u8]| {
    if let Ok(answer) = validate(payload, |_, _| ServiceAccountLookup::Missing) {
        let answer: Value = serde_json::from_slice(&answer).expect("an answer is JSON");
        assert!(answer["accepted"].is_boolean());
    }
});
