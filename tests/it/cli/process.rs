//! Starting, stopping, and what stands in the way.

use rustix::process::{Pid, Signal, kill_process};

use super::{DONE, Person, REFUSED, Served, UNAVAILABLE, command, finish, folder, serve};
use crate::frames::{ACK, END_HEADERS, GET_KEYS, GOAWAY, HEADERS, PING, Wire, call_headers, frame};

#[test]
fn a_signal_ends_the_server_and_a_second_start_keeps_everything() {
    let folder = folder();
    let first = Served::start(folder.path());
    let mut person = Person::administrator(&first);
    let (kid, issuer) = (first.fact("signing_key")["kid"].clone(), first.issuer().to_owned());
    assert_eq!(first.fact("store")["created"], true);
    person.does("health").ends_with(DONE).says("SERVING");
    person.does("health --service postern.auth.v1.AuthService").ends_with(DONE);
    person.does("health --service nothing").ends_with(UNAVAILABLE).says("UNKNOWN");
    assert_eq!(first.end(Signal::INT), Some(DONE));
    for words in ["health", "verify", "sessions", "admin server"] {
        person.does(words).ends_with(UNAVAILABLE).complains("nothing listens at");
    }

    let second = Served::start(folder.path());
    assert_eq!(second.fact("store")["created"], false);
    assert_eq!((&second.fact("signing_key")["kid"], second.issuer()), (&kid, issuer.as_str()));
    assert!(!second.facts.iter().any(|fact| fact["fact"] == "administrator"));
    // The same server at another port, which the system chose.
    let state = std::fs::read_to_string(person.state_file()).unwrap().replace(&person.server, &second.url());
    std::fs::write(person.state_file(), state).unwrap();
    person.server = second.url();
    person.does("verify").ends_with(DONE).says("ALLOW");
    person.does("refresh").ends_with(DONE).says("the next pair");
    assert_eq!(second.end(Signal::TERM), Some(DONE));
}

#[tokio::test]
async fn a_second_interrupt_does_not_wait_for_calls() {
    let folder = folder();
    let mut served = Served::start(folder.path());
    let mut wire = Wire::open(served.fact("grpc")["address"].as_str().unwrap().parse().unwrap()).await;
    // A call that begins and never goes on. The answer to the PING says that it was read.
    wire.send(&frame(HEADERS, END_HEADERS, 1, &call_headers(GET_KEYS))).await.unwrap();
    wire.send(&frame(PING, 0, 0, &[7; 8])).await.unwrap();
    assert_eq!(wire.read_to(PING).await.unwrap().flags, ACK);

    kill_process(Pid::from_child(&served.child), Signal::INT).unwrap();
    wire.read_to(GOAWAY).await.expect("the connection ended before the call");
    assert_eq!(served.child.try_wait().unwrap(), None, "it waits for the call");
    assert_eq!(served.end(Signal::INT), Some(REFUSED));
    let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
    assert!(log.contains("stopped at once: calls that had begun were cut off"), "{log}");

    let again = Served::start(folder.path());
    assert_eq!(again.end(Signal::TERM), Some(DONE));
}

#[test]
fn a_second_server_on_the_same_data_is_refused_with_the_pid() {
    let folder = folder();
    let served = Served::start(folder.path());
    let pid = format!("(pid {})", served.child.id());
    let refused = finish(&mut serve(folder.path()), "").ends_with(REFUSED);
    let refused = refused.complains(&pid).complains("postern --data ./other --listen.grpc 127.0.0.1:7311");
    assert_eq!(refused.stdout, "");

    let mut elsewhere = command(folder.path());
    let address = served.fact("grpc")["address"].as_str().unwrap();
    elsewhere.args([
        "--data",
        "other",
        "--listen.grpc",
        address,
        "--listen.operations",
        "127.0.0.1:0",
        "--listen.gateway",
        "127.0.0.1:0",
    ]);
    finish(&mut elsewhere, "").ends_with(REFUSED).complains(address);
    assert_eq!(served.end(Signal::TERM), Some(DONE));
}

