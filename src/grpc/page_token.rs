//! Where a page of sessions ended. Opaque on the wire: the last session's id, and a checksum of the listing that it
//! belongs to, so that a token that strayed into another listing is refused rather than answered with nonsense. No secret
//! and no permission: whoever forges one sees what they may see anyway.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

use crate::domain::id::{ClientId, SessionId};

const CHECKSUM_LEN: usize = 4;
const LEN: usize = 16 + CHECKSUM_LEN;

/// What has to stay the same from page to page.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listing<'a> {
    pub(super) client: &'a ClientId,
    /// As asked for; empty: the asker's own.
    pub(super) user_id: &'a str,
    pub(super) show_ended: bool,
    /// Whether a person asks. Not with which token: that one may be refreshed between two pages.
    pub(super) by_person: bool,
}

/// Not a page token of this listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be the one from the answer before, with all else the same")]
pub(super) struct ForeignPageToken;

impl Listing<'_> {
    pub(super) fn token(&self, last: SessionId) -> String {
        let mut bytes = [0; LEN];
        let (id, checksum) = bytes.split_at_mut(16);
        id.copy_from_slice(last.uuid().as_bytes());
        checksum.copy_from_slice(&self.checksum(last));
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The session after which the next page begins.
    pub(super) fn open(&self, token: &str) -> Result<SessionId, ForeignPageToken> {
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_not_base64| ForeignPageToken)?;
        let (id, checksum) = bytes.split_first_chunk::<16>().ok_or(ForeignPageToken)?;
        let last = SessionId::from_uuid(Uuid::from_bytes(*id));
        if checksum == self.checksum(last) { Ok(last) } else { Err(ForeignPageToken) }
    }

    fn checksum(&self, last: SessionId) -> [u8; CHECKSUM_LEN] {
        let Self { client, user_id, show_ended, by_person } = self;
        // The id of a client has no line end, and what follows the flags is last.
        let listing = format!("{client}\n{show_ended}\n{by_person}\n{last}\n{user_id}");
        let mut checksum = [0; CHECKSUM_LEN];
        for (to, from) in checksum.iter_mut().zip(digest(&SHA256, listing.as_bytes()).as_ref()) {
            *to = *from;
        }
        checksum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_for_its_own_listing_only() {
        let (dev, other): (ClientId, ClientId) = ("dev".parse().unwrap(), "other".parse().unwrap());
        let listing = Listing { client: &dev, user_id: "", show_ended: false, by_person: true };
        let last = SessionId::generate();
        let token = listing.token(last);
        assert_eq!(token.len(), 27);
        assert_eq!(listing.open(&token), Ok(last));
        for foreign in [
            Listing { client: &other, ..listing },
            Listing { user_id: "019a8c1e-0000-7000-8000-00000000b7f3", ..listing },
            Listing { show_ended: true, ..listing },
            Listing { by_person: false, ..listing },
        ] {
            assert_eq!(foreign.open(&token), Err(ForeignPageToken), "{foreign:?}");
        }
    }

    #[test]
    fn nonsense_is_no_token() {
        let client = "dev".parse().unwrap();
        let listing = Listing { client: &client, user_id: "", show_ended: false, by_person: true };
        let token = listing.token(SessionId::generate());
        let padded = format!("{token}=");
        let flipped = format!("{}{}", if token.starts_with('A') { 'B' } else { 'A' }, token.get(1..).unwrap());
        for nonsense in ["", "x", "!", "AAAA", &padded, &flipped, &token[..26], &format!("{token}AAAA")] {
            assert_eq!(listing.open(nonsense), Err(ForeignPageToken), "{nonsense}");
        }
    }
}
