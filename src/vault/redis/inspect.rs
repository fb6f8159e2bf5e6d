//! What an operator should know about the Redis that is used: facts that it tells, and one pure judgement of them. Asks for
//! nothing that could harm, were it allowed.

use fred::types::Value;

use super::keys::slot_of;
use super::link::{Call, Link, To};
use super::{RedisFailure, RedisVault};

/// What Redis says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Each primary.
    pub nodes: Vec<NodeFacts>,
    /// Whether our user may read the server's configuration.
    pub may_configure: bool,
    /// Whether our user may read what is under another prefix.
    pub may_read_foreign: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFacts {
    /// Host and port.
    pub node: String,
    pub engine: Engine,
    pub version: Version,
    /// As `maxmemory-policy` is set; empty if the server does not tell.
    pub eviction: String,
    pub replicas: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Redis,
    Valkey,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    pub major: u16,
    pub minor: u16,
    pub patch: u16,
}

/// Something that should be otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concern {
    /// Production does not start with it; development says so and goes on.
    pub is_grave: bool,
    pub wrong: String,
    pub right: &'static str,
}

impl RedisVault {
    /// Asks every primary, and tries two harmless commands that our user should not be allowed.
    pub async fn inspect(&self) -> Result<Facts, RedisFailure> {
        let link = &*self.link;
        let mut nodes = Vec::new();
        for node in link.live()?.nodes.iter() {
            let told = link.call(Call { name: "INFO", args: Vec::new(), to: To::Node(node.clone()) }).await?;
            let told = told.as_string().ok_or(RedisFailure::Unexpected("INFO"))?;
            nodes.push(facts(node.to_string(), &told));
        }
        let foreign = self.keys.foreign();
        let slot = slot_of(&foreign);
        Ok(Facts {
            nodes,
            may_configure: is_allowed(link, "CONFIG", vec!["GET".into(), "port".into()], slot).await?,
            may_read_foreign: is_allowed(link, "GET", vec![foreign.into()], slot).await?,
        })
    }
}

async fn is_allowed(link: &Link, name: &'static str, args: Vec<Value>, slot: u16) -> Result<bool, RedisFailure> {
    match link.call(Call { name, args, to: To::Slot(slot) }).await {
        Ok(_) => Ok(true),
        Err(RedisFailure::Failed(why)) if why.details().starts_with("NOPERM") => Ok(false),
        // Whoever renames a command has taken it away as well.
        Err(RedisFailure::Failed(why)) if why.details().starts_with("ERR unknown command") => Ok(false),
        Err(why) => Err(why),
    }
}

fn facts(node: String, told: &str) -> NodeFacts {
    let value = |key: &str| {
        let lines = told.lines().filter_map(|line| line.split_once(':'));
        lines.filter(|(name, _)| *name == key).map(|(_, value)| value.trim()).next()
    };
    let (engine, version) = match value("valkey_version") {
        Some(version) => (Engine::Valkey, version),
        None => (Engine::Redis, value("redis_version").unwrap_or_default()),
    };
    NodeFacts {
        node,
        engine,
        version: Version::parse(version),
        eviction: value("maxmemory_policy").unwrap_or_default().to_owned(),
        replicas: value("connected_slaves").and_then(|count| count.parse().ok()).unwrap_or_default(),
    }
}

impl Version {
    const fn new(major: u16, minor: u16, patch: u16) -> Self {
        Self { major, minor, patch }
    }

    /// What is missing is zero.
    fn parse(text: &str) -> Self {
        let mut parts = text.split(['.', '-']).map(|part| part.parse().unwrap_or_default());
        let mut next = || parts.next().unwrap_or_default();
        Self { major: next(), minor: next(), patch: next() }
    }
}

/// The oldest releases of each line without the flaw of the Lua engine, CVE-2025-49844: a script could run code of its own
/// in the server. Newer lines never had it.
const REPAIRED_REDIS: [Version; 5] = [
    Version::new(6, 2, 20),
    Version::new(7, 2, 11),
    Version::new(7, 4, 6),
    Version::new(8, 0, 4),
    Version::new(8, 2, 2),
];
const REPAIRED_VALKEY: [Version; 3] = [Version::new(7, 2, 11), Version::new(8, 0, 6), Version::new(8, 1, 4)];

fn has_the_lua_flaw(engine: Engine, version: Version) -> bool {
    let repaired: &[Version] = match engine {
        Engine::Redis => &REPAIRED_REDIS,
        Engine::Valkey => &REPAIRED_VALKEY,
    };
    let line = |of: Version| (of.major, of.minor);
    match repaired.iter().find(|repaired| line(**repaired) == line(version)) {
        Some(repaired) => version < *repaired,
        None => repaired.last().is_some_and(|newest| version < *newest),
    }
}

