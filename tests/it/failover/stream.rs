//! A primary is killed in the middle of a stream of sign-ins, refreshes and logouts, and a replica takes over that has
//! heard nothing of the last of them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use postern::proto::auth::v1 as pb;
use postern_rig::redis::{Cluster, Flavour, Sentinels};
use tokio::task::JoinSet;
use tonic::Code;

use super::{PATIENCE, assert_ended, back, block, generation, is_away, or_away, server_on, server_with};
use crate::people::add_user;
use crate::support::{PASSWORD, Server, metadata, reason, verdict};

const USERS: usize = 4;
/// Of each user, before the replica is cut off.
const SESSIONS: usize = 4;
/// Rotations of the oldest session, so that SQL has a generation floor.
const ROTATIONS: u32 = 34;
/// Calls that were answered between the cut and the kill.
const ANSWERED_MIN: usize = 60;
/// Longer than the grace.
const LATER: Duration = Duration::from_secs(40);

/// A group of servers, one of which can be lost.
trait Group {
    /// The replica of the primary that has `key` hears nothing more.
    fn cut_off(&mut self, key: &str);
    fn kill(&mut self, key: &str);
    /// Lets the replica take over, and waits until it has.
    fn promote(&mut self);
}

struct Watched {
    group: Sentinels,
    killed: u16,
}

impl Group for Watched {
    fn cut_off(&mut self, _key: &str) {
        self.group.pause_replica();
        // What the primary says from here on is not even waiting in a buffer: the replica cannot connect anew.
        self.group.primary().cli(&["client", "kill", "type", "replica"]);
    }

    fn kill(&mut self, _key: &str) {
        self.killed = self.group.primary().port();
        self.group.kill_primary();
    }

    fn promote(&mut self) {
        self.group.resume();
        self.group.wait_failed_over(self.killed);
    }
}

impl Group for Cluster {
    fn cut_off(&mut self, key: &str) {
        let master = self.master_of(key).port().to_string();
        let follows = |role: String| role.starts_with("slave") && role.lines().any(|line| line == master);
        let replica = self.nodes().iter().position(|node| follows(node.cli(&["role"]))).unwrap();
        self.nodes_mut()[replica].pause();
        self.master_of(key).cli(&["client", "kill", "type", "replica"]);
    }

    fn kill(&mut self, key: &str) {
        self.kill_master_of(key);
    }

    fn promote(&mut self) {
        for node in self.nodes_mut() {
            if node.is_running() {
                node.resume();
            }
        }
        self.wait_ok();
    }
}

/// A session as its owner's device knows it.
struct Held {
    user: usize,
    /// The newest pair that was received.
    tokens: pb::TokenPair,
    /// Refresh tokens that were traded for others.
    spent: Vec<String>,
    /// A logout was acknowledged, or was sent and may have arrived.
    logged_out: Option<bool>,
    /// Opened when the replica was cut off.
    late: bool,
}

impl Held {
    async fn open(server: &Server, user: usize, late: bool) -> Option<Self> {
        let tokens = or_away(server.login(&format!("user{user}"), PASSWORD).await)?.tokens.unwrap();
        Some(Self { user, tokens, spent: Vec::new(), logged_out: None, late })
    }

    async fn refresh(&mut self, server: &Server) -> Option<()> {
        self.receive(or_away(server.refresh(&self.tokens.refresh_token).await)?);
        Some(())
    }

    fn receive(&mut self, answer: pb::RefreshResponse) {
        let before = std::mem::replace(&mut self.tokens, answer.tokens.unwrap());
        // Whoever refreshes in a hurry, also just after a heal, is given the same again.
        if before.refresh_token != self.tokens.refresh_token {
            self.spent.push(before.refresh_token);
        }
    }

    async fn log_out(&mut self, server: &Server) -> Option<()> {
        self.logged_out = Some(false);
        let target = Some(pb::revoke_request::Target::RefreshToken(self.tokens.refresh_token.clone()));
        or_away(server.revoke(pb::RevokeRequest { target, ..Default::default() }).await)?;
        // With Redis away SQL alone is told, and that is enough.
        self.logged_out = Some(true);
        Some(())
    }
}

