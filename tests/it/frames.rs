//! HTTP/2 by hand: frames as bytes, for what no library sends.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

pub(crate) const NO_ERROR: u32 = 0;
pub(crate) const REFUSED_STREAM: u32 = 7;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

/// Longer than anything here takes; what does not come by then never comes.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header block (HPACK, RFC 7541): literals without any table.
pub(crate) fn block(headers: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| [vec![u8::try_from(text.len()).unwrap()], text.as_bytes().to_vec()].concat();
    headers.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

/// What a gRPC call begins with.
pub(crate) fn call_headers(path: &str) -> Vec<u8> {
    block(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ])
}

/// A call of [`GET_KEYS`], which needs nothing.
pub(crate) const GET_KEYS: &str = "/postern.auth.v1.AuthService/GetKeys";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    fn number(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }

    /// Of a GOAWAY or a `RST_STREAM`.
    pub(crate) fn error_code(&self) -> u32 {
        self.number(if self.kind == GOAWAY { 4 } else { 0 })
    }

    /// Of a GOAWAY: up to which calls are answered.
    pub(crate) fn last_stream(&self) -> u32 {
        self.number(0)
    }

    /// Of SETTINGS.
    pub(crate) fn settings(&self) -> Vec<(u16, u32)> {
        let pair = |pair: &[u8]| {
            (u16::from_be_bytes([pair[0], pair[1]]), u32::from_be_bytes([pair[2], pair[3], pair[4], pair[5]]))
        };
        self.payload.chunks(6).map(pair).collect()
    }
}

/// A connection that has said what it must, and from then on says what it likes.
pub(crate) struct Wire {
    stream: TcpStream,
}

impl Wire {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await.unwrap();
        Self { stream }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// As much as the peer takes, until it takes no more for a while or is gone. Answers how much that was.
    pub(crate) async fn pour(&mut self, bytes: &[u8], up_to: usize) -> usize {
        let mut poured = 0;
        while poured < up_to {
            match tokio::time::timeout(Duration::from_secs(1), self.stream.write(bytes)).await {
                Ok(Ok(count)) if count == bytes.len() => poured += count,
                // Part of a frame: the rest must follow, or it would be another flood than this.
                Ok(Ok(count)) => {
                    poured += count;
                    let rest = self.stream.write_all(&bytes[count..]);
                    if !matches!(tokio::time::timeout(Duration::from_secs(1), rest).await, Ok(Ok(()))) {
                        return poured;
                    }
                }
                Ok(Err(_)) | Err(_) => return poured,
            }
        }
        poured
    }

    /// `None` at the end of the connection.
    pub(crate) async fn read(&mut self) -> Option<Frame> {
        let read = async {
            let mut head = [0; 9];
            self.stream.read_exact(&mut head).await.ok()?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; length as usize];
            self.stream.read_exact(&mut payload).await.ok()?;
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            Some(Frame { kind: head[3], flags: head[4], stream, payload })
        };
        tokio::time::timeout(PATIENCE, read).await.expect("the server neither says anything nor hangs up")
    }

    /// Reads on to the first frame of that kind; `None` if the connection ends before.
    pub(crate) async fn read_to(&mut self, kind: u8) -> Option<Frame> {
        loop {
            let frame = self.read().await?;
            if frame.kind == kind && !(kind == SETTINGS && frame.flags == ACK) {
                return Some(frame);
            }
        }
    }

    /// Floods while reading, as an attacker with care would, and tells how the connection ended: with which error code.
    pub(crate) async fn flood(mut self, frames: Vec<Vec<u8>>) -> Option<u32> {
        let (mut reader, mut writer) = self.stream.split();
        let mut heard = Vec::new();
        let write = async {
            for bytes in frames {
                if writer.write_all(&bytes).await.is_err() {
                    break;
                }
            }
            // To the end of what the server has to say.
            tokio::time::sleep(PATIENCE).await;
        };
        tokio::select! {
            _ended = reader.read_to_end(&mut heard) => {}
            () = write => {}
        }
        let mut rest = heard.as_slice();
        while rest.len() >= 9 {
            let length = u32::from_be_bytes([0, rest[0], rest[1], rest[2]]) as usize;
            let Some(payload) = rest.get(9..9 + length) else { break };
            if rest[3] == GOAWAY {
                return Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
            }
            rest = &rest[9 + length..];
        }
        None
    }
}
