//! Row 174: death during first sign-ins. Afterwards everybody is there whole, with their way in, or not at all; and who was
//! not told comes back and is let in, once.

use std::time::Duration;

use postern::proto::auth::v1 as pb;
use postern_rig::providers::{Person, Script};
use tokio::task::JoinSet;
use tonic::transport::Channel;

use pb::auth_service_client::AuthServiceClient;

use super::{Proof, Stage, returned};
use crate::binary::{Place, Running};
use crate::database::Database;
use crate::support::Answer;

/// So many people come for the first time in each life of the server.
const AT_ONCE: usize = 10;
const DEATHS: usize = 10;

fn hint(round: usize, number: usize) -> String {
    format!("person-{round}-{number}")
}

fn email(round: usize, number: usize) -> String {
    format!("{}@example.com", hint(round, number))
}

async fn sign_in(stage: &Stage, channel: Channel, login_hint: String) -> Answer<pb::SignIn> {
    let mut client = AuthServiceClient::new(channel);
    let parameters = [("login_hint".to_owned(), login_hint)].into();
    let start = pb::OAuthStartRequest { provider: stage.id.to_owned(), parameters, ..Default::default() };
    let started = client.o_auth_start(start).await?.into_inner();
    let callback = stage.sent(&started.authorization_url);
    let proof = Proof::ProviderCode(returned(stage.id, &callback, &started.flow_secret));
    let request = pb::OAuthExchangeRequest { proof: Some(proof), ..Default::default() };
    match client.o_auth_exchange(request).await?.into_inner().outcome.unwrap() {
        pb::o_auth_exchange_response::Outcome::SignIn(sign_in) => Ok(sign_in),
        other => panic!("{other:?}"),
    }
}

fn all_sign_in(stage: &'static Stage, server: &Running, round: usize) -> JoinSet<Answer<pb::SignIn>> {
    let mut people = JoinSet::new();
    for number in 0..AT_ONCE {
        people.spawn(sign_in(stage, server.channel.clone(), hint(round, number)));
    }
    people
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_half_made() {
    // For the tasks; a handful of bytes, once.
    let stage: &'static Stage = Box::leak(Box::new(Stage::google()));
    let place = Place::new();
    let settings = stage.fake.settings(stage.id);
    let redirect = format!("redirect_uri = \"{}/{}\"\n", super::CALLBACK, stage.id);
    std::fs::write(place.path().join("postern.toml"), settings + &redirect).unwrap();
    for round in 0..DEATHS {
        for number in 0..AT_ONCE {
            let person = Person::new(&format!("{round}{number:02}")).with_email(Some(&email(round, number)), true);
            stage.fake.script_for(&hint(round, number), Script::of(person));
        }
    }
    let mut acknowledged = 0;
    for round in 0..DEATHS {
        let server = place.start().await;
        let mut people = all_sign_in(stage, &server, round);
        // From before the first to after the last.
        tokio::time::sleep(Duration::from_millis(15 * round as u64)).await;
        let mut told = 0;
        while told + 1 < round {
            match people.join_next().await {
                Some(Ok(Ok(_signed_in))) => told += 1,
                _ => break,
            }
        }
        server.kill();
        acknowledged += told + people.join_all().await.into_iter().flatten().count();
        whole(&mut place.home().database().await).await;
    }
    println!("{acknowledged} of {} heard that they were in", DEATHS * AT_ONCE);
    assert!(acknowledged > 0, "death never came too late");

    let server = place.start().await;
    let mut made = 0;
    for round in 0..DEATHS {
        for answer in all_sign_in(stage, &server, round).join_all().await {
            made += usize::from(answer.unwrap().user_created);
        }
    }
    assert!(made > 0, "death always came too late");
    let mut database = place.home().database().await;
    whole(&mut database).await;
    let users = database.count("users").await;
    assert_eq!(usize::try_from(users).unwrap(), DEATHS * AT_ONCE + 1, "each once, and the administrator");
}

/// Everybody has a way in and an address of their own.
async fn whole(database: &mut Database) {
    const WITHOUT: &str = "SELECT count(*) FROM users WHERE id NOT IN (SELECT user_id FROM identities) \
        AND id NOT IN (SELECT user_id FROM passwords)";
    const TWICE: &str = "SELECT count(*) FROM (SELECT email_canonical FROM users WHERE email_canonical IS NOT NULL \
        GROUP BY email_canonical HAVING count(*) > 1) AS twice";
    const MORE: &str =
        "SELECT count(*) FROM (SELECT user_id FROM identities GROUP BY user_id HAVING count(*) > 1) AS more";
    for question in [WITHOUT, TWICE, MORE] {
        assert_eq!(database.row::<(i64,)>(question, &[]).await.0, 0, "{question}");
    }
}