/// Sessions from before: of each user one with a long history, and some that have ended.
async fn before(server: &Server) -> Vec<Held> {
    let mut all = Vec::new();
    for user in 0..USERS {
        for _ in 0..SESSIONS {
            all.push(Held::open(server, user, false).await.unwrap());
        }
    }
    for _ in 0..ROTATIONS {
        for held in all.iter_mut().step_by(SESSIONS) {
            held.refresh(server).await.unwrap();
        }
        server.later(LATER).await;
    }
    for held in &mut all {
        held.refresh(server).await.unwrap();
    }
    for held in all.iter_mut().skip(1).step_by(SESSIONS) {
        held.log_out(server).await.unwrap();
    }
    all
}

/// Signs in, refreshes and logs out until it is told to stop.
async fn work(server: Arc<Server>, user: usize, mut all: Vec<Held>, stop: Arc<Stop>) -> Vec<Held> {
    let mut round = 0;
    while !stop.now.load(Ordering::Relaxed) {
        for held in all.iter_mut().filter(|held| held.logged_out.is_none()) {
            // A client that is in no hurry: with more, it would be held.
            if held.spent.len() < 5 || !held.late {
                stop.count(held.refresh(&server).await);
            }
        }
        if round < 8
            && let Some(held) = Held::open(&server, user, true).await
        {
            stop.count(Some(()));
            all.push(held);
        }
        // One from before, and then one in two of the new.
        let ending =
            if round == 0 { all.get_mut(2) } else { all.last_mut().filter(|held| round % 2 == 0 && held.late) };
        if let Some(held) = ending.filter(|held| held.logged_out.is_none()) {
            stop.count(held.log_out(&server).await);
        }
        round += 1;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    all
}

#[derive(Default)]
struct Stop {
    now: AtomicBool,
    answered: AtomicUsize,
    unanswered: AtomicUsize,
}

impl Stop {
    fn count(&self, answer: Option<()>) {
        let counter = if answer.is_some() { &self.answered } else { &self.unanswered };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    async fn until(&self, counter: impl Fn(&Self) -> &AtomicUsize, count: usize) {
        let reached = async {
            while counter(self).load(Ordering::Relaxed) < count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, reached).await.expect("the stream goes on");
    }
}

async fn survive(mut group: impl Group, url: &str) {
    let server = Arc::new(server_on(url).await);
    back(&server, "").await;
    let mut ids = Vec::new();
    for user in 0..USERS {
        ids.push(add_user(&server, &format!("user{user}"), Some(PASSWORD)).await.to_string());
    }
    let key = format!("{{{}}}", ids[0]);
    let mut all = before(&server).await;

    block(|| group.cut_off(&key));
    // One at least is lost.
    all.push(Held::open(&server, 0, true).await.unwrap());
    let stop = Arc::new(Stop::default());
    let mut workers = JoinSet::new();
    for user in 0..USERS {
        let own = all.extract_if(.., |held| held.user == user).collect();
        workers.spawn(work(Arc::clone(&server), user, own, Arc::clone(&stop)));
    }
    stop.until(|stop| &stop.answered, ANSWERED_MIN).await;
    block(|| group.kill(&key));
    stop.until(|stop| &stop.unanswered, USERS).await;
    stop.now.store(true, Ordering::Relaxed);
    let mut all: Vec<Held> = workers.join_all().await.into_iter().flatten().collect();

    // Nobody has the sessions of the first user now.
    let first = all.iter().find(|held| held.user == 0 && held.logged_out.is_none()).unwrap();
    let status = server.refresh(&first.tokens.refresh_token).await.unwrap_err();
    assert!(is_away(&status), "{status:?}");
    assert!(is_away(&server.login("user0", PASSWORD).await.unwrap_err()));
    assert_eq!(server.verify(&first.tokens.access_token).await.decision(), pb::Decision::Allow);

    block(|| group.promote());
    back(&server, &ids[0]).await;
    judge(&server, &mut all).await;
    // It goes on as ever.
    for user in 0..USERS {
        let mut held = Held::open(&server, user, false).await.unwrap();
        held.refresh(&server).await.unwrap();
        held.log_out(&server).await.unwrap();
        assert_ended(&server, &held.tokens, "LOGOUT").await;
    }
}

#[expect(clippy::print_stderr, reason = "how many are lost is to be seen, and is no failure")]
async fn judge(server: &Server, all: &mut [Held]) {
    let (mut ended, mut went_on, mut lost) = (0, 0, 0);
    for held in all.iter_mut() {
        if held.logged_out == Some(true) {
            assert_ended(server, &held.tokens, "LOGOUT").await;
            ended += 1;
            continue;
        }
        match server.refresh(&held.tokens.refresh_token).await {
            Ok(answer) => {
                held.receive(answer);
                assert_eq!(server.verify(&held.tokens.access_token).await.decision(), pb::Decision::Allow);
                went_on += 1;
            }
            Err(status) => {
                let cause = metadata(&status, "endCause");
                assert_eq!((status.code(), reason(&status).as_str()), (Code::Unauthenticated, "SESSION_ENDED"));
                // A logout without an answer may have arrived; and who signed in when nobody listened is forgotten.
                let may_be = (held.logged_out == Some(false) && cause == "LOGOUT") || (held.late && cause == "LOST");
                assert!(may_be, "a session from before is gone: {status:?}");
                if cause == "LOST" {
                    lost += 1;
                }
                held.logged_out = Some(true);
            }
        }
    }
    eprintln!("{ended} had ended and stay so, {went_on} went on, {lost} of the last seconds are lost");
    assert!(ended >= 2 * USERS && went_on >= USERS && lost > 0);
    server.later(LATER).await;
    for held in all.iter().filter(|held| held.logged_out != Some(true)) {
        one_line_at_most(server, held).await;
    }
}

/// Whoever has kept the spent tokens, and waited until their grace is over, gets no second line of tokens beside the
/// owner's.
async fn one_line_at_most(server: &Server, held: &Held) {
    let current = generation(&held.tokens.refresh_token);
    let mut lines = BTreeSet::new();
    for spent in held.spent.iter().rev() {
        match server.refresh(spent).await {
            Ok(answer) => {
                assert_eq!(generation(spent) + 1, current, "only the last one is forgiven");
                lines.insert(generation(&answer.tokens.unwrap().refresh_token));
            }
            Err(status) => {
                assert_eq!(status.code(), Code::Unauthenticated);
                assert!(["SESSION_REUSED", "SESSION_ENDED"].contains(&reason(&status).as_str()), "{status:?}");
            }
        }
    }
    assert!(lines.iter().all(|line| *line == current), "{lines:?} beside {current}");
    // With a token older than the last one, the theft was found.
    if held.spent.len() > 1 {
        assert_ended(server, &held.tokens, "REFRESH_REUSED").await;
        assert_eq!(verdict(&server.verify(&held.tokens.access_token).await).1, pb::Reason::TokenRevoked);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ended_stays_ended_and_who_was_there_goes_on_when_sentinels_promote_a_replica_that_lags() {
    let group = block(Sentinels::start);
    let url = group.url();
    survive(Watched { group, killed: 0 }, &url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ended_stays_ended_and_who_was_there_goes_on_when_a_cluster_loses_a_master() {
    let group = block(|| Cluster::start(3, 1));
    let url = group.url();
    survive(group, &url).await;
}

/// F20: what was sent to it is done when it wakes, beside its successor, and an answer was never seen. Both make the same
/// token of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_slept_and_wakes_beside_its_successor_begins_no_second_line() {
    let mut group = block(|| Sentinels::start_of(Flavour::Valkey));
    // As long as the servers may need to find each other again on a busy machine.
    let grace = Duration::from_mins(5);
    let server = server_with(&group.url(), |config| config.sessions.refresh_grace = grace).await;
    back(&server, "").await;
    add_user(&server, "user0", Some(PASSWORD)).await;
    let mut held = Held::open(&server, 0, false).await.unwrap();
    let mut gone = Held::open(&server, 0, false).await.unwrap();
    block(|| group.replica().wait_for(group.primary()));
    let asleep = block(|| group.primary().port());
    block(|| group.pause_primary());
    assert!(held.refresh(&server).await.is_none(), "it sleeps");
    gone.log_out(&server).await.unwrap();
    block(|| group.wait_failed_over(asleep));
    back(&server, "").await;
    assert_ended(&server, &gone.tokens, "LOGOUT").await;
    let first = held.tokens.refresh_token.clone();
    held.refresh(&server).await.unwrap();
    assert_eq!((generation(&first), generation(&held.tokens.refresh_token)), (0, 1));

    block(|| group.resume());
    for _ in 0..3 {
        held.refresh(&server).await;
    }
    block(|| group.start_again());
    back(&server, "").await;
    let again = server.refresh(&first).await.unwrap();
    assert_eq!(again.rotation(), pb::Rotation::Repeated);
    assert_eq!(again.tokens.unwrap().refresh_token, held.tokens.refresh_token);
    assert_ended(&server, &gone.tokens, "LOGOUT").await;
    held.refresh(&server).await.unwrap();
    server.later(grace + LATER).await;
    one_line_at_most(&server, &held).await;
}
