//! The index accepts the same texts as serde_json, and reads the same strings.

#![no_main]

use azwi_json::{JsonText, JsonValue};
use libfuzzer_sys::fuzz_target;
use serde::de::IgnoredAny;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let is_json = serde_json::from_str::<IgnoredAny>(text).is_ok();
    match JsonText::parse(text) {
        Ok(json) => {
            assert!(is_json, "accepted: {text:?}");
            strings_are_the_same(json.root());
        }
        // serde_json skips values of any depth.
        Err(error) => assert!(!is_json || error.contains("deeper"), "{error}: {text:?}"),
    }
});

fn strings_are_the_same(value: JsonValue<'_>) {
    // serde_json refuses half of a surrogate pair, which Go replaces.
    if let (Ok(read), Ok(wanted)) = (value.text(), serde_json::from_str::<String>(value.raw())) {
        assert_eq!(read, wanted);
        assert!(value.is_text(&wanted));
    }
    value.elements().for_each(strings_are_the_same);
    value.members().for_each(|(_, value)| strings_are_the_same(value));
}
