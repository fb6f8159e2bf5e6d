use postern_rig::fuzz::fuzz;
use proptest::prelude::*;
use secrecy::ExposeSecret as _;

use super::*;
use crate::domain::session::{Device, TokenScope};

const NUMBER: u8 = 1;

fn tag_key() -> TagKey {
    TagKey::new(NUMBER, &[1; 32])
}

fn chain_key() -> ChainKey {
    ChainKey::new(&[2; 32])
}

fn session() -> Session {
    let start = Timestamp::from_secs(1_790_000_000);
    Session {
        id: SessionId::from_uuid(uuid::Uuid::from_u128(2)),
        user: UserId::from_uuid(uuid::Uuid::from_u128(1)),
        seed: Seed::from_bytes([42; 32]),
        key: NUMBER,
        generation: 7,
        advanced_at: start,
        predecessors: Vec::new(),
        last_late: None,
        epoch: 0,
        scope: TokenScope::default(),
        client: "dev".parse().unwrap(),
        device: Device::default(),
        method: String::new(),
        create_time: start,
        auth_time: start,
        amr: Vec::new(),
        absolute_end: Timestamp::MAX,
    }
}

fn issue(session: &Session) -> String {
    tag_key().issue(session, &chain_key()).expose_secret().to_owned()
}

/// The text of `bytes` under the right prefix.
fn text(bytes: &[u8]) -> String {
    format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
}

fn bytes(token: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(token.strip_prefix(PREFIX).unwrap()).unwrap()
}

/// Signed by us, whatever it says.
fn signed(mut bytes: Vec<u8>) -> String {
    bytes.truncate(SIGNED_LEN);
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &[1; 32]), &bytes);
    bytes.extend_from_slice(&tag.as_ref()[..16]);
    text(&bytes)
}

fn refused(token: &str) -> bool {
    tag_key().open(token).is_err()
}

#[test]
fn a_token_has_124_characters_of_one_alphabet() {
    let token = issue(&session());
    assert_eq!((token.len(), TOKEN_LEN), (124, 124));
    let body = token.strip_prefix("ptr_").unwrap();
    assert!(body.bytes().all(|letter| letter.is_ascii_alphanumeric() || letter == b'-' || letter == b'_'));
    assert_eq!(bytes(&token).len(), 90);
}

#[test]
fn the_layout_is_the_one_that_is_written_down() {
    let session = session();
    let bytes = bytes(&issue(&session));
    assert_eq!(bytes[..2], [1, NUMBER]);
    assert_eq!(bytes[2..18], *session.user.uuid().as_bytes());
    assert_eq!(bytes[18..34], *session.id.uuid().as_bytes());
    assert_eq!(bytes[34..38], 7_u32.to_be_bytes());
    assert_eq!(bytes[38..42], 1_790_000_000_u32.to_be_bytes());
    // Secret and tag, computed a second way.
    let sign = |key: u8, parts: &[&[u8]]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &[key; 32]), &parts.concat());
    let secret = sign(2, &[&[42; 32], &bytes[2..18], &bytes[18..34], &bytes[34..38]]);
    assert_eq!(bytes[42..74], *secret.as_ref());
    assert_eq!(bytes[74..], sign(1, &[&bytes[..74]]).as_ref()[..16]);
}

#[test]
fn the_same_record_gives_the_same_token() {
    assert_eq!(issue(&session()), issue(&session()));
}

#[test]
fn other_lengths_are_refused() {
    let token = issue(&session());
    for wrong in ["", "p", "ptr_", &token[..123], &token[..120], &token[4..], &format!("{token}A"), &token.repeat(2)] {
        assert!(refused(wrong) && key_number(wrong).is_none(), "{} characters", wrong.len());
    }
    for filler in ["A", "\0", "=", "é", " "] {
        let huge = format!("{token}{}", filler.repeat(1 << 20));
        assert!(refused(&huge) && key_number(&huge).is_none());
        let huge = filler.repeat(1 << 20);
        assert!(refused(&huge) && key_number(&huge).is_none());
    }
}

#[test]
fn white_space_and_padding_are_refused_at_any_length() {
    let token = issue(&session());
    for wrong in [
        format!(" {token}"),
        format!("{token} "),
        format!("{token}\n"),
        format!("{token}\r\n"),
        format!("{token}\0"),
        format!("{token}="),
        format!("{token}=="),
        format!("{}=", &token[..123]),
        format!("{}==", &token[..122]),
        format!("{} ", &token[..123]),
        format!("{}\n", &token[..123]),
        format!(" {}", &token[..123]),
        format!("\u{feff}{}", &token[..121]),
    ] {
        assert!(refused(&wrong) && key_number(&wrong).is_none(), "{wrong:?}");
    }
}

