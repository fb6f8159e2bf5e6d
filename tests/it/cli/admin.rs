//! Every command of `postern admin`, against a real server.

use super::{DENIED, DONE, NOT_AUTHENTICATED, Person, REFUSED, Served, folder};
use crate::support::PASSWORD;

#[test]
fn users_from_creation_to_deletion() {
    let folder = folder();
    let served = Served::start(folder.path());
    let (admin, mira) = (Person::administrator(&served), Person::new(&served));
    let created = admin.types(PASSWORD, "admin users create mira@example.com --external-id old-7 --display-name Mira");
    created
        .ends_with(DONE)
        .says("Created mira@example.com")
        .says("Next: postern admin bindings grant mira@example.com");
    admin.types(PASSWORD, "admin users create mira@example.com").ends_with(REFUSED).complains("IDENTIFIER_TAKEN");
    admin.types("too short", "admin users create kim").ends_with(REFUSED).complains("PASSWORD_REFUSED");
    admin.does("admin users create kim --no-password").ends_with(DONE);

    admin.does("admin users list").ends_with(DONE).says("mira@example.com").says("kim").says("admin");
    let listed = admin.json("admin users list --query mi", DONE);
    assert_eq!(listed["users"].as_array().unwrap().len(), 1);
    let id = listed["users"][0]["id"].as_str().unwrap();
    for name in [id, "mira@example.com", "MIRA@example.com", "ext:old-7"] {
        admin.does(&format!("admin users show {name}")).ends_with(DONE).says(id).says("Mira");
    }
    assert_eq!(admin.json("admin users show kim", DONE)["user"]["hasPassword"], serde_json::Value::Null);
    admin.does("admin users show nobody").ends_with(REFUSED).complains("NOT_FOUND");

    admin
        .does("admin users update mira@example.com --user-name mira --email-verified true")
        .ends_with(DONE)
        .says("mira");
    assert_eq!(admin.json("admin users show mira", DONE)["user"]["emailVerified"], true);
    admin.does("admin users update mira --display-name=").ends_with(DONE);
    assert_eq!(admin.json("admin users show mira", DONE)["user"]["displayName"], serde_json::Value::Null);
    admin.does("admin users update mira").ends_with(REFUSED).complains("nothing to change");

    mira.types(PASSWORD, "login mira").ends_with(DONE);
    mira.does("admin users list").ends_with(DENIED).complains("PERMISSION_MISSING");
    admin.does("admin users disable mira --note left").ends_with(DONE).says("Disabled mira");
    mira.does("verify").ends_with(NOT_AUTHENTICATED).says("TOKEN_REVOKED");
    admin.does("admin users list --state disabled").ends_with(DONE).says("mira");
    mira.types(PASSWORD, "login mira").ends_with(NOT_AUTHENTICATED);
    admin.does("admin users enable mira").ends_with(DONE).says("Enabled mira");
    mira.types(PASSWORD, "login mira").ends_with(DONE);

    let another = "another good password";
    admin.types(another, "admin users set-password mira").ends_with(DONE).says("Set the password of mira");
    mira.does("verify").ends_with(NOT_AUTHENTICATED).says("TOKEN_REVOKED");
    mira.types(PASSWORD, "login mira").ends_with(NOT_AUTHENTICATED);
    mira.types(another, "login mira").ends_with(DONE);
    admin.does("sessions --user mira").ends_with(DONE).says("127.0.0.1");
    admin.does("revoke --all --user mira --note lost").ends_with(DONE).says("Ended 1 session.");

    admin.does("admin users delete mira").ends_with(REFUSED).complains("--yes");
    admin.does("admin users delete mira --yes --note gone").ends_with(DONE).says("Deleted mira for good.");
    admin.does("admin users show mira").ends_with(REFUSED).complains("NOT_FOUND");
    admin.does("admin users disable admin").ends_with(REFUSED).complains("LAST_ONE");
}

