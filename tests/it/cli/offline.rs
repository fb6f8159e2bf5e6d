//! The way back in when no administrator knows a password any more, and what stands in front of it.

use rustix::process::Signal;

use super::{DONE, NOT_AUTHENTICATED, Person, REFUSED, Served, finish, folder};
use crate::database::Database;
use crate::support::PASSWORD;

fn offline(person: &Person, data: &std::path::Path, line: &str, words: &str) -> super::Outcome {
    person.types(line, &format!("admin --offline {} {words}", data.display()))
}

#[test]
fn a_lost_administrator_password_is_set_anew_where_the_data_is() {
    let folder = folder();
    let served = Served::start(folder.path());
    let data = folder.path().join("data");
    let admin = Person::administrator(&served);
    admin.does("admin roles put clerk --allow orders:**").ends_with(DONE);
    // More than the built-in role has: the operator stands above that, too.
    admin.does("admin bindings grant admin clerk --everywhere").ends_with(DONE);
    let running = offline(&admin, &data, PASSWORD, "users set-password admin").ends_with(REFUSED);
    running.complains(&format!("(pid {})", served.child.id())).complains("Stop it first");
    let lost = served.admin_password();
    assert_eq!(served.end(Signal::TERM), Some(DONE));

    // Nobody is signed in, and nothing listens.
    let mut person = Person::at("http://127.0.0.1:9".to_owned());
    offline(&person, &data, PASSWORD, "users set-password admin").ends_with(DONE).says("Set the password of admin");
    offline(&person, &data, "short", "users set-password admin").ends_with(REFUSED).complains("PASSWORD_REFUSED");
    offline(&person, &data, PASSWORD, "users create mira --must-change").ends_with(DONE).says("next sign-in");
    offline(&person, &data, "", "bindings grant mira clerk --tenant acme").ends_with(DONE);
    offline(&person, &data, "", "bindings list --user mira").ends_with(DONE).says("offline");
    offline(&person, &data, "", "users disable admin").ends_with(REFUSED).complains("LAST_ONE");
    offline(&person, &data, "", "users list --json").ends_with(DONE).says("\"users\"");
    let next = format!("grant kim ROLE --tenant TENANT --offline {}", data.display());
    let mut elsewhere = person.command();
    // What leads to a server is no matter here: it may be a file that only another folder has.
    elsewhere.env("POSTERN_CA", "ca.crt").env("POSTERN_ADMIN_SERVER", "https://auth.example.com:7304");
    elsewhere.args(["admin", "--offline"]).arg(&data).args(["users", "create", "kim"]);
    finish(&mut elsewhere, PASSWORD).ends_with(DONE).says(&next);

    let served = Served::start(folder.path());
    person.server = served.url();
    person.types(&lost, "login admin").ends_with(NOT_AUTHENTICATED);
    person.types(PASSWORD, "login admin").ends_with(DONE);
    person.does("admin users list").ends_with(DONE).says("mira");
    assert_eq!(served.end(Signal::TERM), Some(DONE));
    let acts = audited(&data.join("postern.db"));
    for kind in ["authn_password_change", "user_created", "authz_role_granted"] {
        assert!(acts.contains(&(kind.to_owned(), "offline".to_owned())), "{kind}: {acts:?}");
    }
}

/// Kind and actor of all that was written down.
fn audited(database: &std::path::Path) -> Vec<(String, String)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut database = Database::in_file(database).await;
        let all = "SELECT kind, coalesce(actor, '') FROM audit";
        database.rows(all, &[]).await
    })
}

/// What the server reads from a file of its own, the operator reads from there too.
#[test]
fn the_settings_of_the_server_are_named_with_its_data() {
    let folder = folder();
    let served = Served::start(folder.path());
    assert_eq!(served.end(Signal::TERM), Some(DONE));
    let (data, settings) = (folder.path().join("data"), folder.path().join("elsewhere.toml"));
    std::fs::write(&settings, "passwords.min_length = 10\n").unwrap();
    let person = Person::at("http://127.0.0.1:9".to_owned());
    let set = |options: &str| offline(&person, &data, "ten of them", &format!("users set-password admin{options}"));
    set("").ends_with(REFUSED).complains("PASSWORD_REFUSED");
    set(&format!(" --config {}", settings.display())).ends_with(DONE);
    let before = format!("--config {} users create kim", settings.display());
    offline(&person, &data, "ten of them", &before).ends_with(DONE).says(&format!("--config {}", settings.display()));
    set(" --config no-such.toml").ends_with(REFUSED).complains("no-such.toml");
    person.does("admin users list --config x.toml").ends_with(REFUSED).complains("with --offline DATA_DIR only");
}

#[test]
fn a_folder_without_a_store_is_left_as_it_is() {
    let folder = folder();
    let person = Person::at("http://127.0.0.1:9".to_owned());
    let nothing = folder.path().join("nothing");
    offline(&person, &nothing, "", "users list")
        .ends_with(REFUSED)
        .complains("there is no store")
        .complains("--offline DIR");
    assert!(!nothing.exists());
}

#[test]
fn who_is_due_chooses_a_password_before_the_tokens_come() {
    let folder = folder();
    let served = Served::start(folder.path());
    let (admin, mira) = (Person::administrator(&served), Person::new(&served));
    admin.types(PASSWORD, "admin users create mira --must-change").ends_with(DONE).says("at their next sign-in");
    let refused = mira.types(PASSWORD, "login mira").ends_with(super::REFUSED).complains("CHALLENGE_UNSUPPORTED");
    refused.complains("--new-password-file FILE");
    mira.types("not the password", "login mira --new-password-file next").ends_with(NOT_AUTHENTICATED);
    mira.types(PASSWORD, "login mira --new-password-file next").ends_with(REFUSED).complains("cannot read next");
    let write = |text: &str| std::fs::write(mira.home.path().join("next"), text).unwrap();
    write("too short\n");
    mira.types(PASSWORD, "login mira --new-password-file next").ends_with(REFUSED).complains("PASSWORD_REFUSED");
    write(&format!("{PASSWORD}\n"));
    mira.types(PASSWORD, "login mira --new-password-file next").ends_with(REFUSED).complains("must differ");
    assert!(!mira.state_file().exists());
    write("quite another password\n");
    let done = mira.types(PASSWORD, "login mira --new-password-file next").ends_with(DONE).says("Signed in as mira");
    for secret in [PASSWORD, "quite another password", "pch_"] {
        assert!(!done.stdout.contains(secret) && !done.stderr.contains(secret));
    }
    mira.does("whoami").ends_with(DONE).says("mira");
    mira.types("quite another password", "login mira").ends_with(DONE);
    // Where there is nobody to type and no shell to pipe, as in a container.
    mira.does("login mira --password-file next").ends_with(DONE).says("Signed in as mira");
    mira.does("login mira --password-file nothing").ends_with(REFUSED).complains("cannot read nothing");
    admin.types(PASSWORD, "admin users set-password mira --must-change").ends_with(DONE).says("at their next sign-in");
    mira.does("verify").ends_with(NOT_AUTHENTICATED);
    mira.types(PASSWORD, "login mira").ends_with(REFUSED).complains("CHALLENGE_UNSUPPORTED");
}
