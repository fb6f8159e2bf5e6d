//! Answers, and what every one of them carries. A page may load nothing, be framed by nobody and post to its own origin only;
//! nothing is kept by a cache unless it says so itself.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, REFERRER_POLICY,
    SET_COOKIE, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
};
use http::{Response, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;
use maud::Markup;

use super::page;

pub(super) type Answer = Response<Full<Bytes>>;

pub(super) const HTML: &str = "text/html; charset=utf-8";
pub(super) const JSON: &str = "application/json";
pub(super) const TEXT: &str = "text/plain; charset=utf-8";

const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

pub(super) fn plain(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

pub(super) fn page(status: StatusCode, markup: Markup) -> Answer {
    plain(status, HTML, markup.into_string())
}

pub(super) fn json(status: StatusCode, value: &serde_json::Value) -> Answer {
    plain(status, JSON, value.to_string())
}

pub(super) fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::new()));
    *answer.status_mut() = status;
    answer
}

/// Elsewhere, by GET whatever was asked (RFC 9700, section 4.12). None if the place has what no header may hold, such as a line
/// end.
pub(super) fn see_other(location: &str) -> Option<Answer> {
    let location = HeaderValue::from_str(location).ok()?;
    let mut answer = empty(StatusCode::SEE_OTHER);
    answer.headers_mut().insert(LOCATION, location);
    Some(answer)
}

/// With one more cookie. The tokens in them are of letters that every header may hold.
pub(super) fn set_cookies(answer: &mut Answer, cookies: impl IntoIterator<Item = String>) {
    for cookie in cookies {
        match HeaderValue::from_str(&cookie) {
            Ok(mut value) => {
                value.set_sensitive(true);
                answer.headers_mut().append(SET_COOKIE, value);
            }
            Err(_no_header) => tracing::error!("a cookie cannot be set: it holds what no header may"),
        }
    }
}

/// What every answer carries.
pub(super) struct Armour {
    policy: HeaderValue,
    /// Whether browsers are to come by https only; on loopback in clear text they could not.
    is_encrypted: bool,
}

impl Armour {
    pub(super) fn new(url: &str) -> Self {
        let style = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, page::STYLE.as_bytes());
        let policy = format!(
            "default-src 'none'; style-src 'sha256-{}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
            BASE64_STANDARD.encode(style)
        );
        let strictest = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
        Self { policy: HeaderValue::from_str(&policy).unwrap_or(strictest), is_encrypted: url.starts_with("https://") }
    }

    pub(super) fn put_on(&self, answer: &mut Answer, request_id: &str) {
        let headers = answer.headers_mut();
        if self.is_encrypted {
            headers.insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=63072000"));
        }
        headers.insert(CONTENT_SECURITY_POLICY, self.policy.clone());
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        headers.insert(OPENER_POLICY, HeaderValue::from_static("same-origin"));
        headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        if let Ok(id) = HeaderValue::from_str(request_id) {
            headers.insert(REQUEST_ID, id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn armed(url: &str, mut answer: Answer) -> String {
        Armour::new(url).put_on(&mut answer, "id");
        let lines = answer.headers().iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn every_answer_is_armed() {
        insta::assert_snapshot!(armed("https://auth.example.com", empty(StatusCode::OK)), @"
        strict-transport-security: max-age=63072000
        content-security-policy: default-src 'none'; style-src 'sha256-7q6f5uH+GmvojtW4X+aUg0CK4/M7vqBIxMDICOFK4So='; form-action 'self'; base-uri 'none'; frame-ancestors 'none'
        x-content-type-options: nosniff
        referrer-policy: no-referrer
        cross-origin-opener-policy: same-origin
        cache-control: no-store
        x-request-id: id
        ");
        assert!(!armed("http://127.0.0.1:7302", empty(StatusCode::OK)).contains("strict-transport"));
        let mut kept = empty(StatusCode::OK);
        kept.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
        assert!(armed("https://a.example", kept).contains("cache-control: public, max-age=300"));
    }

    #[test]
    fn no_line_end_gets_into_a_header() {
        for location in ["https://a.example/\r\nset-cookie: a=b", "https://a.example/\n", "https://a.example/\0"] {
            assert!(see_other(location).is_none(), "{location:?}");
        }
        assert_eq!(see_other("https://a.example/").unwrap().status(), StatusCode::SEE_OTHER);
        let mut answer = empty(StatusCode::OK);
        set_cookies(&mut answer, ["a=b\r\nx: y".to_owned(), "a=b".to_owned()]);
        assert_eq!(answer.headers().get_all(SET_COOKIE).iter().count(), 1);
    }
}
