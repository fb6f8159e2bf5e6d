//! What forges lines, and the search for what may not be there: secrets in every spelling, and what a terminal or another
//! reader of lines would obey.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use postern_rig::providers::ADMIN_KEY;

use super::every_rpc::MARK;
use crate::support::PASSWORD;

/// In front of what may not begin a line.
pub(super) const FORGED: &str = "FORGED";

pub(super) fn hostile() -> String {
    format!("a\r\n{FORGED}\u{1b}[2J\u{2028}\u{202e}\u{0}\"}}\n{{\"level\":\"{FORGED}")
}

/// A token whose key is one of our names.
pub(super) fn hostile_token() -> String {
    let part = |part: serde_json::Value| BASE64_URL_SAFE_NO_PAD.encode(part.to_string());
    let header = part(serde_json::json!({ "alg": "EdDSA", "typ": "at+jwt", "kid": hostile() }));
    format!("{header}.{}.{}", part(serde_json::json!({ "sub": hostile() })), "A".repeat(86))
}

/// As somebody may have written it down: as it is, in hex, as numbers, in base64 at each of its three places.
fn spellings(word: &str) -> Vec<String> {
    let bytes = word.as_bytes();
    let each = |separator: &str, write: fn(&u8) -> String| bytes.iter().map(write).collect::<Vec<_>>().join(separator);
    let mut spellings = vec![
        word.to_owned(),
        word.replace('-', "%2D"),
        word.replace('-', "%2d"),
        each("", |byte| format!("{byte:02x}")),
        each("", |byte| format!("{byte:02X}")),
        each(", ", ToString::to_string),
    ];
    for place in 0..3 {
        let behind = [&b"xx"[..place], bytes].concat();
        // Without the first and last letters, which hold what stands around it.
        for text in [BASE64_STANDARD.encode(&behind), BASE64_URL_SAFE_NO_PAD.encode(&behind)] {
            spellings.push(text.trim_end_matches('=')[4..behind.len() / 3 * 4].to_owned());
        }
    }
    spellings
}

fn is_tame(text: &str) -> bool {
    text.chars().all(|letter| letter == '\n' || !(letter.is_control() || ('\u{2028}'..='\u{202e}').contains(&letter)))
}

/// Holds what was said against everything that may not have been.
pub(super) fn nothing_leaked(said: &str, secrets: &BTreeSet<String>) {
    let around = |place: usize| {
        let from = said.floor_char_boundary(place.saturating_sub(300));
        said[from..said.floor_char_boundary(place + 100)].to_owned()
    };
    for word in [MARK, PASSWORD, ADMIN_KEY].into_iter().flat_map(spellings) {
        let place = said.find(&word);
        assert!(place.is_none(), "{word}: {}", around(place.unwrap()));
    }
    assert!(secrets.len() > 20, "{}", secrets.len());
    for secret in secrets.iter().filter(|secret| secret.len() >= 16 && !secret.contains(MARK)) {
        let place = said.find(secret.as_str());
        assert!(place.is_none(), "{secret}: {}", around(place.unwrap()));
    }
    assert!(is_tame(said), "{:?}", said.lines().find(|line| !is_tame(line)));
    assert!(!said.lines().any(|line| line.starts_with(FORGED)));
}

#[test]
fn the_search_finds_what_is_there() {
    for before in ["", "a", "ab"] {
        let plain = format!("{before}{MARK}and more");
        let hex = plain.bytes().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
        for text in [BASE64_STANDARD.encode(&plain), format!("{:?}", plain.as_bytes()), hex, plain] {
            assert!(spellings(MARK).iter().any(|spelling| text.contains(spelling)), "{text}");
        }
    }
}
