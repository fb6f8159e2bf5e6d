//! What goes on meanwhile: people who use the service and are never told that they are out, probes that are always answered,
//! and the machine's own lateness, which is not the server's.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use postern::proto::auth::v1 as pb;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use pb::auth_service_client::AuthServiceClient;

use super::cast::{GUEST, KIM};
use crate::support::{PASSWORD, Server, login_request};

const PEOPLE: usize = 12;
/// So that they do not stand in each other's line on a machine that has other things to do.
const PAUSE: Duration = Duration::from_millis(300);
const WATCH_EVERY: Duration = Duration::from_millis(50);
/// The machine may be late by this much without anybody having noticed.
const GRAIN: Duration = Duration::from_millis(150);

/// Ends with [`Load::end`].
pub(super) struct Load {
    running: Arc<AtomicBool>,
    seen: Arc<Seen>,
    people: JoinSet<pb::TokenPair>,
    watches: JoinSet<()>,
    lateness: Lateness,
}

/// How late the machine is by itself: what the server cannot be blamed for.
pub(super) struct Lateness {
    worst: Arc<AtomicU64>,
    _watch: JoinSet<()>,
}

#[derive(Default)]
struct Seen {
    answered: AtomicU64,
    unavailable: AtomicU64,
    /// Of all refusals, in microseconds.
    slowest: AtomicU64,
    login_serves: AtomicBool,
    wrong: Mutex<Vec<String>>,
}

impl Load {
    /// A dozen people, each with a session of their own, and the watches.
    pub(super) async fn start(server: &Server) -> Self {
        let (running, seen) = (Arc::new(AtomicBool::new(true)), Arc::new(Seen::default()));
        seen.login_serves.store(true, Ordering::Relaxed);
        let mut people = JoinSet::new();
        for number in 0..PEOPLE {
            let tokens = server.login(KIM, PASSWORD).await.unwrap().tokens.unwrap();
            let (running, seen) = (Arc::clone(&running), Arc::clone(&seen));
            people.spawn(live(server.client(), number, tokens, running, seen));
        }
        let mut watches = JoinSet::new();
        watches.spawn(watch_probes(server.operations, Arc::clone(&running), Arc::clone(&seen)));
        watches.spawn(watch_health(server.channel.clone(), Arc::clone(&running), Arc::clone(&seen)));
        Self { running, seen, people, watches, lateness: Lateness::watch() }
    }

    /// How much later than it should anything may be by the machine's fault, since this was asked last.
    pub(super) fn lateness(&self) -> Duration {
        self.lateness.take()
    }

    pub(super) fn login_serves(&self) -> bool {
        self.seen.login_serves.load(Ordering::Relaxed)
    }

    /// How many refusals there were since this was asked last, and how long the slowest took.
    pub(super) fn refusals(&self) -> (u64, Duration) {
        let slowest = self.seen.slowest.swap(0, Ordering::Relaxed);
        (self.seen.unavailable.swap(0, Ordering::Relaxed), Duration::from_micros(slowest))
    }

    /// Nobody was told anything but that they should come later. Everybody's tokens.
    pub(super) async fn end(mut self) -> Vec<pb::TokenPair> {
        self.running.store(false, Ordering::Relaxed);
        let tokens = std::mem::take(&mut self.people).join_all().await;
        std::mem::take(&mut self.watches).join_all().await;
        let wrong = self.seen.wrong.lock().unwrap();
        assert!(
            wrong.is_empty(),
            "{} of {}: {:#?}",
            wrong.len(),
            self.seen.answered.load(Ordering::Relaxed),
            &wrong[..wrong.len().min(5)]
        );
        tokens
    }
}

