//! The forms in which other programs write hashes. A text is either of one form or of none: nothing is guessed.

use std::num::NonZeroU32;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;

use super::{Before, Digest, Foreign, ForeignHashError, Work};
use crate::auth::passwords::Stored;
use crate::auth::passwords::argon::Argon;

/// An export of Keycloak has two texts of JSON inside.
const INPUT_BYTES_MAX: usize = 2_048;

/// Padded or not, and whatever stands in the bits that count for nothing: makers differ, and some old ones left noise there.
const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const BASE64: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const BCRYPT64: GeneralPurpose = GeneralPurpose::new(&alphabet::BCRYPT, LENIENT);

type Read<T> = Result<T, ForeignHashError>;

/// The hash as it is to be kept, and taken apart.
pub(super) fn any(text: &str) -> Read<(String, Stored)> {
    if text.len() > INPUT_BYTES_MAX {
        return Err(ForeignHashError::TooLong);
    }
    if text.starts_with("{\"") {
        let text = keycloak(text)?;
        let stored = stored(&text)?;
        return Ok((text, stored));
    }
    // Spring says before a hash how it was made.
    let text = match text.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
        Some(("bcrypt" | "argon2" | "argon2@SpringSecurity_v5_8", hash)) => hash,
        Some(("pbkdf2" | "pbkdf2@SpringSecurity_v5_8" | "scrypt" | "scrypt@SpringSecurity_v5_8", _)) => {
            return Err(ForeignHashError::Unusable("Spring does not write down how this one was made"));
        }
        Some(_) => return Err(ForeignHashError::Unknown),
        None => text,
    };
    // So does Django, before hashes of the general form.
    let text = match (text.strip_prefix("argon2$"), text.strip_prefix("bcrypt$")) {
        (Some(rest), _) => format!("${rest}"),
        (_, Some(rest)) => rest.to_owned(),
        _ => text.to_owned(),
    };
    let stored = stored(&text)?;
    Ok((text, stored))
}

/// What is kept, taken apart.
pub(in crate::auth::passwords) fn stored(text: &str) -> Read<Stored> {
    if text.starts_with("$argon2") {
        Argon::parse(text).map(Stored::Argon2)
    } else {
        foreign(text).map(Stored::Foreign)
    }
}

/// Of one of the forms that are not argon2.
fn foreign(text: &str) -> Read<Foreign> {
    if text.starts_with("$2") {
        return bcrypt(text, Before::Nothing);
    }
    let form = text.split(['$', ':']).find(|part| !part.is_empty()).unwrap_or_default();
    match form {
        "bcrypt_sha256" => {
            let inner = text.strip_prefix("bcrypt_sha256$").unwrap_or_default();
            bcrypt(inner, Before::Sha256Hex)
        }
        "bcrypt-sha256" => bcrypt_sha256(text),
        "pbkdf2_sha256" | "pbkdf2_sha1" => pbkdf2_django(text),
        "pbkdf2" if text.starts_with("pbkdf2:") => pbkdf2_werkzeug(text),
        "pbkdf2" | "pbkdf2-sha256" | "pbkdf2-sha512" if text.starts_with('$') => pbkdf2_passlib(text),
        "scrypt" if text.starts_with("scrypt:") => scrypt_werkzeug(text),
        "scrypt" if text.starts_with("scrypt$") => scrypt_django(text),
        "scrypt" if text.starts_with('$') => scrypt_passlib(text),
        "firebase-scrypt" => scrypt_firebase(text),
        "!" => Err(ForeignHashError::Unusable("Django marks by it that there is no password: leave it out")),
        _ => Err(ForeignHashError::Unknown),
    }
}

