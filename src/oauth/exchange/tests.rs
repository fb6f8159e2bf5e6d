use postern_rig::fuzz::fuzz;
use proptest::prelude::*;

use super::*;

fn answer(status: u16, body: &[u8]) -> Answer {
    Answer { status: http::StatusCode::from_u16(status).unwrap(), body: body.to_vec(), max_age: None }
}

proptest! {
    #[test]
    fn whatever_comes_nothing_panics(text in "\\PC{0,120}", bytes in proptest::collection::vec(any::<u8>(), 0..120), kind in 0..5_usize, status in 200..600_u16) {
        let kind = ProviderKind::ALL[kind];
        drop(read(kind, &answer(status, &bytes)));
        drop(read(kind, &answer(status, text.as_bytes())));
        for name in ["error", "error_code", "error_description", "access_token", "token_type", "id_token", "expires_in"] {
            for value in [json!(text), json!([text]), json!({ "a": text }), json!(status), Value::Null] {
                let body = json!({ "access_token": "a", name: value }).to_string();
                drop(read(kind, &answer(status, body.as_bytes())));
            }
        }
    }
}

#[test]
fn hostile_answers() {
    let valid: [&[u8]; 4] = [
        br#"{"access_token":"a","token_type":"bearer","expires_in":"3600","id_token":"a.b.c","scope":"openid"}"#,
        br#"{"error":"invalid_grant","error_description":"x","error_code":"KOE320"}"#,
        br#"{"resultcode":"024","message":"x"}"#,
        b"access_token=a&token_type=bearer&scope=",
    ];
    fuzz("token_answer", &valid, |input| {
        for kind in ProviderKind::ALL {
            for status in [200, 400, 500] {
                if let Ok(document) = read(kind, &answer(status, input)) {
                    assert!(document.is_object());
                }
            }
        }
    });
}
