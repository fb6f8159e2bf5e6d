//! Redis fails over, is thrown back to an old backup, or is flushed. What was ended stays ended, who was signed in before
//! it goes on, and an outage never looks like a denial. What Redis holds is worthless to whoever reads it.
//!
//! The bounds are those of the design: sessions opened in the seconds that a replica had not heard of are gone, and a
//! backup gives at most 16 generations of old tokens back.

mod restore;
mod sealed;
mod stream;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use postern::clock::Clock;
use postern::config::{Config, Redis, SecretSource, Vault};
use postern::proto::auth::v1 as pb;
use postern::vault::{Kind, Slot};
use secrecy::SecretString;
use tonic::{Code, Status};

use crate::engines::Home;
use crate::support::{Answer, Server, metadata, quick, reason, verdict};

/// Far more than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// A server that keeps its sessions on this Redis.
async fn server_on(url: &str) -> Server {
    server_with(url, |_config| {}).await
}

async fn server_with(url: &str, change: impl FnOnce(&mut Config)) -> Server {
    let url = SecretSource::Value(SecretString::from(url));
    let redis = Redis { url, username: None, password: None, ca: None, prefix: "postern:".to_owned() };
    Server::start_on(Arc::new(Home::new()), Clock::default(), |config| {
        quick(config);
        config.vault = Vault::Redis(redis);
        change(config);
    })
    .await
}

/// Until the server has found its way by itself to the Redis that has this partition, with what it reads and writes over.
async fn back(server: &Server, partition: &str) {
    let slot = Slot { kind: Kind::Challenge, partition: partition.to_owned(), key: "probe".to_owned() };
    let vault = &server.auth.vault;
    let comes = async {
        while vault.ping().await.is_err() || vault.get(&slot).await.is_err() || vault.take(&slot).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, comes).await.expect("it comes back");
}

/// The rig blocks; the server's tasks go on beside it.
fn block<T>(work: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(work)
}

/// The generation that a refresh token carries in the open.
fn generation(token: &str) -> u32 {
    let bytes = URL_SAFE_NO_PAD.decode(token.strip_prefix("ptr_").unwrap()).unwrap();
    u32::from_be_bytes(bytes[34..38].try_into().unwrap())
}

/// The session is over, for this reason, and so are its access tokens if somebody ended it.
async fn assert_ended(server: &Server, tokens: &pb::TokenPair, cause: &str) {
    let status = server.refresh(&tokens.refresh_token).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unauthenticated, "SESSION_ENDED"), "{status:?}");
    assert_eq!(metadata(&status, "endCause"), cause);
    if cause != "LOST" {
        let revoked = (pb::Decision::Deny, pb::Reason::TokenRevoked);
        let answer = verdict(&server.verify(&tokens.access_token).await);
        assert_eq!(answer.1, revoked.1, "{answer:?}");
    }
}

fn is_away(status: &Status) -> bool {
    status.code() == Code::Unavailable
}

/// An answer that a call may have while Redis is away or has just come back: its own, or none. Never a denial.
fn or_away<T>(answer: Answer<T>) -> Option<T> {
    match answer {
        Ok(answer) => Some(answer),
        Err(status) => {
            assert!(is_away(&status), "an outage looks like a denial: {status:?}");
            None
        }
    }
}
