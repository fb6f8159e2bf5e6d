//! What stands below the flags in `--help`: examples, and what comes next. And the groups of the root, which clap does
//! not have.

use clap::{Arg, ArgAction, Command, CommandFactory as _};

use super::Cli;
use crate::cli::table::{Lines, padded};

/// The commands a person meets, by what they are for. Serving itself is no command.
const GROUPS: [(&str, &[&str]); 4] = [
    ("Serve", &["gateway", "config", "migrate", "migrate-store", "master-key", "health"]),
    ("Use", &["login", "whoami", "refresh", "verify", "sessions", "revoke", "passwd", "logout"]),
    ("Administer", &["admin"]),
    ("Integrate", &["proto", "completions", "man"]),
];

const NAME_WIDTH: usize = 16;

/// The whole tree, with the commands of the root in groups.
pub(in crate::cli) fn command() -> Command {
    let command = Cli::command();
    let mut groups = Lines::default();
    for (group, names) in GROUPS {
        groups.add(format_args!("\n{group}:"));
        if group == "Serve" {
            groups.add(entry("(no command)", "Start the server, with the options below"));
        }
        for subcommand in command.get_subcommands().filter(|subcommand| names.contains(&subcommand.get_name())) {
            let about = subcommand.get_about().map(ToString::to_string).unwrap_or_default();
            groups.add(entry(subcommand.get_name(), &about));
            if subcommand.get_name() == "admin" {
                for inner in subcommand.get_subcommands() {
                    let about = inner.get_about().map(ToString::to_string).unwrap_or_default();
                    groups.add(entry(&format!("admin {}", inner.get_name()), &about));
                }
            }
        }
    }
    let groups = groups.finish();
    let options = "Options of the server:\n{options}";
    compact(command)
        .help_template(format!("{{about}}\n\n{{usage-heading}} {{usage}}\n{groups}\n{options}{{after-help}}"))
}

fn entry(name: &str, about: &str) -> String {
    format!("  {} {about}", padded(name, NAME_WIDTH))
}

/// One form of help. Clap's long one puts three lines where one will do, and pushes the examples off the screen.
fn compact(command: Command) -> Command {
    let help =
        Arg::new("help").short('h').long("help").action(ArgAction::HelpShort).help("Print help").display_order(900);
    command.disable_help_flag(true).arg(help).mut_subcommands(compact)
}

pub(super) const ROOT: &str = "\
Examples:
  postern                                     serve on this machine, nothing to set up
  postern login admin                         sign in; the first start printed the password
  postern verify --require orders:refund      may I? Exit code 0: yes, 3: no

Exit codes: 0 allowed or done, 1 refused input, 3 denied, 4 not authenticated, 5 unavailable.
`postern COMMAND --help` has examples for each command.";

pub(super) const CONFIG: &str = "\
Takes the flags of the server, and reads what it would read; nothing is made and nothing is changed.

Examples:
  postern config check
  postern config check --config /etc/postern/postern.toml
  POSTERN__PROFILE=production postern config check --json | jq .warnings

Exits with 0 if a server can start, with 1 if not. Next: postern";

pub(super) const GATEWAY: &str = "\
Reads the settings of the server, of which it needs [gateway], listen.gateway, [tls], [limits] and [log]; \
one file may serve both. The server says gateway.in_process = false.

Examples:
  postern gateway --set gateway.server=http://127.0.0.1:7301
  postern gateway --config /etc/postern/postern.toml

It starts without the server, and answers with 503 while nobody is there. Next: open its address in a browser";

pub(super) const HEALTH: &str = "\
Examples:
  postern health
  postern health --service postern.login      whether sign-ins work, for dashboards
  postern health --server https://auth.internal:7301 --ca ca.crt

Exits with 0 if it serves, with 5 if not or if nobody answers.";