#[test]
fn roles_and_bindings_hold_for_tokens_already_issued() {
    let folder = folder();
    let served = Served::start(folder.path());
    let (admin, kim) = (Person::administrator(&served), Person::new(&served));
    admin.types(PASSWORD, "admin users create kim").ends_with(DONE);
    kim.types(PASSWORD, "login kim").ends_with(DONE);
    kim.does("verify --require orders:refund --tenant acme").ends_with(DENIED);

    admin.does("admin roles put reader --allow orders:read").ends_with(DONE);
    admin.does("admin roles put clerk --allow orders:* --inherit reader --description Orders").ends_with(DONE);
    admin.does("admin roles list").ends_with(DONE).says("clerk").says("orders:*").says("postern.admin");
    let etag = admin.json("admin roles show clerk", DONE)["role"]["etag"].as_str().unwrap().to_owned();
    admin.does(&format!("admin roles put clerk --allow orders:refund --inherit reader --etag {etag}")).ends_with(DONE);
    let stale = admin.does(&format!("admin roles put clerk --allow orders:* --etag {etag}")).ends_with(REFUSED);
    stale.complains("ETAG_MISMATCH");
    admin.does("admin roles put reader --inherit clerk").ends_with(REFUSED).complains("ROLE_GRAPH_INVALID");

    admin.does("admin bindings grant kim clerk --tenant acme --until 8h").ends_with(DONE).says("in acme until ");
    kim.does("verify --require orders:refund --tenant acme")
        .ends_with(DONE)
        .says("by role clerk, pattern orders:refund");
    kim.does("verify --require orders:read --tenant acme").ends_with(DONE).says("by role clerk through reader");
    kim.does("verify --require orders:refund").ends_with(DENIED);
    let listed = admin.does("admin bindings list --user kim").ends_with(DONE).says("clerk").says("in acme");
    assert!(
        listed.stdout.lines().any(|line| line.starts_with("kim ") && line.ends_with("  admin")),
        "{}",
        listed.stdout
    );
    assert_eq!(admin.json("admin bindings list --role clerk", DONE)["bindings"].as_array().unwrap().len(), 1);
    admin.does("admin bindings list --everywhere").ends_with(DONE).says("postern.admin");

    let asked = "orders:refund --tenant acme";
    admin.does(&format!("admin explain kim {asked}")).ends_with(DONE).says("ALLOW   kim may").says("yes");
    let token = kim.state()["access_token"].as_str().unwrap().to_owned();
    admin.types(&token, &format!("admin explain --token-stdin {asked}")).ends_with(DONE).says("ALLOW");
    assert_eq!(admin.json(&format!("admin explain kim {asked}"), DONE)["allowed"], true);
    admin.does("admin explain kim orders:refund --tenant globex").ends_with(DENIED).says("PERMISSION_MISSING");
    admin.does("admin explain kim").ends_with(REFUSED);

    admin.does("admin roles delete clerk").ends_with(REFUSED).complains("force");
    admin
        .does("admin bindings withdraw kim clerk --tenant acme")
        .ends_with(DONE)
        .says("Withdrew clerk from kim in acme");
    kim.does("verify --require orders:refund --tenant acme").ends_with(DENIED);
    admin.does("admin roles delete clerk").ends_with(DONE);
    admin.does("admin bindings grant kim reader --everywhere").ends_with(DONE).says("everywhere");
    kim.does("verify --require orders:read").ends_with(DONE);
    admin.does("admin roles delete reader --force").ends_with(DONE);
    kim.does("verify --require orders:read").ends_with(DENIED);
}

