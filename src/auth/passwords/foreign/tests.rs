use postern_rig::fuzz::fuzz;
use secrecy::ExposeSecret as _;

use super::*;
use crate::auth::passwords::{Stored, check};
use crate::auth::pepper::Peppers;
use crate::domain::password::Password;

/// One of each kind, printed by `tests/foreign/hashes.py`; all of one password.
const MADE: &str = include_str!("made.jsonl");
const PASSWORD: &str = "pässwörd 가";

fn made() -> Vec<(String, String)> {
    MADE.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn parse(text: &str) -> Result<ForeignHash, ForeignHashError> {
    ForeignHash::parse(text)
}

fn holds(text: &str, password: &str) -> bool {
    let kept = parse(text).unwrap_or_else(|why| panic!("{text} {why}"));
    let stored = Stored::parse(kept.stored().expose_secret()).unwrap();
    let params = argon2::Params::new(64, 1, 1, None).unwrap();
    check(&Password::from_typed(password).unwrap(), &stored, &params, &Peppers::default(), &mut Vec::new()).unwrap()
}

#[test]
fn what_other_programs_made_is_checked() {
    let made = made();
    assert_eq!(made.len(), 31);
    for (maker, text) in &made {
        assert!(holds(text, PASSWORD), "{maker}");
        for wrong in ["", "passwörd 가", "pässwörd 가 ", "pässwörd"] {
            assert!(!holds(text, wrong), "{maker} {wrong}");
        }
        let scheme = parse(text).unwrap().scheme;
        let sample = Stored::sample(&scheme).unwrap_or_else(|| panic!("{maker}: {scheme}"));
        assert_eq!(sample.scheme(), scheme, "{maker}");
    }
}

/// D1: what was typed counts where the other program did not put it into its normal form.
#[test]
fn what_was_typed_counts_too() {
    for text in ["$2b$05$7BUR1pvNfpknqb9xRLj/4.mVvgg5nUDFXma5pGDVhgaVnxyWGEsMS", made()[10].1.as_str()] {
        let decomposed = "pa\u{308}sswo\u{308}rd \u{1100}\u{1161}";
        assert!(holds(text, decomposed), "hashed in its normal form, typed in another");
    }
    // Of the decomposed form, by bcrypt 4.0 and argon2-cffi 25.1.
    for text in [DECOMPOSED_BCRYPT, DECOMPOSED_ARGON2] {
        assert!(holds(text, "cafe\u{301}"));
        assert!(!holds(text, "caf\u{e9}"), "nobody can know what was typed there");
    }
}

const DECOMPOSED_BCRYPT: &str = "$2b$05$NbqIDeoaGbryzZK9Na1WKuYmg/C.SMx81L8BNBJcO19MAWxnfTgj2";
const DECOMPOSED_ARGON2: &str =
    "$argon2id$v=19$m=1024,t=2,p=1$yEffAFaNsdpQDjjxT0wbYA$zMfS8Pq14a9eG17ZrAf3Syv5p2V43yPqQijCbQaI99U";

/// C-13: Openwall's vectors, OpenBSD's wraparound and py-bcrypt's, as passlib 1.7.4 lists them.
#[test]
fn bcrypt_is_bcrypt() {
    let digits = "0123456789".repeat(26).into_bytes();
    let wrapped = "$2a$04$R1lJ2gkNaoPGdafE.H.16.1MKHPvmKwryeulRe225LKProWYwt9Oi";
    let long = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789chars after 72 are ignored";
    let mut aa = [0xaa; 72].to_vec();
    aa.extend_from_slice(b"chars after 72 are ignored as usual");
    for (password, text) in [
        (&b"U*U*U*U*"[..], "$2a$05$c92SVSfjeiCD6F2nAD6y0uBpJDjdRkt0EgeC4/31Rf2LUZbDRDE.O"),
        (b"U*U***U", "$2a$05$WY62Xk2TXZ7EvVDQ5fmjNu7b0GEzSzUXUh2cllxJwhtOeMtWV3Ujq"),
        (b"", "$2a$05$Otz9agnajgrAe0.kFVF9V.tzaStZ2s1s4ZWi/LY4sw2k/MTVFj/IO"),
        (b"U*U", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"),
        (b"", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.7uG0VCzI2bS7j6ymqJi9CdcdxiRTWNy"),
        (long.as_bytes(), "$2a$05$abcdefghijklmnopqrstuu5s2v8.iXieOjg/.AySBTTZIIVFJeBui"),
        (b"\xa3", "$2a$05$/OK.fbVrR/bpIqNJ5ianF.Sa7shbm4.OzKpvFnX1pQLmQW96oUlCq"),
        (b"\xa3", "$2y$05$/OK.fbVrR/bpIqNJ5ianF.Sa7shbm4.OzKpvFnX1pQLmQW96oUlCq"),
        (b"\xff\xa3345", "$2a$05$/OK.fbVrR/bpIqNJ5ianF.nRht2l/HRhr6zmCp9vYUvvsqynflf9e"),
        (&aa, "$2a$05$/OK.fbVrR/bpIqNJ5ianF.swQOIzjOiJ9GHEPuhEkvqrUyvWhEMx6"),
        (b"\xd1\x91", "$2y$05$6bNw2HLQYeqHYyBfLMsv/OUcZd0LKP39b87nBw3.S2tVZSqiQX6eu"),
        (&digits[..254], wrapped),
        (&digits[..255], wrapped),
        (&digits[..257], wrapped),
        (b"a", "$2a$10$k87L/MF28Q673VKh8/cPi.SUl7MU/rWuSiIDDFayrKk/1tBsSQu4u"),
        (b"~!@#$%^&*()      ~!@#$%^&*()PNBFRD", "$2a$10$LgfYWkbzEvQ4JakH7rOvHe0y8pHKF9OaFgwUZ2q7W2FFZmZzJYlfS"),
    ] {
        let Stored::Foreign(foreign) = read::any(text).unwrap().1 else { panic!("{text}") };
        assert_eq!(foreign.compute(password).unwrap(), foreign.output, "{text}");
    }
    // A salt with noise in the bits that count for nothing, which old programs wrote.
    assert!(parse("$2a$05$CCCCCCCCCCCCCCCCCCCCCOE5YPO9kmyuRGyh0XouQYb4YMJKvyOeW").is_ok());
}

/// Rows 23 and 24: one refusal for each, and no part of the hash in it.
#[test]
fn what_cannot_be_trusted_or_afforded_is_refused() {
    use ForeignHashError::{Malformed, TooDear, TooLong, Unknown, Unusable};
    let rest = "$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";
    let is = |text: &str, expected: fn(&ForeignHashError) -> bool| {
        let why = parse(text).err().unwrap_or_else(|| panic!("{text} was taken"));
        assert!(expected(&why), "{text}: {why:?}");
        assert!(!why.to_string().contains("CCCC"), "{why}");
    };
    for version in ["$2", "$2x", "$2f", "$2`"] {
        is(&format!("{version}$05{rest}"), |why| matches!(why, Unusable(_) | Malformed(_)));
    }
    for cost in ["16", "31", "99"] {
        is(&format!("$2b${cost}{rest}"), |why| matches!(why, TooDear(_)));
    }
    for text in [
        &format!("$2b$03{rest}"),
        &format!("$2b$5{rest}"),
        &format!("$2b$+5{rest}"),
        &format!("$2b$05{rest}x"),
        &format!("$2b$05{}", &rest[..52]),
        "$2a$12$EXRkfkdmXn!gzds2SSitu.MW9.gAVqa9eLS1//RYtYCmB1eLHg.9q",
        "$2b$",
        "pbkdf2_sha256$0$salt$GzghdSZN2izI4rJ+FNSXJGC12X2xp804C135a8ZMB98=",
        "pbkdf2_md5$1000$salt$GzghdSZN2izI4rJ+FNSXJGC12X2xp804C135a8ZMB98=",
        "pbkdf2_sha256$1000$salt$Gzgh",
        "pbkdf2:sha256:1000$salt$zz",
        "pbkdf2:sha256:1000:7$salt$00112233445566778899aabbccddeeff",
        "scrypt:1000:8:1$salt$00112233445566778899aabbccddeeff",
        "scrypt:1024:0:1$salt$00112233445566778899aabbccddeeff",
        "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ",
        "$argon2id$",
        "{\"secretData\": \"{}\"}",
        "{\"secretData\": 7, \"credentialData\": \"CCCC\"}",
    ] {
        is(text, |why| matches!(why, Malformed(_) | Unknown));
    }
    for text in [
        "pbkdf2_sha256$2000001$salt$GzghdSZN2izI4rJ+FNSXJGC12X2xp804C135a8ZMB98=",
        "$pbkdf2-sha512$4294967295$AYDw$T3GAztOfkGwPB/FHa2EFRYhouHD5OZOVtDfi.XQoVVMcQcFT962xxA2fVyU9LM6DNbchuJ2pZyzbmcJXM351lQ",
        "scrypt:2097152:8:1$salt$00112233445566778899aabbccddeeff",
        "scrypt:16384:8:64$salt$00112233445566778899aabbccddeeff",
        "scrypt:2147483648:4294967295:4294967295$salt$00112233445566778899aabbccddeeff",
        "$scrypt$ln=64,r=8,p=1$BACAUErJeW8NQci5txbCGA$P94IXoQqkqtW7RNPkWnf4R4VvN+EK8BQeaTykncjFcE",
        "$argon2id$v=19$m=4194304,t=1,p=1$c29tZXNhbHQ$RdescudvJCsgt3ub+b+dWRWJTmaaJObG",
        "$argon2id$v=19$m=64,t=1000,p=1$c29tZXNhbHQ$RdescudvJCsgt3ub+b+dWRWJTmaaJObG",
        "argon2$argon2id$v=19$m=1024,t=2,p=9$c2dkUGloNWhrT3BCeUswM1R4cktrZw$3K+IZJOMx1+VThaR7VdV7hsWg8nwVz1uGv/dWzDeRYc",
    ] {
        is(text, |why| matches!(why, TooDear(_)));
    }
    for text in
        ["{noop}CCCC", "{MD5}CCCC", "5f4dcc3b5aa765d61d8327deb882cf99", "CCCC", "", "$1$CCCC$x", "$6$CCCC$x", "md5$a$b"]
    {
        is(text, |why| matches!(why, Unknown));
    }
    for text in ["!CCCC", "!"] {
        is(text, |why| matches!(why, Unusable(_) | Unknown));
    }
    is("{pbkdf2}5d923b44a6d129f3ddf3e3c8d29412723dcbde72445e8ef6bf3b508fbf17fa4e", |why| matches!(why, Unusable(_)));
    is(&"$".repeat(10_000), |why| *why == TooLong);
    let salt = "s".repeat(500);
    is(&format!("pbkdf2_sha256$1000${salt}$GzghdSZN2izI4rJ+FNSXJGC12X2xp804C135a8ZMB98="), |why| {
        matches!(why, TooLong | Malformed(_))
    });
}

/// Row 24: whatever stands in a row of an import, it is refused or can be checked at a cost that may be.
#[test]
fn hostile_foreign_hashes() {
    let valid = made();
    let valid: Vec<&[u8]> = valid.iter().map(|(_, text)| text.as_bytes()).collect();
    fuzz("foreign_hash", &valid, |input| {
        let Ok(text) = std::str::from_utf8(input) else { return };
        let Ok(kept) = parse(text) else { return };
        assert!(kept.text.expose_secret().len() <= TEXT_BYTES_MAX);
        let stored = Stored::parse(kept.text.expose_secret()).expect("what was taken can be read again");
        if let Stored::Foreign(foreign) = stored {
            match foreign.work {
                Work::Bcrypt { cost, .. } => assert!(cost <= 15),
                Work::Pbkdf2 { iterations, .. } => assert!(iterations.get() <= PBKDF2_ITERATIONS_MAX),
                Work::Scrypt { log_n, r, p, .. } => {
                    assert!((u64::from(r) << log_n) * u64::from(p) <= SCRYPT_WORK_MAX);
                    scrypt::Params::new(log_n, r, p).expect("parameters that can be computed with");
                }
            }
        }
    });
}