/// `$2b$12$`, 22 letters of salt and 31 of hash. `$2x$` marks hashes of a broken program, `$2$` an older form.
fn bcrypt(text: &str, before: Before) -> Read<Foreign> {
    const FORM: ForeignHashError = ForeignHashError::Malformed("bcrypt");
    let (version, rest) = text.strip_prefix("$2").and_then(|rest| rest.split_once('$')).ok_or(FORM)?;
    if !matches!(version, "a" | "b" | "y") {
        return Err(ForeignHashError::Unusable("this version of bcrypt is not to be trusted"));
    }
    let (cost, rest) = rest.split_once('$').ok_or(FORM)?;
    if cost.len() != 2 {
        return Err(FORM);
    }
    let (salt, output) = rest.split_at_checked(22).filter(|(_, output)| output.len() == 31).ok_or(FORM)?;
    bcrypt_parts(number(cost).ok_or(FORM)?, salt, output, before)
}

fn bcrypt_parts(cost: u32, salt: &str, output: &str, before: Before) -> Read<Foreign> {
    const FORM: ForeignHashError = ForeignHashError::Malformed("bcrypt");
    let decode = |text: &str| BCRYPT64.decode(text).map_err(|_noise| FORM);
    let (salt, output) = (decode(salt)?, decode(output)?);
    if salt.len() != 16 || output.len() != 23 {
        return Err(FORM);
    }
    Foreign::new(Work::Bcrypt { cost, before }, salt, output, "bcrypt")
}

/// passlib: `$bcrypt-sha256$v=2,t=2b,r=12$salt$hash`, or `$bcrypt-sha256$2b,12$salt$hash` before.
fn bcrypt_sha256(text: &str) -> Read<Foreign> {
    const FORM: ForeignHashError = ForeignHashError::Malformed("passlib's bcrypt-sha256");
    let [how, salt, output] = parts(text.strip_prefix("$bcrypt-sha256$").ok_or(FORM)?).ok_or(FORM)?;
    let (cost, before) = match how.split(',').collect::<Vec<_>>().as_slice() {
        ["v=2", "t=2b", cost] => (cost.strip_prefix("r=").ok_or(FORM)?, Before::HmacBase64(salt.to_owned())),
        ["2a" | "2b", cost] => (*cost, Before::Sha256Base64),
        _ => return Err(FORM),
    };
    bcrypt_parts(number(cost).ok_or(FORM)?, salt, output, before)
}

/// Django: `pbkdf2_sha256$iterations$salt$hash`; the salt is the letters themselves.
fn pbkdf2_django(text: &str) -> Read<Foreign> {
    const FORM: ForeignHashError = ForeignHashError::Malformed("Django's PBKDF2");
    let [name, iterations, salt, output] = parts(text).ok_or(FORM)?;
    let digest = name.strip_prefix("pbkdf2_").and_then(Digest::from_name).ok_or(FORM)?;
    pbkdf2(
        digest,
        iterations,
        salt.as_bytes().to_vec(),
        BASE64.decode(output).map_err(|_noise| FORM)?,
        "Django's PBKDF2",
    )
}

/// werkzeug: `pbkdf2:sha256:iterations$salt$hash`, the hash in hex.
fn pbkdf2_werkzeug(text: &str) -> Read<Foreign> {
    const FORM: ForeignHashError = ForeignHashError::Malformed("werkzeug's PBKDF2");
    let [how, salt, output] = parts(text).ok_or(FORM)?;
    let mut how = how.split(':').skip(1);
    let digest = how.next().and_then(Digest::from_name).ok_or(FORM)?;
    let iterations = how.next().filter(|_| how.next().is_none()).ok_or(FORM)?;
    pbkdf2(digest, iterations, salt.as_bytes().to_vec(), hex(output).ok_or(FORM)?, "werkzeug's PBKDF2")
}

