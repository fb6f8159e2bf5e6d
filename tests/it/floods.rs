//! Floods on one connection of the real program: the flood ends or is held in check, its memory stays flat, and a
//! neighbour on another connection gets every answer meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use postern::proto::auth::v1::GetKeysRequest;
use postern::proto::auth::v1::auth_service_client::AuthServiceClient;
use tonic::transport::Channel;

use crate::binary::{Place, Running};
use crate::frames::{
    CONTINUATION, DATA, END_HEADERS, ENHANCE_YOUR_CALM, GET_KEYS, HEADERS, PING, RST_STREAM, SETTINGS, WINDOW_UPDATE,
    Wire, block, call_headers, frame,
};

const WINDOW_MAX: [u8; 4] = [0x7f, 0xff, 0xff, 0xff];
const MIB: u64 = 1024 * 1024;
/// What an allocator may keep for itself; each flood could take hundreds.
const SLACK: u64 = 24 * MIB;

/// What the process holds in memory now.
fn resident(running: &Running) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", running.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// What it has used of all cores.
fn cpu_ticks(running: &Running) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", running.id())).unwrap();
    // Behind the name, which may hold anything: the 14th and 15th field of all.
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// Asks without a pause, until told to stop. Every answer must come.
#[derive(Clone)]
struct Neighbour {
    channel: Channel,
    is_done: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
}

impl Neighbour {
    fn of(running: &Running) -> Self {
        Self { channel: running.channel.clone(), is_done: Arc::default(), answered: Arc::default() }
    }

    async fn ask(&self) {
        AuthServiceClient::new(self.channel.clone()).get_keys(GetKeysRequest::default()).await.unwrap();
        self.answered.fetch_add(1, Ordering::Relaxed);
    }

    async fn ask_on(self) {
        while !self.is_done.load(Ordering::Relaxed) {
            self.ask().await;
        }
    }
}

/// Runs a flood beside a neighbour, and holds the process to its memory.
async fn beside_a_neighbour<T>(running: &Running, what: &str, flood: impl Future<Output = T>) -> T {
    let neighbour = Neighbour::of(running);
    for _ in 0..50 {
        neighbour.ask().await;
    }
    let (before, asked) = (resident(running), neighbour.answered.load(Ordering::Relaxed));
    let flooded = async {
        let outcome = flood.await;
        // The memory while the flood stands, not after it has gone.
        let after = resident(running);
        // At least one more answer that was asked for after it all.
        neighbour.ask().await;
        neighbour.is_done.store(true, Ordering::Relaxed);
        (outcome, after)
    };
    let ((outcome, after), ()) = tokio::join!(flooded, neighbour.clone().ask_on());
    assert!(neighbour.answered.load(Ordering::Relaxed) > asked, "{what}");
    assert!(after < before + SLACK, "{what}: {} MiB became {} MiB", before / MIB, after / MIB);
    outcome
}

fn odd(index: u32) -> u32 {
    2 * index + 1
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_end_their_own_connection() {
    let place = Place::new();
    let running = place.start().await;
    let begin = |stream| frame(HEADERS, END_HEADERS, stream, &call_headers(GET_KEYS));
    let floods: [(&str, Vec<Vec<u8>>); 4] = [
        // CVE-2023-44487.
        (
            "rapid reset",
            (0..5_000).map(odd).map(|at| [begin(at), frame(RST_STREAM, 0, at, &[0, 0, 0, 8])].concat()).collect(),
        ),
        // CVE-2025-8671: the window overflows, so the server must reset the stream itself.
        (
            "resets that the server makes",
            (0..6_000).map(odd).map(|at| [begin(at), frame(WINDOW_UPDATE, 0, at, &WINDOW_MAX)].concat()).collect(),
        ),
        // RUSTSEC-2024-0332 and its like.
        (
            "a header without end",
            std::iter::once(frame(HEADERS, 0, 1, &call_headers(GET_KEYS)))
                .chain((0..20_000).map(|_| frame(CONTINUATION, 0, 1, &block(&[("x-flood", "flood")]))))
                .collect(),
        ),
        // RUSTSEC-2026-0258.
        ("empty DATA", std::iter::once(begin(1)).chain((0..50_000).map(|_| frame(DATA, 0, 1, &[]))).collect()),
    ];
    // The first alone, so that what it costs is its own.
    let before = cpu_ticks(&running);
    let end = Wire::open(running.grpc).await.flood(floods[0].1.clone()).await;
    let ticks = cpu_ticks(&running) - before;
    assert_eq!((end, ticks < 100), (Some(ENHANCE_YOUR_CALM), true), "{ticks} hundredths of a second of one core");
    for (what, frames) in floods {
        let flood = async { Wire::open(running.grpc).await.flood(frames).await };
        let end = beside_a_neighbour(&running, what, flood).await;
        assert_eq!(end, Some(ENHANCE_YOUR_CALM), "{what}");
    }
}

/// Each of these must be answered, and the peer never reads: the server stops listening rather than remember the answers.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_never_reads_is_not_listened_to() {
    let place = Place::new();
    let running = place.start().await;
    for (what, one) in [
        ("PING", frame(PING, 0, 0, &[7; 8])),
        ("SETTINGS", frame(SETTINGS, 0, 0, &[])),
        ("SETTINGS with words", frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0])),
    ] {
        let many = one.repeat(4_000);
        let up_to = 256 * 1024 * 1024;
        let mut wire = Wire::open(running.grpc).await;
        let poured = beside_a_neighbour(&running, what, async { wire.pour(&many, up_to).await }).await;
        // It either takes no more, or takes all of it and remembers nothing.
        assert!(poured > many.len(), "{what}: {poured}");
        drop(wire);
    }
}

/// And one that reads gets its answers, at a cost that is its own.
#[tokio::test(flavor = "multi_thread")]
async fn pings_and_settings_are_answered_one_by_one() {
    let place = Place::new();
    let running = place.start().await;
    for (what, kind, one) in
        [("PING", PING, frame(PING, 0, 0, &[7; 8])), ("SETTINGS", SETTINGS, frame(SETTINGS, 0, 0, &[]))]
    {
        let flood = async {
            let mut wire = Wire::open(running.grpc).await;
            let mut answers = 0;
            for _ in 0..100 {
                wire.send(&one.repeat(100)).await.unwrap();
                let mut round = 0;
                while round < 100 {
                    let answer = wire.read().await.expect("the connection lives");
                    round += usize::from(answer.kind == kind && answer.flags == crate::frames::ACK);
                }
                answers += round;
            }
            answers
        };
        assert_eq!(beside_a_neighbour(&running, what, flood).await, 10_000, "{what}");
    }
}
