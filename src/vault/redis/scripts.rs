//! The steps that one command of Redis cannot take. A few lines each, and nothing of sessions in them: they compare bytes,
//! and keep the index of a partition with its values.

use std::sync::LazyLock;

use fred::util::sha1_hash;

/// A script and the name under which a server knows it.
pub(super) struct Script {
    pub(super) text: &'static str,
    pub(super) sha1: String,
}

impl Script {
    fn new(text: &'static str) -> Self {
        Self { text, sha1: sha1_hash(text) }
    }
}

/// The index loses what has ended, by the server's clock, and ends with the last of its entries.
macro_rules! prune {
    () => {
        "local time = redis.call('TIME')
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', time[1] * 1000 + math.floor(time[2] / 1000))
local last = redis.call('ZRANGE', KEYS[2], -1, -1, 'WITHSCORES')
if last[2] then redis.call('PEXPIREAT', KEYS[2], last[2]) end
"
    };
}

/// KEYS value, index; ARGV value, end, key.
pub(super) static INSERT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(concat!(
        "if not redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PXAT', ARGV[2]) then return 0 end
redis.call('ZADD', KEYS[2], ARGV[2], ARGV[3])
",
        prune!(),
        "return 1"
    ))
});

/// KEYS value; ARGV expected, new, end. 1, or what is there.
pub(super) static SWAP: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local value = redis.call('GET', KEYS[1])
if value ~= ARGV[1] then return value end
redis.call('SET', KEYS[1], ARGV[2], 'PXAT', ARGV[3])
return 1",
    )
});

/// KEYS value, index; ARGV expected, new, end, key. 1, or what is there.
pub(super) static SWAP_LISTED: LazyLock<Script> = LazyLock::new(|| {
    Script::new(concat!(
        "local value = redis.call('GET', KEYS[1])
if value ~= ARGV[1] then return value end
redis.call('SET', KEYS[1], ARGV[2], 'PXAT', ARGV[3])
redis.call('ZADD', KEYS[2], ARGV[3], ARGV[4])
",
        prune!(),
        "return 1"
    ))
});

/// KEYS value, index; ARGV key. What was there.
pub(super) static TAKE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(concat!(
        "local value = redis.call('GETDEL', KEYS[1])
redis.call('ZREM', KEYS[2], ARGV[1])
",
        prune!(),
        "return value"
    ))
});

/// KEYS value, index; ARGV key. How many there were.
pub(super) static REMOVE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(concat!(
        "local count = redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], ARGV[1])
",
        prune!(),
        "return count"
    ))
});

/// KEYS bucket; ARGV what one takes, what it holds, in milliseconds. How long to wait, or 0. What a key has left to live is
/// all that is kept: that is until the bucket is full again.
pub(super) static ADMIT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local left = math.max(redis.call('PTTL', KEYS[1]), 0) + ARGV[1]
if left > tonumber(ARGV[2]) then return left - ARGV[2] end
redis.call('SET', KEYS[1], '', 'PX', left)
return 0",
    )
});

/// KEYS bucket; ARGV what one takes, in milliseconds.
pub(super) static GIVE_BACK: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local left = redis.call('PTTL', KEYS[1]) - ARGV[1]
if left > 0 then return redis.call('PEXPIRE', KEYS[1], left) end
return redis.call('DEL', KEYS[1])",
    )
});

/// KEYS what all values of the partition begin with, index. Keys and values by turns.
///
/// The names of the values are made here and not declared, which clusters allow for names in the slot of those that are.
pub(super) static LIST: LazyLock<Script> = LazyLock::new(|| {
    Script::new(concat!(
        prune!(),
        "local found = {}
for _, key in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
  local value = redis.call('GET', KEYS[1] .. key)
  if value then
    found[#found + 1] = key
    found[#found + 1] = value
  else
    redis.call('ZREM', KEYS[2], key)
  end
end
return found"
    ))
});
