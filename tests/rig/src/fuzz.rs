//! Hostile bytes: what is valid, bent at random, for as long as somebody has patience.
//!
//! `POSTERN_FUZZ_SECONDS` says how long each target runs (one second unless set), `POSTERN_FUZZ_SEED` repeats a run. An input
//! at which a target panics is printed, so that it can become a test of its own.

use std::time::{Duration, Instant};

use proptest::prelude::Rng as _;
use proptest::test_runner::{RngAlgorithm, TestRng};

const SECONDS: &str = "POSTERN_FUZZ_SECONDS";
const SEED: &str = "POSTERN_FUZZ_SEED";
/// An input grows no longer than this by being bent.
const BYTES_MAX: usize = 64 * 1024;
const BENDS_MAX: u64 = 6;
/// What parsers trip over.
const TOKENS: &[&[u8]] = &[
    b"\0",
    b"\n",
    b"\r\n",
    b"\"",
    b"'",
    b"\\",
    b"\\u0000",
    b"{",
    b"}",
    b"[",
    b"]",
    b"[[",
    b":",
    b",",
    b".",
    b"..",
    b"=",
    b"==",
    b"$",
    b"%00",
    b"%",
    b"&",
    b";",
    b"/",
    b"-",
    b"--",
    b"-1",
    b"0",
    b"1e309",
    b"1e-400",
    b"9223372036854775808",
    b"18446744073709551616",
    b"4294967296",
    b"NaN",
    b"null",
    b"true",
    b"false",
    b"\xff",
    b"\xc3\x28",
    b"\xed\xa0\x80",
    b"\xf0\x9f\x98\x80",
    b"\xef\xbb\xbf",
    b"\xe2\x80\xae",
    b"\xe2\x80\xa8",
    b"$argon2id$",
    b"m=4294967295",
    b"t=0",
    b"eyJhbGciOiJub25lIn0",
    b"https://",
    b"@",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
];

/// Runs `target` on each of `valid`, and then on what comes of bending them, until the time is over. Answers how many there were.
pub fn fuzz(name: &str, valid: &[&[u8]], mut target: impl FnMut(&[u8])) -> u64 {
    let (time, seed) = (asked_time().unwrap_or(Duration::from_secs(1)), seed());
    let mut bender = Bender { rng: TestRng::from_seed(RngAlgorithm::ChaCha, &seed_bytes(seed)), valid };
    let began = Instant::now();
    let mut count = 0;
    let mut run = |input: &[u8]| {
        let told = Told { name, input, seed };
        target(input);
        std::mem::forget(told);
        count += 1;
    };
    valid.iter().for_each(|input| run(input));
    while began.elapsed() < time {
        for _ in 0..64 {
            let input = bender.bent();
            run(&input);
        }
    }
    println!("fuzz {name}: {count} inputs in {:.1} s, seed {seed}", began.elapsed().as_secs_f64());
    count
}

/// How long each target is to run, if anybody said so.
pub fn asked_time() -> Option<Duration> {
    let told = std::env::var(SECONDS).ok()?;
    Some(Duration::from_secs(told.parse().unwrap_or_else(|_| panic!("{SECONDS} is no number"))))
}

fn seed() -> u64 {
    if let Ok(told) = std::env::var(SEED) {
        return told.parse().unwrap_or_else(|_| panic!("{SEED} is no number"));
    }
    let mut bytes = [0; 8];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system has random numbers");
    u64::from_le_bytes(bytes)
}

fn seed_bytes(seed: u64) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes
}

/// Tells of the input if the target panics at it.
struct Told<'a> {
    name: &'a str,
    input: &'a [u8],
    seed: u64,
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        eprintln!("fuzz {}: fails at \"{}\", seed {}", self.name, self.input.escape_ascii(), self.seed);
    }
}

struct Bender<'a> {
    rng: TestRng,
    valid: &'a [&'a [u8]],
}

impl Bender<'_> {
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.rng.next_u64() % (end.max(1) as u64)).unwrap_or(0)
    }

    fn bytes(&mut self, count_max: usize) -> Vec<u8> {
        let mut bytes = vec![0; self.below(count_max)];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }

    fn bent(&mut self) -> Vec<u8> {
        if self.valid.is_empty() || self.below(16) == 0 {
            return self.bytes(512);
        }
        let mut input = self.valid[self.below(self.valid.len())].to_vec();
        for _ in 0..=self.rng.next_u64() % BENDS_MAX {
            self.bend(&mut input);
        }
        input.truncate(BYTES_MAX);
        input
    }

    fn bend(&mut self, input: &mut Vec<u8>) {
        let at = self.below(input.len() + 1);
        let end = (at + self.below(24)).min(input.len());
        let at = at.min(end);
        match self.below(9) {
            0 if at < input.len() => input[at] ^= 1 << self.below(8),
            1 if at < input.len() => input[at] = self.rng.next_u64().to_le_bytes()[0],
            2 => drop(input.drain(at..end)),
            3 => input.truncate(at),
            4 => {
                let new = self.bytes(24);
                input.splice(at..at, new);
            }
            5 => {
                let token = TOKENS[self.below(TOKENS.len())];
                input.splice(at..end, token.iter().copied());
            }
            6 => {
                let again = input[at..end].repeat(1 + self.below(64));
                input.splice(at..at, again);
            }
            7 => {
                let other = self.valid[self.below(self.valid.len())];
                let from = self.below(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            _ => {
                let part = input[at..end].to_vec();
                let to = self.below(input.len() + 1);
                input.splice(to..to, part);
            }
        }
    }
}
