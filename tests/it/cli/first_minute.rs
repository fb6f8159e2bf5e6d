//! From the sign-in to the end of the session, as the README tells it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::{DENIED, DONE, NOT_AUTHENTICATED, Person, REFUSED, Served, finish, folder};
use crate::support::files_below;

#[test]
fn a_person_signs_in_asks_and_signs_out() {
    let folder = folder();
    let served = Served::start(folder.path());
    let person = Person::new(&served);
    let password = served.admin_password();

    person.does("whoami").ends_with(NOT_AUTHENTICATED).complains("postern login");
    person.types("not the password", "login admin").ends_with(NOT_AUTHENTICATED).complains("INVALID_CREDENTIALS");
    assert!(!person.state_file().exists());
    person.types(&password, "login admin").ends_with(DONE).says("Signed in as admin");
    person.does("whoami").ends_with(DONE).says("admin").says("postern.admin");
    person
        .does("verify --require postern:users:write")
        .ends_with(DONE)
        .says("ALLOW   admin (user ")
        .says("by role postern.admin, pattern postern:**, everywhere");

    // What is denied says how to change it, in words that a shell takes as they are.
    let denied = person.does("verify --require orders:refund --tenant acme").ends_with(DENIED);
    let denied = denied.says("DENY    admin lacks orders:refund in acme");
    let hints: Vec<&str> =
        denied.stdout.lines().filter_map(|line| Some(&line[line.find("postern admin ")?..])).collect();
    assert_eq!(hints.len(), 2, "{}", denied.stdout);
    for hint in hints {
        person.pastes(hint).ends_with(DONE);
    }
    person.does("verify --require orders:refund --tenant acme").ends_with(DONE).says("ALLOW");
    person.does("verify --require orders:refund").ends_with(DENIED).says("everywhere");

    let session = person.state()["session_id"].as_str().unwrap().to_owned();
    person.does("sessions").ends_with(DONE).says(&format!("* {session}")).says("127.0.0.1").says("password");
    person.does(&format!("revoke {session}")).ends_with(DONE).says("Ended 1 session.");
    person.does("verify").ends_with(NOT_AUTHENTICATED).says("TOKEN_REVOKED").says("postern login admin");
    person.does("refresh").ends_with(NOT_AUTHENTICATED).complains("SESSION_ENDED").complains("postern login admin");

    person.types(&password, "login admin").ends_with(DONE);
    person.does("sessions --all").ends_with(DONE).says(&session).says("logged out here");
    person.does("logout").ends_with(DONE).says("Signed out admin.");
    person.does("logout").ends_with(NOT_AUTHENTICATED);
    assert_eq!(person.state(), serde_json::Value::Null);
}

#[test]
fn a_password_is_changed_and_the_other_devices_are_signed_out() {
    let folder = folder();
    let served = Served::start(folder.path());
    let (laptop, phone) = (Person::administrator(&served), Person::administrator(&served));
    let current = served.admin_password();
    let next = "kelp vivid ochre nine";
    laptop
        .types(&format!("not the password\n{next}"), "passwd")
        .ends_with(NOT_AUTHENTICATED)
        .complains("the current password is wrong; nothing was changed (INVALID_CREDENTIALS)");
    laptop
        .types(&format!("{current}\n1qaz2wsx3edc4rfv"), "passwd")
        .ends_with(REFUSED)
        .complains("most common passwords");
    laptop.types(&format!("{current}\n{next}"), "passwd").ends_with(DONE).says("The password is changed.");
    laptop.does("whoami").ends_with(DONE).says("admin");
    laptop.does("refresh").ends_with(DONE);
    phone.does("whoami").ends_with(NOT_AUTHENTICATED);
    phone.types(&current, "login admin").ends_with(NOT_AUTHENTICATED);
    phone.types(next, "login admin").ends_with(DONE);
    Person::new(&served)
        .types(&format!("{next}\n{current}"), "passwd")
        .ends_with(NOT_AUTHENTICATED)
        .complains("not signed in");
}

#[test]
fn another_device_is_told_apart_and_signed_out() {
    let folder = folder();
    let served = Served::start(folder.path());
    let (laptop, phone) = (Person::administrator(&served), Person::administrator(&served));
    let marks = |person: &Person| {
        let list = person.does("sessions").ends_with(DONE).stdout;
        list.lines().filter(|line| line.starts_with("* ")).count()
    };
    assert_eq!((marks(&laptop), marks(&phone)), (1, 1));
    laptop.does("revoke --all --keep-current").ends_with(DONE).says("Ended 1 session.");
    phone.does("verify").ends_with(NOT_AUTHENTICATED);
    laptop.does("verify").ends_with(DONE);
}

