//! JSON as a token or a provider's answer may hold it. Owns what `serde_json` lets through and whoever decides by it must
//! not: two members of one name (the last would win here and the first elsewhere), an array where an object belongs, deep
//! nesting. Must not know what the members mean.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

/// Objects and arrays inside each other. Our own tokens need three.
const DEPTH_MAX: usize = 16;

/// Not the JSON that may be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotStrict;

/// One object. Numbers, strings and nulls are what the members of `T` make of them.
pub fn parse_object<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, NotStrict> {
    let text = str::from_utf8(bytes).map_err(|_not_utf8| NotStrict)?;
    // A derived struct would also take its members from an array, in order.
    if !text.trim_ascii_start().starts_with('{') {
        return Err(NotStrict);
    }
    let mut walk = serde_json::Deserializer::from_str(text);
    Strict { depth: 0 }.deserialize(&mut walk).and_then(|()| walk.end()).map_err(|_why| NotStrict)?;
    serde_json::from_str(text).map_err(|_why| NotStrict)
}

/// Walks a value, also the members that nobody reads, and keeps nothing.
#[derive(Clone, Copy)]
struct Strict {
    depth: usize,
}

impl Strict {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth < DEPTH_MAX { Ok(Self { depth: self.depth + 1 }) } else { Err(E::custom("nested too deep")) }
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without duplicate members")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        // Ordered rather than hashed: its cost does not depend on what the names are.
        let mut names = BTreeSet::new();
        while let Some(name) = map.next_key::<String>()? {
            if !names.insert(name) {
                return Err(A::Error::custom("duplicate member"));
            }
            map.next_value_seed(inner)?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        while seq.next_element_seed(inner)?.is_some() {}
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::de::IgnoredAny;

    fn accepts(text: impl AsRef<[u8]>) -> bool {
        parse_object::<IgnoredAny>(text.as_ref()).is_ok()
    }

    #[test]
    fn one_object_and_nothing_else() {
        assert!(accepts(r#" {"a":[1,-2,3.5,"x",null,true,{"b":{}}],"c":""} "#));
        for text in ["", "[]", "1", "null", "\"a\"", "{", "{}{}", "{} x", "{\"a\":}", "{\"a\":1,}", "{'a':1}", "{a:1}"]
        {
            assert!(!accepts(text), "{text}");
        }
        for text in [r#"{"a":01}"#, r#"{"a":"\x"}"#, r#"{"a":1e999}"#, r#"{"a":NaN}"#, "{\"a\":\"\n\"}"] {
            assert!(!accepts(text), "{text}");
        }
    }

    #[test]
    fn duplicates_are_found_at_any_depth_and_in_any_spelling() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":1}"#,
            r#"{"x":{"a":1,"b":2,"a":3}}"#,
            r#"{"x":[[{"a":1,"a":2}]]}"#,
            r#"{"":1,"":2}"#,
        ] {
            assert!(!accepts(text), "{text}");
        }
        assert!(accepts(r#"{"a":{"a":{"a":1}},"A":1}"#));
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));
        assert!(accepts(nested(DEPTH_MAX)));
        assert!(!accepts(nested(DEPTH_MAX + 1)));
        assert!(!accepts(nested(4_000)));
    }

    #[test]
    fn utf8_only() {
        assert!(accepts("{\"a\":\"한국\"}"));
        assert!(!accepts(b"{\"a\":\"\xff\"}"));
        assert!(!accepts(b"\xef\xbb\xbf{}"), "byte order mark");
        let wide: Vec<u8> = "{}".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert!(!accepts(wide));
        assert!(!accepts(r#"{"a":"\ud800"}"#), "half a surrogate pair");
    }
}
