//! What a person types or pipes in: names, passwords, tokens. A secret is never an argument, because every process of
//! the machine can read those.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal as _};
use std::path::Path;

use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

use super::failure::Failure;
use super::output::Output;

/// Above what any password or token may have; a wrong pipe must end.
const MAX_LINE_BYTES: u64 = 16 * 1024;

/// A password: prompted on a terminal, else one line of standard input.
pub(super) fn password(label: &str) -> Result<SecretString, Failure> {
    if io::stdin().is_terminal() { prompted(label) } else { piped("password") }
}

/// A new password: typed twice on a terminal, since nobody sees what is typed.
pub(super) fn new_password(label: &str) -> Result<SecretString, Failure> {
    if !io::stdin().is_terminal() {
        return piped("password");
    }
    let first = prompted(label)?;
    let again = prompted("Again: ")?;
    // Both were typed here by the same hands; there is no stranger whose guess time could help.
    if first.expose_secret() == again.expose_secret() {
        Ok(first)
    } else {
        Err(Failure::local("the two passwords differ; nothing was changed"))
    }
}

/// A password from a file, for programs.
pub(super) fn password_file(path: &Path) -> Result<SecretString, Failure> {
    let unreadable = |error| Failure::local(format!("cannot read {}: {error}", path.display()));
    line_of(BufReader::new(File::open(path).map_err(unreadable)?), "password")
}

/// One line of standard input that holds a token.
pub(super) fn token() -> Result<SecretString, Failure> {
    piped("token")
}

/// A line of text, visibly typed.
pub(super) fn text(output: Output, label: &str, instead: &str) -> Result<String, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::local("standard input is no terminal, so nothing can be asked").advise(instead));
    }
    // The label without a line feed, on standard error: standard output belongs to the answer.
    output.ask(label);
    let line = line_of(io::stdin().lock(), "answer")?;
    Ok(line.expose_secret().trim().to_owned())
}

fn prompted(label: &str) -> Result<SecretString, Failure> {
    rpassword::prompt_password(label)
        .map_err(|error| Failure::local(format!("cannot read the password: {error}")))
        .and_then(|text| non_empty(SecretString::from(text), "password"))
}

fn piped(what: &str) -> Result<SecretString, Failure> {
    line_of(io::stdin().lock(), what)
}

fn line_of(reader: impl BufRead, what: &str) -> Result<SecretString, Failure> {
    let mut line = Zeroizing::new(String::new());
    reader
        .take(MAX_LINE_BYTES)
        .read_line(&mut line)
        .map_err(|error| Failure::local(format!("cannot read the {what}: {error}")))?;
    let text = line.strip_suffix('\n').map_or(line.as_str(), |text| text.strip_suffix('\r').unwrap_or(text));
    if !line.ends_with('\n') && u64::try_from(line.len()).unwrap_or(u64::MAX) >= MAX_LINE_BYTES {
        return Err(Failure::local(format!("the {what} on standard input is longer than {MAX_LINE_BYTES} bytes")));
    }
    non_empty(SecretString::from(text), what)
}

fn non_empty(secret: SecretString, what: &str) -> Result<SecretString, Failure> {
    if secret.expose_secret().is_empty() {
        return Err(Failure::local(format!("no {what} was given"))
            .advise(format!("Type it when asked, or pipe one line with the {what} to standard input")));
    }
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Option<String> {
        line_of(text.as_bytes(), "password").ok().map(|secret| secret.expose_secret().to_owned())
    }

    #[test]
    fn one_line_is_taken_as_it_is() {
        assert_eq!(line("kelp vivid \n").as_deref(), Some("kelp vivid "));
        assert_eq!(line("kelp\r\nsecond\n").as_deref(), Some("kelp"));
        assert_eq!(line("kelp").as_deref(), Some("kelp"));
    }

    #[test]
    fn nothing_and_too_much_are_refused() {
        assert_eq!(line(""), None);
        assert_eq!(line("\n"), None);
        assert_eq!(line(&"x".repeat(20_000)), None);
        assert!(line_of(&b"\xff\xfe\n"[..], "password").is_err());
    }
}