/// Somebody who does now this, now that. Answers the tokens that they have in the end.
#[expect(clippy::disallowed_methods, reason = "measures the server")]
async fn live(
    mut client: AuthServiceClient<Channel>,
    number: usize,
    mut tokens: pb::TokenPair,
    running: Arc<AtomicBool>,
    seen: Arc<Seen>,
) -> pb::TokenPair {
    let mut turn = number;
    while running.load(Ordering::Relaxed) {
        let began = Instant::now();
        let access_token = tokens.access_token.clone();
        let what = turn % 5;
        let outcome = match what {
            0 => match client.refresh(refresh(&tokens)).await {
                Ok(answer) => {
                    tokens = answer.into_inner().tokens.unwrap();
                    Ok(())
                }
                Err(status) => Err(status),
            },
            1 => match client.login(login_request(GUEST, PASSWORD)).await {
                Ok(answer) => log_out(&mut client, answer.into_inner()).await,
                Err(status) => Err(status),
            },
            2 => {
                let request = pb::ListSessionsRequest { access_token, ..Default::default() };
                client.list_sessions(request).await.map(drop)
            }
            3 => client.get_keys(pb::GetKeysRequest {}).await.map(drop),
            _ => {
                let answer = client.verify(pb::VerifyRequest { access_token, ..Default::default() }).await;
                answer.map(|answer| {
                    let decision = answer.into_inner().decision();
                    if decision != pb::Decision::Allow {
                        seen.wrong.lock().unwrap().push(format!("a verdict: {decision:?}"));
                    }
                })
            }
        };
        seen.note(what, &outcome, began.elapsed());
        turn += 1;
        tokio::time::sleep(PAUSE).await;
    }
    tokens
}

async fn log_out(client: &mut AuthServiceClient<Channel>, answer: pb::LoginResponse) -> Result<(), Status> {
    let Some(pb::login_response::Outcome::SignIn(sign_in)) = answer.outcome else { panic!("no sign-in") };
    let target = pb::revoke_request::Target::RefreshToken(sign_in.tokens.unwrap().refresh_token);
    client.revoke(pb::RevokeRequest { target: Some(target), ..Default::default() }).await.map(drop)
}

pub(super) fn refresh(tokens: &pb::TokenPair) -> pb::RefreshRequest {
    pb::RefreshRequest { refresh_token: tokens.refresh_token.clone(), ..Default::default() }
}

impl Seen {
    fn note(&self, what: usize, outcome: &Result<(), Status>, took: Duration) {
        self.answered.fetch_add(1, Ordering::Relaxed);
        match outcome {
            Ok(()) => {}
            Err(status) if status.code() == Code::Unavailable => {
                self.unavailable.fetch_add(1, Ordering::Relaxed);
                self.slowest.fetch_max(micros(took), Ordering::Relaxed);
            }
            Err(status) => self.wrong.lock().unwrap().push(format!("{what}: {status:?} after {took:?}")),
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap()
}

impl Lateness {
    /// Until this value goes.
    pub(super) fn watch() -> Self {
        let worst = Arc::new(AtomicU64::new(0));
        let mut watch = JoinSet::new();
        watch.spawn(watch_time(Arc::clone(&worst)));
        Self { worst, _watch: watch }
    }

    /// The worst since this was asked last.
    fn take(&self) -> Duration {
        Duration::from_micros(self.worst.swap(0, Ordering::Relaxed)) + GRAIN
    }

    pub(super) fn end(self) -> Duration {
        self.take()
    }
}

#[expect(clippy::disallowed_methods, reason = "measures the machine")]
async fn watch_time(worst: Arc<AtomicU64>) {
    const TICK: Duration = Duration::from_millis(5);
    loop {
        let began = Instant::now();
        tokio::time::sleep(TICK).await;
        worst.fetch_max(micros(began.elapsed().saturating_sub(TICK)), Ordering::Relaxed);
    }
}

/// Alive and ready, whatever is away.
async fn watch_probes(operations: std::net::SocketAddr, running: Arc<AtomicBool>, seen: Arc<Seen>) {
    while running.load(Ordering::Relaxed) {
        for path in ["/livez", "/readyz"] {
            let mut stream = TcpStream::connect(operations).await.unwrap();
            let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            if !answer.starts_with("HTTP/1.1 200") {
                seen.wrong.lock().unwrap().push(format!("{path}: {answer}"));
            }
        }
        tokio::time::sleep(WATCH_EVERY * 4).await;
    }
}

async fn watch_health(channel: Channel, running: Arc<AtomicBool>, seen: Arc<Seen>) {
    let mut health = HealthClient::new(channel);
    while running.load(Ordering::Relaxed) {
        for name in ["", "postern.auth.v1.AuthService", "postern.login"] {
            let request = HealthCheckRequest { service: name.to_owned() };
            let serves = health.check(request).await.unwrap().into_inner().status() == ServingStatus::Serving;
            if name == "postern.login" {
                seen.login_serves.store(serves, Ordering::Relaxed);
            } else if !serves {
                seen.wrong.lock().unwrap().push(format!("health of `{name}`"));
            }
        }
        tokio::time::sleep(WATCH_EVERY).await;
    }
}
