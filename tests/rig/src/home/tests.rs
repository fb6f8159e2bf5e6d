//! Nothing is left, however a test process ends.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use crate::pgbouncer::PgBouncer;
use crate::postgres::Postgres;
use crate::redis::{Flavour, Redis};
use crate::wait_until;

use super::*;

/// Set for the process that is to be killed.
const VICTIM: &str = "POSTERN_RIG_VICTIM";

#[test]
fn a_killed_test_process_leaves_no_server_and_no_directory() {
    if std::env::var_os(VICTIM).is_some() {
        be_killed();
    }
    let this_test = "home::tests::a_killed_test_process_leaves_no_server_and_no_directory";
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", this_test, "--nocapture"])
        .env(VICTIM, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(victim.stdout.take().unwrap()).lines().map(Result::unwrap);
    let ready = lines.map_while(|line| (line != "ready").then_some(line));
    let started: Vec<String> = ready.filter_map(|line| Some(line.strip_prefix("started ")?.to_owned())).collect();
    let [homes, ports]: [Vec<&String>; 2] =
        [true, false].map(|is_home| started.iter().filter(|line| line.starts_with('/') == is_home).collect());
    assert_eq!((homes.len(), ports.len()), (4, 4), "{started:?}");
    let servers: Vec<String> = homes.iter().flat_map(|home| numbers(Path::new(home))).collect();
    let children: Vec<String> = servers.iter().flat_map(|server| children_of(server)).collect();
    assert_eq!(servers.len(), 4);
    assert!(children.len() >= 6, "{children:?}");
    let memory = shared_memory(&homes);
    assert_eq!(memory.iter().filter(|number| exists_in_memory(number)).count(), 2, "{memory:?}");
    victim.kill().unwrap();
    victim.wait().unwrap();
    wait_until("the directories are gone", || homes.iter().all(|home| !Path::new(home).exists()));
    wait_until("the servers are gone", || !servers.iter().chain(&children).any(|number| is_alive(number)));
    assert!(ports.iter().all(|port| TcpStream::connect(format!("127.0.0.1:{port}")).is_err()));
    assert!(!memory.iter().any(|number| exists_in_memory(number)));
}

/// Starts servers, one of them hung, says where, and waits.
fn be_killed() -> ! {
    let (postgres, mut hung, redis) = (Postgres::start(), Postgres::start(), Redis::start(Flavour::Redis));
    let bouncer = PgBouncer::start(&postgres);
    hung.pause();
    for port in [postgres.port(), hung.port(), redis.port(), bouncer.port()] {
        println!("\nstarted {port}");
    }
    for home in [postgres.home(), hung.home(), redis.home(), bouncer.home()] {
        println!("started {}", home.path().display());
    }
    println!("ready");
    loop {
        std::thread::park();
    }
}

#[test]
fn a_dropped_server_leaves_nothing() {
    let postgres = Postgres::start();
    let home = postgres.home().path().to_owned();
    let memory = shared_memory(&[&home.display().to_string()]);
    let servers = numbers(&home);
    let children: Vec<String> = servers.iter().flat_map(|server| children_of(server)).collect();
    assert!(exists_in_memory(&memory[0]) && is_alive(&servers[0]) && !children.is_empty());
    drop(postgres);
    assert!(!home.exists() && !exists_in_memory(&memory[0]));
    assert!(!servers.iter().chain(&children).any(|number| is_alive(number)));
}

fn numbers(home: &Path) -> Vec<String> {
    let files = std::fs::read_dir(home.join("run")).unwrap();
    files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap().trim().to_owned()).collect()
}

/// The state and the parent of a process.
fn stat(number: &str) -> Option<(String, String)> {
    let line = std::fs::read_to_string(format!("/proc/{number}/stat")).ok()?;
    let mut fields = line.rsplit_once(") ")?.1.split(' ').map(ToOwned::to_owned);
    Some((fields.next()?, fields.next()?))
}

fn children_of(number: &str) -> Vec<String> {
    let all = std::fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    all.filter(|child| stat(child).is_some_and(|(_, parent)| parent == number)).collect()
}

fn is_alive(number: &str) -> bool {
    stat(number).is_some_and(|(state, _)| state != "Z" && state != "X")
}

/// The system's number of what each PostgreSQL holds.
fn shared_memory(homes: &[&String]) -> Vec<String> {
    let files =
        homes.iter().filter_map(|home| std::fs::read_to_string(Path::new(home).join("data/postmaster.pid")).ok());
    files.map(|file| file.lines().nth(6).unwrap().split_whitespace().nth(1).unwrap().to_owned()).collect()
}

fn exists_in_memory(number: &str) -> bool {
    let table = std::fs::read_to_string("/proc/sysvipc/shm").unwrap();
    table.lines().any(|line| line.split_whitespace().nth(1) == Some(number))
}
