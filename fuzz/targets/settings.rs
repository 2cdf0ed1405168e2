//! Any settings get an answer; accepted ones are accepted again after another writer has written them.

#![no_main]

use azwi_mutation::Config;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if Config::from_json(text).is_ok()
        && let Ok(value) = serde_json::from_str::<Value>(text)
    {
        Config::from_json(&value.to_string()).expect("the same settings");
    }
});
