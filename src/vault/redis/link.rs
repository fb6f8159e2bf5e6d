//! One connection, and the task that keeps it: to one server, or to each primary of a cluster. Many tasks send over it at
//! once. Knows no keys.
//!
//! The driver may connect anew by itself, but it would hold back what is sent meanwhile, would send again what was in
//! flight, and takes a connection that swallows everything for sound as long as somebody writes. So it has no policy: a
//! connection that is lost, or doubtful, is thrown away with all that waits on it, and a new one is made.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use fred::clients::Client;
use fred::error::{Error as DriverError, ErrorKind};
use fred::interfaces::ClientLike as _;
use fred::types::config::{Options, Server};
use fred::types::{ClusterHash, ConnectHandle, CustomCommand, Value};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::RedisFailure;
use super::settings::Recipe;

/// Between two attempts to connect.
const RETRY_AFTER: Duration = Duration::from_millis(200);
/// All that connecting may take, whatever its steps take.
const CONNECT_TIME: Duration = Duration::from_secs(5);
/// How often a silent connection is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Between two looks, however many doubt.
const LOOK_REST: Duration = Duration::from_millis(50);
/// In which a primary says that it is one. With the time of a command, after which somebody doubts, this bounds how long
/// callers wait for a server that fell silent.
const LOOK_TIME: Duration = Duration::from_millis(400);

/// How often a cluster may say that a key lies elsewhere, and the time it is given to agree.
const REDIRECTIONS: u32 = 3;
const REDIRECTION_REST: Duration = Duration::from_millis(100);
/// Nobody reads more of them.
const REASONS_MAX: usize = 8;

/// What callers send over.
pub(super) struct Link {
    state: watch::Receiver<State>,
    doubt: Arc<Notify>,
}

/// Keeps the connection of a [`Link`]; to be run.
pub(super) struct LinkTask {
    recipe: Arc<Recipe>,
    state: watch::Sender<State>,
    doubt: Arc<Notify>,
    /// Nodes of the cluster, as last seen.
    seen: Vec<Server>,
    /// Why there is no connection, as far as it was said.
    told: BTreeSet<String>,
}

#[derive(Clone)]
enum State {
    Connected(Live),
    /// With the reason.
    Away(Arc<str>),
}

/// A connection that is believed in.
#[derive(Clone)]
pub(super) struct Live {
    client: Client,
    pub(super) nodes: Arc<[Server]>,
    /// Of the primary that has the fewest.
    pub(super) replicas: usize,
}

/// One command and where it belongs.
#[derive(Clone)]
pub(super) struct Call {
    pub(super) name: &'static str,
    pub(super) args: Vec<Value>,
    pub(super) to: To,
}

#[derive(Clone)]
pub(super) enum To {
    /// Where the names of this slot lie.
    Slot(u16),
    Node(Server),
}

impl Link {
    pub(super) fn new(recipe: Arc<Recipe>) -> (Self, LinkTask) {
        let (sender, state) = watch::channel(State::Away("no attempt has ended yet".into()));
        let doubt = Arc::new(Notify::new());
        let task =
            LinkTask { recipe, state: sender, doubt: Arc::clone(&doubt), seen: Vec::new(), told: BTreeSet::new() };
        (Self { state, doubt }, task)
    }

    /// The connection, if there is one.
    pub(super) fn live(&self) -> Result<Live, RedisFailure> {
        match &*self.state.borrow() {
            State::Connected(live) => Ok(live.clone()),
            State::Away(why) => Err(RedisFailure::Away(why.to_string())),
        }
    }