pub(super) const MASTER_KEY: &str = "\
A master key seals signing keys and sessions. A file may hold several; the line `current N` names the \
one that is used for what is new. A new key goes through three steps, so that no server ever meets what \
it cannot open; after each, every server is restarted, one by one:
  known     on every server, not used:   postern master-key new --add FILE
  used      for what is new:             postern master-key use 2 --file FILE
  dropped   when nothing needs the old:  postern master-key drop 1 --file FILE
`postern master-key status` says which step is next, and when. Dropping a key early is the emergency \
stop: it ends exactly the sessions that were opened under it. The signing keys that it seals must be \
retired before.

Examples:
  postern master-key new --out /etc/postern/master.key
  postern master-key new --add /etc/postern/master.key
  postern master-key status --config /etc/postern/postern.toml";

pub(super) const MASTER_KEY_USE: &str = "\
Only when every server knows the key: one that does not cannot open what the others seal.

Examples:
  postern master-key use 2 --file /etc/postern/master.key

Next: give the file to every server, and restart them one by one; then  postern master-key status";

pub(super) const MASTER_KEY_DROP: &str = "\
Reads the settings and the store, and refuses while sessions or signing keys need the key.

Examples:
  postern master-key drop 1 --file /etc/postern/master.key --config /etc/postern/postern.toml
  postern master-key drop 1 --file /etc/postern/master.key --end-its-sessions     the emergency stop

Next: give the file to every server, and restart them one by one";

pub(super) const MIGRATE: &str = "\
One process does it, others wait; where nothing is to be done, nothing is. Connects as store.postgres.migrate_url \
says, or as store.postgres.url. Before servers of a newer version, with the binary of that version.

Examples:
  postern migrate --config /etc/postern/postern.toml
  postern migrate --config /etc/postern/postern.toml --grant-to postern

Next: postern config check";

pub(super) const MIGRATE_STORE: &str = "\
Copies everything in one transaction, reads it back and compares it; sessions go to Redis if the settings name one. \
Stop the server before. Nobody signs in again. A second run changes nothing, and one that was cut short is taken up.

Examples:
  postern migrate-store --from sqlite:/var/lib/postern --config /etc/postern/postern.toml
  postern migrate-store --from sqlite:./postern-data --to-file /run/secrets/postgres-url

Next: start the servers on PostgreSQL, with the same master key and issuer, and none on the old file";

pub(super) const MASTER_KEY_NEW: &str = "\
The file is readable by its owner only and is replaced as a whole, so a server never reads half of it.

Examples:
  postern master-key new --out /etc/postern/master.key
  postern master-key new --add /etc/postern/master.key";

pub(super) const MASTER_KEY_STATUS: &str = "\
Reads the settings as the server does, and the store; changes nothing, and may run beside a server.

Examples:
  postern master-key status
  postern master-key status --config /etc/postern/postern.toml";

pub(super) const LOGIN: &str = "\
The password is asked for, or read as one line of standard input; it is never an argument.

Examples:
  postern login admin
  postern login mira@example.com --server http://auth.internal:7301
  postern login admin < password-file
  postern login mira --password-file now --new-password-file next

A password that an administrator wants changed is asked for anew, twice, before you are signed in.
Next: postern whoami, postern verify --require PERMISSION, postern sessions";

pub(super) const WHOAMI: &str = "\
Examples:
  postern whoami
  postern whoami --json

Next: postern sessions, postern logout";

pub(super) const REFRESH: &str = "\
The other commands refresh by themselves; this one is for watching it, or for handing a token to another program.

Examples:
  postern refresh
  postern refresh --json --show-tokens | jq -r .tokens.accessToken";

pub(super) const VERIFY: &str = "\
Examples:
  postern verify                              is my token good?
  postern verify --require orders:refund --tenant acme
  postern verify --token-stdin --audience shop < token

Exits with 0 on ALLOW, 3 on DENY, 4 on UNAUTHENTICATED and STEP_UP.
Next, after DENY: postern admin explain USER PERMISSION";

