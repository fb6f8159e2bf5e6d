//! A primary and its replica, and three sentinels that make the replica the primary when it is needed.

use super::{Flavour, Redis};
use crate::wait_until;

/// What the sentinels call the primary.
const NAME: &str = "postern";

pub struct Sentinels {
    nodes: Vec<Redis>,
    sentinels: Vec<Redis>,
}

impl Sentinels {
    pub fn start() -> Self {
        Self::start_of(Flavour::Redis)
    }

    pub fn start_of(flavour: Flavour) -> Self {
        let primary = Redis::start(flavour);
        let replica = Redis::replica_of(&primary);
        let settings = [
            format!("sentinel monitor {NAME} 127.0.0.1 {} 2", primary.port()),
            format!("sentinel down-after-milliseconds {NAME} 1000"),
            format!("sentinel failover-timeout {NAME} 5000"),
        ];
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        let sentinels: Vec<Redis> = (0..3).map(|_| Redis::start_with(flavour, &settings)).collect();
        let sentinels = Self { nodes: vec![primary, replica], sentinels };
        sentinels.wait_complete();
        sentinels
    }

    /// The sentinels, and the name to ask them for.
    pub fn url(&self) -> String {
        let addresses: Vec<String> = self.sentinels.iter().map(|node| format!("127.0.0.1:{}", node.port())).collect();
        format!("redis-sentinel://{}/{NAME}", addresses.join(","))
    }

    pub fn sentinels(&mut self) -> &mut [Redis] {
        &mut self.sentinels
    }

    /// The primary according to most of the sentinels, running or not.
    pub fn primary(&self) -> &Redis {
        &self.nodes[self.index_of_primary().expect("the sentinels agree on a primary")]
    }

    pub fn replica(&self) -> &Redis {
        &self.nodes[1 - self.index_of_primary().expect("the sentinels agree on a primary")]
    }

    pub fn kill_primary(&mut self) {
        self.primary_mut().kill();
    }

    /// The sentinels take it for dead after a second; resumed, it still takes itself for the primary for a moment.
    pub fn pause_primary(&mut self) {
        self.primary_mut().pause();
    }

    pub fn pause_replica(&mut self) {
        self.replica_mut().pause();
    }

    pub fn resume(&mut self) {
        self.nodes.iter_mut().filter(|node| node.process.is_some()).for_each(Redis::resume);
    }

    /// Until all sentinels name the other server than `before`, a port, and that one is the primary.
    pub fn wait_failed_over(&self, before: u16) {
        wait_until("the sentinels have made the replica the primary", || {
            let ports: Vec<u16> = self.sentinels.iter().map(named_by).collect();
            ports.iter().all(|port| *port != before && *port == ports[0])
                && self.nodes.iter().any(|node| node.port() == ports[0] && has_role(node, "master"))
        });
    }

    /// Starts what was killed, and waits until all is as at the beginning, with the primary that there is now.
    pub fn start_again(&mut self) {
        self.nodes.iter_mut().filter(|node| node.process.is_none()).for_each(Redis::start_again);
        self.wait_complete();
    }

    pub fn primary_mut(&mut self) -> &mut Redis {
        let index = self.index_of_primary().expect("the sentinels agree on a primary");
        &mut self.nodes[index]
    }

    pub fn replica_mut(&mut self) -> &mut Redis {
        let index = 1 - self.index_of_primary().expect("the sentinels agree on a primary");
        &mut self.nodes[index]
    }

    fn index_of_primary(&self) -> Option<usize> {
        let ports: Vec<u16> = self.sentinels.iter().map(named_by).collect();
        self.nodes.iter().position(|node| ports.iter().filter(|port| **port == node.port()).count() >= 2)
    }

    /// Each sentinel must know the others and the replica, or a fail-over does not begin.
    fn wait_complete(&self) {
        let count = |sentinel: &Redis, what: &str| {
            let said = sentinel.cli(&["sentinel", what, NAME]);
            let is_down = said.contains("s_down") || said.contains("disconnected");
            if is_down { 0 } else { said.lines().filter(|line| *line == "name").count() }
        };
        wait_until("the sentinels know each other and the replica", || {
            self.sentinels.iter().all(|sentinel| count(sentinel, "sentinels") == 2 && count(sentinel, "replicas") == 1)
        });
        wait_until("the replica is a replica", || has_role(self.replica(), "slave"));
        self.replica().wait_for_primary();
    }
}

/// A server that sentinels give another role cuts its connections, ours among them.
fn has_role(node: &Redis, role: &str) -> bool {
    node.ask(&["role"]).is_ok_and(|said| said.starts_with(role))
}

fn named_by(sentinel: &Redis) -> u16 {
    let address = sentinel.cli(&["sentinel", "get-master-addr-by-name", NAME]);
    address.lines().nth(1).unwrap().parse().unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_replica_takes_over_and_the_old_primary_follows() {
        let mut sentinels = Sentinels::start();
        let killed = sentinels.primary().port();
        sentinels.primary().cli(&["set", "key", "value"]);
        sentinels.replica().wait_for(sentinels.primary());
        sentinels.kill_primary();
        sentinels.wait_failed_over(killed);
        assert_ne!(sentinels.primary().port(), killed);
        assert_eq!(sentinels.primary().cli(&["get", "key"]), "value");
        sentinels.start_again();
        assert_eq!(sentinels.replica().port(), killed);
        assert_eq!(sentinels.replica().cli(&["get", "key"]), "value");
    }

    #[test]
    fn a_paused_replica_has_no_write_until_it_goes_on() {
        let mut sentinels = Sentinels::start_of(Flavour::Valkey);
        sentinels.pause_replica();
        sentinels.primary().cli(&["set", "key", "value"]);
        let port = sentinels.replica().port().to_string();
        let mut get = std::process::Command::new(super::super::cli());
        let mut waiting = get.args(["-p", &port, "get", "key"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(300));
        assert!(waiting.try_wait().unwrap().is_none());
        sentinels.resume();
        assert!(waiting.wait().unwrap().success());
        sentinels.replica().wait_for(sentinels.primary());
        assert_eq!(sentinels.replica().cli(&["get", "key"]), "value");
    }
}