    /// Waits until there is a connection.
    pub(super) async fn connected(&self) {
        let mut state = self.state.clone();
        // The other end is gone only with the task, and then there never will be one.
        if state.wait_for(|state| matches!(state, State::Connected(_))).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Sends once; and again if it went to a node of a cluster that has it no more, and so has done nothing. The driver has
    /// asked by then who has it, but not every node knows at once; nor does anybody while a slot is being moved.
    pub(super) async fn call(&self, call: Call) -> Result<Value, RedisFailure> {
        let live = self.live()?;
        let mut answer = live.call(call.clone()).await;
        for _ in 0..REDIRECTIONS {
            if !answer.as_ref().is_err_and(was_redirected) {
                break;
            }
            tokio::time::sleep(REDIRECTION_REST).await;
            answer = live.call(call.clone()).await;
        }
        if let Err(why) = &answer
            && is_doubtful(why)
        {
            self.doubt.notify_one();
        }
        Ok(answer?)
    }
}

impl Live {
    async fn call(&self, Call { name, args, to }: Call) -> Result<Value, DriverError> {
        // Boxed: the driver's futures take kilobytes, in every step that holds one.
        match to {
            To::Slot(slot) => Box::pin(self.client.custom(command(name, Some(slot)), args)).await,
            To::Node(node) if self.client.is_clustered() => {
                let options = Options { cluster_node: Some(node), ..Options::default() };
                Box::pin(self.client.with_options(&options).custom(command(name, None), args)).await
            }
            To::Node(_) => Box::pin(self.client.custom(command(name, None), args)).await,
        }
    }
}

fn command(name: &'static str, slot: Option<u16>) -> CustomCommand {
    CustomCommand::new_static(name, slot.map_or(ClusterHash::Random, ClusterHash::Custom), false)
}

/// What the driver makes of MOVED and ASK, since it is told to follow none.
fn was_redirected(why: &DriverError) -> bool {
    *why.kind() == ErrorKind::Routing && why.details() == "Too many redirections."
}

/// Whether this answer says that the other end is not, or no more, what it should be.
fn is_doubtful(why: &DriverError) -> bool {
    const NOT_A_PRIMARY: [&str; 5] = ["READONLY", "MASTERDOWN", "LOADING", "CLUSTERDOWN", "NOAUTH"];
    match why.kind() {
        ErrorKind::Timeout => true,
        // Scripts of old servers tell it in the middle.
        _ => NOT_A_PRIMARY.iter().any(|word| why.details().contains(word)),
    }
}

impl LinkTask {
    /// Connects, and connects anew, until `stop`.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut attempt = 0;
        loop {
            let ended = tokio::select! {
                () = stop.cancelled() => break,
                ended = self.live_once(attempt) => ended,
            };
            attempt = attempt.wrapping_add(1);
            self.tell(&ended);
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(RETRY_AFTER) => {}
            }
        }
        self.state.send_replace(State::Away("the server stops".into()));
    }

    /// Says each reason once in an outage.
    fn tell(&mut self, why: &str) {
        if self.told.len() < REASONS_MAX && self.told.insert(why.to_owned()) {
            tracing::warn!(why, "the vault is away: not connected to Redis");
        }
        self.state.send_replace(State::Away(why.into()));
    }

    /// From one connection to its end, which it answers.
    async fn live_once(&mut self, attempt: usize) -> String {
        let client = Client::new(
            self.recipe.config(attempt, &self.seen),
            Some(Recipe::performance()),
            Some(Recipe::connection()),
            None,
        );
        // Subscribed before the driver begins, or its word could be missed.
        let mut ready = pin!(client.wait_for_connect());
        let first = std::future::poll_fn(|context| Poll::Ready(ready.as_mut().poll(context))).await;
        let mut driving = Driving(client.connect());
        if first.is_pending() {
            match tokio::time::timeout(CONNECT_TIME, ready).await {
                Err(_) => return "connecting took too long".to_owned(),
                Ok(Err(why)) => return why.to_string(),
                Ok(Ok(())) => {}
            }
        }
        let mut live = Live { client: client.clone(), nodes: Arc::new([]), replicas: 0 };
        loop {
            // A cluster may have moved, and the driver with it.
            live.nodes = client.active_connections().into();
            if self.recipe.is_cluster() {
                self.seen = live.nodes.to_vec();
            }
            match live.look().await {
                Ok(replicas) => live.replicas = replicas,
                Err(why) => return why,
            }
            self.publish(&live);
            self.told.clear();
            tokio::time::sleep(LOOK_REST).await;
            tokio::select! {
                ended = &mut driving.0 => return ending(ended),
                () = self.doubt.notified() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    fn publish(&self, live: &Live) {
        self.state.send_if_modified(|state| {
            let is_news = match state {
                State::Connected(known) => known.replicas != live.replicas || known.nodes != live.nodes,
                State::Away(_) => {
                    tracing::info!(replicas = live.replicas, "connected to Redis");
                    true
                }
            };
            if is_news {
                *state = State::Connected(live.clone());
            }
            is_news
        });
    }
}

impl Live {
    /// Asks every node what it is, in its turn among all that was sent before. How many replicas the poorest has.
    async fn look(&self) -> Result<usize, String> {
        let mut looks = JoinSet::new();
        for node in &*self.nodes {
            let (live, node) = (self.clone(), node.clone());
            looks.spawn(async move {
                let call = Call { name: "ROLE", args: Vec::new(), to: To::Node(node.clone()) };
                match tokio::time::timeout(LOOK_TIME, live.call(call)).await {
                    Err(_) => Err(format!("{node} does not answer")),
                    Ok(Err(why)) => Err(format!("{node}: {why}")),
                    Ok(Ok(role)) => replicas(&role).ok_or_else(|| format!("{node} is no primary")),
                }
            });
        }
        let mut poorest = None;
        while let Some(looked) = looks.join_next().await {
            let replicas = looked.map_err(|why| why.to_string())??;
            poorest = Some(poorest.map_or(replicas, |least: usize| least.min(replicas)));
        }
        poorest.ok_or_else(|| "no node is known: the user must be allowed CLIENT ID".to_owned())
    }
}

/// `master, offset, [[host, port, offset], …]`; a replica begins with another word.
fn replicas(role: &Value) -> Option<usize> {
    let Value::Array(parts) = role else { return None };
    match parts.as_slice() {
        [name, _, Value::Array(replicas)] if name.as_bytes() == Some(b"master") => Some(replicas.len()),
        _ => None,
    }
}

fn ending(ended: Result<Result<(), DriverError>, tokio::task::JoinError>) -> String {
    match ended {
        Ok(Ok(())) => "the connection was closed".to_owned(),
        Ok(Err(why)) => why.to_string(),
        Err(why) => why.to_string(),
    }
}

/// The driver's own task. Ended with this value, wherever it hangs: in a write to a peer that reads no more, it would hear
/// nothing else.
struct Driving(ConnectHandle);

impl Drop for Driving {
    fn drop(&mut self) {
        self.0.abort();
    }
}
