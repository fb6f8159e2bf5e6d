//! HTTP/2 (RFC 9113) and HPACK (RFC 7541), as far as a caller needs them that asks the same thing again and again.

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub(crate) const HEADER_LEN: usize = 9;
/// Before the peer says otherwise, for each stream and for the connection.
pub(crate) const WINDOW_DEFAULT: i64 = 65_535;
const WINDOW_MAX: u32 = 0x7fff_ffff;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

const SETTINGS_ENABLE_PUSH: u16 = 2;
pub(crate) const SETTINGS_INITIAL_WINDOW: u16 = 4;

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) len: usize,
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
}

impl Head {
    /// `None` if it is not all there yet.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let [a, b, c, kind, flags, s, t, u, v] = *bytes.first_chunk::<HEADER_LEN>()?;
        let len = u32::from_be_bytes([0, a, b, c]) as usize;
        Some(Self { len, kind, flags, stream: u32::from_be_bytes([s, t, u, v]) & WINDOW_MAX })
    }

    pub(crate) fn ends_stream(self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0
    }
}

pub(crate) fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let len = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    out.extend_from_slice(&[len[1], len[2], len[3], kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// Preface and settings: no pushes, and room for all that comes.
pub(crate) fn greeting() -> Vec<u8> {
    let mut out = PREFACE.to_vec();
    let mut settings = Vec::new();
    for (name, value) in [(SETTINGS_ENABLE_PUSH, 0), (SETTINGS_INITIAL_WINDOW, WINDOW_MAX)] {
        settings.extend_from_slice(&u16::to_be_bytes(name));
        settings.extend_from_slice(&u32::to_be_bytes(value));
    }
    frame(&mut out, SETTINGS, 0, 0, &settings);
    out.extend_from_slice(&window_update(WINDOW_MAX - WINDOW_DEFAULT as u32));
    out
}

/// Of the connection.
pub(crate) fn window_update(by: u32) -> Vec<u8> {
    let mut out = Vec::new();
    frame(&mut out, WINDOW_UPDATE, 0, 0, &by.to_be_bytes());
    out
}

/// The headers of a call. The first one puts each into the peer's table, all others only point there, as grown-up clients do.
pub(crate) struct Headers {
    first: Vec<u8>,
    later: Vec<u8>,
}

impl Headers {
    pub(crate) fn new(authority: &str, path: &str, more: &[(String, String)]) -> Self {
        let own =
            [(":authority", authority), (":path", path), ("content-type", "application/grpc"), ("te", "trailers")];
        let all: Vec<(&str, &str)> =
            own.into_iter().chain(more.iter().map(|(name, value)| (name.as_str(), value.as_str()))).collect();
        // `:method: POST` and `:scheme: http` stand in the static table.
        let (mut first, mut later) = (vec![0x83, 0x86], vec![0x83, 0x86]);
        for (index, (name, value)) in all.iter().enumerate() {
            first.push(0x40);
            text(&mut first, name);
            text(&mut first, value);
            // The last one in is the first of the dynamic table, which begins at 62.
            later.push(0x80 | u8::try_from(62 + all.len() - 1 - index).unwrap_or(0x7f));
        }
        Self { first, later }
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>, stream: u32, is_first: bool) {
        frame(out, HEADERS, END_HEADERS, stream, if is_first { &self.first } else { &self.later });
    }
}

/// Not Huffman-coded.
fn text(out: &mut Vec<u8>, text: &str) {
    let mut len = text.len();
    if len < 127 {
        out.push(u8::try_from(len).unwrap_or_default());
    } else {
        out.push(127);
        len -= 127;
        while len >= 128 {
            out.push(u8::try_from(len % 128).unwrap_or_default() | 0x80);
            len /= 128;
        }
        out.push(u8::try_from(len).unwrap_or_default());
    }
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_as_it_is_written() {
        let mut out = Vec::new();
        frame(&mut out, DATA, END_STREAM, 5, &[1; 300]);
        let head = Head::read(&out).unwrap();
        assert_eq!(head, Head { len: 300, kind: DATA, flags: END_STREAM, stream: 5 });
        assert!(head.ends_stream());
        assert_eq!(out.len(), HEADER_LEN + 300);
        assert_eq!(Head::read(&out[..8]), None);
    }

    #[test]
    fn texts_have_the_length_that_rfc_7541_gives_them() {
        for (len, prefix) in [(3, vec![3]), (127, vec![127, 0]), (128, vec![127, 1]), (1_000, vec![127, 233, 6])] {
            let mut out = Vec::new();
            text(&mut out, &"x".repeat(len));
            assert_eq!(&out[..prefix.len()], prefix);
            assert_eq!(out.len(), prefix.len() + len);
        }
    }

    #[test]
    fn later_headers_point_to_the_first_ones() {
        let headers = Headers::new("localhost", "/a.B/C", &[("x-id".to_owned(), "1".to_owned())]);
        // The fifth and last is at 62, the first at 66.
        assert_eq!(headers.later, [0x83, 0x86, 0x80 | 66, 0x80 | 65, 0x80 | 64, 0x80 | 63, 0x80 | 62]);
    }
}
