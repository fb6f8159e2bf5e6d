//! `admin keys`.

use super::PAGE;
use crate::cli::args::admin::Keys;
use crate::cli::caller::Caller;
use crate::cli::failure::Failure;
use crate::cli::output::Answer;
use crate::cli::pages;
use crate::cli::table::{Lines, Table, plain};
use crate::cli::view::View;
use crate::proto::admin::v1::{Key, KeyState, ListKeysRequest, ListKeysResponse, RetireKeyRequest, RotateKeyRequest};

pub(super) async fn run(caller: &Caller, command: Keys) -> Result<Answer, Failure> {
    match command {
        Keys::List => list(caller).await,
        Keys::Rotate { algorithm } => {
            let request = RotateKeyRequest { algorithm };
            let answer = caller.admin(request, async |mut client, request| client.rotate_key(request).await).await?;
            let (key, view) = (answer.key.clone().unwrap_or_default(), caller.output.view(&caller.clock));
            let text = render_rotated(&key, caller.to_admin(), &view);
            Ok(Answer::new(answer, text))
        }
        Keys::Retire { kid, immediately } => {
            let request = RetireKeyRequest { id: kid, immediately };
            let answer = caller.admin(request, async |mut client, request| client.retire_key(request).await).await?;
            let (key, view) = (answer.key.clone().unwrap_or_default(), caller.output.view(&caller.clock));
            let text = render_retired(&key, &caller.to_server(), caller.to_admin(), &view);
            Ok(Answer::new(answer, text))
        }
    }
}

async fn list(caller: &Caller) -> Result<Answer, Failure> {
    let fetch = async |page_token| {
        let request = ListKeysRequest { page_size: PAGE, page_token };
        let answer = caller.admin(request, async |mut client, request| client.list_keys(request).await).await?;
        Ok((answer.keys, answer.next_page_token))
    };
    let (keys, next_page_token) = pages::all(fetch).await?;
    let text = render_keys(&keys, &caller.output.view(&caller.clock));
    Ok(Answer::new(ListKeysResponse { keys, next_page_token }, text))
}

fn render_keys(keys: &[Key], view: &View) -> String {
    if keys.is_empty() {
        return "No keys.\n".to_owned();
    }
    let mut table = Table::new(&["KEY", "ALGORITHM", "STATE", "PUBLISHED", "SIGNS FROM", "GONE FROM"]);
    for key in keys {
        let state = match key.state() {
            KeyState::Unspecified => "-",
            KeyState::Published => "published",
            KeyState::Signing => "signing",
            KeyState::Verifying => "verifying",
            KeyState::Retired => "retired",
        };
        table.row([
            key.id.clone(),
            key.algorithm.clone(),
            state.to_owned(),
            view.relative(key.publish_time.as_ref()),
            view.local(key.sign_time.as_ref()),
            view.local(key.retire_time.as_ref()),
        ]);
    }
    table.render()
}

fn render_rotated(key: &Key, at: &str, view: &View) -> String {
    let mut lines = Lines::default();
    let (id, algorithm) = (plain(&key.id), plain(&key.algorithm));
    let (signs, from) = (view.relative(key.sign_time.as_ref()), view.local(key.sign_time.as_ref()));
    lines.add(format_args!("Published {algorithm} key {id}. It signs {signs} ({from})."));
    lines.add("The one before it verifies until its last token is over. Nothing is left to do.");
    lines.add(format_args!("Next: postern admin keys list{at}"));
    lines.finish()
}

fn render_retired(key: &Key, at: &str, admin_at: &str, view: &View) -> String {
    let mut lines = Lines::default();
    let id = plain(&key.id);
    if key.state() == KeyState::Retired {
        lines.add(format_args!("Retired {id}. Its tokens are refused; whoever was signed in refreshes, you too."));
        lines.add(format_args!("Next: postern refresh{at}"));
    } else {
        let (gone, time) = (view.relative(key.retire_time.as_ref()), view.local(key.retire_time.as_ref()));
        lines.add(format_args!("{id} retires by plan, {gone} ({time}); the next key takes over before."));
        lines.add(format_args!("If it leaked: postern admin keys retire {id} --immediately{admin_at}"));
    }
    lines.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::view::{time, view_at};

    fn key(state: KeyState, sign: &str, retire: Option<&str>) -> Key {
        Key {
            id: "qJ3vx0A".to_owned(),
            algorithm: "EdDSA".to_owned(),
            state: state.into(),
            publish_time: time("2026-03-01T11:00:00Z"),
            sign_time: time(sign),
            retire_time: retire.and_then(time),
        }
    }

    #[test]
    fn keys_are_listed() {
        let keys = [key(KeyState::Signing, "2026-03-01T11:00:02Z", None)];
        insta::assert_snapshot!(render_keys(&keys, &view_at("2026-03-01T12:00:00Z")));
    }

    #[test]
    fn each_step_says_what_comes_next() {
        let view = view_at("2026-03-01T12:00:00Z");
        insta::assert_snapshot!(render_rotated(&key(KeyState::Published, "2026-03-01T12:11:00Z", None), "", &view));
        let until = Some("2026-03-01T13:21:00Z");
        insta::assert_snapshot!(render_retired(&key(KeyState::Signing, "2026-03-01T11:00:02Z", until), "", "", &view));
        let now = Some("2026-03-01T12:00:00Z");
        insta::assert_snapshot!(render_retired(&key(KeyState::Retired, "2026-03-01T11:00:02Z", now), "", "", &view));
    }
}
