//! Redis from the side: its protocol, byte by byte, for what a command line would mangle.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;

use postern_rig::redis::Redis;

/// A connection of its own.
pub(super) struct Wire(BufReader<TcpStream>);

/// What Redis answers; a refusal is a panic.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Text(Vec<u8>),
    Number(i64),
    List(Vec<Self>),
    Nothing,
}

impl Reply {
    pub(super) fn bytes(self) -> Vec<u8> {
        match self {
            Self::Text(bytes) => bytes,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn number(self) -> i64 {
        match self {
            Self::Number(number) => number,
            other => panic!("{other:?}"),
        }
    }
}

impl Wire {
    pub(super) fn to(server: &Redis) -> Self {
        Self(BufReader::new(TcpStream::connect(("127.0.0.1", server.port())).unwrap()))
    }

    pub(super) fn ask(&mut self, arguments: &[&[u8]]) -> Reply {
        let mut command = format!("*{}\r\n", arguments.len()).into_bytes();
        for argument in arguments {
            command.extend(format!("${}\r\n", argument.len()).bytes());
            command.extend_from_slice(argument);
            command.extend(b"\r\n");
        }
        self.0.get_mut().write_all(&command).unwrap();
        self.read()
    }

    /// The names of all keys.
    pub(super) fn names(&mut self) -> Vec<Vec<u8>> {
        match self.ask(&[b"KEYS", b"*"]) {
            Reply::List(names) => names.into_iter().map(Reply::bytes).collect(),
            other => panic!("{other:?}"),
        }
    }

    /// Under its name, with the time that is left to it as it is.
    pub(super) fn put(&mut self, name: &[u8], value: &[u8]) {
        self.ask(&[b"SET", name, value, b"KEEPTTL"]);
    }

    pub(super) fn get(&mut self, name: &[u8]) -> Vec<u8> {
        self.ask(&[b"GET", name]).bytes()
    }

    pub(super) fn read(&mut self) -> Reply {
        let line = self.line();
        let (kind, rest) = line.split_at(1);
        match kind {
            "+" => Reply::Text(rest.as_bytes().to_vec()),
            ":" => Reply::Number(rest.parse().unwrap()),
            "$" | "*" if rest == "-1" => Reply::Nothing,
            "$" => {
                let mut bytes = vec![0; rest.parse().unwrap()];
                self.0.read_exact(&mut bytes).unwrap();
                self.line();
                Reply::Text(bytes)
            }
            "*" => Reply::List((0..rest.parse().unwrap()).map(|_| self.read()).collect()),
            _ => panic!("{line}"),
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}
