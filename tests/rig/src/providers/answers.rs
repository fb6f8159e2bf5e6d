//! What each provider answers: tokens, profiles, what it publishes.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use url::form_urlencoded;

use super::script::{Asked, Script, Visit};
use super::signing::{self, Key, encode};
use super::wire::{Reply, Request, Response};
use super::{CLIENT_ID, CLIENT_SECRET, Kind, Shared, change, now};

/// Where a provider's endpoints are.
pub(super) struct Paths {
    pub(super) authorization: &'static str,
    pub(super) token: &'static str,
    pub(super) userinfo: &'static str,
    jwks: &'static str,
}

impl Paths {
    pub(super) fn of(kind: Kind, is_oidc: bool) -> Self {
        let [authorization, token, userinfo, jwks] = match (kind, is_oidc) {
            (Kind::Google, _) => ["/o/oauth2/v2/auth", "/token", "/v1/userinfo", "/oauth2/v3/certs"],
            (Kind::Kakao, true) => ["/oauth/authorize", "/oauth/token", "/v1/oidc/userinfo", "/.well-known/jwks.json"],
            (Kind::Kakao, false) => ["/oauth/authorize", "/oauth/token", "/v2/user/me", ""],
            (Kind::Naver, true) => ["/oauth2/authorize", "/oauth2/token", "/v1/nid/me", "/oauth2/jwks"],
            (Kind::Naver, false) => ["/oauth2.0/authorize", "/oauth2.0/token", "/v1/nid/me", ""],
            (Kind::GitHub, _) => ["/login/oauth/authorize", "/login/oauth/access_token", "/user", ""],
            (Kind::Oidc, _) => ["/authorize", "/token", "/userinfo", "/jwks"],
        };
        Self { authorization, token, userinfo, jwks }
    }
}

impl Shared {
    pub(super) fn usual(&self, request: &Request) -> (Reply, Response) {
        let (oidc, own) = (Paths::of(self.kind, true), Paths::of(self.kind, false));
        let path = request.path.as_str();
        if path == oidc.token || path == own.token {
            return self.tokens(request, path == oidc.token);
        }
        if path == oidc.userinfo || path == own.userinfo || (self.kind == Kind::GitHub && path == "/user/emails") {
            return self.profile(request);
        }
        let response = if path == oidc.authorization || path == own.authorization {
            match self.visit(path, &request.query) {
                Visit::Sent(to) => Response::redirect(&to),
                Visit::Page(text) => Response::html(400, &text),
            }
        } else if path == "/.well-known/openid-configuration" && self.kind != Kind::GitHub {
            Response::json(200, &self.document())
        } else if path == oidc.jwks && !path.is_empty() {
            let keys: Vec<Value> = self.state().published.iter().map(|key| key.jwk()).collect();
            let mut response = Response::json(200, &json!({ "keys": keys }));
            response.headers.push(("cache-control", "public, max-age=21600, must-revalidate".to_owned()));
            response
        } else {
            Response::html(404, "nothing is here")
        };
        (Reply::Usual, response)
    }

    fn document(&self) -> Value {
        let (base, paths) = (self.base_url(), Paths::of(self.kind, true));
        let methods = match self.kind {
            Kind::Google => json!(["client_secret_post", "client_secret_basic"]),
            Kind::Kakao => json!(["client_secret_post"]),
            Kind::Naver => json!(["client_secret_post", "none"]),
            _ if self.state().secret_in_body == Some(true) => json!(["client_secret_post"]),
            _ => json!(["client_secret_basic"]),
        };
        let document = json!({
            "issuer": base,
            "authorization_endpoint": format!("{base}{}", paths.authorization),
            "token_endpoint": format!("{base}{}", paths.token),
            "userinfo_endpoint": format!("{base}{}", paths.userinfo),
            "jwks_uri": format!("{base}{}", paths.jwks),
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "token_endpoint_auth_methods_supported": methods,
            "code_challenge_methods_supported": ["S256"],
        });
        let Value::Object(mut members) = document else { return document };
        change(&mut members, &self.state().metadata);
        members.into()
    }

