//! The outage contract, section 9 of the design (rows 170 and 173, promise P7): every RPC while PostgreSQL, Redis or both
//! are away, in three ways, under load. A refusal is UNAVAILABLE within two seconds and says when to come back; five seconds
//! after the engine's return all is as before; nobody was logged out, and nothing has grown.
//!
//! The two bounds are the contract's. By how much the machine itself was late is measured beside it and granted.

pub(crate) mod calls;
pub(crate) mod cast;
mod contract;
mod engines;
mod growth;
mod load;
mod start;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use postern::proto::admin::v1 as admin;
use postern::proto::auth::v1 as pb;
use tonic::Code;

use crate::support::{PASSWORD, Server, metadata, reason, verdict};
use calls::{Answered, Rpc, call, every_rpc, is_well, says_when};
use cast::{ASKER, Cast, KIM, People};
use contract::{Away, Fate, fate};
use engines::{Engines, MAX_STALENESS, POOL_SIZE, WAYS, Way};
use load::{Lateness, Load};

pub(crate) use contract::table;

const REFUSED_WITHIN: Duration = Duration::from_secs(2);
/// What it knew before the engine went may be as old as one poll.
const SURELY_FRESH: Duration = Duration::from_secs(MAX_STALENESS.as_secs() - 1);
const BACK_WITHIN: Duration = Duration::from_secs(5);
/// Nothing is waited for any longer.
const GIVE_UP: Duration = Duration::from_mins(1);
/// What a server may have more of than before, in tasks: calls on their way, and clean-up.
const TASKS_MORE: usize = 200;

/// What was measured of one RPC in one outage.
struct Measured {
    outcome: String,
    worst: Duration,
    back: Duration,
}

/// How long until it answered as ever, and how long that last answer took.
struct Back {
    back: Duration,
    took: Duration,
}

