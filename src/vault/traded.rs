//! Tokens of trusted issuers in the vault that were traded in: nothing but that they were, for as long as each would be good.

use zeroize::Zeroizing;

use crate::domain::time::Timestamp;
use crate::vault::Kind;
use crate::vault::records::Record;

/// That a token was traded in.
#[derive(Clone, Copy, Debug)]
pub struct TradedToken {
    /// From when on the token is refused for its age.
    pub expire_time: Timestamp,
}

impl Record for TradedToken {
    const KIND: Kind = Kind::Traded;

    fn expires_at(&self) -> Timestamp {
        self.expire_time
    }

    fn encode(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::default()
    }

    fn decode(_plain: &[u8], expires_at: Timestamp) -> Option<Self> {
        Some(Self { expire_time: expires_at })
    }
}