#[test]
fn an_access_token_that_ended_is_renewed_unasked() {
    let folder = folder();
    let served = Served::start(folder.path());
    let person = Person::administrator(&served);
    let before = person.state();
    person.does("verify").ends_with(DONE);
    assert_eq!(person.state(), before, "a token that is good is kept");

    person.lets_the_access_token_end();
    person.does("verify").ends_with(DONE).says("ALLOW");
    person.does("verify --audience shop").ends_with(NOT_AUTHENTICATED).says("TOKEN_INVALID");
    let after = person.state();
    assert_ne!(after["refresh_token"], before["refresh_token"]);
    assert_ne!(after["access_token"], before["access_token"]);
    assert!(after["access_expire"].as_i64() >= before["access_expire"].as_i64());
    assert_eq!(after["session_id"], before["session_id"]);
    assert_eq!(mode(&person.state_file()), 0o600);

    // Many at once, and each finds a pair that works.
    person.lets_the_access_token_end();
    let children: Vec<_> = (0..8)
        .map(|_| {
            let mut command = person.command();
            std::thread::spawn(move || finish(command.args(["admin", "server"]), ""))
        })
        .collect();
    for child in children {
        child.join().unwrap().ends_with(DONE);
    }
    assert_ne!(person.state()["refresh_token"], after["refresh_token"]);
    person.does("refresh").ends_with(DONE).says("the next pair");
}

#[test]
fn answers_are_json_when_asked_and_hold_no_token_unless_asked() {
    let folder = folder();
    let served = Served::start(folder.path());
    let person = Person::administrator(&served);
    let tokens = |person: &Person| {
        let state = person.state();
        ["access_token", "refresh_token"].map(|name| state[name].as_str().unwrap().to_owned())
    };
    let whoami = person.json("whoami", DONE);
    assert_eq!(whoami["decision"], "DECISION_ALLOW");
    assert_eq!(whoami["principal"]["roles"][0]["role"], "postern.admin");
    assert_eq!(person.json("verify --require orders:read", DENIED)["refusal"]["missing"]["permission"], "orders:read");
    let verdicts = person.json("verify --ask postern:roles:read --ask orders:read", DONE)["verdicts"].take();
    assert_eq!((&verdicts[0]["allowed"], &verdicts[1]["reason"]), (&true.into(), &"REASON_PERMISSION_MISSING".into()));
    assert_eq!(person.json("health", DONE)["status"], "SERVING");

    let sessions = person.json("sessions", DONE);
    assert_eq!(sessions["sessions"][0]["current"], true);
    let refreshed = person.json("refresh", DONE);
    assert_eq!(refreshed["rotation"], "ROTATION_ADVANCED");
    for answer in [whoami, sessions, refreshed] {
        for token in tokens(&person) {
            assert!(!answer.to_string().contains(&token));
        }
    }
    let shown = person.json("refresh --show-tokens", DONE);
    let [access_token, refresh_token] = tokens(&person);
    assert_eq!(shown["tokens"]["accessToken"], access_token);
    assert_eq!(shown["tokens"]["refreshToken"], refresh_token);
    // A token from elsewhere is judged as well as one's own.
    person.types(&access_token, "verify --token-stdin").ends_with(DONE).says("ALLOW   user ");
    person.types("no.token.at-all", "verify --token-stdin").ends_with(NOT_AUTHENTICATED).says("TOKEN_INVALID");

    let refused = person.does("verify --require Not:A:Permission --json").ends_with(REFUSED);
    let error: serde_json::Value = serde_json::from_str(&refused.stderr).unwrap();
    assert_eq!(error["error"]["reason"], "INVALID_FIELD");
    assert_eq!(refused.stdout, "");
    assert_eq!(person.json("revoke --all", DONE)["endedCount"], 1);
    person.json("logout", DONE);
}

#[test]
fn a_password_is_kept_nowhere() {
    let folder = folder();
    let served = Served::start(folder.path());
    let person = Person::administrator(&served);
    let password = served.admin_password();
    person.does("sessions").ends_with(DONE);

    // Nobody who lists processes sees it, because it cannot be an argument.
    person.does(&format!("login admin --password {password}")).ends_with(REFUSED);
    person.does(&format!("login admin {password}")).ends_with(REFUSED);
    person.types("", "login admin").ends_with(REFUSED).complains("no password was given");

    assert_eq!(mode(&person.state_file()), 0o600);
    assert_eq!(mode(person.state_file().parent().unwrap()), 0o700);
    let initial = served.admin_password_file();
    assert_eq!(mode(&initial), 0o600);
    let files = [files_below(person.home.path()), files_below(folder.path())].concat();
    for file in files.into_iter().filter(|file| *file != initial) {
        let bytes = std::fs::read(&file).unwrap();
        assert!(!bytes.windows(password.len()).any(|part| part == password.as_bytes()), "{}", file.display());
    }

    // A state file that others could read is not trusted, and says what to do.
    std::fs::set_permissions(person.state_file(), std::fs::Permissions::from_mode(0o644)).unwrap();
    let refused = person.does("verify").ends_with(REFUSED);
    let mend = refused.stderr.lines().find_map(|line| line.trim().starts_with("chmod ").then(|| line.trim())).unwrap();
    person.pastes(mend).ends_with(DONE);
    person.does("verify").ends_with(DONE);
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o7777
}
