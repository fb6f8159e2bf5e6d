//! What a storm of sign-ins does to `Verify`, and how many sign-ins a machine can do: `cargo bench --bench storm`.
//!
//! Starts the server as a process of its own, on an empty folder and free ports. `Verify` is asked at a fixed rate, whether
//! or not earlier answers have come, and its time counts from when it was due: first alone, then beside ten times as many
//! sign-ins as the cores can hash, by turns, so that what else the machine does falls on both. The rate of sign-ins is held
//! against that of the very same hashing threads in this process, with the server idle and beside as many `Verify`. Who asks
//! runs on the same cores, and takes of them what would be another machine's.
#![expect(
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    reason = "a measurement: it fails loudly, tells the time, and prints what it found"
)]

use std::io::{BufRead as _, BufReader};
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use postern::auth::passwords::{HashSettings, Passwords};
use postern::auth::pepper::Peppers;
use postern::domain::password::Password;
use postern::proto::admin::v1 as admin;
use postern::proto::auth::v1 as pb;
use tokio::task::JoinSet;
use tonic::transport::Channel;
use tonic::{Code, Request};

const ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_secs(8);
const VERIFIES_PER_SECOND: u32 = 2_000;
const PEOPLE: usize = 40;
const PASSWORD: &str = "a password of the storm";

type Auth = pb::auth_service_client::AuthServiceClient<Channel>;

fn main() {
    // `cargo test --benches` asks whether it runs at all.
    let rounds = if std::env::args().any(|arg| arg == "--bench") { ROUNDS } else { 0 };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(measure(rounds));
}

async fn measure(rounds: usize) {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(folder.path());
    let channel = Channel::from_shared(format!("http://{}", server.address)).unwrap().connect().await.unwrap();
    let mut auth = Auth::new(channel.clone());
    let password = std::fs::read_to_string(folder.path().join("data/initial-admin-password")).unwrap();
    let token = sign_in(&mut auth, "admin", password.trim()).await.unwrap();
    people(&channel, &token).await;

    let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let bare = hashes_per_second(threads, if rounds == 0 { Duration::ZERO } else { ROUND }).await;
    println!("{threads} cores; argon2id 19 MiB, 2 iterations: {bare:.0} hashes a second by the threads alone");
    let (mut alone, mut beside, mut storms, mut rooms) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let (_, room) = tokio::join!(verify_for(&auth, &token, ROUND), hashes_per_second(threads, ROUND));
        rooms.push(room);
        alone.push(verify_for(&auth, &token, ROUND).await);
        let storm = storm(server.address.clone(), bare * 10.0);
        let (times, done) = tokio::join!(verify_for(&auth, &token, ROUND), storm);
        beside.push(times);
        storms.push(done);
    }
    if rounds > 0 {
        rooms.sort_unstable_by(f64::total_cmp);
        report((bare, rooms[rooms.len() / 2]), &alone, &beside, &storms);
        println!("peak memory of the server: {} KiB", server.peak_kib());
    }
    server.stop();
}

fn report((bare, room): (f64, f64), alone: &[Vec<Duration>], beside: &[Vec<Duration>], storms: &[Storm]) {
    println!("Verify at {VERIFIES_PER_SECOND}/s, median of {} rounds:", alone.len());
    for (name, part) in [("p50", 0.5), ("p99", 0.99), ("p999", 0.999)] {
        let of = |rounds: &[Vec<Duration>]| median(rounds.iter().map(|times| quantile(times, part)).collect());
        let (one, other) = (of(alone), of(beside));
        let ratio = other.as_secs_f64() / one.as_secs_f64();
        println!("  {name:5} alone {one:>10.1?}, in the storm {other:>10.1?}: {ratio:.2} times");
    }
    let rate = |storm: &Storm| storm.signed_in as f64 / storm.took.as_secs_f64();
    let rates = storms.iter().map(|storm| Duration::from_secs_f64(rate(storm) / 1e3)).collect();
    let signed_in = median(rates).as_secs_f64() * 1e3;
    let (shed, asked) =
        storms.iter().fold((0, 0), |(shed, asked), storm| (shed + storm.shed, asked + storm.shed + storm.signed_in));
    println!(
        "sign-ins in the storm: {signed_in:.0} a second, {:.2} of the bare rate, {:.2} of the {room:.0} hashes beside Verify",
        signed_in / bare,
        signed_in / room
    );
    println!("shed with a delay: {shed} of {asked}; how long until they were told so:");
    let mut told: Vec<Duration> = storms.iter().flat_map(|storm| storm.told.clone()).collect();
    told.sort_unstable();
    println!("  p50 {:.1?}, p99 {:.1?}", quantile(&told, 0.5), quantile(&told, 0.99));
}