type Measurements = BTreeMap<(String, &'static str), Measured>;

#[tokio::test(flavor = "multi_thread")]
async fn every_rpc_keeps_the_outage_contract_on_postgres_and_redis() {
    let mut engines = Engines::start(true);
    let server = Server::start_with(engines.settings()).await;
    println!("{}", keeps_the_contract(&mut engines, &server, &[Away::Redis, Away::Postgres, Away::Both]).await);
    revocation_does_without_redis(&mut engines, &server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_rpc_keeps_the_outage_contract_on_postgres_alone() {
    let mut engines = Engines::start(false);
    let server = Server::start_with(engines.settings()).await;
    println!("{}", keeps_the_contract(&mut engines, &server, &[Away::Postgres]).await);
}

/// No statement takes long, but a call has several.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_of_many_slow_steps_ends_in_time() {
    let engines = Engines::start(false);
    let server = Server::start_with(engines.settings()).await;
    let people = Cast::new(&server).await.people(&server).await;
    let rpcs: Vec<Rpc> = every_rpc().into_iter().filter(|rpc| rpc.name != "EndAllSessions").collect();
    let ask = || futures(rpcs.iter().map(async |rpc| (rpc, call(&server, rpc, &people).await)));
    // So that there are connections.
    ask().await;
    engines.slow(Duration::from_millis(150));
    let lateness = Lateness::watch();
    let answers = ask().await;
    let margin = lateness.end();
    for (rpc, answered) in &answers {
        assert!(answered.took <= REFUSED_WITHIN + margin, "with {margin:?}: {} {answered:?}", rpc.name);
        let refused = answered.code == Code::Unavailable;
        assert!(refused || is_well(rpc, answered.code), "{} {answered:?}", rpc.name);
    }
    // 300 ms for each question: a change has more of them than fit.
    let refused = answers.iter().filter(|(_, answered)| answered.code == Code::Unavailable).count();
    assert!(refused > 5, "{refused}");
    engines.slow(Duration::ZERO);
    all_well_again(&server, &people, &rpcs).await;
}

async fn keeps_the_contract(engines: &mut Engines, server: &Server, outages: &[Away]) -> String {
    let cast = Cast::new(server).await;
    // Sessions that nobody touches until all is over.
    let mut asleep = Vec::new();
    for _ in 0..3 {
        asleep.push(server.login(KIM, PASSWORD).await.unwrap().tokens.unwrap());
    }
    let load = Load::start(server).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let tasks_before = tasks();
    let mut measured = Measurements::new();
    for away in outages {
        for way in WAYS {
            one_outage(engines, server, &cast.people(server).await, &load, (*away, way), &mut measured).await;
            let now = tasks();
            assert!(now <= tasks_before + TASKS_MORE, "{away:?} {way:?}: {now} tasks, and {tasks_before} before");
        }
    }
    for tokens in load.end().await.into_iter().chain(asleep) {
        server.refresh(&tokens.refresh_token).await.unwrap();
    }
    for alarm in ["authn_token_reuse", "authn_token_forged", "authn_token_foreign_client"] {
        assert_eq!(engines.psql(&format!("SELECT count(*) FROM audit WHERE kind = '{alarm}'")), "0", "{alarm}");
    }
    printed(&measured)
}

/// One engine goes and comes back.
#[expect(clippy::disallowed_methods, reason = "measures the server")]
async fn one_outage(
    engines: &mut Engines,
    server: &Server,
    people: &People,
    load: &Load,
    outage: (Away, Way),
    measured: &mut Measurements,
) {
    let (away, way) = outage;
    let rpcs: Vec<Rpc> = every_rpc().into_iter().filter(|rpc| may_be_asked(rpc, away)).collect();
    load.refusals();
    load.lateness();
    engines.leave(away, way);
    let left = Instant::now();

    let mut worst = BTreeMap::new();
    let mut outcomes = BTreeMap::new();
    for round in 0..3 {
        for (rpc, answered) in ask_all(server, people, &rpcs, away).await {
            let margin = load.lateness();
            let fate = fate(&rpc.name, away);
            let elapsed = left.elapsed();
            let what = || format!("{away:?} {way:?}, round {round}, {elapsed:?}: {} {answered:?}", rpc.name);
            match fate {
                Fate::Works | Fate::WorksWithoutVault => assert!(is_well(&rpc, answered.code), "{}", what()),
                Fate::WorksWhileFresh if elapsed < SURELY_FRESH => {
                    assert!(is_well(&rpc, answered.code), "{}", what());
                }
                Fate::WorksWhileFresh => {}
                Fate::Unavailable => {
                    assert_eq!(answered.code, Code::Unavailable, "{}", what());
                    let stale = elapsed >= SURELY_FRESH;
                    let is_known = answered.reason == "ENGINE_UNAVAILABLE" || answered.reason == "NOT_FRESH" && stale;
                    assert!(is_known, "{}", what());
                    says_when(&rpc, &answered);
                    assert!(answered.took <= REFUSED_WITHIN + margin, "with {margin:?}: {}", what());
                }
            }
            let slowest = worst.entry(rpc.name.clone()).or_insert(Duration::ZERO);
            *slowest = answered.took.max(*slowest);
            outcomes.insert(rpc.name.clone(), outcome(&answered));
        }
    }
    while load.login_serves() {
        assert!(left.elapsed() < GIVE_UP, "{away:?} {way:?}: health of postern.login");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    if away != Away::Redis {
        grown_stale(server, people, &rpcs, left, &mut outcomes).await;
    }
    let (sockets, redis) = engines.sockets();
    assert!(sockets <= POOL_SIZE + 3 && redis <= 4, "{away:?} {way:?}: {sockets} and {redis} sockets");
    let (refusals, slowest) = load.refusals();
    let margin = load.lateness();
    assert!(
        refusals > 0 && slowest <= REFUSED_WITHIN + margin,
        "{away:?} {way:?}: {refusals}, {slowest:?}, {margin:?}"
    );

    engines.come_back(away, way);
    let (all, health) = tokio::join!(all_well_again(server, people, &rpcs), login_serves(load));
    let margin = load.lateness();
    assert!(health <= BACK_WITHIN + margin, "{away:?} {way:?}: postern.login after {health:?}, with {margin:?}");
    for (rpc, Back { back, took }) in all {
        // A change has some thirty questions to the store, and on a busy machine may need several tries with nothing away.
        let margin = margin + took * 10;
        assert!(back <= BACK_WITHIN + margin, "{away:?} {way:?}: {} after {back:?}, with {margin:?}", rpc.name);
        let outcome = outcomes.remove(&rpc.name).unwrap();
        let worst = worst[&rpc.name];
        let entry = measured.entry((rpc.name.clone(), name(away)));
        let row = entry.or_insert(Measured { outcome, worst: Duration::ZERO, back: Duration::ZERO });
        (row.worst, row.back) = (row.worst.max(worst), row.back.max(back));
    }
}

/// It would end the sessions that are to live on.
fn may_be_asked(rpc: &Rpc, away: Away) -> bool {
    rpc.name != "EndAllSessions" || away != Away::Redis
}

/// What is to be refused all at once, and beside it what is to work one by one, since changes stand in line.
async fn ask_all(server: &Server, people: &People, rpcs: &[Rpc], away: Away) -> Vec<(Rpc, Answered)> {
    let (refused, working): (Vec<&Rpc>, Vec<&Rpc>) =
        rpcs.iter().partition(|rpc| fate(&rpc.name, away) == Fate::Unavailable);
    let asked = refused.iter().map(|rpc| async { ((*rpc).clone(), call(server, rpc, people).await) });
    let one_by_one = async {
        let mut answers = Vec::new();
        for rpc in working {
            let mut answered = call(server, rpc, people).await;
            // By the fault of a slow machine, and not of the engine that is away.
            for _ in 0..10 {
                let other = if away == Away::Redis { "store" } else { "vault" };
                if metadata(&answered.status, "engine") == other {
                    answered = call(server, rpc, people).await;
                }
            }
            answers.push((rpc.clone(), answered));
        }
        answers
    };
    let (mut answers, worked) = tokio::join!(futures(asked), one_by_one);
    answers.extend(worked);
    answers
}

/// All at once, on this task.
async fn futures<T>(all: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut waiting: Vec<_> = all.map(|one| (Box::pin(one), None)).collect();
    std::future::poll_fn(|context| {
        let mut is_done = true;
        for (one, answer) in &mut waiting {
            if answer.is_none() {
                match one.as_mut().poll(context) {
                    std::task::Poll::Ready(ready) => *answer = Some(ready),
                    std::task::Poll::Pending => is_done = false,
                }
            }
        }
        if is_done { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    waiting.into_iter().map(|(_, answer)| answer.unwrap()).collect()
}

/// What is answered from memory stops when that is too old.
async fn grown_stale(
    server: &Server,
    people: &People,
    rpcs: &[Rpc],
    left: Instant,
    outcomes: &mut BTreeMap<String, String>,
) {
    tokio::time::sleep((MAX_STALENESS + Duration::from_millis(200)).saturating_sub(left.elapsed())).await;
    for rpc in rpcs.iter().filter(|rpc| fate(&rpc.name, Away::Postgres) == Fate::WorksWhileFresh) {
        let answered = call(server, rpc, people).await;
        assert_eq!((answered.code, answered.reason.as_str()), (Code::Unavailable, "NOT_FRESH"), "{}", rpc.name);
        says_when(rpc, &answered);
        let before = outcomes.get_mut(&rpc.name).unwrap();
        *before = format!("OK, then {}", outcome(&answered));
    }
}

/// Asks until each RPC answers as ever; how long that took, from the return or its first try after it. Administration is
/// asked one by one: its changes stand in line.
async fn all_well_again(server: &Server, people: &People, rpcs: &[Rpc]) -> Vec<(Rpc, Back)> {
    let asked = rpcs.iter().filter(|rpc| rpc.name != "EndAllSessions");
    let (administration, others): (Vec<&Rpc>, Vec<&Rpc>) = asked.partition(|rpc| rpc.service.contains("Admin"));
    let one_by_one = async {
        let mut back = Vec::new();
        for rpc in administration {
            back.push(well_again(server, people, rpc).await);
        }
        back
    };
    let (mut back, administration) =
        tokio::join!(futures(others.into_iter().map(|rpc| well_again(server, people, rpc))), one_by_one);
    back.extend(administration);
    back
}

#[expect(clippy::disallowed_methods, reason = "measures the server")]
async fn well_again(server: &Server, people: &People, rpc: &Rpc) -> (Rpc, Back) {
    let asked = Instant::now();
    loop {
        let answered = call(server, rpc, people).await;
        if is_well(rpc, answered.code) {
            return (rpc.clone(), Back { back: asked.elapsed(), took: answered.took });
        }
        assert_eq!(answered.code, Code::Unavailable, "{}: {answered:?}", rpc.name);
        assert!(asked.elapsed() < GIVE_UP, "{} does not come back: {answered:?}", rpc.name);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// How long until health says so.
#[expect(clippy::disallowed_methods, reason = "measures the server")]
async fn login_serves(load: &Load) -> Duration {
    let returned = Instant::now();
    while !load.login_serves() {
        assert!(returned.elapsed() < GIVE_UP, "postern.login does not come back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    returned.elapsed()
}

/// With Redis away, what SQL says counts: a session ends at once and for good, and so do all.
async fn revocation_does_without_redis(engines: &mut Engines, server: &Server) {
    let sign_in = async || server.login(ASKER, PASSWORD).await.unwrap().tokens.unwrap();
    let (ended, own, other) = (sign_in().await, sign_in().await, sign_in().await);
    let admin = server.login_admin().await;
    engines.leave(Away::Redis, Way::Refused);
    let revoke = |target, access_token: &str| {
        let request =
            pb::RevokeRequest { target: Some(target), access_token: access_token.to_owned(), ..Default::default() };
        async { server.revoke(request).await.unwrap().ended_count }
    };
    let by_token = || pb::revoke_request::Target::RefreshToken(ended.refresh_token.clone());
    // Rows that were written: whether there was a session, nobody can say.
    assert_eq!(revoke(by_token(), "").await, 1);
    assert_eq!(revoke(by_token(), "").await, 0, "a repeat");
    assert_eq!(verdict(&server.verify(&ended.access_token).await).1, pb::Reason::TokenRevoked);
    let id = pb::revoke_request::Target::SessionId(other.session_id.clone());
    assert_eq!(revoke(id, &own.access_token).await, 1);
    assert_eq!(verdict(&server.verify(&other.access_token).await).1, pb::Reason::TokenRevoked);
    assert_eq!(verdict(&server.verify(&own.access_token).await).0, pb::Decision::Allow);
    let confirm = server.issuer.clone();
    let fence = admin::EndAllSessionsRequest { confirm, ..Default::default() };
    server.admin(&admin.access_token).end_all_sessions(fence).await.unwrap();
    assert_eq!(verdict(&server.verify(&own.access_token).await).1, pb::Reason::TokenRevoked);
    engines.come_back(Away::Redis, Way::Refused);
    for (tokens, cause) in [(ended, "LOGOUT"), (other, "ENDED_BY_USER"), (own, "ENDED_FOR_ALL")] {
        let status = loop {
            let status = server.refresh(&tokens.refresh_token).await.unwrap_err();
            if status.code() != Code::Unavailable {
                break status;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        assert_eq!((reason(&status).as_str(), metadata(&status, "endCause").as_str()), ("SESSION_ENDED", cause));
    }
}

fn outcome(answered: &Answered) -> String {
    if answered.code == Code::Unavailable { answered.reason.clone() } else { "OK".to_owned() }
}

fn tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

fn name(away: Away) -> &'static str {
    match away {
        Away::Redis => "Redis",
        Away::Postgres => "PostgreSQL",
        Away::Both => "both",
    }
}

fn printed(measured: &Measurements) -> String {
    let mut table = format!("{:<20} {:<11} {:<26} {:>8} {:>8}\n", "RPC", "away", "answers", "worst", "back");
    for ((rpc, away), Measured { outcome, worst, back }) in measured {
        let [worst, back] = [worst, back].map(|time| format!("{} ms", time.as_millis()));
        writeln!(table, "{rpc:<20} {away:<11} {outcome:<26} {worst:>8} {back:>8}").unwrap();
    }
    table
}