#[test]
fn settings_that_are_wrong_start_nothing() {
    let folder = folder();
    let mut wrong = serve(folder.path());
    wrong.args(["--set", "sessions.idle_tll=7d", "--set", "tokens.access_ttl=2h"]);
    // All at once, each with its key.
    finish(&mut wrong, "").ends_with(REFUSED).complains("sessions.idle_tll").complains("tokens.access_ttl");
    assert!(!folder.path().join("data").exists());
}

#[test]
fn a_master_key_is_made_added_to_and_judged_beside_a_server() {
    let folder = folder();
    let tool = |words: &str| {
        let mut command = command(folder.path());
        finish(command.args(words.split(' ')), "")
    };
    tool("master-key new --out own.key").ends_with(DONE).says("master key 1");
    let first = std::fs::read_to_string(folder.path().join("own.key")).unwrap();
    tool("master-key new --out own.key").ends_with(REFUSED).complains("is there already").complains("--add own.key");
    let mode = |name: &str| {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::metadata(folder.path().join(name)).unwrap().permissions().mode() & 0o777
    };
    assert_eq!(mode("own.key"), 0o600);
    tool("master-key status --set keys.master.file=own.key").ends_with(DONE).says("there is no store yet");
    assert!(!folder.path().join("postern-data").exists(), "looking makes nothing");

    let served = Served::start(folder.path());
    let of_server = "master-key status --data data";
    tool(of_server).ends_with(DONE).says("* 1").says("same");
    tool("master-key status --data data --set keys.master.file=own.key").ends_with(DONE).says("another");
    tool("master-key new --add data/master.key").ends_with(DONE).says("Added master key 2").says("Key 1 is still");
    assert_eq!(mode("data/master.key"), 0o600);
    tool(of_server).ends_with(DONE).says("* 1").says("postern master-key use 2 --file");
    tool("master-key drop 1 --file data/master.key --data data").ends_with(REFUSED).complains("signing keys");
    tool("master-key use 3 --file data/master.key").ends_with(REFUSED).complains("holds no key 3");
    // Another file, as one that is given to replicas is.
    std::fs::copy(folder.path().join("data/master.key"), folder.path().join("next.key")).unwrap();
    tool("master-key use 2 --file next.key").ends_with(DONE).says("restart them one by one");
    tool("master-key drop 2 --file next.key --data data").ends_with(REFUSED).complains("uses key 2");
    // One that no server has met is nobody's loss.
    tool("master-key drop 2 --file data/master.key --data data").ends_with(DONE).says("no longer");
    std::fs::write(folder.path().join("data/master.key"), std::fs::read(folder.path().join("next.key")).unwrap())
        .unwrap();
    tool("master-key use 1 --file data/master.key").ends_with(DONE);
    let json: serde_json::Value =
        serde_json::from_str(&tool(&format!("{of_server} --json")).ends_with(DONE).stdout).unwrap();
    assert_eq!((&json["keys"][0]["signingKeys"], &json["keys"][1]["current"]), (&1.into(), &false.into()));
    for secret in first.split_ascii_whitespace().filter(|word| word.len() > 40) {
        assert!(!served.log().contains(secret));
    }
    assert_eq!(served.end(Signal::TERM), Some(DONE));
}

#[test]
fn help_and_version_are_done_and_a_typo_is_refused() {
    let person = Person::at("http://127.0.0.1:1".to_owned());
    person.does("--help").ends_with(DONE).says("Administer:");
    person.does("--version").ends_with(DONE).says(env!("CARGO_PKG_VERSION"));
    for words in ["login --help", "admin --help", "admin bindings grant --help"] {
        person.does(words).ends_with(DONE).says("Usage:");
    }
    for words in ["logn", "verify --requir orders:read", "admin bindings grant mira clerk", "--listen 127.0.0.1:1"] {
        person.does(words).ends_with(REFUSED).complains("Usage:");
    }
    person.does("health --server ftp://127.0.0.1:1").ends_with(REFUSED);
    person.does("health --cert x.crt").ends_with(REFUSED).complains("--key");
}