#[test]
fn a_policy_is_exported_and_applied() {
    let folder = folder();
    let served = Served::start(folder.path());
    let admin = Person::administrator(&served);
    let file = |name: &str, text: &str| std::fs::write(admin.home.path().join(name), text).unwrap();
    admin.does("admin roles put old --allow old:thing").ends_with(DONE);
    let policy = "[[roles]]\nid = \"clerk\"\ndescription = \"Takes orders\"\npatterns = [\"orders:*\"]\n\n\
                  [[roles]]\nid = \"manager\"\npatterns = [\"reports:**\"]\ninherits = [\"clerk\"]\n";
    file("roles.toml", policy);

    let dry = admin.does("admin policy apply roles.toml --dry-run").ends_with(DONE);
    let dry = dry.says("Would create 2, change 0 and delete 1 roles").says("- old");
    admin.does("admin roles show clerk").ends_with(REFUSED).complains("NOT_FOUND");
    // The command that does just what was shown, and refuses once the policy moved on.
    let just_this = dry.stdout.lines().find_map(|line| Some(&line[line.find("postern admin ")?..])).unwrap();
    admin.pastes(just_this).ends_with(DONE).says("Created 2, changed 0 and deleted 1 roles");
    admin.pastes(just_this).ends_with(REFUSED).complains("ETAG_MISMATCH");
    admin.does("admin roles show old").ends_with(REFUSED).complains("NOT_FOUND");

    for (format, name) in [("toml", "again.toml"), ("json", "again.json")] {
        let exported = admin.does(&format!("admin policy export --format {format}")).ends_with(DONE).stdout;
        assert!(!exported.contains("postern.admin"), "{exported}");
        file(name, &exported);
        admin.does(&format!("admin roles apply {name} --dry-run")).ends_with(DONE).says("Nothing would change.");
        admin.does(&format!("admin policy apply {name}")).ends_with(DONE).says("Nothing changed.");
    }
    file("typo.toml", "[[roles]]\nid = \"a\"\npatern = []\n");
    admin.does("admin policy apply typo.toml").ends_with(REFUSED).complains("line 3").complains("patern");
    admin.does("admin policy apply none.toml").ends_with(REFUSED).complains("cannot be read");
    file("empty.toml", "roles = []\n");
    admin.does("admin policy apply empty.toml").ends_with(DONE).says("deleted 2 roles");
}

#[test]
fn the_server_its_keys_and_the_fence() {
    let folder = folder();
    let served = Served::start(folder.path());
    let admin = Person::administrator(&served);
    let kid = served.fact("signing_key")["kid"].as_str().unwrap();
    admin.does("admin keys list").ends_with(DONE).says(kid).says("signing");
    assert_eq!(admin.json("admin keys list", DONE)["keys"][0]["state"], "KEY_STATE_SIGNING");
    admin.does("admin keys rotate --algorithm RS256").ends_with(REFUSED).complains("algorithm");
    admin.does("admin keys rotate --algorithm ES256").ends_with(DONE).says("Published ES256 key").says("It signs in 1");
    admin.does("admin keys rotate").ends_with(REFUSED).complains("ROTATION_PENDING");
    let waiting = admin.json("admin keys list", DONE)["keys"][0]["id"].as_str().unwrap().to_owned();
    admin.does(&format!("admin keys retire {waiting}")).ends_with(DONE).says("Retired");
    admin.does(&format!("admin keys retire {kid}")).ends_with(DONE).says("retires by plan").says("--immediately");
    assert_eq!(admin.json(&format!("admin keys retire {kid}"), DONE)["key"]["state"], "KEY_STATE_SIGNING");
    admin.does("admin keys retire nobody").ends_with(REFUSED).complains("NOT_FOUND");
    admin.does("admin server").ends_with(DONE).says(env!("CARGO_PKG_VERSION")).says(served.issuer());
    assert_eq!(admin.json("admin server", DONE)["schemaVersion"], served.fact("store")["schema"]);

    admin.does("admin fence --confirm http://elsewhere").ends_with(REFUSED).complains("confirm");
    admin.does("verify").ends_with(DONE);
    let fence = format!("admin fence --confirm {} --note restored", served.issuer());
    admin.does(&fence).ends_with(DONE).says("Ended everybody's sessions, yours too.");
    admin.does("verify").ends_with(NOT_AUTHENTICATED).says("TOKEN_REVOKED");
    admin.does("admin server").ends_with(NOT_AUTHENTICATED).complains("postern login admin");
    admin.types(&served.admin_password(), "login admin").ends_with(DONE);
    admin.does("verify").ends_with(DONE);
}