/// What should be otherwise, the grave first. One of the same kind is told once, of the first node that has it.
pub fn faults(facts: &Facts) -> Vec<Concern> {
    let first = |is_wrong: fn(&NodeFacts) -> bool| facts.nodes.iter().find(|node| is_wrong(node));
    let mut found = Vec::new();
    let mut tell = |is_grave, wrong: String, right| found.push(Concern { is_grave, wrong, right });
    if let Some(node) = first(|node| node.eviction != "noeviction") {
        let policy = if node.eviction.is_empty() { "unknown" } else { &node.eviction };
        let wrong = format!("{}: maxmemory-policy is {policy}: with its memory full, it forgets sessions", node.node);
        tell(true, wrong, "maxmemory-policy noeviction, and an alarm on its memory");
    }
    if let Some(node) = first(|node| node.replicas == 0) {
        let wrong = format!("{}: no replica: if it is lost, everybody signs in again", node.node);
        tell(false, wrong, "a replica, and min-replicas-to-write 1");
    }
    if let Some(node) = first(|node| has_the_lua_flaw(node.engine, node.version)) {
        let Version { major, minor, patch } = node.version;
        let wrong = format!(
            "{}: {:?} {major}.{minor}.{patch} has a flaw in its scripts (CVE-2025-49844), unless its packager repaired it",
            node.node, node.engine
        );
        tell(false, wrong, "a newer release of the same line");
    }
    let right = "a user with its own prefix and the commands of examples/redis-users.acl";
    if facts.may_configure {
        tell(false, "our user may change the server's configuration".to_owned(), right);
    }
    if facts.may_read_foreign {
        tell(false, "our user may read what is under other prefixes".to_owned(), right);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(told: &str) -> NodeFacts {
        facts("a:6379".to_owned(), told)
    }

    fn told(nodes: Vec<NodeFacts>, is_wide: bool) -> String {
        let facts = Facts { nodes, may_configure: is_wide, may_read_foreign: is_wide };
        let lines = faults(&facts).into_iter().map(|Concern { is_grave, wrong, .. }| format!("{is_grave} {wrong}"));
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn facts_are_read_from_what_the_server_tells() {
        let redis =
            "# Server\r\nredis_version:7.0.15\r\n# Memory\r\nmaxmemory_policy:noeviction\r\nconnected_slaves:2\r\n";
        let expected = NodeFacts {
            node: "a:6379".into(),
            engine: Engine::Redis,
            version: Version::new(7, 0, 15),
            eviction: "noeviction".into(),
            replicas: 2,
        };
        assert_eq!(node(redis), expected);
        let valkey = node("redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:9.1.2\r\n");
        assert_eq!((valkey.engine, valkey.version), (Engine::Valkey, Version::new(9, 1, 2)));
        assert_eq!(Version::parse("8.0.0-rc1"), Version::new(8, 0, 0));
    }

    #[test]
    fn the_repaired_releases_are_known() {
        for (engine, text, has) in [
            (Engine::Redis, "6.0.16", true),
            (Engine::Redis, "6.2.19", true),
            (Engine::Redis, "6.2.20", false),
            (Engine::Redis, "7.0.15", true),
            (Engine::Redis, "7.2.10", true),
            (Engine::Redis, "7.2.11", false),
            (Engine::Redis, "7.4.5", true),
            (Engine::Redis, "7.4.6", false),
            (Engine::Redis, "8.0.3", true),
            (Engine::Redis, "8.0.4", false),
            (Engine::Redis, "8.2.1", true),
            (Engine::Redis, "8.2.2", false),
            (Engine::Redis, "8.4.0", false),
            (Engine::Valkey, "7.2.10", true),
            (Engine::Valkey, "7.2.11", false),
            (Engine::Valkey, "8.0.5", true),
            (Engine::Valkey, "8.0.6", false),
            (Engine::Valkey, "8.1.3", true),
            (Engine::Valkey, "8.1.4", false),
            (Engine::Valkey, "9.1.2", false),
        ] {
            assert_eq!(has_the_lua_flaw(engine, Version::parse(text)), has, "{engine:?} {text}");
        }
    }

    #[test]
    fn what_should_be_otherwise_is_told_once() {
        let good = node("valkey_version:9.1.2\nmaxmemory_policy:noeviction\nconnected_slaves:1");
        assert_eq!(told(vec![good.clone(), good.clone()], false), "");
        let bad = node("redis_version:7.2.1\nmaxmemory_policy:allkeys-lru\nconnected_slaves:0");
        insta::assert_snapshot!(told(vec![good.clone(), bad.clone(), bad], true), @r"
        true a:6379: maxmemory-policy is allkeys-lru: with its memory full, it forgets sessions
        false a:6379: no replica: if it is lost, everybody signs in again
        false a:6379: Redis 7.2.1 has a flaw in its scripts (CVE-2025-49844), unless its packager repaired it
        false our user may change the server's configuration
        false our user may read what is under other prefixes
        ");
        insta::assert_snapshot!(told(vec![node("redis_version:8.4.0\nconnected_slaves:1")], false), @"true a:6379: maxmemory-policy is unknown: with its memory full, it forgets sessions");
    }
}
