//! Fakes of Google, Kakao, Naver, GitHub and an OpenID provider like any other: each a server on loopback that checks what it
//! is sent as the real one does, and answers as it does, or as a test wants it.
//!
//! ```text
//! let fake = Fake::start(Kind::Kakao);
//! fake.allow_redirect("http://127.0.0.1:7303/callback/kakao");
//! let settings = fake.settings("kakao");                 // a [[providers]] table, in TOML
//! fake.script(Script { person: Person::new("42"), ..Script::default() });   // who signs in from now on
//! fake.script_for("minji", Script { .. });               // who signs in with login_hint=minji
//! let Visit::Sent(callback) = fake.visit(&authorization_url) else { panic!() };  // what a browser would be sent to
//! let code = fake.issue(Script::default(), Asked { .. }); // a code without a visit
//! fake.requests("/oauth/token");                         // what was asked there
//! fake.publish(&[Key::A, Key::B]); fake.sign_with(Key::B); fake.reply("/.well-known/jwks.json", Reply::Json(403, ..));
//! ```
//! A browser that asks for the authorization endpoint is sent back at once. A code, and the token that it is traded for,
//! keep the script that they were made with, so that tests may share a fake.

mod answers;
mod notices;
mod script;
mod signing;
mod wire;

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value};

pub use notices::{kakao as kakao_notice, naver as naver_notice};
pub use script::{Asked, Changes, Consent, Person, Script, Visit};
pub use signing::{Key, Signing, token};
pub use wire::{Reply, Request};

use wire::Response;

/// Which provider it is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Google,
    Kakao,
    Naver,
    GitHub,
    Oidc,
}

pub const CLIENT_ID: &str = "client-of-tests";
pub const CLIENT_SECRET: &str = "secret/of+tests=&";
pub const ADMIN_KEY: &str = "admin-key-of-tests";

/// A provider, until it is dropped.
pub struct Fake {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    kind: Kind,
    address: SocketAddr,
    state: Mutex<State>,
}

struct State {
    redirects: Vec<String>,
    script: Script,
    by_hint: BTreeMap<String, Script>,
    codes: BTreeMap<String, script::Issued>,
    tokens: BTreeMap<String, Script>,
    replies: BTreeMap<String, Reply>,
    published: Vec<Key>,
    signing: Key,
    metadata: Changes,
    secret_in_body: Option<bool>,
    requests: Vec<Request>,
    /// Bytes of the last huge answer that were taken.
    huge_sent: usize,
    is_over: bool,
}

