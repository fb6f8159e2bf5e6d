//! Who takes part: the users of a server, and whose tokens the calls are made with.

use postern::proto::admin::v1 as admin;
use postern::proto::auth::v1 as pb;

use crate::support::{PASSWORD, Server, login_request};

/// Has the sessions that live through it all.
pub(super) const KIM: &str = "kim";
/// Signs in again and again, and is signed out by the limit.
pub(super) const GUEST: &str = "guest";

/// Are there.
pub(super) const CLIENT: &str = "outage-client";
pub(super) const ROLE: &str = "outage-probe";

/// Who and what the calls are about.
pub(super) struct People {
    pub(super) issuer: String,
    pub(super) admin: String,
    /// A person of whom administration changes things.
    pub(super) ward: String,
    /// Of somebody who is signed in.
    pub(super) tokens: pb::TokenPair,
    /// A session to be ended.
    pub(super) spare: pb::TokenPair,
    /// Of somebody whose password is due.
    pub(super) challenge: String,
}

/// The users of a server, and who is to answer for what.
pub(super) struct Cast {
    ward: String,
}

pub(super) const ASKER: &str = "asker";
const DUE: &str = "due";

impl Cast {
    pub(super) async fn new(server: &Server) -> Self {
        let admin = server.admin(&server.login_admin().await.access_token);
        let mut ward = String::new();
        for name in [KIM, GUEST, ASKER, DUE, "ward"] {
            let request = admin::CreateUserRequest {
                user: Some(admin::User { user_name: name.to_owned(), ..Default::default() }),
                password: PASSWORD.to_owned(),
                must_change_password: name == DUE,
                ..Default::default()
            };
            ward = admin.create_user(request).await.unwrap().user.unwrap().id;
        }
        let client = admin::Client { id: CLIENT.to_owned(), ..Default::default() };
        let role = admin::Role { id: ROLE.to_owned(), ..Default::default() };
        admin.put_role(admin::PutRoleRequest { role: Some(role) }).await.unwrap();
        admin.create_client(admin::CreateClientRequest { client: Some(client), with_secret: true }).await.unwrap();
        Self { ward }
    }

    /// With tokens that are new.
    pub(super) async fn people(&self, server: &Server) -> People {
        let sign_in = async || server.login(ASKER, PASSWORD).await.unwrap().tokens.unwrap();
        let supported_challenges = vec![pb::ChallengeKind::NewPassword.into()];
        let request = pb::LoginRequest { supported_challenges, ..login_request(DUE, PASSWORD) };
        let outcome = server.client().login(request).await.unwrap().into_inner().outcome;
        let Some(pb::login_response::Outcome::Challenge(challenge)) = outcome else { panic!("no challenge") };
        People {
            issuer: server.issuer.clone(),
            admin: server.login_admin().await.access_token,
            ward: self.ward.clone(),
            tokens: sign_in().await,
            spare: sign_in().await,
            challenge: challenge.challenge_token,
        }
    }
}
