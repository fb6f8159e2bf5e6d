//! One connection: asks, and counts the answers, on a thread of its own.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::frames::{self, Head, Headers};
use crate::histogram::Histogram;

/// Calls that may be open at once, in the table of when they began. More than any server allows.
const OPEN_MAX: usize = 1 << 14;
/// After so much, the peer is told that there is room again.
const ROOM_AGAIN: usize = 1 << 30;
const READ_BYTES: usize = 256 * 1024;

/// What is asked, and how.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) address: SocketAddr,
    pub(crate) headers: Arc<Headers>,
    /// Each with gRPC's own prefix.
    pub(crate) messages: Arc<Vec<Vec<u8>>>,
    /// In whatever order, or one after another.
    pub(crate) shuffled: bool,
    /// With what an answer's message begins, or it counts as wrong.
    pub(crate) expected: Arc<Vec<u8>>,
    pub(crate) pace: Pace,
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// So many at once, the next one when an answer is there.
    Closed(usize),
    /// So many a second at random times, whatever has been answered; the time of each counts from when it was due.
    Open(f64),
}

/// What was seen in the time that counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) times: Histogram,
    pub(crate) answered: u64,
    pub(crate) wrong: u64,
}

#[derive(Clone, Copy)]
struct Open {
    stream: u32,
    since: Instant,
    has_answer: bool,
}

pub(crate) struct Connection {
    plan: Plan,
    socket: TcpStream,
    read: Vec<u8>,
    /// Of `read`, what is there and not looked at yet.
    from: usize,
    until: usize,
    write: Vec<u8>,
    open: Vec<Option<Open>>,
    open_count: usize,
    next_stream: u32,
    next_message: usize,
    chance: u64,
    window: i64,
    stream_window: i64,
    taken: usize,
    begun: Instant,
    seen: Seen,
}

