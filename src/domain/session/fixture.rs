//! A session, its tokens and what SQL says of it, to try rotation on.

use std::sync::LazyLock;
use std::time::Duration;

use secrecy::ExposeSecret as _;

use super::{RotationLimits, Seed, Session, TokenScope};
use crate::domain::id::{SessionId, UserId};
use crate::domain::refresh_token::{ChainKey, Presented, TagKey, key_number};
use crate::domain::standing::{Fence, Floor, GenerationFloor, Owner, Standing};
use crate::domain::time::Timestamp;

pub(super) const GRACE: Duration = Duration::from_secs(30);
pub(super) const IDLE: Duration = Duration::from_hours(14 * 24);
pub(super) const ABSOLUTE: Duration = Duration::from_hours(90 * 24);
pub(super) const LIMITS: RotationLimits = RotationLimits { idle: IDLE, grace: GRACE, late_repeats: true };
pub(super) const STRICT: RotationLimits = RotationLimits { late_repeats: false, ..LIMITS };
/// The sign-in, not on a whole second.
pub(super) const T0: Timestamp = Timestamp::from_micros(1_790_000_000_900_000);
/// The owner's version at sign-in.
pub(super) const EPOCH: i64 = 7;

/// Everything that follows from one master key.
pub(super) struct Keys {
    pub(super) tag: TagKey,
    pub(super) chain: ChainKey,
}

/// Two master keys, as during their rotation.
static KEYS: LazyLock<[Keys; 2]> = LazyLock::new(|| {
    [1, 2].map(|number| Keys {
        tag: TagKey::new(number, &[number; 32]),
        chain: ChainKey::new(&[number.wrapping_add(100); 32]),
    })
});

pub(super) fn keys(number: u8) -> &'static Keys {
    &KEYS[usize::from(number) - 1]
}

/// Just signed in at `T0`.
pub(super) fn session() -> Session {
    Session {
        id: SessionId::from_uuid(uuid::Uuid::from_u128(0x019a_8c1e_0000_7000_8000_0000_0000_b7f3)),
        user: UserId::from_uuid(uuid::Uuid::from_u128(0x019a_8c1e_0000_7000_8000_0000_0000_0001)),
        seed: Seed::from_bytes([42; 32]),
        key: 1,
        generation: 0,
        advanced_at: T0.floor_to_second(),
        predecessors: Vec::new(),
        last_late: None,
        epoch: EPOCH,
        scope: TokenScope::default(),
        client: "dev".parse().unwrap(),
        device: super::Device::default(),
        method: String::new(),
        create_time: T0,
        auth_time: T0,
        amr: Vec::new(),
        absolute_end: T0 + ABSOLUTE,
    }
}

/// A session that came to `generation` long ago, at `T0`, without hurry: no predecessor is in its grace.
pub(super) fn session_at(generation: u32) -> Session {
    Session { generation, ..session() }
}

/// The text of the current token of `session`, made with the key that its record names.
pub(super) fn issue(session: &Session) -> String {
    let keys = keys(session.key);
    keys.tag.issue(session, &keys.chain).expose_secret().to_owned()
}

/// A token taken apart by the key that it names.
pub(super) fn open(text: &str) -> Option<Presented> {
    let number = key_number(text)?;
    KEYS.get(usize::from(number).checked_sub(1)?)?.tag.open(text).ok()
}

/// The token of another generation of `session`.
pub(super) fn token(session: &Session, generation: u32, issued: Timestamp) -> Presented {
    open(&issue(&Session { generation, advanced_at: issued, ..session.clone() })).unwrap()
}

/// What the holder of the tag key, but not of the seed, can make.
pub(super) fn forged(session: &Session, generation: u32, issued: Timestamp) -> String {
    issue(&Session { generation, advanced_at: issued, seed: Seed::from_bytes([13; 32]), ..session.clone() })
}

pub(super) fn owner() -> Owner {
    Owner {
        active: true,
        version: EPOCH,
        roles_at: EPOCH,
        floor: Floor::NONE,
        bindings: Vec::new(),
        external_id: String::new(),
    }
}

/// Nothing is wrong at `now`.
pub(super) fn standing(now: Timestamp) -> Standing {
    Standing { now, fence: Fence::default(), owner: Some(owner()), revoked: None, generation_floor: None }
}

pub(super) fn with_floor(now: Timestamp, generation: u32, at: Timestamp) -> Standing {
    Standing { generation_floor: Some(GenerationFloor { generation, at }), ..standing(now) }
}