/// passlib: `$pbkdf2-sha256$iterations$salt$hash`, in its own base64.
fn pbkdf2_passlib(text: &str) -> Read<Foreign> {
    const FORM: ForeignHashError = ForeignHashError::Malformed("passlib's PBKDF2");
    let [name, iterations, salt, output] = parts(text.strip_prefix('$').unwrap_or_default()).ok_or(FORM)?;
    let digest = match name.strip_prefix("pbkdf2") {
        Some("") => Digest::Sha1,
        Some(name) => name.strip_prefix('-').and_then(Digest::from_name).ok_or(FORM)?,
        None => return Err(FORM),
    };
    let decode = |text: &str| BASE64.decode(text.replace('.', "+")).map_err(|_noise| FORM);
    pbkdf2(digest, iterations, decode(salt)?, decode(output)?, "passlib's PBKDF2")
}

fn pbkdf2(digest: Digest, iterations: &str, salt: Vec<u8>, output: Vec<u8>, form: &'static str) -> Read<Foreign> {
    let iterations = number(iterations).and_then(NonZeroU32::new).ok_or(ForeignHashError::Malformed(form))?;
    Foreign::new(Work::Pbkdf2 { digest, iterations }, salt, output, form)
}

/// werkzeug: `scrypt:N:r:p$salt$hash`, the hash in hex.
fn scrypt_werkzeug(text: &str) -> Read<Foreign> {
    const FORM: ForeignHashError = ForeignHashError::Malformed("werkzeug's scrypt");
    let [how, salt, output] = parts(text).ok_or(FORM)?;
    let ["scrypt", n, r, p] = how.split(':').collect::<Vec<_>>()[..] else { return Err(FORM) };
    let work = scrypt(log2(n).ok_or(FORM)?, r, p).ok_or(FORM)?;
    Foreign::new(work, salt.as_bytes().to_vec(), hex(output).ok_or(FORM)?, "werkzeug's scrypt")
}

/// Django: `scrypt$N$salt$r$p$hash`.
fn scrypt_django(text: &str) -> Read<Foreign> {
    const FORM: ForeignHashError = ForeignHashError::Malformed("Django's scrypt");
    let [_, n, salt, r, p, output] = parts(text).ok_or(FORM)?;
    let work = scrypt(log2(n).ok_or(FORM)?, r, p).ok_or(FORM)?;
    let output = BASE64.decode(output).map_err(|_noise| FORM)?;
    Foreign::new(work, salt.as_bytes().to_vec(), output, "Django's scrypt")
}

/// passlib: `$scrypt$ln=16,r=8,p=1$salt$hash`.
fn scrypt_passlib(text: &str) -> Read<Foreign> {
    const FORM: ForeignHashError = ForeignHashError::Malformed("passlib's scrypt");
    let [how, salt, output] = parts(text.strip_prefix("$scrypt$").ok_or(FORM)?).ok_or(FORM)?;
    let [n, r, p] = valued(how, ["ln", "r", "p"]).ok_or(FORM)?;
    let work = scrypt(number(n).and_then(|n| u8::try_from(n).ok()).ok_or(FORM)?, r, p).ok_or(FORM)?;
    let decode = |text: &str| BASE64.decode(text.replace('.', "+")).map_err(|_noise| FORM);
    Foreign::new(work, decode(salt)?, decode(output)?, "passlib's scrypt")
}

/// Firebase exports the parts; put together they are `$firebase-scrypt$ln=14,r=8,ss=separator,sk=key$salt$hash`, where `ln` is
/// its `mem_cost` and `r` its `rounds`, and all else is base64 as exported.
fn scrypt_firebase(text: &str) -> Read<Foreign> {
    const FORM: ForeignHashError = ForeignHashError::Malformed("Firebase's scrypt");
    let [how, salt, output] = parts(text.strip_prefix("$firebase-scrypt$").ok_or(FORM)?).ok_or(FORM)?;
    let [n, r, separator, key] = valued(how, ["ln", "r", "ss", "sk"]).ok_or(FORM)?;
    let decode = |text: &str| BASE64.decode(text.replace('-', "+").replace('_', "/")).map_err(|_noise| FORM);
    let mut salt = decode(salt)?;
    salt.extend(decode(separator)?);
    let log_n = number(n).and_then(|n| u8::try_from(n).ok()).ok_or(FORM)?;
    let work = Work::Scrypt { log_n, r: number(r).ok_or(FORM)?, p: 1, signer_key: Some(decode(key)?) };
    Foreign::new(work, salt, decode(output)?, "Firebase's scrypt")
}

