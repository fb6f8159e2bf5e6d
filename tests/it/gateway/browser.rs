//! What a browser sends, byte by byte, and what comes back.

use std::fmt::Write as _;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::Server;

pub(super) struct Browser {
    pub(super) address: SocketAddr,
}

#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    /// In small letters but for the values.
    pub(super) head: String,
    pub(super) body: String,
}

impl Browser {
    pub(super) fn of(server: &Server) -> Self {
        let url = server.gateway.as_deref().expect("it is a gateway");
        Self { address: url.strip_prefix("http://").unwrap().parse().unwrap() }
    }

    pub(super) async fn get(&self, path: &str) -> Reply {
        self.raw(&format!("GET {path} HTTP/1.1"), &[], "").await
    }

    pub(super) async fn post(&self, path: &str, headers: &[(&str, &str)]) -> Reply {
        self.raw(&format!("POST {path} HTTP/1.1"), headers, "").await
    }

    pub(super) async fn raw(&self, request: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let mut text = format!("{request}\r\nconnection: close\r\n");
        if !headers.iter().any(|(name, _)| *name == "host") {
            text += "host: x\r\n";
        }
        for (name, value) in headers {
            write!(text, "{name}: {value}\r\n").unwrap();
        }
        if request.starts_with("POST") {
            write!(text, "content-length: {}\r\n", body.len()).unwrap();
        }
        write!(text, "\r\n{body}").unwrap();
        let mut connection = TcpStream::connect(self.address).await.unwrap();
        connection.write_all(text.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // A body that was not read to its end may cost the connection a reset, after the answer.
        drop(connection.read_to_end(&mut answer).await);
        let answer = String::from_utf8(answer).unwrap();
        Reply::read(&answer)
    }
}

impl Reply {
    pub(super) fn read(answer: &str) -> Self {
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { status, head: head.to_owned(), body: body.to_owned() }
    }

    /// Empty if it is not there; all of them, if it comes more than once.
    pub(super) fn header(&self, name: &str) -> String {
        self.headers(name).join(", ")
    }

    pub(super) fn headers(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }

    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }

    /// The cookie that it sets, whole.
    pub(super) fn cookie(&self, name: &str) -> Option<&str> {
        self.headers("set-cookie").into_iter().find(|cookie| cookie.starts_with(&format!("{name}=")))
    }

    /// The value of that.
    pub(super) fn cookie_value(&self, name: &str) -> String {
        let cookie = self.cookie(name).unwrap_or_else(|| panic!("no {name} in {self:?}"));
        cookie.split(';').next().unwrap().split_once('=').unwrap().1.to_owned()
    }
}
