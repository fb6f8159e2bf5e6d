//! A generator of load that costs less than what it measures: frames are made once, answers are counted, and only their
//! first bytes are looked at. A client that is a library of gRPC would be the bottleneck itself.

mod connection;
mod frames;
mod histogram;

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use rustix::time::{ClockId, clock_gettime};

use connection::{Connection, Pace, Plan, Seen};
use frames::Headers;

/// Asks a gRPC server the same unary call again and again, over HTTP/2 in clear text, and prints how it did as JSON.
///
/// Closed: `--at-once` calls on each connection, the next one when an answer is there; shows how much a server can do.
/// Open: `--rate` calls a second at random times whether or not answers come; shows how long they take.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Args {
    /// Where the server is
    #[arg(long, value_name = "IP:PORT")]
    address: SocketAddr,
    /// What is called
    #[arg(long, value_name = "/package.Service/Method")]
    path: String,
    /// Messages, one after another as gRPC sends them: a byte 0, the length in four bytes, the message
    #[arg(long, value_name = "FILE")]
    messages: PathBuf,
    /// Take messages in whatever order; without it one after another
    #[arg(long)]
    shuffled: bool,
    /// More metadata
    #[arg(long = "header", value_name = "NAME:VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// With what each answer's message begins, in hexadecimal; others count as wrong
    #[arg(long, value_name = "HEX", default_value = "", value_parser = hex)]
    expect: Bytes,
    /// Connections, each with a thread of its own
    #[arg(long, value_name = "COUNT", default_value_t = 4)]
    connections: usize,
    /// Calls at once on each connection
    #[arg(long, value_name = "COUNT", default_value_t = 32, conflicts_with = "rate")]
    at_once: usize,
    /// Calls a second, on all connections together
    #[arg(long, value_name = "PER_SECOND")]
    rate: Option<f64>,
    /// Not counted
    #[arg(long, value_name = "SECONDS", default_value_t = 0.5)]
    warm_up: f64,
    /// Counted
    #[arg(long, value_name = "SECONDS", default_value_t = 3.0)]
    seconds: f64,
    /// Of which process the time on processors is told, too
    #[arg(long, value_name = "PID")]
    server: Option<u32>,
}

#[derive(Clone, Debug)]
struct Bytes(Vec<u8>);

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("not of the form name:value")?;
    Ok((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
}

fn hex(text: &str) -> Result<Bytes, String> {
    let digits: Vec<char> = text.chars().collect();
    let byte = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16);
    digits.chunks(2).map(byte).collect::<Result<_, _>>().map(Bytes).map_err(|error| error.to_string())
}

fn main() -> ExitCode {
    match run(Args::parse()) {
        Ok(wrong) => ExitCode::from(u8::from(wrong > 0)),
        Err(why) => {
            eprintln!("postern-load: {why}");
            ExitCode::FAILURE
        }
    }
}

/// How many answers were wrong.
fn run(args: Args) -> Result<u64, Box<dyn std::error::Error + Send + Sync>> {
    let messages = messages(&fs::read(&args.messages)?)?;
    let plan = Plan {
        address: args.address,
        headers: Arc::new(Headers::new(&args.address.to_string(), &args.path, &args.headers)),
        messages: Arc::new(messages),
        shuffled: args.shuffled,
        expected: Arc::new(args.expect.0),
        pace: args.rate.map_or(Pace::Closed(args.at_once), |rate| Pace::Open(rate / args.connections as f64)),
        warm_up: Duration::from_secs_f64(args.warm_up),
        measured: Duration::from_secs_f64(args.seconds),
    };
    let begun = Instant::now();
    let mut threads = Vec::new();
    for index in 0..args.connections {
        let connection = Connection::open(plan.clone(), 1 + index as u64 * 7_919)?;
        threads.push(thread::spawn(move || connection.run(begun)));
    }
    thread::sleep((begun + plan.warm_up).saturating_duration_since(Instant::now()));
    let (from, server_from, own_from) = (Instant::now(), args.server.map(on_processors).transpose()?, own_time());
    thread::sleep((begun + plan.warm_up + plan.measured).saturating_duration_since(Instant::now()));
    let (took, own) = (from.elapsed(), own_time().saturating_sub(own_from));
    let server =
        args.server.map(on_processors).transpose()?.zip(server_from).map(|(now, then)| now.saturating_sub(then));
    let mut seen = Seen::default();
    for thread in threads {
        let of_one = thread.join().map_err(|_| "a connection's thread panicked")??;
        seen.times.add(&of_one.times);
        seen.answered += of_one.answered;
        seen.wrong += of_one.wrong;
    }
    let each = |time: Duration| time.as_secs_f64() * 1e6 / seen.answered.max(1) as f64;
    println!(
        "{}",
        serde_json::json!({
            "answered": seen.answered,
            "wrong": seen.wrong,
            "per_second": seen.answered as f64 / took.as_secs_f64(),
            "p50_us": seen.times.quantile(0.5),
            "p99_us": seen.times.quantile(0.99),
            "p999_us": seen.times.quantile(0.999),
            "server_us": server.map(each),
            "own_us": each(own),
        })
    );
    Ok(seen.wrong)
}

/// Each with its prefix.
fn messages(mut bytes: &[u8]) -> Result<Vec<Vec<u8>>, &'static str> {
    const BROKEN: &str = "the file of messages is not of the form: a byte 0, the length in four bytes, the message";
    let mut messages = Vec::new();
    while !bytes.is_empty() {
        let [0, length @ ..] = *bytes.first_chunk::<5>().ok_or(BROKEN)? else { return Err(BROKEN) };
        let end = 5 + u32::from_be_bytes(length) as usize;
        messages.push(bytes.get(..end).ok_or(BROKEN)?.to_vec());
        bytes = &bytes[end..];
    }
    if messages.is_empty() { Err("the file of messages has none") } else { Ok(messages) }
}

fn own_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// What the kernel has accounted to all threads of a process.
fn on_processors(pid: u32) -> std::io::Result<Duration> {
    let mut total = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread that ends meanwhile takes its time with it.
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
        total += text.split(' ').next().and_then(|nanos| nanos.parse::<u64>().ok()).unwrap_or_default();
    }
    Ok(Duration::from_nanos(total))
}
