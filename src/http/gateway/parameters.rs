//! The parameters of a query or a form. They are decoded once, and one that counts must not come twice: which of two a
//! proxy, a provider and we would each take for the right one is what an attacker plays with.

use std::fmt::Write as _;

/// More than any provider sends.
const COUNT_MAX: usize = 64;

/// Cannot be read, or says two things at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// As they came, decoded.
#[derive(Default)]
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Of `application/x-www-form-urlencoded` (WHATWG URL, section 5.1).
    pub(super) fn parse(text: &str) -> Result<Self, Malformed> {
        let mut parameters = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            if parameters.len() == COUNT_MAX {
                return Err(Malformed);
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            parameters.push((decode(name)?, decode(value)?));
        }
        Ok(Self(parameters))
    }

    /// One that may be absent. Empty is absent.
    pub(super) fn one(&self, name: &str) -> Result<Option<&str>, Malformed> {
        let mut values = self.0.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str());
        match (values.next(), values.next()) {
            (_, Some(_)) => Err(Malformed),
            (value, None) => Ok(value.filter(|value| !value.is_empty())),
        }
    }

    /// The same, and not longer than this.
    pub(super) fn bounded(&self, name: &str, bytes_max: usize) -> Result<Option<&str>, Malformed> {
        match self.one(name)? {
            Some(value) if value.len() > bytes_max => Err(Malformed),
            value => Ok(value),
        }
    }

    /// All of them, if none comes twice.
    pub(super) fn into_each_once(self, count_max: usize) -> Result<Vec<(String, String)>, Malformed> {
        let mut names: Vec<&str> = self.0.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        if names.len() == count && count <= count_max { Ok(self.0) } else { Err(Malformed) }
    }
}

/// Once. What is no escape stands for itself, as browsers have it; what is no text after it is refused.
fn decode(text: &str) -> Result<String, Malformed> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        match (first, tail) {
            (b'+', _) => bytes.push(b' '),
            (b'%', [high, low, after @ ..]) => match (nibble(*high), nibble(*low)) {
                (Some(high), Some(low)) => {
                    bytes.push(high << 4 | low);
                    rest = after;
                }
                _ => bytes.push(b'%'),
            },
            (other, _) => bytes.push(other),
        }
    }
    String::from_utf8(bytes).map_err(|_no_text| Malformed)
}

fn nibble(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// A value as it stands in a query: all but the unreserved letters escaped (RFC 3986, section 2.3).
pub(super) fn encode(value: &str) -> String {
    value.bytes().fold(String::with_capacity(value.len()), |mut out, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            // Writing to a string cannot fail.
            _ => write!(out, "%{byte:02X}").unwrap_or_default(),
        }
        out
    })
}

/// A query of these.
pub(super) fn query<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let pairs: Vec<String> =
        pairs.into_iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
    pairs.join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded_once() {
        for (text, value) in [
            ("a=b", "b"),
            ("a=4%2F0A", "4/0A"),
            ("a=%252F", "%2F"),
            ("a=x+y%2B", "x y+"),
            ("a=%zz%", "%zz%"),
            ("a=%ea%b0%80", "\u{ac00}"),
            ("x=1&&a=b=c&", "b=c"),
        ] {
            assert_eq!(Parameters::parse(text).unwrap().one("a"), Ok(Some(value)), "{text}");
        }
        assert!(Parameters::parse("a=%ff").is_err());
        assert!(Parameters::parse(&"a&".repeat(65)).is_err());
        assert_eq!(Parameters::parse("a=&b").unwrap().one("a"), Ok(None));
        assert_eq!(Parameters::parse("").unwrap().one("a"), Ok(None));
    }

    #[test]
    fn what_counts_comes_once() {
        for text in ["a=1&a=1", "a=1&a=2", "a&a=2", "a=1&%61=2", "a=1&b=2&a="] {
            assert_eq!(Parameters::parse(text).unwrap().one("a"), Err(Malformed), "{text}");
        }
        assert_eq!(Parameters::parse("a=1&b=2&b=3").unwrap().one("a"), Ok(Some("1")));
        assert_eq!(Parameters::parse("a=12").unwrap().bounded("a", 1), Err(Malformed));
        assert!(Parameters::parse("a=1&b=2").unwrap().into_each_once(2).is_ok());
        assert!(Parameters::parse("a=1&b=2").unwrap().into_each_once(1).is_err());
        assert!(Parameters::parse("a=1&a=2").unwrap().into_each_once(2).is_err());
    }

    #[test]
    fn what_is_encoded_is_decoded_again() {
        for value in ["", "a b", "4/0A&x=1#", "\u{ac00}\r\n%2F+~"] {
            assert_eq!(decode(&encode(value)).unwrap(), value);
            assert!(encode(value).bytes().all(|byte| byte.is_ascii_graphic()));
        }
        assert_eq!(query([("a", "1 2"), ("b", "&")]), "a=1%202&b=%26");
    }
}
