//! Any files of certificates and keys are used or refused, and what is used can be read again.

#![no_main]

use std::collections::BTreeMap;

use azwi_webhook::certificates::{Authority, Certificate, ServingCertificate};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let certificates = Certificate::all_in(&text);
    let again: String = certificates.iter().map(Certificate::pem).collect();
    assert_eq!(Certificate::all_in(&again), certificates);
    for certificate in &certificates {
        assert!(!format!("{certificate:?}").contains("BEGIN"));
    }
    // A zero byte between the files.
    let mut files = bytes.split(|byte| *byte == 0).map(<[u8]>::to_vec);
    let (chain, key) = (files.next().unwrap_or_default(), files.next().unwrap_or_default());
    if let Ok(used) = ServingCertificate::from_pem(&chain, &key) {
        assert_eq!(used.is_valid_at(used.not_before), used.not_before < used.not_after);
    }
    let secret: BTreeMap<_, _> = ["ca.crt", "ca.key", "next-ca.crt", "next-ca.key", "previous-ca.crt"]
        .into_iter()
        .zip([chain, key].into_iter().chain(files))
        .map(|(name, content)| (name.to_owned(), content))
        .collect();
    if let Ok(Some(authority)) = Authority::read(&secret) {
        let again = Authority::read(&authority.data()).expect("what was written");
        assert!(again == Some(authority));
    }
});
