//! What providers send when a person ends the connection there.

use std::collections::BTreeMap;

use aws_lc_rs::cipher::{AES_128, DecryptionContext, PaddedBlockEncryptingKey, UnboundCipherKey};
use aws_lc_rs::hmac;
use md5::{Digest as _, Md5};

use super::signing::encode;

/// As Kakao sends it: the `authorization` header, and the parameters.
pub fn kakao(admin_key: &str, id: &str) -> (String, BTreeMap<String, String>) {
    let parameters = [("app_id", "123456"), ("user_id", id), ("referrer_type", "UNLINK_FROM_APPS")];
    (format!("KakaoAK {admin_key}"), owned(parameters))
}

/// As Naver sends it, signed for this second of Unix time.
pub fn naver(client_id: &str, client_secret: &str, id: &str, secs: i64) -> BTreeMap<String, String> {
    let key: [u8; 16] = Md5::digest(client_secret.as_bytes()).into();
    let cipher = PaddedBlockEncryptingKey::cbc_pkcs7(UnboundCipherKey::new(&AES_128, &key).unwrap()).unwrap();
    let mut sealed = id.as_bytes().to_vec();
    let DecryptionContext::Iv128(iv) = cipher.encrypt(&mut sealed).unwrap() else { panic!("AES has a vector") };
    let sealed = encode([iv.as_ref().as_slice(), &sealed].concat());
    let timestamp = secs.to_string();
    let signed = format!("clientId={client_id}&encryptUniqueId={sealed}&timestamp={timestamp}");
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), signed.as_bytes());
    let signature = encode(signature);
    owned([("clientId", client_id), ("encryptUniqueId", &sealed), ("timestamp", &timestamp), ("signature", &signature)])
}

fn owned<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}
