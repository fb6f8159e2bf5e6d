//! Who stands behind a browser's request: our own page, a page that the client named, or a stranger's (Fetch Metadata; RFC
//! 6454). Never asks `Host`, `Forwarded` or `X-Forwarded-*`: whoever sends the request chose those.

use http::HeaderMap;
use http::header::{HeaderName, ORIGIN};

/// A request that changes something and comes with no `Origin` says by this that a script of the same origin sent it: a
/// form of a stranger cannot add a header, and a script of a stranger would have to ask first.
pub(super) const REQUEST_MARK: &str = "x-postern-request";

const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// Which page's script may read the answer: one of those that the client named.
pub(super) fn reader<'a>(headers: &'a HeaderMap, named: &[String]) -> Option<&'a str> {
    let origin = one(headers, &ORIGIN)?.ok()?;
    named.iter().any(|named| named == origin).then_some(origin)
}

/// Whether a request that the cookies answer for was meant by whom they belong to.
pub(super) fn is_meant(headers: &HeaderMap, own: &str, named: &[String]) -> bool {
    match one(headers, &ORIGIN) {
        // Our own forms send it, since no page of ours tells where it is (Fetch, section 3.2); so does a sandboxed frame,
        // which is nobody's, and which no browser calls of the same origin.
        Some(Ok("null")) => matches!(one(headers, &SITE), Some(Ok("same-origin"))),
        Some(Ok(origin)) => origin == own || named.iter().any(|named| named == origin),
        Some(Err(_unreadable)) => false,
        None => {
            let says =
                |name: &HeaderName, wanted: &str| matches!(one(headers, name), Some(Ok(value)) if value == wanted);
            says(&SITE, "same-origin") || says(&HeaderName::from_static(REQUEST_MARK), "1")
        }
    }
}

/// Whether a person is on the way, rather than an image, a frame or a script that would start flows behind their back. A
/// browser that says nothing is believed: it is an old one.
pub(super) fn is_navigation(headers: &HeaderMap) -> bool {
    let is = |name: &HeaderName, wanted: &str| match one(headers, name) {
        None => true,
        Some(value) => value == Ok(wanted),
    };
    is(&MODE, "navigate") && is(&DEST, "document")
}

/// Came twice, or is no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Unreadable;

fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<Result<&'a str, Unreadable>> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => None,
        (Some(value), None) => Some(value.to_str().map_err(|_no_text| Unreadable)),
        (Some(_), Some(_)) => Some(Err(Unreadable)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "https://auth.example.com";

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_change_is_meant_by_an_origin_that_is_known() {
        let named = ["https://app.example.com".to_owned()];
        for (pairs, meant) in [
            (&[("origin", OWN)][..], true),
            (&[("origin", "https://app.example.com")], true),
            (&[("origin", "https://app.example.com"), ("sec-fetch-site", "cross-site")], true),
            (&[("origin", "null")], false),
            (&[("origin", "null"), ("sec-fetch-site", "same-origin")], true),
            (&[("origin", "null"), ("sec-fetch-site", "same-site")], false),
            (&[("origin", "null"), ("sec-fetch-site", "cross-site")], false),
            (&[("origin", "null"), ("x-postern-request", "1")], false),
            (&[("origin", "")], false),
            (&[("origin", "https://evil.example")], false),
            (&[("origin", "https://sub.app.example.com")], false),
            (&[("origin", "https://app.example.com.evil.example")], false),
            (&[("origin", "https://evil-app.example.com")], false),
            (&[("origin", "http://app.example.com")], false),
            (&[("origin", "https://app.example.com:443")], false),
            (&[("origin", "https://APP.example.com")], false),
            (&[("origin", OWN), ("origin", OWN)], false),
            (&[("origin", "https://evil.example"), ("x-postern-request", "1")], false),
            (&[("origin", "https://evil.example"), ("sec-fetch-site", "same-origin")], false),
            (&[("sec-fetch-site", "same-origin")], true),
            (&[("sec-fetch-site", "same-site")], false),
            (&[("sec-fetch-site", "none")], false),
            (&[("x-postern-request", "1")], true),
            (&[("x-postern-request", "0")], false),
            (&[("referer", OWN)], false),
            (&[("host", "auth.example.com")], false),
            (&[], false),
        ] {
            assert_eq!(is_meant(&headers(pairs), OWN, &named), meant, "{pairs:?}");
        }
    }

    #[test]
    fn answers_are_read_by_named_pages_only() {
        let named = ["https://app.example.com".to_owned()];
        let reader = |origin: &str| reader(&headers(&[("origin", origin)]), &named).map(str::to_owned);
        assert_eq!(reader("https://app.example.com").as_deref(), Some("https://app.example.com"));
        for origin in
            [OWN, "null", "*", "https://evil.example", "https://app.example.com.evil", "https://app.example.co"]
        {
            assert_eq!(reader(origin), None, "{origin}");
        }
    }

    #[test]
    fn a_flow_begins_where_a_person_goes() {
        for (pairs, is) in [
            (&[][..], true),
            (&[("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document"), ("sec-fetch-site", "cross-site")], true),
            (&[("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "image")], false),
            (&[("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")], false),
            (&[("sec-fetch-mode", "cors"), ("sec-fetch-dest", "empty")], false),
            (&[("sec-fetch-mode", "navigate"), ("sec-fetch-mode", "navigate")], false),
        ] {
            assert_eq!(is_navigation(&headers(pairs)), is, "{pairs:?}");
        }
    }
}