    fn tokens(&self, request: &Request, is_oidc: bool) -> (Reply, Response) {
        let said = |name: &str| request.form.get(name).map(String::as_str).unwrap_or_default();
        let refuse = |refusal: Refusal| (Reply::Usual, refusal.of(self.kind, is_oidc));
        let is_form =
            request.method == "POST" && request.header("content-type").starts_with("application/x-www-form-urlencoded");
        let accepts_json = request.header("accept").contains("application/json");
        if !is_form || !accepts_json || said("grant_type") != "authorization_code" || !request.query.is_empty() {
            return refuse(Refusal::Request);
        }
        if !self.is_our_client(request) {
            return refuse(Refusal::Client);
        }
        let mut state = self.state();
        let Some(issued) = state.codes.get_mut(said("code")).filter(|issued| issued.is_good()) else {
            return refuse(Refusal::Code);
        };
        issued.is_used = true;
        let (script, asked) = (issued.script.clone(), issued.asked.clone());
        drop(state);
        // Whatever is wrong with the rest, the code is gone.
        if said("redirect_uri") != asked.redirect_uri {
            return refuse(Refusal::Redirect);
        }
        let challenge = encode(digest::digest(&digest::SHA256, said("code_verifier").as_bytes()));
        if asked.challenge.as_ref().is_some_and(|asked| *asked != challenge) {
            return refuse(Refusal::Code);
        }
        if self.kind == Kind::Naver && Some(said("state")) != asked.state.as_deref() {
            return refuse(Refusal::Request);
        }
        let access = format!("AAAA+/{}=", crate::next());
        let mut members = self.token_members(&access, &asked);
        let has_id_token = asked.is_oidc
            && match self.kind {
                Kind::Kakao => asked.scope.is_empty() || asked.scope.split([' ', ',']).any(|scope| scope == "openid"),
                Kind::GitHub => false,
                _ => asked.scope.split(' ').any(|scope| scope == "openid"),
            };
        if has_id_token {
            let signing = self.state().signing;
            members.insert("id_token".to_owned(), self.id_token(&script, &asked, signing).into());
        }
        change(&mut members, &script.token_members);
        self.state().tokens.insert(access, script.clone());
        (script.token, Response::json(200, &members.into()))
    }

    fn token_members(&self, access: &str, asked: &Asked) -> Map<String, Value> {
        let members = match self.kind {
            Kind::Google => json!({ "access_token": access, "expires_in": 3599, "token_type": "Bearer",
                "scope": "openid https://www.googleapis.com/auth/userinfo.email", "refresh_token_expires_in": 604_799 }),
            Kind::Kakao => json!({ "token_type": "bearer", "access_token": access, "expires_in": 21_599,
                "refresh_token": "canary-refresh", "refresh_token_expires_in": 5_183_999, "scope": "account_email openid" }),
            Kind::Naver => json!({ "access_token": access, "refresh_token": "canary-refresh", "token_type": "bearer",
                "expires_in": "3600" }),
            Kind::GitHub => json!({ "access_token": access, "scope": "read:user,user:email", "token_type": "bearer" }),
            Kind::Oidc => {
                json!({ "access_token": access, "token_type": "Bearer", "expires_in": 600, "scope": asked.scope })
            }
        };
        let Value::Object(members) = members else { return Map::new() };
        members
    }

    /// Kakao and Naver know no Basic, and whoever sends it has sent no secret.
    fn is_our_client(&self, request: &Request) -> bool {
        let said = |name: &str| request.form.get(name).map(String::as_str).unwrap_or_default();
        let part = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let basic = format!("Basic {}", STANDARD.encode(format!("{}:{}", part(CLIENT_ID), part(CLIENT_SECRET))));
        let in_body = said("client_id") == CLIENT_ID && said("client_secret") == CLIENT_SECRET;
        let by_header = request.header("authorization") == basic;
        match self.kind {
            Kind::Google => in_body != by_header,
            Kind::Kakao | Kind::Naver | Kind::GitHub => in_body && request.header("authorization").is_empty(),
            Kind::Oidc if self.state().secret_in_body == Some(true) => in_body && !by_header,
            Kind::Oidc => by_header && said("client_secret").is_empty(),
        }
    }