/// A program from its registration to its end, and a person whose calls it makes.
#[test]
fn clients_and_their_secrets() {
    let folder = folder();
    let served = Served::start(folder.path());
    let admin = Person::administrator(&served);
    let secret_file = |name: &str| admin.home.path().join(name);
    let read = |name: &str| std::fs::read_to_string(secret_file(name)).unwrap().trim().to_owned();
    let issuer = served.issuer();
    let create = format!(
        "admin clients create web --token-audience {issuer} --audience {issuer} --idle-ttl 1h --secret-file web"
    );
    let created = admin.does(&create).ends_with(DONE).says("Created client web.").says("idle life     1h");
    assert!(!created.stdout.contains(&read("web")), "{}", created.stdout);
    let next = created.stdout.lines().find_map(|line| line.strip_prefix("Next: ")).unwrap();
    admin.does("admin clients create web --no-secret").ends_with(REFUSED).complains("IDENTIFIER_TAKEN");
    admin.does("admin clients create other --secret-file web").ends_with(REFUSED).complains("web");

    // As a program without a role, then as a front.
    let through = "--client-secret-file web";
    admin.does(&format!("verify {through}")).ends_with(REFUSED).complains("CLIENT_NOT_ALLOWED");
    admin.pastes(next).ends_with(DONE).says("Granted postern.front to client:web");
    admin.does("admin bindings list --user client:web").ends_with(DONE).says("postern.front");
    admin.does("admin explain client:web postern:auth:login").ends_with(DONE);
    admin.does(&format!("verify {through}")).ends_with(DONE);
    let person = Person::new(&served);
    std::fs::copy(secret_file("web"), person.home.path().join("web")).unwrap();
    person.types(&served.admin_password(), &format!("login admin {through}")).ends_with(DONE);
    person.does(&format!("refresh {through}")).ends_with(DONE);
    person.does(&format!("sessions {through}")).ends_with(DONE);
    // Its session is the client's, which this call is not made by.
    person.does("refresh").ends_with(NOT_AUTHENTICATED);

    let rotated = admin.json("admin clients rotate-secret web --overlap 0s", DONE);
    let secret = rotated["secret"].as_str().unwrap();
    admin.does(&format!("verify {through}")).ends_with(REFUSED).complains("CLIENT_UNAUTHENTICATED");
    let shown = admin.does("admin clients rotate-secret web").ends_with(DONE).says("works for another 1day");
    assert!(shown.stdout.lines().any(|line| line.starts_with("pcs_")) && !shown.stdout.contains(secret));
    admin.does("admin clients rotate-secret web --secret-file web2").ends_with(DONE);
    admin.does("admin clients update web --disabled true --san web.internal").ends_with(DONE).says("disabled");
    admin.does("verify --client-secret-file web2").ends_with(REFUSED).complains("CLIENT_UNAUTHENTICATED");
    admin.does("admin clients update web --disabled false --idle-ttl server --san=").ends_with(DONE);
    admin.does("verify --client-secret-file web2").ends_with(DONE);
    admin.does("admin clients update web").ends_with(REFUSED).complains("nothing to change");
    admin.does("admin clients list").ends_with(DONE).says("web").says("of the server's configuration");

    std::fs::write(secret_file("none"), "swordfish\n").unwrap();
    let mixed_up = admin.does("verify --client-secret-file none").ends_with(REFUSED);
    assert!(!mixed_up.stderr.contains("swordfish"), "{}", mixed_up.stderr);
    admin.does("admin clients update dev --disabled true").ends_with(REFUSED).complains("CLIENT_NOT_EDITABLE");
    admin.does("admin clients delete web").ends_with(REFUSED).complains("--yes");
    admin.does("admin clients delete web --yes").ends_with(DONE).says("Deleted client web.");
    admin.does("verify --client-secret-file web2").ends_with(REFUSED).complains("CLIENT_UNAUTHENTICATED");
}