impl Fake {
    pub fn start(kind: Kind) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let state = State {
            redirects: Vec::new(),
            script: Script::default(),
            by_hint: BTreeMap::new(),
            codes: BTreeMap::new(),
            tokens: BTreeMap::new(),
            replies: BTreeMap::new(),
            published: vec![Key::A],
            signing: Key::A,
            metadata: Vec::new(),
            secret_in_body: None,
            requests: Vec::new(),
            huge_sent: 0,
            is_over: false,
        };
        let shared = Arc::new(Shared { kind, address, state: Mutex::new(state) });
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || serving.serve(&listener));
        Self { shared }
    }

    /// Without a slash at its end; the issuer, too.
    pub fn base_url(&self) -> String {
        self.shared.base_url()
    }

    pub fn url(&self, path: &str) -> String {
        self.base_url() + path
    }

    /// A `[[providers]]` table with this id, for the OpenID surface if there is one.
    pub fn settings(&self, id: &str) -> String {
        self.settings_of(id, self.shared.kind != Kind::GitHub)
    }

    /// As [`Self::settings`], for the surface of OAuth 2.0 if `is_oidc` is false.
    pub fn settings_of(&self, id: &str, is_oidc: bool) -> String {
        let kind = format!("{:?}", self.shared.kind).to_lowercase();
        let base = self.base_url();
        let mut text = format!(
            "[[providers]]\nid = \"{id}\"\nkind = \"{kind}\"\nclient_id = \"{CLIENT_ID}\"\n\
             client_secret = {{ value = \"{CLIENT_SECRET}\" }}\nissuer = \"{base}\"\nprivate_network = true\n"
        );
        if self.shared.kind == Kind::Kakao {
            text += &format!("admin_key = {{ value = \"{ADMIN_KEY}\" }}\n");
        }
        if !is_oidc {
            let paths = answers::Paths::of(self.shared.kind, false);
            text += &format!(
                "authorization_endpoint = \"{base}{}\"\ntoken_endpoint = \"{base}{}\"\nuserinfo_endpoint = \"{base}{}\"\n",
                paths.authorization, paths.token, paths.userinfo
            );
            if self.shared.kind != Kind::GitHub {
                text += "surface = \"oauth2\"\n";
            }
        }
        text
    }

    /// A redirect URI that is registered there; without one, nobody is sent back.
    pub fn allow_redirect(&self, uri: &str) {
        self.state().redirects.push(uri.to_owned());
    }

    /// Who signs in, and how everything goes then, for codes that are made from now on.
    pub fn script(&self, script: Script) {
        self.state().script = script;
    }

    /// The same for who comes with this `login_hint` (of GitHub: `login`).
    pub fn script_for(&self, hint: &str, script: Script) {
        self.state().by_hint.insert(hint.to_owned(), script);
    }

    /// What becomes of a browser that goes to this URL.
    pub fn visit(&self, authorization_url: &str) -> Visit {
        let url = url::Url::parse(authorization_url).unwrap();
        let query: BTreeMap<String, String> = url.query_pairs().into_owned().collect();
        let repeated = url.query_pairs().count() != query.len();
        assert!(!repeated, "a parameter twice: {authorization_url}");
        assert!(authorization_url.starts_with(&self.base_url()), "{authorization_url} is elsewhere");
        self.shared.visit(url.path(), &query)
    }

    /// A code as if somebody had signed in.
    pub fn issue(&self, script: Script, asked: Asked) -> String {
        self.shared.issue(script, asked)
    }

    /// Answers like this at this path from now on, instead of as usual.
    pub fn reply(&self, path: &str, reply: Reply) {
        self.state().replies.insert(path.to_owned(), reply);
    }

    /// Shows these keys.
    pub fn publish(&self, keys: &[Key]) {
        self.state().published = keys.to_vec();
    }

    pub fn sign_with(&self, key: Key) {
        self.state().signing = key;
    }

    /// Changes members of the discovery document.
    pub fn metadata(&self, changes: Changes) {
        self.state().metadata = changes;
    }

    /// Of an OpenID provider: whether it wants the secret in the body; else by Basic.
    pub fn secret_in_body(&self, in_body: bool) {
        self.state().secret_in_body = Some(in_body);
    }

    /// What was asked at this path; of all paths if it is empty.
    pub fn requests(&self, path: &str) -> Vec<Request> {
        self.state().requests.iter().filter(|request| path.is_empty() || request.path == path).cloned().collect()
    }

    /// An id_token as this provider would sign it.
    pub fn id_token(&self, script: &Script, asked: &Asked) -> String {
        let signing = self.state().signing;
        self.shared.id_token(script, asked, signing)
    }

    /// How many bytes of the last huge answer were taken.
    pub fn huge_sent(&self) -> usize {
        self.state().huge_sent
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.state().is_over = true;
        // Wakes who waits for connections.
        drop(TcpStream::connect(self.shared.address));
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn serve(self: Arc<Self>, listener: &TcpListener) {
        for stream in listener.incoming() {
            if self.state().is_over {
                return;
            }
            let Ok(stream) = stream else { continue };
            let shared = Arc::clone(&self);
            std::thread::spawn(move || shared.answer(&stream));
        }
    }

    fn answer(&self, stream: &TcpStream) {
        // What is reset before it is read can only be told by all that may come.
        if self.state().replies.values().any(|reply| matches!(reply, Reply::ResetBefore)) {
            return wire::reset(stream);
        }
        let Some(request) = wire::read(stream) else { return };
        let planned = self.state().replies.get(&request.path).cloned();
        self.state().requests.push(request.clone());
        let (reply, usual) = match planned {
            Some(reply @ (Reply::Usual | Reply::Late(_) | Reply::Dripped(_))) => (reply, Some(self.usual(&request).1)),
            Some(reply) => (reply, None),
            None => {
                let (reply, usual) = self.usual(&request);
                (reply, Some(usual))
            }
        };
        let usual = usual.unwrap_or_else(|| Response::html(500, "not asked for"));
        match reply {
            Reply::Usual => wire::send(stream, &usual, None),
            Reply::Json(status, body) => wire::send(stream, &Response::json(status, &body), None),
            Reply::Raw(status, headers, body) => wire::send(stream, &Response { status, headers, body }, None),
            Reply::Late(by) => {
                std::thread::sleep(by);
                wire::send(stream, &usual, None);
            }
            Reply::Dripped(pause) => wire::send(stream, &usual, Some(pause)),
            Reply::ResetBefore | Reply::ResetAfter => wire::reset(stream),
            Reply::Huge { with_length } => {
                let sent = wire::send_huge(stream, with_length);
                self.state().huge_sent = sent;
            }
            Reply::Redirect(to) => wire::send(stream, &Response::redirect(&to), None),
        }
    }
}

/// Sets members, or takes them away.
fn change(object: &mut Map<String, Value>, changes: &[(String, Option<Value>)]) {
    for (name, value) in changes {
        match value {
            Some(value) => object.insert(name.clone(), value.clone()),
            None => object.remove(name),
        };
    }
}

/// A second of Unix time.
fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_secs()).unwrap()
}
