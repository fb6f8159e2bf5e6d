use super::*;
use crate::cli::view::Paint;
use crate::proto::auth::v1::TokenPair;

const SERVER: &str = "http://127.0.0.1:7301";

fn tokens(access: &str) -> TokenPair {
    TokenPair {
        access_token: access.to_owned(),
        access_expire_time: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 }),
        refresh_token: "ptr_x".to_owned(),
        session_id: "s1".to_owned(),
        ..TokenPair::default()
    }
}

fn signed_in(access: &str) -> SignedIn {
    SignedIn::new("admin".to_owned(), "u1".to_owned(), &tokens(access)).unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn what_is_put_is_read_back_by_server() {
    let home = tempfile::tempdir().unwrap();
    let states = States::in_folder(&home.path().join("a/postern"));
    assert!(states.read(SERVER).unwrap().is_none());
    states.lock().unwrap().put(SERVER, signed_in("one")).unwrap();
    states.lock().unwrap().put("http://other:1", signed_in("two")).unwrap();
    let read = states.read(SERVER).unwrap().unwrap();
    assert_eq!(read.access_token, "one");
    assert_eq!(read.access_expires(), Timestamp::from_secs(1_700_000_000));
    states.lock().unwrap().remove(SERVER).unwrap();
    assert!(states.read(SERVER).unwrap().is_none());
    assert_eq!(states.read("http://other:1").unwrap().unwrap().access_token, "two");
}

#[test]
fn only_the_owner_can_read_it() {
    let home = tempfile::tempdir().unwrap();
    let states = States::in_folder(&home.path().join("postern"));
    states.lock().unwrap().put(SERVER, signed_in("one")).unwrap();
    assert_eq!(mode(&home.path().join("postern")), 0o700);
    assert_eq!(mode(&states.path()), 0o600);
    assert!(!home.path().join("postern").join(TEMPORARY).exists());
}

#[test]
fn a_file_open_to_others_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let states = States::in_folder(&home.path().join("postern"));
    states.lock().unwrap().put(SERVER, signed_in("one")).unwrap();
    for open in [0o640, 0o604, 0o620] {
        fs::set_permissions(states.path(), Permissions::from_mode(open)).unwrap();
        let failure = states.read(SERVER).err().unwrap();
        let text = failure.text(Paint::Off);
        assert!(text.contains(&format!("is open to others (mode {open:04o})")), "{text}");
        assert!(text.contains("chmod 600 "), "{text}");
        assert!(states.lock().is_err());
    }
}

#[test]
fn a_damaged_file_is_told_without_its_content() {
    let home = tempfile::tempdir().unwrap();
    let states = States::in_folder(&home.path().join("postern"));
    states.lock().unwrap().put(SERVER, signed_in("one")).unwrap();
    fs::write(states.path(), "{\"servers\": {\"ptr_secret\": 7}}").unwrap();
    let text = states.read(SERVER).err().unwrap().text(Paint::Off);
    assert!(text.contains("is not a state file") && !text.contains("ptr_secret"), "{text}");
}

#[test]
fn a_left_over_temporary_file_does_no_harm() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("postern");
    make_folder(&folder).unwrap();
    fs::write(folder.join(TEMPORARY), "half").unwrap();
    let states = States::in_folder(&folder);
    states.lock().unwrap().put(SERVER, signed_in("one")).unwrap();
    assert_eq!(states.read(SERVER).unwrap().unwrap().access_token, "one");
}

#[test]
fn a_second_process_waits_for_the_first() {
    let home = tempfile::tempdir().unwrap();
    let states = States::in_folder(&home.path().join("postern"));
    let mut first = states.lock().unwrap();
    let second = {
        let states = states.clone();
        std::thread::spawn(move || states.lock().unwrap().get(SERVER).map(|state| state.access_token.clone()))
    };
    first.put(SERVER, signed_in("newest")).unwrap();
    drop(first);
    assert_eq!(second.join().unwrap().as_deref(), Some("newest"));
}

#[test]
fn an_answer_without_tokens_is_no_sign_in() {
    let empty = TokenPair { refresh_token: String::new(), ..tokens("one") };
    assert!(SignedIn::new("admin".to_owned(), "u1".to_owned(), &empty).is_none());
}
