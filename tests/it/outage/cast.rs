//! Who takes part: the users of a server, and whose tokens the calls are made with.

use postern::domain::audit::AuditKind;
use postern::domain::identity::{IdentityKey, Profile};
use postern::proto::admin::v1 as admin;
use postern::proto::auth::v1 as pb;

use crate::people;
use crate::support::{PASSWORD, Server, login_request};

/// Has the sessions that live through it all.
pub(crate) const KIM: &str = "kim";
/// Signs in again and again, and is signed out by the limit.
pub(crate) const GUEST: &str = "guest";

/// Needs nothing to begin a sign-in but its settings: where it is, is known.
pub(crate) const PROVIDER: &str = "kakao";
/// Has an account here and no other way in, so that it stays whatever the provider says.
pub(crate) const SUBJECT: &str = "42";

/// Are there.
pub(crate) const CLIENT: &str = "outage-client";
pub(crate) const ROLE: &str = "outage-probe";

/// Who and what the calls are about.
pub(crate) struct People {
    pub(crate) issuer: String,
    pub(crate) admin: String,
    /// A person of whom administration changes things.
    pub(crate) ward: String,
    /// Of somebody who is signed in.
    pub(crate) tokens: pb::TokenPair,
    /// A session to be ended.
    pub(crate) spare: pb::TokenPair,
    /// Of somebody whose password is due.
    pub(crate) challenge: String,
    /// Of a flow that is on its way.
    pub(crate) state: String,
}

/// The users of a server, and who is to answer for what.
pub(super) struct Cast {
    ward: String,
}

pub(crate) const ASKER: &str = "asker";
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
        let user = people::add_user(server, "linked", None).await;
        let key = IdentityKey { provider: PROVIDER.parse().unwrap(), subject: SUBJECT.parse().unwrap() };
        let event = people::event(AuditKind::IdentityLinked, user);
        let profile = Profile::new(key, "https://kauth.kakao.com".to_owned());
        server.auth.store.link_identity(user, &profile, &event).await.unwrap();
        let known = postern::domain::account::Profile { external_id: SUBJECT.to_owned(), ..Default::default() };
        people::add(server, known, None).await;
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
        let start = pb::OAuthStartRequest { provider: PROVIDER.to_owned(), ..Default::default() };
        let started = server.client().o_auth_start(start).await.unwrap().into_inner();
        let url = url::Url::parse(&started.authorization_url).unwrap();
        let state = url.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
        People {
            state,
            issuer: server.issuer.clone(),
            admin: server.login_admin().await.access_token,
            ward: self.ward.clone(),
            tokens: sign_in().await,
            spare: sign_in().await,
            challenge: challenge.challenge_token,
        }
    }
}