    pub(super) fn id_token(&self, script: &Script, asked: &Asked, signing: Key) -> String {
        let (person, now) = (&script.person, now());
        let mut claims =
            json!({ "iss": self.base_url(), "aud": CLIENT_ID, "sub": person.id, "iat": now, "exp": now + 3_600 });
        let mut add = |name: &str, value: Value| claims[name] = value;
        match self.kind {
            Kind::Google | Kind::Oidc => {
                if self.kind == Kind::Google {
                    add("azp", CLIENT_ID.into());
                }
                if let Some(email) = &person.email {
                    add("email", email.as_str().into());
                    add("email_verified", person.email_verified.into());
                }
                add("name", person.name.as_str().into());
                add("picture", person.picture.as_str().into());
                if let Some(domain) = &person.hosted_domain {
                    add("hd", domain.as_str().into());
                }
            }
            Kind::Kakao => {
                add("auth_time", (now - 5).into());
                add("nickname", person.name.as_str().into());
                if let Some(email) = &person.email {
                    add("email", email.as_str().into());
                }
            }
            Kind::Naver => {
                add("azp", CLIENT_ID.into());
                add("jti", "an-id".into());
            }
            Kind::GitHub => {}
        }
        if let Some(nonce) = &asked.nonce {
            // Naver was seen to lose the last A.
            let echoed = if self.kind == Kind::Naver { nonce.strip_suffix('A').unwrap_or(nonce) } else { nonce };
            add("nonce", echoed.into());
        }
        if let Value::Object(members) = &mut claims {
            change(members, &script.claims);
        }
        signing::token(&script.signing, signing, &script.header, &claims, CLIENT_SECRET)
    }

    fn profile(&self, request: &Request) -> (Reply, Response) {
        let token = request.header("authorization").strip_prefix("Bearer ").unwrap_or_default();
        let script = self.state().tokens.get(token).cloned();
        // GitHub answers nobody without a name.
        let is_named = self.kind != Kind::GitHub || !request.header("user-agent").is_empty();
        let Some(script) = script.filter(|_| is_named) else {
            let body = match self.kind {
                Kind::Kakao => json!({ "msg": "this access token does not exist", "code": -401 }),
                Kind::Naver => {
                    json!({ "resultcode": "024", "message": "Authentication failed (인증 실패하였습니다.)" })
                }
                _ => json!({ "error": "invalid_token" }),
            };
            return (Reply::Usual, Response::json(401, &body));
        };
        let body = self.profile_body(&request.path, &script);
        let body = match body {
            Value::Object(mut members) => {
                change(&mut members, &script.profile);
                members.into()
            }
            other => script
                .profile
                .iter()
                .find(|(name, _)| name == "emails")
                .and_then(|(_, list)| list.clone())
                .unwrap_or(other),
        };
        (script.userinfo, Response::json(200, &body))
    }

