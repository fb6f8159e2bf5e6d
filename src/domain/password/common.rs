//! The passwords that are tried first, as a table that is built in. `scripts/common-passwords` makes it and says from what, and how
//! seldom a password that nobody uses is taken for one of them.

use aws_lc_rs::digest;
use zeroize::Zeroizing;

/// The first bytes of SHA-256 over each in lower case, sorted.
static TABLE: &[u8] = include_bytes!("common.bin");
const HASH_BYTES: usize = 5;

pub(super) fn contains(password: &str) -> bool {
    let folded = Zeroizing::new(password.to_lowercase());
    let hash = digest::digest(&digest::SHA256, folded.as_bytes());
    let (entries, _no_rest) = TABLE.as_chunks::<HASH_BYTES>();
    hash.as_ref().first_chunk().is_some_and(|wanted| entries.binary_search(wanted).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_whole() {
        let (entries, rest) = TABLE.as_chunks::<HASH_BYTES>();
        assert!(rest.is_empty() && entries.len() > 30_000);
        assert!(entries.is_sorted_by(|one, next| one < next));
        assert!(TABLE.len() < 300 << 10);
    }

    #[test]
    fn it_holds_what_people_choose_and_nothing_else() {
        assert!(contains("password") && contains("PassWord"));
        // By chance one in thirty million is; of these, none.
        assert!((0..20_000).all(|number| !contains(&format!("nobody's password {number}"))));
    }
}
