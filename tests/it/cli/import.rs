//! `postern admin import`, against a real server.

use std::fmt::Write as _;

use rustix::process::Signal;
use serde_json::Value;

use super::{DONE, NOT_AUTHENTICATED, Person, REFUSED, Served, folder};

/// Made of `correct horse of another stable` by argon2-cffi 25.1.
const HASH: &str = "$argon2id$v=19$m=1024,t=2,p=1$0gbCxJrrAB0zlo2glVZdSQ$0qEsAtHZQHIPoXiPXxL1G9nqRd/Dw5wTG9i9ZkDI8AY";

#[test]
fn people_come_from_a_file_and_sign_in() {
    let folder = folder();
    let served = Served::start(folder.path());
    let (admin, kim) = (Person::administrator(&served), Person::new(&served));
    admin.does("admin roles put clerk --allow orders:*").ends_with(DONE);
    let (file, report) = (folder.path().join("people.jsonl"), folder.path().join("report.jsonl"));
    let mut lines = format!(
        "{{\"external_id\":\"4711\",\"user_name\":\"kim\",\"password_hash\":\"{HASH}\",\"roles\":[{{\"role\":\"clerk\",\"tenant\":\"acme\"}}]}}\n\
         {{\"external_id\":\"4712\",\"password_hash\":\"not a hash\"}}\n\
         nonsense\n"
    );
    // More than one call takes.
    for number in 0..1_200 {
        writeln!(lines, "{{\"external_id\":\"n{number}\",\"email\":\"n{number}@example.com\"}}").unwrap();
    }
    std::fs::write(&file, lines).unwrap();
    let import = format!("admin import {}", file.display());

    admin
        .does(&format!("{import} --dry-run"))
        .ends_with(REFUSED)
        .says("row 2: refused: password_hash: ")
        .says("row 3: refused: is not JSON")
        .says("Of 1203 rows 1201 would be created, 0 are there already, 2 refused.")
        .says("Nothing was changed.");
    kim.types("correct horse of another stable", "login kim").ends_with(NOT_AUTHENTICATED);

    admin
        .does(&format!("{import} --report {}", report.display()))
        .ends_with(REFUSED)
        .says("Of 1203 rows 1201 were created, 0 are there already, 2 refused.");
    let report = std::fs::read_to_string(&report).unwrap();
    let report: Vec<Value> = report.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(report.len(), 1_203);
    let made = report.iter().find(|row| row["row"] == 1).unwrap();
    kim.types("correct horse of another stable", "login kim").ends_with(DONE);
    assert_eq!(kim.json("whoami", DONE)["principal"]["id"], made["userId"]);
    kim.does("verify --require orders:read --tenant acme").ends_with(DONE);

    // A rehearsal knows what its earlier rows would have taken, however far apart.
    let twice = "{\"email\":\"twice@example.com\"}\n";
    let mut lines = twice.to_owned();
    for number in 0..1_100 {
        writeln!(lines, "{{\"external_id\":\"m{number}\"}}").unwrap();
    }
    let rehearsed = admin.types(&format!("{lines}{twice}"), "admin import - --dry-run").ends_with(DONE);
    rehearsed.says("row 1102: exists: ").says("Of 1102 rows 1101 would be created, 1 are there already");

    // Once more: nobody is touched.
    let again = admin.json(&import, REFUSED);
    assert_eq!((again["created"].as_u64(), again["existing"].as_u64()), (Some(0), Some(1_201)));
    admin.does("admin audit --type users_imported").ends_with(DONE).says("created=500").says("created=202");
}

#[test]
fn people_come_out_of_keycloak() {
    let folder = folder();
    let served = Served::start(folder.path());
    let admin = Person::administrator(&served);
    admin.does("admin roles put orders.clerk --allow orders:*").ends_with(DONE);
    let file = folder.path().join("shop-realm.json");
    let realm = r#"{"realm":"shop","users":[
        {"id":"6f1c","username":"kim","email":"kim@example.com","emailVerified":true,"enabled":true,"realmRoles":["clerk","uma"]},
        {"id":"6f1d","username":"lee","enabled":false}]}"#;
    std::fs::write(&file, realm).unwrap();
    admin
        .does(&format!("admin import {} --format keycloak --role clerk=orders.clerk", file.display()))
        .ends_with(DONE)
        .says("left out: role uma of 1: --role uma=…")
        .says("Of 2 rows 2 were created");
    admin.does("admin users show ext:6f1d").ends_with(DONE).says("disabled");
    admin.does("admin bindings list --user kim").ends_with(DONE).says("orders.clerk");
}

#[test]
fn what_cannot_be_read_is_told() {
    let folder = folder();
    let served = Served::start(folder.path());
    let admin = Person::administrator(&served);
    admin.does("admin import nowhere.jsonl").ends_with(REFUSED).complains("nowhere.jsonl cannot be read");
    let file = folder.path().join("people.json");
    std::fs::write(&file, "[{\"credentials\": 7}]").unwrap();
    admin
        .does(&format!("admin import {} --format keycloak", file.display()))
        .ends_with(REFUSED)
        .complains("no export of Keycloak");
    Person::new(&served).types("{\"user_name\":\"kim\"}", "admin import -").ends_with(NOT_AUTHENTICATED);
    // From standard input, without a server.
    let data = folder.path().join("data");
    assert_eq!(served.end(Signal::TERM), Some(DONE));
    let person = Person::at("http://127.0.0.1:9".to_owned());
    person
        .types("{\"user_name\":\"kim\"}", &format!("admin import - --offline {}", data.display()))
        .ends_with(DONE)
        .says("Of 1 rows 1 were created");
}