/// How long each answer took from when it was due.
async fn verify_for(auth: &Auth, token: &str, span: Duration) -> Vec<Duration> {
    let every = Duration::from_secs(1) / VERIFIES_PER_SECOND;
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    let mut due = Duration::ZERO;
    while due < span {
        // Timers are a millisecond coarse: what is due by now goes out together.
        let now = began.elapsed();
        while due <= now && due < span {
            let (mut auth, at) = (auth.clone(), due);
            let request = pb::VerifyRequest { access_token: token.to_owned(), ..Default::default() };
            tasks.spawn(async move {
                let answer = auth.verify(request).await.unwrap().into_inner();
                assert_eq!(answer.decision(), pb::Decision::Allow);
                began.elapsed().saturating_sub(at)
            });
            due += every;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut times = tasks.join_all().await;
    times.sort_unstable();
    times
}

struct Storm {
    signed_in: u64,
    shed: u64,
    /// How long it took to shed.
    told: Vec<Duration>,
    took: Duration,
}

/// So many sign-ins a second, whether or not earlier ones were answered.
async fn storm(address: String, per_second: f64) -> Storm {
    let mut connections = Vec::new();
    for _ in 0..8 {
        let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
        connections.push(Auth::new(channel));
    }
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    let mut sent = 0_u32;
    while began.elapsed() < ROUND {
        while f64::from(sent) < began.elapsed().as_secs_f64() * per_second {
            let mut auth = connections[sent as usize % connections.len()].clone();
            let name = format!("person{}", sent as usize % PEOPLE);
            tasks.spawn(async move {
                let asked = Instant::now();
                (sign_in(&mut auth, &name, PASSWORD).await, asked.elapsed())
            });
            sent += 1;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let took = began.elapsed();
    let mut storm = Storm { signed_in: 0, shed: 0, told: Vec::new(), took };
    for (outcome, time) in tasks.join_all().await {
        match outcome {
            Ok(_token) => storm.signed_in += 1,
            // The one of the queue, and the account's own: of one person so many are under way at once.
            Err(Code::Unavailable | Code::ResourceExhausted) => {
                storm.shed += 1;
                storm.told.push(time);
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    storm
}

async fn sign_in(auth: &mut Auth, name: &str, password: &str) -> Result<String, Code> {
    let credential = pb::PasswordCredential { identifier: name.to_owned(), password: password.to_owned() };
    let credential = Some(pb::login_request::Credential::Password(credential));
    let request = pb::LoginRequest { credential, ..Default::default() };
    let answer = auth.login(request).await.map_err(|status| status.code())?.into_inner();
    let Some(pb::login_response::Outcome::SignIn(sign_in)) = answer.outcome else { panic!("no sign-in") };
    Ok(sign_in.tokens.unwrap().access_token)
}

async fn people(channel: &Channel, token: &str) {
    let mut service = admin::admin_service_client::AdminServiceClient::new(channel.clone());
    for number in 0..PEOPLE {
        let user = admin::User { user_name: format!("person{number}"), ..Default::default() };
        let create = admin::CreateUserRequest { user: Some(user), password: PASSWORD.to_owned(), ..Default::default() };
        let mut request = Request::new(create);
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        service.create_user(request).await.unwrap();
    }
}

/// What as many threads as the server has can do with nothing beside them.
async fn hashes_per_second(threads: NonZeroUsize, span: Duration) -> f64 {
    let settings = HashSettings { memory_kib: 19_456, iterations: 2, parallelism: 1, threads, queue: 1_000 };
    let passwords = Passwords::start(&settings, Peppers::default()).unwrap();
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..threads.get() * 2 {
        let passwords = passwords.clone();
        tasks.spawn(async move {
            let mut done = 0_u32;
            while began.elapsed() < span {
                passwords.check(Password::from_typed(PASSWORD).unwrap(), None, true).await.unwrap();
                done += 1;
            }
            done
        });
    }
    let done: u32 = tasks.join_all().await.into_iter().sum();
    f64::from(done) / began.elapsed().as_secs_f64()
}

fn quantile(sorted: &[Duration], part: f64) -> Duration {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index of a list that is there")]
    let index = (sorted.len() as f64 * part) as usize;
    sorted.get(index.min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}

fn median(mut values: Vec<Duration>) -> Duration {
    values.sort_unstable();
    quantile(&values, 0.5)
}

/// The real program.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(folder: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postern"));
        command.current_dir(folder).stdout(Stdio::piped()).stderr(Stdio::null());
        for (key, value) in [
            ("data_dir", "data"),
            ("listen.grpc", "127.0.0.1:0"),
            ("listen.operations", "127.0.0.1:0"),
            ("listen.gateway", "127.0.0.1:0"),
            // A storm of good passwords from one place: what is measured is how they are hashed.
            ("limits.caller.burst", "900000"),
            ("limits.caller.every", "1ms"),
            ("limits.account.burst", "50"),
            ("limits.account.every", "1ms"),
            ("log.filter", "error"),
        ] {
            command.arg("--set").arg(format!("{key}={value}"));
        }
        let mut child = command.spawn().expect("the server starts");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut address = None;
        // The rest is nobody's: the pipe stays open with the child.
        for line in &mut lines {
            let line = line.unwrap();
            if line.contains(r#""fact":"grpc""#) {
                address = line.split('"').nth(3).map(str::to_owned);
            }
            if line.contains(r#""fact":"ready""#) {
                break;
            }
        }
        std::mem::forget(lines);
        Self { child, address: address.expect("it says where it listens") }
    }

    fn peak_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    fn stop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
