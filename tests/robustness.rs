//! Any input gets an answer or an error.

// The lint does not treat test helpers as tests.
#![allow(clippy::indexing_slicing)]

use azure_workload_identity_policy::{validate, validate_settings};
use azwi_mutation::{ServiceAccount, ServiceAccountLookup};
use proptest::prelude::*;

const PAYLOAD: &str = r#"{"request":{"uid":"u","operation":"CREATE","namespace":"ns","kind":{"kind":"Pod"},
    "resource":{"resource":"pods"},"object":{"metadata":{"name":"p","labels":{"azure.workload.identity/use":"true"},
    "annotations":{"azure.workload.identity/skip-containers":"a","azure.workload.identity/inject-proxy-sidecar":"1"}},
    "spec":{"containers":[{"name":"c","env":[{"name":"A","value":"\u00e9"}],"volumeMounts":[]}],"volumes":[{"name":"v"}]}}},
    "settings":{"tenantId":"contoso.example","tokenVolume":"reserved"}}"#;

fn found(_: &str, _: &str) -> ServiceAccountLookup {
    ServiceAccountLookup::Found(ServiceAccount::default())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
        prop_assert!(validate(&bytes, found).is_err());
        prop_assert!(validate_settings(&bytes).is_ok());
    }

    #[test]
    fn a_request_with_one_byte_changed(place in 0..PAYLOAD.len(), byte in any::<u8>()) {
        let mut bytes = PAYLOAD.as_bytes().to_vec();
        bytes[place] = byte;
        if let Ok(answer) = validate(&bytes, found) {
            let answer: serde_json::Value = serde_json::from_slice(&answer)?;
            prop_assert!(answer["accepted"].is_boolean(), "{answer}");
        }
    }
}

#[test]
fn the_request_itself_is_mutated() {
    let answer = validate(PAYLOAD.as_bytes(), found).map_err(|error| error.to_string());
    assert!(answer.is_ok_and(|answer| String::from_utf8_lossy(&answer).contains("mutated_object")));
}