#[test]
fn another_prefix_is_refused() {
    let token = issue(&session());
    for prefix in ["PTR_", "Ptr_", "ptr-", "pts_", "pcs_", "ptr ", "\0\0\0\0", "AAAA", "п_r"] {
        let wrong = format!("{prefix}{}", &token[4..]);
        assert!(refused(&wrong) && key_number(&wrong).is_none(), "{prefix}");
    }
}

#[test]
fn the_standard_alphabet_and_foreign_letters_are_refused_in_every_place() {
    let token = issue(&session());
    for place in PREFIX.len()..TOKEN_LEN {
        for letter in ['+', '/', '=', '.', '~', '%', ' ', '\t', '\n', '\0', '\u{7f}'] {
            let wrong: String =
                token.chars().enumerate().map(|(at, old)| if at == place { letter } else { old }).collect();
            assert!(refused(&wrong) && key_number(&wrong).is_none(), "{letter:?} at {place}");
        }
        // As many bytes as the token has, but fewer letters.
        if place + 2 <= TOKEN_LEN {
            let wrong = format!("{}é{}", &token[..place], &token[place + 2..]);
            assert!(wrong.len() == TOKEN_LEN && refused(&wrong), "at {place}");
        }
    }
}

#[test]
fn every_other_letter_in_every_place_is_another_token() {
    let token = issue(&session());
    for place in 0..TOKEN_LEN {
        for letter in ('0'..='9').chain('A'..='Z').chain('a'..='z').chain(['-', '_']) {
            let other: String =
                token.chars().enumerate().map(|(at, old)| if at == place { letter } else { old }).collect();
            assert_eq!(refused(&other), other != token, "{letter} at {place}");
        }
    }
}

#[test]
fn changed_case_is_refused() {
    let token = issue(&session());
    let body = &token[4..];
    for wrong in [token.to_uppercase(), token.to_lowercase(), format!("ptr_{}", body.to_uppercase())] {
        assert!(refused(&wrong), "{wrong}");
    }
}

#[test]
fn another_format_is_refused_even_if_signed() {
    for format in [0, 2, 0x81, 255] {
        let mut bytes = bytes(&issue(&session()));
        bytes[0] = format;
        assert!(refused(&signed(bytes.clone())) && key_number(&text(&bytes)).is_none(), "{format}");
    }
}

#[test]
fn another_key_number_is_refused_even_if_signed_with_this_key() {
    let mut bytes = bytes(&issue(&session()));
    bytes[1] = NUMBER + 1;
    assert!(refused(&text(&bytes)));
    assert!(refused(&signed(bytes)));
    // And the same bytes of key under another number.
    assert!(TagKey::new(NUMBER + 1, &[1; 32]).open(&issue(&session())).is_err());
}

#[test]
fn another_tag_key_is_refused() {
    assert!(TagKey::new(NUMBER, &[9; 32]).open(&issue(&session())).is_err());
    let foreign = TagKey::new(NUMBER, &[9; 32]).issue(&session(), &chain_key());
    assert!(refused(foreign.expose_secret()));
}

#[test]
fn a_tag_of_all_equal_bytes_is_refused() {
    for filler in [0, 255] {
        let mut bytes = bytes(&issue(&session()));
        bytes[SIGNED_LEN..].fill(filler);
        assert!(refused(&text(&bytes)));
    }
}

#[test]
fn the_key_number_is_read_before_anything_is_proven() {
    let mut bytes = bytes(&issue(&session()));
    for number in [0, 1, 2, 200, 255] {
        bytes[1] = number;
        assert_eq!(key_number(&text(&bytes)), Some(number));
    }
    assert_eq!(key_number(&text(&[1; 90])), Some(1));
}

#[test]
fn nothing_printed_shows_a_secret() {
    let token = issue(&session());
    let presented = tag_key().open(&token).unwrap();
    let printed = format!("{presented:?} {presented:#?}");
    let secret = presented.secret.as_slice();
    assert!(printed.contains("generation: 7"), "{printed}");
    assert!(!printed.contains("secret"), "{printed}");
    assert!(!printed.contains(&format!("{}, {}", secret[0], secret[1])), "{printed}");
    assert!(!printed.contains(&token[60..80]), "{printed}");
    let held = format!("{:?}", tag_key().issue(&session(), &chain_key()));
    assert!(!held.contains(&token[4..20]), "{held}");
    assert!(!format!("{:?} {InvalidToken}", tag_key().open(&token[..123]).unwrap_err()).contains(&token[4..20]));
}

