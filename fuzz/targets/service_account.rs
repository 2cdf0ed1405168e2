//! Any ServiceAccount manifest is read or refused, and little of it is kept.

#![no_main]

use azwi_mutation::ServiceAccount;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(account) = ServiceAccount::from_json(text) {
        assert!(account.heap_bytes() < 4096);
    }
});