pub(super) const SESSIONS: &str = "\
The session of this machine is marked with `*`.

Examples:
  postern sessions
  postern sessions --all                      also ended ones, and why they ended
  postern sessions --user mira@example.com

Next: postern revoke SESSION";

pub(super) const REVOKE: &str = "\
The tokens of an ended session are refused at once, everywhere.

Examples:
  postern revoke 019a8c1f-3d7e-7c52-9d4e-5a0c1b2e02d1
  postern revoke --all --keep-current         sign out everywhere else
  postern revoke --all --user mira@example.com --note \"laptop stolen\"

Next: postern sessions --all";

pub(super) const LOGOUT: &str = "\
Examples:
  postern logout

Next: postern login";

pub(super) const ADMIN: &str = "\
USER is an id, an e-mail, a user name, or ext:ID for the id in an older system; for roles and explain also client:ID.

Examples:
  postern admin users create mira@example.com
  postern admin roles put clerk --allow 'orders:*'
  postern admin bindings grant mira@example.com clerk --tenant acme

No administrator can sign in any more? With the embedded store stop the server, on PostgreSQL it may go on; then where it ran:
  postern admin --offline ./postern-data users set-password admin
  postern admin --offline /var/lib/postern --config /etc/postern/postern.toml users set-password admin

Next: postern admin explain mira@example.com orders:refund --tenant acme";

pub(super) const USERS: &str = "\
Examples:
  postern admin users create mira@example.com --display-name Mira
  postern admin users list --query mi
  postern admin users disable mira@example.com --note \"left the company\"

Next: postern admin bindings grant USER ROLE --tenant TENANT";

pub(super) const ROLES: &str = "\
A pattern is a permission in which `*` stands for one segment and a last `**` for one or more.

Examples:
  postern admin roles put clerk --allow 'orders:*' --allow customers:read
  postern admin roles put manager --inherit clerk --allow 'reports:**'
  postern admin roles show clerk

Next: postern admin bindings grant USER ROLE --tenant TENANT";

