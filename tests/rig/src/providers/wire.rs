//! HTTP/1.1 by hand, one request for each connection: only so can an answer be torn, dripped or lied about.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;
use url::form_urlencoded;

/// What somebody asked.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    /// Without the query.
    pub path: String,
    /// In lower case.
    pub headers: BTreeMap<String, String>,
    pub query: BTreeMap<String, String>,
    pub form: BTreeMap<String, String>,
}

impl Request {
    /// A header, or nothing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(String::as_str).unwrap_or_default()
    }
}

/// How an endpoint answers.
#[derive(Clone, Debug, Default)]
pub enum Reply {
    /// As the provider would.
    #[default]
    Usual,
    Json(u16, Value),
    /// Any status, headers and body.
    Raw(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// As the provider would, but this late.
    Late(Duration),
    /// As the provider would, one byte in this time.
    Dripped(Duration),
    /// The connection is reset before the request was read.
    ResetBefore,
    /// It is reset after that.
    ResetAfter,
    /// 50 MB, with or without saying so before.
    Huge {
        with_length: bool,
    },
    Redirect(String),
}

/// What is sent.
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
}

impl Response {
    pub(super) fn json(status: u16, body: &Value) -> Self {
        let headers = vec![("content-type", "application/json;charset=UTF-8".to_owned())];
        Self { status, headers, body: body.to_string().into_bytes() }
    }

    pub(super) fn html(status: u16, text: &str) -> Self {
        let headers = vec![("content-type", "text/html; charset=utf-8".to_owned())];
        Self { status, headers, body: format!("<html><body>{text}</body></html>").into_bytes() }
    }

    pub(super) fn redirect(to: &str) -> Self {
        Self { status: 302, headers: vec![("location", to.to_owned())], body: Vec::new() }
    }
}

const HUGE_BYTES: usize = 50 * 1024 * 1024;
const PATIENCE: Duration = Duration::from_secs(20);

/// Reads one request; nothing if it is none.
pub(super) fn read(stream: &TcpStream) -> Option<Request> {
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0_u64);
    let mut body = Vec::new();
    reader.take(length.min(1024 * 1024)).read_to_end(&mut body).ok()?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let pairs = |text: &[u8]| form_urlencoded::parse(text).into_owned().collect();
    let (query, form) = (pairs(query.as_bytes()), pairs(&body));
    Some(Request { method, path: path.to_owned(), headers, query, form })
}

/// Closed with something unread, a connection is reset rather than ended.
pub(super) fn reset(stream: &TcpStream) {
    let linger = rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO));
    linger.unwrap_or_default();
}

/// Sends an answer. Whoever hangs up before its end is no fault here.
pub(super) fn send(mut stream: &TcpStream, response: &Response, dripped: Option<Duration>) {
    let mut head = format!("HTTP/1.1 {} Fake\r\nconnection: close\r\n", response.status);
    let says_length = response.headers.iter().any(|(name, _)| *name == "transfer-encoding");
    for (name, value) in &response.headers {
        head += &format!("{name}: {value}\r\n");
    }
    if !says_length {
        head += &format!("content-length: {}\r\n", response.body.len());
    }
    head += "\r\n";
    let mut sent = stream.write_all(head.as_bytes());
    match dripped {
        None => sent = sent.and_then(|()| stream.write_all(&response.body)),
        Some(pause) => {
            for byte in &response.body {
                sent = sent.and_then(|()| stream.write_all(&[*byte])).and_then(|()| stream.flush());
                if sent.is_err() {
                    break;
                }
                std::thread::sleep(pause);
            }
        }
    }
    drop(sent);
}

/// Sends 50 MB of JSON, or as much as is taken. Answers how many bytes that were.
pub(super) fn send_huge(mut stream: &TcpStream, with_length: bool) -> usize {
    let piece = [b' '; 64 * 1024];
    let length = if with_length { format!("content-length: {HUGE_BYTES}\r\n") } else { String::new() };
    let head = format!("HTTP/1.1 200 Fake\r\nconnection: close\r\ncontent-type: application/json\r\n{length}\r\n");
    if stream.write_all(head.as_bytes()).is_err() {
        return 0;
    }
    let mut sent = 0;
    while sent < HUGE_BYTES && stream.write_all(&piece).is_ok() {
        sent += piece.len();
    }
    sent
}
