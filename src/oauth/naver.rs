//! Naver: its OpenID surface says who it is but nothing of them, so that both surfaces end at one profile API. It says of no
//! address that it is proven; its own are.

use std::time::Duration;

use aws_lc_rs::cipher::{AES_128, DecryptionContext, PaddedBlockDecryptingKey, UnboundCipherKey};
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;
use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use md5::{Digest as _, Md5};
use secrecy::ExposeSecret as _;
use serde_json::Value;

use super::exchange::Tokens;
use super::http::{Answer, Expected};
use super::id_token::Claims;
use super::provider::Provider;
use super::words::{self, Object};
use super::{Absence, Notice, NoticeRefused, ProviderFault, Rejection, Settings, Unlinked};
use crate::domain::account::Email;
use crate::domain::identity::{EmailTrust, Profile, Subject};
use crate::domain::time::Timestamp;

/// What its webhook wants to hear.
const NOTED: u16 = 204;
const OWN_DOMAIN: &str = "naver.com";
const DONE: &str = "00";
/// A notice is not sent twice, so there is no reason for an old one.
const NOTICE_WINDOW: Duration = Duration::from_mins(10);
const IV_BYTES: usize = 16;
/// Seconds have ten digits until the year 2286, milliseconds thirteen.
const SECS_MAX: i64 = 99_999_999_999;

const BASE64: GeneralPurpose = tolerant(&alphabet::URL_SAFE);
const BASE64_STANDARD: GeneralPurpose = tolerant(&alphabet::STANDARD);

const fn tolerant(alphabet: &alphabet::Alphabet) -> GeneralPurpose {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(alphabet, config)
}

/// The subject is the `id` of the profile on both surfaces, so that going from one to the other moves nobody.
pub(super) async fn identify(
    provider: &Provider,
    tokens: &Tokens,
    claims: Option<Claims>,
) -> Result<Profile, ProviderFault> {
    let url = provider.metadata().await?.userinfo.clone().ok_or(Absence::Discovery)?;
    let answer = provider.http().get(&url, Some(&tokens.access), Expected::Answer).await?;
    let said = profile_of(&answer)?;
    let subject = words::subject(said.get("id"))?;
    if claims.as_ref().is_some_and(|claims| claims.subject != subject) {
        // Sources disagree on whether they are one. Both tokens came in one answer over a proven connection.
        tracing::warn!(provider = provider.settings().id.as_str(), "id_token and profile have different subjects");
    }
    let mut profile = provider.profile(subject, claims.and_then(|claims| claims.auth_time));
    let email = words::text(&said, "email");
    words::with_email(&mut profile, email, email_trust(email), &provider.settings().link_domains);
    // A nickname that nobody chose is the masked id.
    let nickname = words::text(&said, "nickname").filter(|name| !name.contains("***"));
    words::with_name(&mut profile, [nickname, words::text(&said, "name")]);
    let picture = words::text(&said, "profile_image").filter(|url| !url.contains("nodata"));
    profile.avatar_url = words::picture(picture, false);
    Ok(profile)
}

fn email_trust(text: Option<&str>) -> EmailTrust {
    let email = text.and_then(|text| text.parse::<Email>().ok());
    let is_own = email.is_some_and(|email| words::domain(&email).eq_ignore_ascii_case(OWN_DOMAIN));
    if is_own { EmailTrust::Authoritative } else { EmailTrust::None }
}

/// Errors come with status 200, too, and in two forms.
fn profile_of(answer: &Answer) -> Result<Object, ProviderFault> {
    let said = words::profile_object(answer)?;
    if words::text(&said, "resultcode") != Some(DONE) {
        return Err(Rejection::ErrorAnswer.into());
    }
    match said.get("response") {
        Some(Value::Object(response)) => Ok(response.clone()),
        _ => Err(Rejection::NoSubject.into()),
    }
}

/// Signed and encrypted with a key from the client secret.
pub(super) fn unlinked(settings: &Settings, notice: &Notice<'_>, now: Timestamp) -> Result<Unlinked, NoticeRefused> {
    let said = |name: &str| notice.parameters.get(name).map(String::as_str).ok_or(NoticeRefused);
    let (client, id, timestamp) = (said("clientId")?, said("encryptUniqueId")?, said("timestamp")?);
    let secret = settings.client_secret.as_ref().ok_or(NoticeRefused)?;
    let key: [u8; 16] = Md5::digest(secret.expose_secret().as_bytes()).into();
    let signed = format!("clientId={client}&encryptUniqueId={id}&timestamp={timestamp}");
    let signature = decode(said("signature")?)?;
    let mac = hmac::Key::new(hmac::HMAC_SHA256, &key);
    hmac::verify(&mac, signed.as_bytes(), &signature).map_err(|_forged| NoticeRefused)?;
    if client != settings.client_id {
        return Err(NoticeRefused);
    }
    let at = instant(timestamp)?;
    if at > now + NOTICE_WINDOW || at < now - NOTICE_WINDOW {
        return Err(NoticeRefused);
    }
    Ok(Unlinked { subject: decrypt(&key, id)?, at: Some(at), http_status: NOTED })
}

fn instant(text: &str) -> Result<Timestamp, NoticeRefused> {
    let number: i64 = text.parse().map_err(|_no_number| NoticeRefused)?;
    match number {
        ..=0 => Err(NoticeRefused),
        1..=SECS_MAX => Ok(Timestamp::from_secs(number)),
        _ => Ok(Timestamp::from_millis(number)),
    }
}

/// AES-128-CBC over what follows the initial vector.
fn decrypt(key: &[u8; 16], text: &str) -> Result<Subject, NoticeRefused> {
    let mut sealed = decode(text)?;
    let (iv, _) = sealed.split_first_chunk::<IV_BYTES>().ok_or(NoticeRefused)?;
    let iv = DecryptionContext::Iv128(FixedLength::from(iv));
    let sealed = sealed.get_mut(IV_BYTES..).ok_or(NoticeRefused)?;
    let key = UnboundCipherKey::new(&AES_128, key).map_err(|_never| NoticeRefused)?;
    let key = PaddedBlockDecryptingKey::cbc_pkcs7(key).map_err(|_never| NoticeRefused)?;
    let opened = key.decrypt(sealed, iv).map_err(|_damaged| NoticeRefused)?;
    let id = str::from_utf8(opened).map_err(|_no_text| NoticeRefused)?;
    id.parse().map_err(|_no_id| NoticeRefused)
}

/// Either alphabet, padded or not.
fn decode(text: &str) -> Result<Vec<u8>, NoticeRefused> {
    let engine = if text.contains(['+', '/']) { &BASE64_STANDARD } else { &BASE64 };
    engine.decode(text).map_err(|_no_base64| NoticeRefused)
}