pub(super) const POLICY: &str = "\
A policy file is all roles but the built-in ones, in TOML or JSON:
  [[roles]]
  id = \"clerk\"
  description = \"Takes orders\"
  patterns = [\"orders:*\", \"customers:read\"]
  inherits = []

Examples:
  postern admin policy export > roles.toml
  postern admin policy apply roles.toml --dry-run
  postern admin policy apply roles.toml";

pub(super) const BINDINGS: &str = "\
Examples:
  postern admin bindings grant mira@example.com clerk --tenant acme
  postern admin bindings grant mira@example.com auditor --everywhere --until 8h
  postern admin bindings list --user mira@example.com

Next: postern admin explain USER PERMISSION";

pub(super) const CLIENTS: &str = "\
A client is a program that calls the server: a front that signs people in, a backend that verifies. It proves itself by its \
secret (`authorization: Bearer pcs_...`), by a name in its certificate, or by both; its roles say what it may call.

Examples:
  postern admin clients create web --token-audience shop --secret-file web.secret
  postern admin bindings grant client:web postern.front --everywhere
  postern admin clients create orders --audience shop --san orders.internal --no-secret
  postern admin clients rotate-secret web --overlap 1h --secret-file web.secret.new
  postern admin clients update web --disabled true

Next: postern verify --client-secret-file web.secret";

pub(super) const EXPLAIN: &str = "\
Examples:
  postern admin explain mira@example.com orders:refund --tenant acme
  postern admin explain --token-stdin orders:refund < token
  postern admin explain --decision 019a8c1e-7f3a-7b21-9c55-0a1b2c3d4e5f

Exits with 0 if allowed, with 3 if not.";

pub(super) const AUDIT: &str = "\
Of what strangers can bring about without end, each server keeps a hundred a minute for each client and \
reason, and the count of the others.

Examples:
  postern admin audit --since 2h
  postern admin audit --user mira@example.com --type authn_login_fail --type authn_login_success
  postern admin audit --type authz_fail --json";

pub(super) const IMPORT: &str = "\
Each line of the file is a person; all but one of external_id, email, user_name and identities may be left out:
  {\"external_id\": \"4711\", \"email\": \"mira@example.com\", \"email_verified\": true, \"user_name\": \"mira\",
   \"display_name\": \"Mira\", \"disabled\": false, \"password_hash\": \"$2b$12$…\",
   \"identities\": [{\"provider\": \"kakao\", \"subject\": \"99\"}],
   \"roles\": [{\"role\": \"clerk\", \"tenant\": \"acme\"}]}      (on one line; a role without tenant holds everywhere)
Passwords come as the other program hashed them (bcrypt, argon2, PBKDF2, scrypt: docs/importing.md), and are hashed \
anew when their owners sign in. Nobody who is there already is touched, so the same file may be sent again.

Examples:
  postern admin import people.jsonl --dry-run
  postern admin import people.jsonl --report report.jsonl
  postern admin import shop-realm.json --format keycloak --role clerk=orders.clerk --provider kakao=kakao

Exits with 0 if no row was refused, with 1 if some were. Next: postern admin users list";

pub(super) const KEYS: &str = "\
A key is published, signs once every cache has had time to see it (11 min by default), verifies for \
70 min after the next one took over, and is gone then: nobody notices a rotation.
A key that leaked is retired at once: its tokens are refused everywhere now, whoever was signed in \
refreshes, and a new key signs 2 s later; until then Login and Refresh answer UNAVAILABLE with a delay.

Examples:
  postern admin keys list
  postern admin keys rotate
  postern admin keys rotate --algorithm ES256
  postern admin keys retire qJ3vx0A...             by plan: the next key takes over first
  postern admin keys retire qJ3vx0A... --immediately

Next: postern admin keys list";

pub(super) const FENCE: &str = "\
Needed after the store was restored from a backup, or when keys may be known. Everybody, you too, signs in again.

Examples:
  postern admin fence --confirm http://127.0.0.1:7302 --note \"restored from backup\"

Next: postern login";

pub(super) const PASSWD: &str = "\
Asks for the current password, and twice for the new one; none is ever an argument. Without a terminal, they are two lines \
of standard input: the current one, the new one.

Examples:
  postern passwd
  postern passwd < current-and-new
  postern passwd --first                      no password yet

This session goes on with new tokens, all others end. Next: postern sessions";

pub(super) const PROTO: &str = "\
Refuses to replace a file that differs, and then writes nothing.

Examples:
  postern proto --out proto
  postern proto --out /tmp/p && buf build /tmp/p/postern.binpb
  postern proto --out proto --force

Next: generate code with protoc or buf; give service-config.json to gRPC clients";

pub(super) const COMPLETIONS: &str = "\
Examples:
  postern completions bash > ~/.local/share/bash-completion/completions/postern
  postern completions zsh > ~/.zfunc/_postern         with fpath+=~/.zfunc in ~/.zshrc
  postern completions fish > ~/.config/fish/completions/postern.fish";

pub(super) const MAN: &str = "\
Examples:
  postern man | man -l -
  postern man --out ~/.local/share/man/man1

Next: man postern-admin-users-create";

pub(super) const BOOTSTRAP: &str = "\
For a production server, which makes nobody up. Reads the server's settings and writes its store once, while no server \
runs on it; refused when there is an administrator, and without --client when [[clients]] has none to sign in with.

Examples:
  postern admin bootstrap --config /etc/postern/postern.toml --client cli --client-secret-file cli.secret
  postern admin bootstrap --client web --client-secret-file web.secret --password-file admin.password

Next: start the server, then  postern login admin --client-secret-file /run/secrets/web";

pub(super) const SERVER: &str = "\
Examples:
  postern admin server
  postern admin server --json";