#[test]
fn the_secret_differs_with_seed_user_session_generation_and_chain_key() {
    let mine = session();
    let secret = |session: &Session, chain: &ChainKey| {
        *tag_key().open(tag_key().issue(session, chain).expose_secret()).unwrap().secret
    };
    let others = [
        Session { seed: Seed::from_bytes([43; 32]), ..mine.clone() },
        Session { user: UserId::from_uuid(uuid::Uuid::from_u128(3)), ..mine.clone() },
        Session { id: SessionId::from_uuid(uuid::Uuid::from_u128(3)), ..mine.clone() },
        Session { user: UserId::from_uuid(mine.id.uuid()), id: SessionId::from_uuid(mine.user.uuid()), ..mine.clone() },
        Session { generation: 8, ..mine.clone() },
        Session { generation: 0, ..mine.clone() },
        Session { generation: u32::MAX, ..mine.clone() },
    ];
    let mut secrets: Vec<_> = others.iter().map(|other| secret(other, &chain_key())).collect();
    secrets.push(secret(&mine, &chain_key()));
    secrets.push(secret(&mine, &ChainKey::new(&[3; 32])));
    let many = secrets.len();
    secrets.sort_unstable();
    secrets.dedup();
    assert_eq!(secrets.len(), many);
}

#[test]
fn the_time_of_issue_is_no_part_of_the_secret() {
    let later = Session { advanced_at: Timestamp::from_secs(1_790_000_500), ..session() };
    let (one, other) = (tag_key().open(&issue(&session())).unwrap(), tag_key().open(&issue(&later)).unwrap());
    assert_eq!(*one.secret, *other.secret);
    assert_ne!(one.issued, other.issued);
}

#[test]
fn only_the_seed_and_chain_key_prove_a_secret() {
    let presented = tag_key().open(&issue(&session())).unwrap();
    assert!(chain_key().proves(&session().seed, &presented));
    assert!(!chain_key().proves(&Seed::from_bytes([43; 32]), &presented));
    assert!(!ChainKey::new(&[3; 32]).proves(&session().seed, &presented));
    let generation = presented.generation + 1;
    assert!(!chain_key().proves(&session().seed, &Presented { generation, ..presented }));
}

#[test]
fn times_that_do_not_fit_are_clamped_and_do_not_wrap() {
    for advanced_at in [Timestamp::from_secs(-1), Timestamp::from_secs(1 << 40), Timestamp::MAX] {
        let presented = tag_key().open(&issue(&Session { advanced_at, ..session() })).unwrap();
        assert_eq!(presented.issued, Timestamp::from_secs(u32::MAX.into()), "{advanced_at}");
    }
}

prop_compose! {
    fn any_session()(
        seed: [u8; 32], user: u128, id: u128, generation: u32, issued: u32,
    ) -> Session {
        Session {
            seed: Seed::from_bytes(seed),
            user: UserId::from_uuid(uuid::Uuid::from_u128(user)),
            id: SessionId::from_uuid(uuid::Uuid::from_u128(id)),
            generation,
            advanced_at: Timestamp::from_secs(issued.into()),
            ..session()
        }
    }
}

proptest! {
    #[test]
    fn tokens_round_trip(session in any_session(), number: u8) {
        let key = TagKey::new(number, &[5; 32]);
        let token = key.issue(&session, &chain_key());
        let token = token.expose_secret();
        prop_assert_eq!(token.len(), TOKEN_LEN);
        prop_assert_eq!(key_number(token), Some(number));
        let presented = key.open(token).unwrap();
        prop_assert_eq!(presented.key, number);
        prop_assert_eq!((presented.user, presented.session), (session.user, session.id));
        prop_assert_eq!((presented.generation, presented.issued), (session.generation, session.advanced_at));
        prop_assert!(chain_key().proves(&session.seed, &presented));
    }

    #[test]
    fn every_flipped_bit_voids_the_tag(session in any_session()) {
        let token = issue(&session);
        let bytes = bytes(&token);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(refused(&text(&flipped)), "bit {}", bit);
        }
    }

    #[test]
    fn whatever_opens_is_spelled_as_it_would_be_issued(place in 0..TOKEN_LEN, byte: u8, session in any_session()) {
        let mut letters = issue(&session).into_bytes();
        letters[place] = byte;
        if let Ok(other) = String::from_utf8(letters)
            && tag_key().open(&other).is_ok()
        {
            prop_assert_eq!(other, issue(&session));
        }
    }

    #[test]
    fn no_text_opens_or_panics(garbage in "\\PC{0,130}", bytes in prop::collection::vec(any::<u8>(), 90)) {
        prop_assert!(refused(&garbage));
        prop_assert!(refused(&text(&bytes)));
        let _number = (key_number(&garbage), key_number(&text(&bytes)));
    }
}

/// No bytes but those that were issued are a token of ours.
#[test]
fn hostile_bytes() {
    let good = issue(&session());
    fuzz("refresh_token", &[good.as_bytes(), signed(bytes(&good)).as_bytes(), b"prt_"], |input| {
        let Ok(text) = std::str::from_utf8(input) else { return };
        assert!(tag_key().open(text).is_err() || text == good, "{text}");
    });
}
