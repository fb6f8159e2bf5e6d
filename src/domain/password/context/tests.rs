use super::*;
use crate::domain::password::{Password, PasswordRule};

fn kim() -> Profile {
    Profile {
        email: Some("Kim.Minsu@x.kr".parse().unwrap()),
        user_name: Some("minsu1990".parse().unwrap()),
        display_name: "김민수".to_owned(),
        ..Profile::default()
    }
}

fn new(text: &str, min_length: usize) -> Result<(), PasswordRule> {
    let context = Context::of(["postern", "auth.shop-nord.example", "authsvc"]).and_of(&kim());
    Password::from_typed(text).unwrap().check_new(min_length, &context)
}

#[test]
fn names_alone_make_no_password() {
    for text in [
        "kim.minsu-kim.minsu",
        "KIM MINSU kim minsu 1990",
        "minsu.kim.minsu.kim.2026!",
        "Kim.Minsu@x.kr#2026",
        "authsvc-authsvc-1",
        "postern-postern-postern",
        "postern 8437 2918 3746 1122",
        "shopnord-Shop-Nord-11",
        "p.o.s.t.e.r.n-2026-11",
        "ｐｏｓｔｅｒｎ－ｐｏｓｔｅｒｎ",
        "minsu1990minsu1990",
        "김민수 김민수 김민수 김민수!",
        "postern-secret1",
    ] {
        assert_eq!(new(text, 15), Err(PasswordRule::Context), "{text}");
    }
}

#[test]
fn names_may_stand_in_one_that_is_long_enough_without_them() {
    for text in [
        "kim likes cold noodles",
        "postern, horse, battery",
        "김민수는 오늘도 냉면을 먹었습니다",
        "minsu ate skimmed milk",
    ] {
        assert_eq!(new(text, 15), Ok(()), "{text}");
    }
    // What must be left is half of the least length.
    assert_eq!(new("postern abcdefg", 15), Err(PasswordRule::Context));
    assert_eq!(new("postern abcdefgh", 15), Ok(()));
    assert_eq!(new("postern abc", 8), Err(PasswordRule::Context));
    assert_eq!(new("postern abcd", 8), Ok(()));
}

#[test]
fn what_holds_no_name_needs_no_letters() {
    assert_eq!(new("8437 2918 3746 1122", 15), Ok(()));
    assert_eq!(Context::default().own_letters("postern"), None);
}

#[test]
fn a_phone_number_is_a_name_and_a_year_is_none() {
    let profile = Profile { email: Some("01012345678@x.kr".parse().unwrap()), ..Profile::default() };
    let context = Context::of(["2026"]).and_of(&profile);
    assert_eq!(context.own_letters("010-1234-5678-0101"), Some(0));
    assert_eq!(context.own_letters("2026 8437 2918 37"), None);
}

#[test]
fn no_name_arises_where_one_was_taken_out() {
    assert_eq!(Context::of(["postern"]).own_letters("postposternern"), Some(7));
}
