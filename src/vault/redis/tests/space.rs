//! What lies in Redis: nothing without an end, nothing outside its partition's slot, and little of it.

use super::*;
use crate::domain::id::{SessionId, UserId};
use crate::domain::session::{Device, Predecessor, Seed, Session, TokenScope};
use crate::vault::seal::Sealer;
use crate::vault::sessions::Sessions;

fn text(name: &[u8]) -> String {
    String::from_utf8(name.to_vec()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_ends_and_lies_in_the_slot_of_its_partition() {
    let bench = alone().await;
    let odd = ["p", "", "}", "{}", "\r\nFLUSHALL\r\n", "*1\r\n$8\r\nFLUSHALL\r\n", "\u{0}\u{1F511}", "a b\"c'd\\"];
    for kind in Kind::ALL {
        for partition in odd {
            for key in odd {
                let slot = at(kind, partition, key);
                assert!(bench.vault.insert(&slot, key.as_bytes(), soon()).await.unwrap());
                assert_eq!(
                    bench.vault.swap(&slot, key.as_bytes(), b"new", Timestamp::MAX).await.unwrap(),
                    Swap::Swapped
                );
                assert_eq!(bench.vault.get(&slot).await.unwrap().unwrap(), b"new");
            }
        }
    }
    let names = names(&bench.server);
    assert_eq!(names.len(), odd.len() * (Kind::ALL.len() * odd.len() + 1), "values, and an index where there is one");
    for (name, left) in names {
        assert!(left > 0, "{name:?} has no end");
        assert!(name.starts_with(bench.prefix.as_bytes()));
        let tag = &name[name.iter().position(|byte| *byte == b'{').unwrap()..];
        let tag = &tag[1..tag.iter().position(|byte| *byte == b'}').unwrap()];
        assert!(!tag.is_empty(), "{name:?}");
    }
    for partition in odd {
        let mut keys: Vec<String> = odd.map(str::to_owned).into();
        keys.sort();
        let listed = bench.vault.list(Kind::Session, partition).await.unwrap();
        assert_eq!(listed.into_iter().map(|(key, _)| key).collect::<Vec<_>>(), keys);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_ended_is_freed_at_once_and_leaves_no_trace() {
    let bench = alone().await;
    for kind in Kind::ALL {
        for past in [Timestamp::from_secs(0), Timestamp::from_micros(-1), Timestamp::from_secs(1_000_000_000)] {
            let slot = at(kind, "p", "k");
            assert!(bench.vault.insert(&slot, b"dead", past).await.unwrap());
            assert_eq!(bench.vault.get(&slot).await.unwrap(), None);
            assert!(bench.vault.list(kind, "p").await.unwrap().is_empty());
        }
    }
    let slot = at(Kind::Session, "p", "k");
    bench.vault.insert(&slot, b"one", soon()).await.unwrap();
    assert_eq!(bench.vault.swap(&slot, b"one", b"two", Timestamp::from_secs(5)).await.unwrap(), Swap::Swapped);
    assert_eq!(bench.vault.get(&slot).await.unwrap(), None);
    assert!(names(&bench.server).is_empty(), "{:?}", names(&bench.server));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_holds_what_lives_and_ends_with_it() {
    let bench = alone().await;
    let (short, long) = (at(Kind::Session, "p", "short"), at(Kind::Session, "p", "long"));
    bench.vault.insert(&short, b"s", soon()).await.unwrap();
    bench.vault.insert(&long, b"l", soon() + Duration::from_mins(9)).await.unwrap();
    let index = format!("{}S{{!p}}", bench.prefix);
    let members = || bench.server.call(&["ZRANGE", &index, "0", "-1"]).list().len();
    let left = || bench.server.call(&["PTTL", &index]).number();
    assert_eq!(members(), 2);
    assert!(left() > 60_000 && left() <= 600_000, "{}", left());

    bench.time().advance(Duration::from_mins(2)).await;
    let listed = bench.vault.list(Kind::Session, "p").await.unwrap();
    assert_eq!(listed, [("long".to_owned(), b"l".to_vec())]);
    assert_eq!(members(), 1, "pruned when listed");

    // An entry whose value is gone, as after a write by hand.
    assert_eq!(bench.server.cli(&["DEL", &format!("{}s{{!p}}!long", bench.prefix)]), "1");
    assert!(bench.vault.list(Kind::Session, "p").await.unwrap().is_empty());
    assert!(names(&bench.server).is_empty());

    for slot in [&short, &long] {
        bench.vault.insert(slot, b"x", soon()).await.unwrap();
    }
    assert!(bench.vault.remove(&short).await.unwrap());
    assert_eq!(members(), 1);
    assert!(bench.vault.take(&long).await.unwrap().is_some());
    assert!(names(&bench.server).is_empty(), "nothing is left");
}

/// A browser's session that has been refreshed a moment ago, with a user agent of 120 bytes.
fn session() -> Session {
    let now = Clock::default().now();
    Session {
        id: SessionId::generate(),
        user: UserId::generate(),
        seed: Seed::from_bytes([42; 32]),
        key: 1,
        generation: 900,
        advanced_at: now,
        predecessors: vec![Predecessor { generation: 899, superseded_at: now }],
        last_late: None,
        epoch: now.millis(),
        scope: TokenScope { audiences: vec!["https://shop.example.com".to_owned()], tenant: None },
        client: "shop-front".parse().unwrap(),
        device: Device {
            ip_address: "203.0.113.250".to_owned(),
            user_agent: "a".repeat(120),
            display_name: "Firefox on Linux".to_owned(),
        },
        method: "password".to_owned(),
        create_time: now,
        auth_time: now,
        amr: vec!["pwd".to_owned()],
        absolute_end: now + Duration::from_hours(24 * 90),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_small_with_all_its_keys() {
    let bench = bench_with_prefix().await;
    let sealer = Sealer::new([(1, zeroize::Zeroizing::new([7; 32]))]);
    let sessions = Sessions::new(Arc::new(bench.vault.clone()), sealer);
    assert!(sessions.insert(&session(), Duration::from_hours(24 * 14)).await.unwrap());
    let names = names(&bench.server);
    assert_eq!(names.len(), 2, "the record and its user's index");
    let bytes = |name: &[u8]| bench.server.call(&[b"MEMORY".as_slice(), b"USAGE", name]).number();
    let told: Vec<String> = names.iter().map(|(name, _)| format!("{} {}", bytes(name), text(name))).collect();
    // What a key's end costs is not in it: an entry of 24 bytes and its place of 8.
    let all: i64 = names.iter().map(|(name, _)| bytes(name) + 32).sum();
    assert!(all <= 700, "{all}: {told:#?}");
}

/// A server of its own with the prefix as it is by default.
async fn bench_with_prefix() -> Bench<Redis> {
    let server = Redis::start(Flavour::Redis);
    let settings = RedisSettings { prefix: "postern:".to_owned(), ..settings(&server.url()) };
    bench_with(server, settings).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_the_server_forgot_is_loaded_again() {
    let bench = alone().await;
    let slot = at(Kind::Session, "p", "k");
    for _ in 0..2 {
        assert_eq!(bench.server.cli(&["SCRIPT", "FLUSH"]), "OK");
        assert!(bench.vault.insert(&slot, b"one", soon()).await.unwrap());
        assert_eq!(bench.server.cli(&["SCRIPT", "FLUSH"]), "OK");
        assert_eq!(bench.vault.swap(&slot, b"one", b"two", soon()).await.unwrap(), Swap::Swapped);
        assert_eq!(bench.vault.take(&slot).await.unwrap().unwrap(), b"two");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_tasks_share_two_connections() {
    let bench = alone().await;
    let before = bench.server.cli(&["INFO", "clients"]);
    let tasks: tokio::task::JoinSet<()> = (0..64)
        .map(|number: u32| {
            let vault = bench.vault.clone();
            async move {
                let slot = at(Kind::Session, "p", &number.to_string());
                assert!(vault.insert(&slot, b"x", soon()).await.unwrap());
                assert!(vault.get(&slot).await.unwrap().is_some());
            }
        })
        .collect();
    tasks.join_all().await;
    let connected = |text: &str| text.lines().find(|line| line.starts_with("connected_clients:")).unwrap().to_owned();
    assert_eq!(connected(&before), "connected_clients:3", "ours, and who asks");
    assert_eq!(connected(&bench.server.cli(&["INFO", "clients"])), "connected_clients:3");
}
