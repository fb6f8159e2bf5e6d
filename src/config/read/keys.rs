//! Keys: what seals, what signs, and for how long.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

use super::super::reader::{Key, Section, Wrong, into_text};
use super::super::{Keys, SecretSource};
use crate::domain::key::Algorithm;

/// The lower end leaves a new key time to be published and fetched; the upper is the longest that a key should sign.
const ROTATE_EVERY: RangeInclusive<Duration> = Duration::from_hours(24)..=Duration::from_hours(365 * 24);
/// All that could ever be configured; which of them can be made, `Algorithm` knows.
const ALGORITHMS: [&str; 3] = ["EdDSA", "ES256", "HS256"];

pub(super) fn read(keys: &mut Section<'_>, out: &mut Keys) {
    keys.section("master", |section| master(section, &mut out.master));
    let algorithms: Vec<_> =
        ALGORITHMS.into_iter().filter_map(|name| Some((name, Algorithm::from_name(name)?))).collect();
    keys.word("algorithm", "of signing keys that are made from now on", &algorithms, &mut out.algorithm);
    let meaning = "how long a key signs before the next one takes over; unset: on command only";
    keys.optional_duration("rotate_every", meaning, &ROTATE_EVERY, &mut out.rotate_every);
}

fn master(section: &mut Section<'_>, out: &mut SecretSource) {
    section.choice(&["file", "value"]);
    let mut file = match out {
        SecretSource::File(path) => path.clone(),
        SecretSource::Value(_) => PathBuf::new(),
    };
    section.path("file", "seals all that is secret; its owner's alone (0600)", &mut file);
    *out = SecretSource::File(file);
    if let Some(value) = value(section, "the master key itself; best from the environment", "the master key") {
        section.displace("file");
        *out = SecretSource::Value(value);
    }
}

/// A secret that stands in the settings. Never quoted, whatever is wrong with it.
pub(super) fn value(section: &mut Section<'_>, meaning: &'static str, right: &'static str) -> Option<SecretString> {
    let mut value = None;
    let show = |value: &Option<SecretString>| value.as_ref().map_or("", |_| "(hidden)").to_owned();
    let key = Key { name: "value", meaning, bounds: "a secret".to_owned() };
    section.set(key, &mut value, show, |value| match into_text(value)? {
        text if text.is_empty() => Err(Wrong::new("empty", right)),
        text => Ok(Some(SecretString::from(text))),
    });
    value
}