impl Connection {
    pub(crate) fn open(plan: Plan, seed: u64) -> io::Result<Self> {
        let socket = TcpStream::connect(plan.address)?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            plan,
            socket,
            read: vec![0; READ_BYTES],
            from: 0,
            until: 0,
            write: frames::greeting(),
            open: vec![None; OPEN_MAX],
            open_count: 0,
            next_stream: 1,
            next_message: usize::try_from(seed % 1_000_003).unwrap_or_default(),
            chance: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            window: frames::WINDOW_DEFAULT,
            stream_window: frames::WINDOW_DEFAULT,
            taken: 0,
            begun: Instant::now(),
            seen: Seen::default(),
        })
    }

    /// Until warm-up and measurement are over. Calls that are open then are not counted.
    pub(crate) fn run(mut self, begun: Instant) -> io::Result<Seen> {
        self.begun = begun;
        let end = begun + self.plan.warm_up + self.plan.measured;
        let mut due = begun;
        loop {
            let now = Instant::now();
            if now >= end {
                return Ok(self.seen);
            }
            let wait = match self.plan.pace {
                Pace::Closed(at_once) => {
                    while self.open_count < at_once && self.ask(now) {}
                    end - now
                }
                Pace::Open(rate) => {
                    while due <= now && self.ask(due) {
                        due += self.gap(rate);
                    }
                    due.saturating_duration_since(now).min(end - now)
                }
            };
            self.flush()?;
            self.wait(wait)?;
            self.take_answers()?;
        }
    }

    /// Exponential, as of many who know nothing of each other.
    fn gap(&mut self, rate: f64) -> Duration {
        let chance = (self.random() >> 11) as f64 / (1u64 << 53) as f64;
        Duration::from_secs_f64(-(1.0 - chance).ln() / rate)
    }

    fn random(&mut self) -> u64 {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        self.chance
    }

    /// Whether there was room for it.
    fn ask(&mut self, since: Instant) -> bool {
        let index = if self.plan.shuffled { self.random() as usize } else { self.next_message };
        let messages = Arc::clone(&self.plan.messages);
        let Some(message) = messages.get(index % messages.len()) else { return false };
        let len = message.len() as i64;
        let stream = self.next_stream;
        let place = place(stream);
        if self.window < len || self.stream_window < len || self.open[place].is_some() {
            return false;
        }
        self.next_message = self.next_message.wrapping_add(1);
        self.next_stream += 2;
        self.window -= len;
        self.plan.headers.write(&mut self.write, stream, stream == 1);
        // No more than the least that a peer takes.
        let mut parts = message.chunks(16_384).peekable();
        while let Some(part) = parts.next() {
            let flags = if parts.peek().is_none() { frames::END_STREAM } else { 0 };
            frames::frame(&mut self.write, frames::DATA, flags, stream, part);
        }
        self.open[place] = Some(Open { stream, since, has_answer: false });
        self.open_count += 1;
        true
    }

    fn flush(&mut self) -> io::Result<()> {
        while !self.write.is_empty() {
            match self.socket.write(&self.write) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => drop(self.write.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn wait(&self, at_most: Duration) -> io::Result<()> {
        let wanted = if self.write.is_empty() { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT };
        let timeout = Timespec { tv_sec: at_most.as_secs() as i64, tv_nsec: i64::from(at_most.subsec_nanos()) };
        match poll(&mut [PollFd::new(&self.socket, wanted)], Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn take_answers(&mut self) -> io::Result<()> {
        loop {
            if self.from > 0 {
                self.read.copy_within(self.from..self.until, 0);
                self.until -= self.from;
                self.from = 0;
            }
            let count = match self.socket.read(&mut self.read[self.until..]) {
                Ok(0) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection")),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            let is_all = self.until + count < self.read.len();
            self.until += count;
            let now = Instant::now();
            while let Some(head) = Head::read(&self.read[self.from..self.until]) {
                let begin = self.from + frames::HEADER_LEN;
                let end = begin + head.len;
                if end > self.until {
                    break;
                }
                self.take(head, begin, now)?;
                self.from = end;
            }
            if is_all {
                return Ok(());
            }
        }
    }

    fn take(&mut self, head: Head, begin: usize, now: Instant) -> io::Result<()> {
        let payload = &self.read[begin..begin + head.len];
        match head.kind {
            frames::DATA => {
                // Behind gRPC's prefix: not compressed, and how long.
                let is_right = payload.get(5..).is_some_and(|message| message.starts_with(&self.plan.expected));
                self.taken += payload.len();
                if let Some(open) = &mut self.open[place(head.stream)] {
                    open.has_answer |= is_right && open.stream == head.stream;
                }
                if self.taken >= ROOM_AGAIN {
                    let room = frames::window_update(u32::try_from(self.taken).unwrap_or(u32::MAX));
                    self.write.extend_from_slice(&room);
                    self.taken = 0;
                }
            }
            frames::SETTINGS if head.flags & frames::ACK == 0 => {
                for setting in payload.chunks_exact(6) {
                    let value = i64::from(u32::from_be_bytes([setting[2], setting[3], setting[4], setting[5]]));
                    if u16::from_be_bytes([setting[0], setting[1]]) == frames::SETTINGS_INITIAL_WINDOW {
                        self.stream_window = value;
                    }
                }
                frames::frame(&mut self.write, frames::SETTINGS, frames::ACK, 0, &[]);
            }
            frames::PING if head.flags & frames::ACK == 0 => {
                let echo = payload.to_vec();
                frames::frame(&mut self.write, frames::PING, frames::ACK, 0, &echo);
            }
            // Streams hold one message each, which fits.
            frames::WINDOW_UPDATE if head.stream == 0 => {
                if let Some(by) = payload.first_chunk::<4>() {
                    self.window += i64::from(u32::from_be_bytes(*by));
                }
            }
            frames::GOAWAY => return Err(io::Error::other("the server sends callers away (GOAWAY)")),
            frames::RST_STREAM => self.close(head.stream, now, true),
            _ => {}
        }
        if head.ends_stream() {
            self.close(head.stream, now, false);
        }
        Ok(())
    }

    fn close(&mut self, stream: u32, now: Instant, was_reset: bool) {
        let Some(open) = self.open[place(stream)].take_if(|open| open.stream == stream) else { return };
        self.open_count -= 1;
        let measured_from = self.begun + self.plan.warm_up;
        if now < measured_from {
            return;
        }
        self.seen.answered += 1;
        self.seen.times.record(now.saturating_duration_since(open.since));
        if was_reset || !open.has_answer {
            self.seen.wrong += 1;
        }
    }
}

fn place(stream: u32) -> usize {
    (stream >> 1) as usize % OPEN_MAX
}
