//! Manifests come out as they went in, plus what is injected.
//!
//! The result is read by another YAML library, a translation of the one that kubectl's comes from.

#![no_main]

use std::sync::LazyLock;

use azwi_manifest::{json_to_yaml, split};
use azwi_mutation::Config;
use azwi_webhook::inject::{Accounts, inject_into};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

static CONFIG: LazyLock<Config> = LazyLock::new(|| {
    Config::from_json(r#"{"tenantId": "contoso.example", "optIn": "all"}"#).expect("settings")
});

fuzz_target!(|text: &str| {
    let Ok(documents) = split(text) else { return };
    let mut accounts = Accounts::new("default");
    documents.iter().for_each(|document| accounts.add(document));
    let mut written = String::new();
    for document in &documents {
        written.push_str(&document.with_json(None).expect("the document itself"));
        let Some(before) = document.json.as_deref() else { continue };
        let Ok(mut object) = serde_json::from_str::<Value>(before) else { continue };
        read_by_another(&json_to_yaml(before).expect("JSON can be written as YAML"), &object);
        let Ok(outcome) = inject_into(document, &CONFIG, &accounts, "default") else { continue };
        let Some(after) = outcome.json else { continue };
        // The patches of a List's items are for the items.
        if let [patch] = outcome.patches.as_slice()
            && object.get("items").is_none()
        {
            let patch: Value = serde_json::from_str(patch).expect("a patch is JSON");
            let patch: json_patch::Patch =
                serde_json::from_value(patch["patch"].clone()).expect("operations");
            json_patch::patch(&mut object, &patch).expect("another implementation applies it");
            assert_eq!(serde_json::from_str::<Value>(&after).expect("JSON"), object);
        }
        let yaml = json_to_yaml(&after).expect("JSON can be written as YAML");
        read_by_another(&yaml, &serde_json::from_str(&after).expect("JSON"));
        document.with_json(Some(&after)).expect("the document can be written");
    }
    assert_eq!(written, text);
});

fn read_by_another(yaml: &str, wanted: &Value) {
    let read: Value = serde_yaml_ng::from_str(yaml).unwrap_or_else(|error| panic!("{error}: {yaml}"));
    assert_eq!(&read, wanted, "{yaml}");
}
