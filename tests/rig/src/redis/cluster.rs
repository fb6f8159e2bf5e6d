//! A cluster: masters that share the slots, and replicas that take over.

use std::process::Command;
use std::sync::OnceLock;

use super::{Flavour, Redis, cli};
use crate::{tail, wait_until};

const SETTINGS: [&str; 4] = [
    "cluster-enabled yes",
    "cluster-node-timeout 1000",
    // However long a replica has heard nothing, it may take over.
    "cluster-replica-validity-factor 0",
    "cluster-allow-replica-migration no",
];

pub struct Cluster {
    nodes: Vec<Redis>,
}

impl Cluster {
    /// The one cluster that the tests of this process share: three masters. Only database 0 exists in a cluster.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(3, 0))
    }

    /// A cluster of the test's own, of at least three masters.
    pub fn start(masters: usize, replicas_per_master: usize) -> Self {
        Self::start_of(Flavour::Redis, masters, replicas_per_master)
    }

    pub fn start_of(flavour: Flavour, masters: usize, replicas_per_master: usize) -> Self {
        let count = masters * (1 + replicas_per_master);
        let threads: Vec<_> =
            (0..count).map(|_| std::thread::spawn(move || Redis::start_with(flavour, &SETTINGS))).collect();
        let nodes = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        let cluster = Self { nodes };
        let mut create = Command::new(cli());
        create.args(["--cluster", "create"]).args(cluster.addresses());
        create.args(["--cluster-replicas", &replicas_per_master.to_string(), "--cluster-yes"]);
        let output = create.output().unwrap();
        assert!(output.status.success(), "{}", tail(&String::from_utf8_lossy(&output.stdout)));
        cluster.wait_ok();
        cluster
    }

    pub fn url(&self) -> String {
        format!("redis-cluster://{}", self.addresses().join(","))
    }

    pub fn nodes(&self) -> &[Redis] {
        &self.nodes
    }

    pub fn nodes_mut(&mut self) -> &mut [Redis] {
        &mut self.nodes
    }

    /// What `redis-cli` answers, going to the node that has the key.
    pub fn cli(&self, arguments: &[&str]) -> String {
        let node = self.alive().next().expect("a node is alive");
        node.cli(&[&["-c"], arguments].concat())
    }

    /// The node that answers for a key now.
    pub fn master_of(&self, key: &str) -> &Redis {
        &self.nodes[self.index_of_master(key)]
    }

    /// Kills the master that answers for a key at once. Where it has a replica, [`Cluster::wait_ok`] waits for that to take
    /// over. The answer is the port of the killed one, which [`Cluster::start_again`] brings back.
    pub fn kill_master_of(&mut self, key: &str) -> u16 {
        let index = self.index_of_master(key);
        self.nodes[index].kill();
        self.nodes[index].port()
    }

    /// Starts the nodes again that were killed or stopped.
    pub fn start_again(&mut self) {
        self.nodes.iter_mut().filter(|node| node.process.is_none()).for_each(Redis::start_again);
    }

    /// Until every node that runs knows that each slot has a master that runs, and each replica is in step. What one node
    /// says is not enough: another may still answer that the cluster is down.
    pub fn wait_ok(&self) {
        for node in self.alive() {
            wait_until("each node of the cluster is content", || {
                let is_replica = node.cli(&["role"]).starts_with("slave");
                (!is_replica || node.cli(&["info", "replication"]).contains("master_link_status:up"))
                    && node.cli(&["cluster", "info"]).contains("cluster_state:ok")
                    && self.masters(node).iter().all(|master| self.alive().any(|node| node.port() == master.port))
                    && self.view(node).lines().count() == self.nodes.len()
            });
        }
    }

    fn index_of_master(&self, key: &str) -> usize {
        let node = self.alive().next().expect("a node is alive");
        let slot: u16 = node.cli(&["cluster", "keyslot", key]).parse().unwrap();
        let masters = self.masters(node);
        let master =
            masters.iter().find(|master| master.slots.iter().any(|(first, last)| (*first..=*last).contains(&slot)));
        let port = master.unwrap_or_else(|| panic!("slot {slot} has no master")).port;
        self.nodes.iter().position(|node| node.port() == port).unwrap()
    }

    /// Those that have slots, as a node sees it.
    fn masters(&self, node: &Redis) -> Vec<Master> {
        self.view(node).lines().map(Master::read).filter(|master| !master.slots.is_empty()).collect()
    }

    fn view(&self, node: &Redis) -> String {
        node.cli(&["cluster", "nodes"])
    }

    fn alive(&self) -> impl Iterator<Item = &Redis> {
        self.nodes.iter().filter(|node| node.process.is_some())
    }

    fn addresses(&self) -> Vec<String> {
        self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port())).collect()
    }
}

struct Master {
    port: u16,
    slots: Vec<(u16, u16)>,
}

impl Master {
    /// A line such as `id 127.0.0.1:7000@17000 master - 0 0 1 connected 0-5460 5462`.
    fn read(line: &str) -> Self {
        let fields: Vec<&str> = line.split(' ').collect();
        let address = fields[1].split('@').next().unwrap();
        let port = address.rsplit_once(':').unwrap().1.parse().unwrap();
        let slots = fields.iter().skip(8).filter(|field| !field.starts_with('[')).map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            (first.parse().unwrap(), last.parse().unwrap())
        });
        Self { port, slots: slots.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_lives_on_one_master_and_every_node_knows_it() {
        let cluster = Cluster::shared();
        assert_eq!(cluster.nodes().len(), 3);
        for key in ["a", "b", "c", "d", "e"] {
            cluster.cli(&["set", key, "value"]);
            let master = cluster.master_of(key);
            assert_eq!(master.cli(&["get", key]), "value");
            for other in cluster.nodes().iter().filter(|node| node.port() != master.port()) {
                assert!(other.ask(&["get", key]).unwrap_err().contains("MOVED"));
            }
        }
    }

    #[test]
    fn a_replica_takes_over_from_a_killed_master() {
        let mut cluster = Cluster::start_of(Flavour::Valkey, 3, 1);
        cluster.cli(&["set", "key", "value"]);
        let master = cluster.master_of("key");
        let replicas = cluster.nodes().iter().filter(|node| node.cli(&["role"]).contains(&master.port().to_string()));
        replicas.for_each(|replica| replica.wait_for(master));
        let killed = cluster.kill_master_of("key");
        cluster.wait_ok();
        assert_ne!(cluster.master_of("key").port(), killed);
        cluster.cli(&["set", "key", "other"]);
        cluster.start_again();
        cluster.wait_ok();
        assert_ne!(cluster.master_of("key").port(), killed);
        assert_eq!(cluster.cli(&["get", "key"]), "other");
    }
}
