//! What the set-up stage reads from its memfd, and the daemon from the report socket and the exit record.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rsvc::plan::wire::{self, ExitRecord};

fuzz_target!(|bytes: &[u8]| {
    again(bytes);
    // The same as a body behind a right header: otherwise few inputs get past the length.
    let mut framed = b"rsvc-plan\0".to_vec();
    framed.extend(wire::VERSION.to_le_bytes());
    framed.extend(u32::try_from(bytes.len()).expect("inputs are short").to_le_bytes());
    framed.extend(bytes);
    again(&framed);

    if let Ok(report) = wire::decode_report(bytes) {
        assert_eq!(wire::decode_report(&wire::encode_report(&report)), Ok(report));
    }
    if let Some(record) = ExitRecord::from_bytes(bytes) {
        assert_eq!(record.to_bytes(), bytes);
    }
});

/// A plan that decodes means the same after it was encoded again.
fn again(bytes: &[u8]) {
    if let Ok((plan, start)) = wire::decode(bytes) {
        assert_eq!(wire::decode(&wire::encode(&plan, &start)), Ok((plan, start)));
    }
}