fn scrypt(log_n: u8, r: &str, p: &str) -> Option<Work> {
    Some(Work::Scrypt { log_n, r: number(r)?, p: number(p)?, signer_key: None })
}

/// A credential of type `password` as Keycloak exports it; what comes out is passlib's or argon2's form.
fn keycloak(text: &str) -> Read<String> {
    const FORM: ForeignHashError = ForeignHashError::Malformed("Keycloak");
    #[derive(Deserialize)]
    struct Credential {
        #[serde(rename = "credentialData")]
        data: String,
        #[serde(rename = "secretData")]
        secret: String,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Data {
        hash_iterations: u32,
        algorithm: String,
        #[serde(default)]
        additional_parameters: std::collections::BTreeMap<String, Vec<String>>,
    }
    #[derive(Deserialize)]
    struct Secret {
        value: String,
        #[serde(default)]
        salt: String,
    }
    let credential: Credential = serde_json::from_str(text).map_err(|_quotes| FORM)?;
    let data: Data = serde_json::from_str(&credential.data).map_err(|_quotes| FORM)?;
    let secret: Secret = serde_json::from_str(&credential.secret).map_err(|_quotes| FORM)?;
    let again = |text: &str| {
        Ok(base64::engine::general_purpose::STANDARD_NO_PAD.encode(BASE64.decode(text).map_err(|_noise| FORM)?))
    };
    let (salt, value) = (again(&secret.salt)?, again(&secret.value)?);
    let Data { hash_iterations, algorithm, additional_parameters } = data;
    let passlib =
        |name: &str| format!("${name}${hash_iterations}${}${}", salt.replace('+', "."), value.replace('+', "."));
    match algorithm.as_str() {
        "pbkdf2" => Ok(passlib("pbkdf2")),
        "pbkdf2-sha256" | "pbkdf2-sha512" => Ok(passlib(&algorithm)),
        "argon2" => {
            let one = |name: &str| {
                additional_parameters.get(name).and_then(|all| all.first()).map(String::as_str).ok_or(FORM)
            };
            let version = match one("version")? {
                "1.3" => 19,
                "1.0" => 16,
                _ => return Err(FORM),
            };
            let (kind, memory, lanes) = (one("type")?, one("memory")?, one("parallelism")?);
            if !matches!(kind, "id" | "i" | "d") {
                return Err(FORM);
            }
            Ok(format!("$argon2{kind}$v={version}$m={memory},t={hash_iterations},p={lanes}${salt}${value}"))
        }
        _ => Err(ForeignHashError::Unknown),
    }
}

/// Exactly so many parts between `$`.
fn parts<const N: usize>(text: &str) -> Option<[&str; N]> {
    text.split('$').collect::<Vec<_>>().try_into().ok()
}

/// Values by their names, in this order.
fn valued<'a, const N: usize>(text: &'a str, names: [&str; N]) -> Option<[&'a str; N]> {
    let values: Option<Vec<&str>> =
        text.split(',').zip(names).map(|(part, name)| part.strip_prefix(name)?.strip_prefix('=')).collect();
    let values = values.filter(|_| text.split(',').count() == N)?;
    values.try_into().ok()
}

/// Digits and nothing else.
fn number(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// Of a power of two.
fn log2(text: &str) -> Option<u8> {
    let number = number(text).filter(|number| number.is_power_of_two())?;
    u8::try_from(number.ilog2()).ok()
}

fn hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    text.as_bytes()
        .chunks(2)
        .map(|pair| {
            let pair = std::str::from_utf8(pair).ok()?;
            u8::from_str_radix(pair, 16).ok().filter(|_| pair.bytes().all(|byte| byte.is_ascii_hexdigit()))
        })
        .collect()
}
