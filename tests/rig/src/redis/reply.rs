//! One command as bytes and what it is answered, for what `redis-cli` cannot be told or does not tell apart.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use crate::PATIENCE;

#[derive(Debug, PartialEq, Eq)]
pub enum Reply {
    Nothing,
    Number(i64),
    Bytes(Vec<u8>),
    List(Vec<Reply>),
}

impl Reply {
    pub fn number(self) -> i64 {
        match self {
            Self::Number(number) => number,
            other => panic!("not a number: {other:?}"),
        }
    }

    pub fn bytes(self) -> Vec<u8> {
        match self {
            Self::Bytes(bytes) => bytes,
            other => panic!("not bytes: {other:?}"),
        }
    }

    pub fn list(self) -> Vec<Reply> {
        match self {
            Self::List(replies) => replies,
            other => panic!("not a list: {other:?}"),
        }
    }
}

/// What a server answers to the command, or its refusal.
pub(super) fn exchange(port: u16, command: &[impl AsRef<[u8]>]) -> Result<Reply, String> {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut frame = format!("*{}\r\n", command.len()).into_bytes();
    for part in command.iter().map(AsRef::as_ref) {
        frame.extend(format!("${}\r\n", part.len()).bytes());
        frame.extend(part);
        frame.extend(b"\r\n");
    }
    (&stream).write_all(&frame).unwrap();
    read(&mut BufReader::new(stream))
}

fn read(stream: &mut impl BufRead) -> Result<Reply, String> {
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    let line = line.strip_suffix("\r\n").expect("the server has closed the connection");
    let (kind, rest) = line.split_at(1);
    match kind {
        "-" => Err(rest.to_owned()),
        "+" => Ok(Reply::Bytes(rest.into())),
        ":" => Ok(Reply::Number(rest.parse().unwrap())),
        "$" | "*" if rest == "-1" => Ok(Reply::Nothing),
        "$" => {
            let length: usize = rest.parse().unwrap();
            let mut bytes = vec![0; length + "\r\n".len()];
            stream.read_exact(&mut bytes).unwrap();
            bytes.truncate(length);
            Ok(Reply::Bytes(bytes))
        }
        "*" => (0..rest.parse().unwrap()).map(|_| read(stream)).collect::<Result<_, _>>().map(Reply::List),
        _ => panic!("not a reply: {line}"),
    }
}

#[cfg(test)]
mod tests {
    use crate::redis::{Flavour, Redis, Reply};

    #[test]
    fn every_kind_of_reply_is_what_was_sent() {
        let server = Redis::start(Flavour::Redis);
        let name = b"\0\r\n\xff".as_slice();
        assert_eq!(server.call(&["get", "key"]), Reply::Nothing);
        assert_eq!(server.call(&[b"set".as_slice(), name, b""]).bytes(), b"OK");
        assert_eq!(server.call(&[b"get".as_slice(), name]).bytes(), b"");
        assert_eq!(server.call(&["dbsize"]).number(), 1);
        assert_eq!(server.call(&["keys", "*"]).list(), [Reply::Bytes(name.to_owned())]);
    }

    #[test]
    #[should_panic(expected = "unknown command 'no-such-command'")]
    fn a_refused_command_panics_with_what_the_server_said() {
        Redis::start(Flavour::Redis).call(&["no-such-command"]);
    }
}
