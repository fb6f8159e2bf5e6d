//! When Redis is away, silent, full, or another one than before: every step ends in time, nothing is answered that is not
//! so, and it comes back by itself.

use std::time::Instant;

use postern_rig::wait_until;

use super::*;

/// What the outage contract promises for a refusal; ours comes half a second before.
const BOUND: Duration = Duration::from_secs(2);
/// Less than a step may take: nobody has waited for an answer.
const AT_ONCE: Duration = Duration::from_millis(900);
const LONG: Duration = Duration::from_secs(30);

/// Each step, and how long the longest took.
#[expect(clippy::disallowed_methods, reason = "measures the test")]
async fn all_unavailable(vault: &RedisVault) -> Duration {
    let slot = at(Kind::Session, "p", "k");
    let steps = |vault: RedisVault, slot: Slot, number: usize| async move {
        let began = Instant::now();
        let outcome = match number {
            0 => vault.insert(&slot, b"x", soon()).await.map(drop),
            1 => vault.get(&slot).await.map(drop),
            2 => vault.swap(&slot, b"x", b"y", soon()).await.map(drop),
            3 => vault.take(&slot).await.map(drop),
            4 => vault.remove(&slot).await.map(drop),
            _ => vault.list(Kind::Session, "p").await.map(drop),
        };
        assert!(matches!(outcome, Err(VaultError::Unavailable { .. })), "step {number}: {outcome:?}");
        began.elapsed()
    };
    let tasks: tokio::task::JoinSet<Duration> =
        (0..6).map(|number| steps(vault.clone(), slot.clone(), number)).collect();
    tasks.join_all().await.into_iter().max().unwrap()
}

