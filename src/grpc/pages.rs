//! Where a page of a listing ended. Opaque on the wire: the last item's key, and a checksum of the listing that it
//! belongs to, so that a token that strayed into another listing is refused rather than answered with nonsense. No secret
//! and no permission: whoever forges one sees what they may see anyway.

use aws_lc_rs::digest::{Context, SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::grpc::fields::Fields;

const CHECKSUM_LEN: usize = 8;

/// A listing: its method and all of its filters, which have to stay the same from page to page.
#[derive(Debug)]
pub(super) struct Pages<'a>(pub(super) &'a [&'a str]);

impl Pages<'_> {
    pub(super) fn token(&self, last: &str) -> String {
        let mut bytes = self.checksum(last).to_vec();
        bytes.extend_from_slice(last.as_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The key behind which the page begins. None: the first page, or a fault that was noted.
    pub(super) fn read<T>(&self, fields: &mut Fields, token: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        if token.is_empty() {
            return None;
        }
        let last = self.open(token).and_then(|last| parse(&last));
        if last.is_none() {
            fields.refuse("page_token", "must be the one from the answer before, with all else the same");
        }
        last
    }

    fn open(&self, token: &str) -> Option<String> {
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (checksum, last) = bytes.split_first_chunk::<CHECKSUM_LEN>()?;
        let last = std::str::from_utf8(last).ok()?;
        (*checksum == self.checksum(last)).then(|| last.to_owned())
    }

    fn checksum(&self, last: &str) -> [u8; CHECKSUM_LEN] {
        let mut context = Context::new(&SHA256);
        for part in self.0.iter().chain([&last]) {
            // With lengths, or two lists of parts could run together into the same bytes.
            context.update(&part.len().to_be_bytes());
            context.update(part.as_bytes());
        }
        let mut checksum = [0; CHECKSUM_LEN];
        for (to, from) in checksum.iter_mut().zip(context.finish().as_ref()) {
            *to = *from;
        }
        checksum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::error::AuthError;

    fn read(pages: &Pages<'_>, token: &str) -> Result<Option<String>, AuthError> {
        let mut fields = Fields::default();
        let last = pages.read(&mut fields, token, |last| (last != "bad").then(|| last.to_owned()));
        fields.finish(|| Some(last))
    }

    #[test]
    fn a_token_is_good_for_its_own_listing_only() {
        let pages = Pages(&["ListUsers", "kim", ""]);
        let token = pages.token("last");
        assert_eq!(read(&pages, &token).unwrap().as_deref(), Some("last"));
        assert_eq!(read(&pages, "").unwrap(), None);
        for foreign in [
            &["ListRoles", "kim", ""][..],
            &["ListUsers", "", "kim"],
            &["ListUsers", "kim"],
            &["ListUsers", "kim", "x"],
        ] {
            assert!(matches!(read(&Pages(foreign), &token), Err(AuthError::InvalidField(_))), "{foreign:?}");
        }
    }

    #[test]
    fn nonsense_is_no_token() {
        let pages = Pages(&["ListUsers"]);
        let good = pages.token("last");
        for nonsense in ["x", "!", "AAAA", &format!("{good}="), &format!("{good}AAAA"), &good[1..], &pages.token("bad")]
        {
            assert!(read(&pages, nonsense).is_err(), "{nonsense}");
        }
    }
}