    fn profile_body(&self, path: &str, script: &Script) -> Value {
        let person = &script.person;
        let number = || person.id.parse::<u64>().map_or_else(|_| json!(person.id), |id| json!(id));
        match (self.kind, path) {
            (Kind::Google | Kind::Oidc, _) => {
                let mut body = json!({ "sub": person.id, "name": person.name, "picture": person.picture });
                if let Some(email) = &person.email {
                    body["email"] = email.as_str().into();
                    body["email_verified"] = person.email_verified.into();
                }
                body
            }
            (Kind::Kakao, "/v1/oidc/userinfo") => {
                let mut body =
                    json!({ "sub": person.id, "nickname": person.name, "picture": "http://k.kakaocdn.net/1/a.jpg" });
                if let Some(email) = &person.email {
                    body["email"] = email.as_str().into();
                    body["email_verified"] = person.email_verified.into();
                }
                body
            }
            (Kind::Kakao, _) => {
                let mut account = json!({ "profile_nickname_needs_agreement": false, "email_needs_agreement": person.email.is_none(),
                    "profile": { "nickname": person.name, "profile_image_url": "http://k.kakaocdn.net/1/640.jpg",
                        "is_default_image": false } });
                if let Some(email) = &person.email {
                    account["email"] = email.as_str().into();
                    account["is_email_valid"] = person.email_verified.into();
                    account["is_email_verified"] = person.email_verified.into();
                }
                json!({ "id": number(), "connected_at": "2022-04-11T01:45:28Z", "kakao_account": account })
            }
            (Kind::Naver, _) => {
                let mut response = json!({ "id": person.id, "nickname": "min***", "name": person.name, "enc_id": "canary",
                    "profile_image": "https://ssl.pstatic.net/static/pwe/address/nodata_33x33.gif" });
                if let Some(email) = &person.email {
                    response["email"] = email.as_str().into();
                }
                json!({ "resultcode": "00", "message": "success", "response": response })
            }
            (Kind::GitHub, "/user/emails") => match &person.email {
                Some(email) => json!([
                    { "email": "old@example.com", "primary": false, "verified": true, "visibility": null },
                    { "email": email, "primary": true, "verified": person.email_verified, "visibility": "private" },
                ]),
                None => json!([]),
            },
            (Kind::GitHub, _) => {
                json!({ "login": "minji", "id": number(), "avatar_url": person.picture, "name": person.name,
                "email": null })
            }
        }
    }
}

enum Refusal {
    Request,
    Client,
    Code,
    Redirect,
}

impl Refusal {
    fn of(&self, kind: Kind, is_oidc: bool) -> Response {
        let say = |status, error: &str, text: &str| {
            Response::json(status, &json!({ "error": error, "error_description": text }))
        };
        let kakao = |status, error: &str, code: &str, text: &str| {
            Response::json(status, &json!({ "error": error, "error_description": text, "error_code": code }))
        };
        match (kind, self) {
            (Kind::Kakao, Self::Request) => kakao(400, "invalid_request", "KOE300", "Bad request."),
            (Kind::Kakao, Self::Client) => kakao(401, "invalid_client", "KOE010", "Bad client credentials"),
            (Kind::Kakao, Self::Code) => {
                kakao(400, "invalid_grant", "KOE320", "authorization code not found for code=canary")
            }
            (Kind::Kakao, Self::Redirect) => kakao(400, "invalid_grant", "KOE303", "Redirect URI mismatch."),
            (Kind::Naver, Self::Client) if is_oidc => Response::json(401, &json!({ "error": "invalid_client" })),
            (Kind::Naver, Self::Code | Self::Redirect | Self::Request) if is_oidc => {
                say(400, "invalid_grant", "bad code")
            }
            (Kind::Naver, Self::Client) => say(200, "invalid_request", "wrong client id / client secret pair"),
            (Kind::Naver, _) => say(200, "invalid_request", "no valid data in session"),
            (Kind::GitHub, Self::Client) => say(200, "incorrect_client_credentials", "The client_id is not right."),
            (Kind::GitHub, Self::Redirect) => say(200, "redirect_uri_mismatch", "The redirect_uri is not right."),
            (Kind::GitHub, _) => say(200, "bad_verification_code", "The code passed is incorrect or expired."),
            (_, Self::Request) => say(400, "invalid_request", "Bad Request"),
            (_, Self::Client) => say(401, "invalid_client", "The provided client secret is invalid."),
            (_, Self::Code) => say(400, "invalid_grant", "Malformed auth code."),
            (_, Self::Redirect) => say(400, "redirect_uri_mismatch", "Bad Request"),
        }
    }
}