async fn works_again(vault: &RedisVault) {
    let slot = at(Kind::Challenge, "again", "k");
    let again = async {
        // Over both connections.
        while vault.insert(&slot, b"x", soon()).await.is_err() || vault.remove(&slot).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(LONG, again).await.expect("it works again");
}

async fn notices(vault: &RedisVault) {
    let noticed = async {
        while vault.link.live().is_ok() || vault.waiting_link.live().is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LONG, noticed).await.expect("it is noticed");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_starts_while_redis_is_away_and_connects_when_it_comes() {
    let mut server = Redis::start(Flavour::Redis);
    server.kill();
    let (vault, stop) = open(settings(&server.url()));
    assert!(!vault.is_connected());
    assert!(all_unavailable(&vault).await < BOUND);
    server.start_again();
    works_again(&vault).await;
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_is_missed_at_once_and_met_again() {
    let mut bench = alone().await;
    let slot = at(Kind::Session, "p", "k");
    bench.vault.insert(&slot, b"x", soon()).await.unwrap();
    bench.server.kill();
    assert!(all_unavailable(&bench.vault).await < BOUND);
    notices(&bench.vault).await;
    assert!(all_unavailable(&bench.vault).await < AT_ONCE, "without a connection nobody waits");
    bench.server.start_again();
    works_again(&bench.vault).await;
    assert_eq!(bench.vault.get(&slot).await.unwrap(), None, "it forgot, and says so");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_falls_silent_is_not_waited_for() {
    let mut bench = alone().await;
    bench.server.pause();
    assert!(all_unavailable(&bench.vault).await < BOUND);
    notices(&bench.vault).await;
    assert!(all_unavailable(&bench.vault).await < AT_ONCE, "it is known to be silent");
    bench.server.resume();
    works_again(&bench.vault).await;
}

/// Writing on must not make a silent connection look alive, nor hang once the peer's buffers are full.
#[tokio::test(flavor = "multi_thread")]
async fn a_storm_into_silence_ends_in_time() {
    let mut bench = alone().await;
    bench.server.pause();
    let large = vec![0; 200_000];
    let tasks: tokio::task::JoinSet<()> = (0..200)
        .map(|number: u32| {
            let (vault, large) = (bench.vault.clone(), large.clone());
            async move {
                let slot = at(Kind::Session, "p", &number.to_string());
                assert!(vault.swap(&slot, &large, &large, soon()).await.is_err());
            }
        })
        .collect();
    tokio::time::timeout(LONG, tasks.join_all()).await.unwrap();
    notices(&bench.vault).await;
    bench.server.resume();
    works_again(&bench.vault).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_in_flight_is_not_sent_again() {
    let mut bench = alone().await;
    let slot = at(Kind::Challenge, "p", "k");
    bench.vault.insert(&slot, b"x", soon()).await.unwrap();
    bench.server.pause();
    assert!(bench.vault.take(&slot).await.is_err());
    notices(&bench.vault).await;
    bench.server.resume();
    works_again(&bench.vault).await;
    // The server may have found it in its buffer when it woke, once.
    let statistics = bench.server.cli(&["INFO", "commandstats"]);
    let takes = statistics.lines().find(|line| line.starts_with("cmdstat_getdel:"));
    assert!(takes.is_none_or(|line| line.contains("calls=1,")), "{takes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_became_a_replica_is_not_used_not_even_to_read() {
    let bench = alone().await;
    let slot = at(Kind::Session, "p", "k");
    bench.vault.insert(&slot, b"x", soon()).await.unwrap();
    let nobody = postern_rig::port().to_string();
    bench.server.cli(&["REPLICAOF", "127.0.0.1", &nobody]);
    assert!(bench.vault.swap(&slot, b"x", b"y", soon()).await.is_err());
    notices(&bench.vault).await;
    assert!(bench.vault.get(&slot).await.is_err());
    bench.server.cli(&["REPLICAOF", "NO", "ONE"]);
    works_again(&bench.vault).await;
    assert_eq!(bench.vault.get(&slot).await.unwrap().unwrap(), b"x");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_server_and_one_without_replicas_refuse_writes_only() {
    let bench = alone().await;
    let slot = at(Kind::Session, "p", "k");
    bench.vault.insert(&slot, b"x", soon()).await.unwrap();
    for (setting, bad, good) in [("maxmemory", "1", "0"), ("min-replicas-to-write", "1", "0")] {
        bench.server.cli(&["CONFIG", "SET", setting, bad]);
        assert!(bench.vault.insert(&at(Kind::Session, "p", "new"), b"x", soon()).await.is_err(), "{setting}");
        assert!(bench.vault.swap(&slot, b"x", b"y", soon()).await.is_err(), "{setting}");
        assert_eq!(bench.vault.get(&slot).await.unwrap().unwrap(), b"x", "{setting}");
        bench.server.cli(&["CONFIG", "SET", setting, good]);
        works_again(&bench.vault).await;
    }
}

fn waits(server: &Redis) -> u32 {
    let statistics = server.cli(&["INFO", "commandstats"]);
    let line = statistics.lines().find(|line| line.starts_with("cmdstat_wait:"));
    line.map_or(0, |line| line.split(['=', ',']).nth(1).unwrap().parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_is_waited_for_where_there_is_one_and_left_alone_when_it_lags() {
    let bench = alone().await;
    let one = |number: u32| at(Kind::Session, "p", &number.to_string());
    bench.vault.insert(&one(0), b"x", soon()).await.unwrap();
    assert_eq!(waits(&bench.server), 0, "nobody to wait for");

    let mut replica = Redis::replica_of(&bench.server);
    let known = || bench.vault.waiting_link.live().is_ok_and(|live| live.replicas == 1);
    tokio::task::block_in_place(|| wait_until("the vault knows the replica", known));
    bench.vault.insert(&one(1), b"x", soon()).await.unwrap();
    bench.vault.take(&one(1)).await.unwrap();
    assert_eq!(waits(&bench.server), 2);
    bench.vault.swap(&one(0), b"x", b"y", soon()).await.unwrap();
    assert_eq!(waits(&bench.server), 2, "a refresh waits for nobody");
    assert!(replica.call(&["DBSIZE"]).number() > 0);

    replica.pause();
    for number in 2..10 {
        assert!(bench.vault.insert(&one(number), b"x", soon()).await.unwrap());
    }
    assert_eq!(waits(&bench.server), 3, "the first one waited in vain, the others did not");
    replica.resume();
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_know_where_the_primary_is_now() {
    let mut primary = Redis::start(Flavour::Redis);
    let replica = Redis::replica_of(&primary);
    let monitor = format!("sentinel monitor auth 127.0.0.1 {} 1", primary.port());
    let lines = [monitor.as_str(), "sentinel down-after-milliseconds auth 500", "sentinel failover-timeout auth 2000"];
    let sentinel = Redis::start_with(Flavour::Redis, &lines);
    wait_until("the sentinel knows the replica", || sentinel.call(&["SENTINEL", "REPLICAS", "auth"]).list().len() == 1);
    // One that takes connections and says nothing must not be asked for ever.
    let mut silent = Redis::start(Flavour::Redis);
    silent.pause();

    let url = format!("redis-sentinel://127.0.0.1:{},127.0.0.1:{}/auth", silent.port(), sentinel.port());
    let (vault, stop) = open(settings(&url));
    works_again(&vault).await;
    primary.kill();
    works_again(&vault).await;
    assert_eq!(replica.call(&["ROLE"]).list().remove(0).bytes(), b"master");
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_followed_through_a_fail_over_and_a_move() {
    let mut cluster = Cluster::start(3, 1);
    let (vault, stop) = open(settings(&url_of_one(&cluster)));
    works_again(&vault).await;
    let slots: Vec<Slot> = (0..60).map(|number| at(Kind::Session, &format!("u{number}"), "k")).collect();
    for slot in &slots {
        assert!(vault.insert(slot, b"x", soon()).await.unwrap());
    }

    // One by one, slots go to another node.
    let (from, to) = (&cluster.nodes()[0], &cluster.nodes()[1]);
    let (from_id, to_id) = (from.cli(&["CLUSTER", "MYID"]), to.cli(&["CLUSTER", "MYID"]));
    let of = |slot: &Slot| slot_of(&vault.keys.value(slot)).to_string();
    let moved: Vec<&Slot> = slots.iter().filter(|slot| slot_of(&vault.keys.value(slot)) < 16_384 / 3).collect();
    assert!(moved.len() > 2);
    for slot in &moved {
        to.cli(&["CLUSTER", "SETSLOT", &of(slot), "IMPORTING", &from_id]);
        from.cli(&["CLUSTER", "SETSLOT", &of(slot), "MIGRATING", &to_id]);
        let names = from.call(&["CLUSTER", "GETKEYSINSLOT", &of(slot), "100"]).list();
        for name in names {
            let (port, name) = (to.port().to_string(), name.bytes());
            let moving: [&[u8]; 6] = [b"MIGRATE", b"127.0.0.1", port.as_bytes(), &name, b"0", b"5000"];
            assert_eq!(from.call(&moving).bytes(), b"OK");
        }
        // In the middle of a move it may fail, but no answer may be another's.
        let both = tokio::join!(vault.get(slot), vault.get(&slots[0]));
        for found in [both.0, both.1] {
            assert!(found.is_err() || found.unwrap().unwrap() == b"x");
        }
        for node in [to, from] {
            node.cli(&["CLUSTER", "SETSLOT", &of(slot), "NODE", &to_id]);
        }
        // A redirected swap has done nothing, so it can be tried until all nodes have heard.
        let swapped = async {
            loop {
                match vault.swap(slot, b"x", b"x", soon()).await {
                    Ok(swap) => break swap,
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        };
        let swapped = tokio::time::timeout(LONG, swapped).await.expect("it lies at the other node");
        assert_eq!(swapped, Swap::Swapped);
    }

    cluster.nodes_mut()[0].kill();
    for slot in &slots {
        let found = async {
            loop {
                match vault.get(slot).await {
                    Ok(found) => break found,
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        };
        let found = tokio::time::timeout(LONG, found).await.expect("it comes back");
        assert_eq!(found.as_deref(), Some(&b"x"[..]));
    }
    // The settings named the node that is gone. Each connection finds that out for itself, so a read that was answered
    // promises nothing of the next command. A command that failed may have been done, so only after one may there be
    // nothing left.
    for slot in &slots {
        let taken = async {
            let mut failed = false;
            loop {
                match vault.take(slot).await {
                    Ok(taken) => break (taken, failed),
                    Err(_) => failed = true,
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let (taken, failed) = tokio::time::timeout(LONG, taken).await.expect("all connections come back");
        assert!(taken.as_deref() == Some(&b"x"[..]) || failed && taken.is_none());
    }
    stop.cancel();
}
