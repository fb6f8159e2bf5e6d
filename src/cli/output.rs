//! The one place of this room that writes to the terminal.

use std::io::{self, IsTerminal as _, Write as _};

use jiff::tz::TimeZone;

use super::exit::Exit;
use super::failure::Failure;
use super::json::{self, JsonError, Printed, Secrets};
use super::view::{Paint, View};
use crate::clock::Clock;

/// What a command has to say when it is done.
pub(super) struct Answer {
    text: String,
    json: Box<dyn FnOnce(Secrets) -> Result<String, JsonError>>,
    secrets: Secrets,
    pub(super) exit: Exit,
}

impl Answer {
    /// An answer of the server, as a person reads it and as JSON.
    pub(super) fn new<M: Printed + 'static>(message: M, text: String) -> Self {
        let json = Box::new(move |secrets| json::render(&message, secrets));
        Self { text, json, secrets: Secrets::Hidden, exit: Exit::Done }
    }

    /// An answer that is no message of the contract.
    pub(super) fn of_value(value: serde_json::Value, text: String) -> Self {
        let json = Box::new(move |_| Ok(serde_json::to_string_pretty(&value)?));
        Self { text, json, secrets: Secrets::Hidden, exit: Exit::Done }
    }

    /// Nothing but a text.
    pub(super) fn of_text(text: String) -> Self {
        Self::of_value(serde_json::Value::String(text.clone()), text)
    }

    pub(super) fn with_text(mut self, text: String) -> Self {
        self.text = text;
        self
    }

    pub(super) fn with_exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }

    pub(super) fn with_secrets(mut self, secrets: Secrets) -> Self {
        self.secrets = secrets;
        self
    }
}

/// Where words go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output {
    json: bool,
    colourless: bool,
}

impl Output {
    pub(super) fn new(json: bool) -> Self {
        // https://no-color.org: set to anything but nothing.
        let colourless = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { json, colourless }
    }

    /// How a person looks at what this writes.
    pub(super) fn view(self, clock: &Clock) -> View {
        View { paint: self.paint(io::stdout().is_terminal()), now: clock.now(), zone: TimeZone::system() }
    }

    pub(super) fn paint(self, is_terminal: bool) -> Paint {
        if is_terminal && !self.colourless { Paint::On } else { Paint::Off }
    }

    /// Prints an answer, or that it could not be printed.
    pub(super) fn answer(self, answer: Answer) -> Exit {
        let text = if self.json {
            match (answer.json)(answer.secrets) {
                Ok(json) => json,
                Err(error) => return self.failure(&Failure::local(format!("the answer cannot be printed: {error}"))),
            }
        } else {
            answer.text
        };
        match write_all(&mut io::stdout().lock(), &text) {
            Ok(()) => answer.exit,
            Err(error) => self.failure(&Failure::local(format!("cannot write: {error}"))),
        }
    }

    /// Tells what went wrong.
    pub(super) fn failure(self, failure: &Failure) -> Exit {
        let paint = self.paint(io::stderr().is_terminal());
        self.tell(&if self.json { failure.json() } else { failure.text(paint) });
        failure.exit
    }

    /// A word to the person, beside the answer.
    #[expect(clippy::unused_self, reason = "only who holds the output may write")]
    pub(super) fn tell(self, text: &str) {
        // Nobody is left to be told that standard error is gone.
        write_all(&mut io::stderr().lock(), text).unwrap_or_default();
    }

    /// A question; the answer is typed behind it, in the same line.
    #[expect(clippy::unused_self, reason = "only who holds the output may write")]
    pub(super) fn ask(self, label: &str) {
        let mut stderr = io::stderr().lock();
        stderr.write_all(label.as_bytes()).and_then(|()| stderr.flush()).unwrap_or_default();
    }

    /// The text as it is, for what is no answer of the server.
    #[expect(clippy::unused_self, reason = "only who holds the output may write")]
    pub(super) fn say(self, text: &str) -> io::Result<()> {
        write_all(&mut io::stdout().lock(), text)
    }
}

/// A reader that has seen enough (`| head`) is no failure.
fn write_all(writer: &mut impl io::Write, text: &str) -> io::Result<()> {
    let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    match writer
        .write_all(text.as_bytes())
        .and_then(|()| writer.write_all(end.as_bytes()))
        .and_then(|()| writer.flush())
    {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_ends_in_one_line_feed() {
        for (text, written) in [("a", "a\n"), ("a\n", "a\n"), ("", "")] {
            let mut out = Vec::new();
            write_all(&mut out, text).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), written);
        }
    }

    #[test]
    fn colours_need_a_terminal_and_no_objection() {
        let output = Output { json: false, colourless: false };
        assert_eq!(output.paint(true), Paint::On);
        assert_eq!(output.paint(false), Paint::Off);
        assert_eq!(Output { colourless: true, ..output }.paint(true), Paint::Off);
    }
}
