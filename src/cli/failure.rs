//! What went wrong, in one clear sentence, and what to do about it.

mod handshake;
pub(super) mod refusal;
#[cfg(test)]
mod tests;

use std::error::Error;
use std::io;

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::exit::Exit;
use super::table::plain;
use super::view::Paint;
use crate::proto::auth::v1::Reason;

const REASON_PREFIX: &str = "REASON_";

/// Why a command did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) exit: Exit,
    /// Lower case, without a full stop.
    headline: String,
    /// What to do, a line each.
    advice: Vec<String>,
    /// The gRPC code, if a call failed.
    code: Option<&'static str>,
    /// The reason as it stood on the wire.
    reason: Option<String>,
}

/// Who was speaking to whom when a call failed; for the advice.
#[derive(Clone, Copy, Debug)]
pub(super) struct Circumstances<'a> {
    pub(super) server: &'a str,
    /// Where people sign in, if administration has an address of its own.
    pub(super) sign_in_at: &'a str,
    /// The name the person signs in with, if known.
    pub(super) identifier: Option<&'a str>,
}

impl Failure {
    /// The input or this machine is at fault; nothing was asked of a server.
    pub(super) fn local(headline: impl Into<String>) -> Self {
        let (exit, headline) = (Exit::Refused, headline.into());
        Self { exit, headline, advice: Vec::new(), code: None, reason: None }
    }

    /// Nobody is signed in here.
    pub(super) fn not_signed_in(server: &str) -> Self {
        let headline = format!("not signed in to {}", plain(server));
        Self { exit: Exit::NotAuthenticated, ..Self::local(headline) }
            .advise(format!("Sign in: postern login{}", refusal::at(server)))
    }

    /// A call failed.
    pub(super) fn of_call(status: &Status, around: Circumstances<'_>) -> Self {
        if let Some(failure) = unreachable(status, around.server) {
            return failure;
        }
        let details = status.get_error_details();
        let info = details.error_info();
        let reason = info.and_then(|info| reason_of(&info.reason));
        let mut failure = Self {
            exit: Exit::of_status(status.code(), reason),
            headline: refusal::sentence(status, reason, info),
            advice: Vec::new(),
            code: Some(name_of(status.code())),
            reason: info.map(|info| plain(&info.reason)),
        };
        for violation in details.bad_request().map(|bad| bad.field_violations.as_slice()).unwrap_or_default() {
            failure.advice.push(format!("{}: {}", plain(&violation.field), plain(&violation.description)));
        }
        if let Some(delay) = details.retry_info().and_then(|info| info.retry_delay) {
            failure.advice.push(format!("Try again in {}", humantime::format_duration(whole_seconds(delay))));
        }
        failure.advice.extend(refusal::advice(reason, status.code(), around));
        if let (Code::Internal | Code::Unknown, Some(id)) = (status.code(), status.metadata().get("x-request-id")) {
            failure
                .advice
                .push(format!("The server's log has the cause under request id {}", plain(id.to_str().unwrap_or("?"))));
        }
        failure
    }

    /// In other words, where the command knows better what was meant.
    #[must_use]
    pub(super) fn reworded(self, headline: impl Into<String>) -> Self {
        Self { headline: headline.into(), ..self }
    }

    pub(super) fn headline(&self) -> &str {
        &self.headline
    }

    #[must_use]
    pub(super) fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice.push(advice.into());
        self
    }

    /// For people.
    pub(super) fn text(&self, paint: Paint) -> String {
        let reason = self.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
        let mut out = format!("{} {}{}\n", paint.bad("error:"), self.headline, paint.faint(&reason));
        for advice in &self.advice {
            out.push_str("  ");
            out.push_str(advice);
            out.push('\n');
        }
        out
    }

    /// For programs: one object in one line.
    pub(super) fn json(&self) -> String {
        let message = &self.headline;
        serde_json::json!({ "error": { "code": self.code, "reason": self.reason, "message": message, "advice": self.advice } })
            .to_string()
    }
}

/// The reason that stands in a status, if it is one that this build knows.
pub(super) fn reason_in(status: &Status) -> Option<Reason> {
    status.get_details_error_info().and_then(|info| reason_of(&info.reason))
}

fn reason_of(wire: &str) -> Option<Reason> {
    Reason::from_str_name(&format!("{REASON_PREFIX}{wire}"))
}

/// The name of a reason as it stands on the wire.
pub(super) fn wire_name(reason: Reason) -> &'static str {
    let name = reason.as_str_name();
    name.strip_prefix(REASON_PREFIX).unwrap_or(name)
}

/// No postern answered: this status was made on this side.
fn unreachable(status: &Status, server: &str) -> Option<Failure> {
    let failure = |what: String| Failure { exit: Exit::Unavailable, code: Some("UNAVAILABLE"), ..Failure::local(what) };
    let source = status.source()?;
    if let Some((what, advice)) = handshake::fault(source) {
        return Some(failure(format!("{} {what}", plain(server))).advise(advice));
    }
    let mut cause: Option<&(dyn Error + 'static)> = Some(source);
    let mut io_error = None;
    while let Some(error) = cause {
        io_error = io_error.or_else(|| error.downcast_ref::<io::Error>());
        cause = error.source();
    }
    let server = plain(server);
    let (what, advice) = match io_error.map(io::Error::kind) {
        Some(io::ErrorKind::ConnectionRefused) => {
            (format!("nothing listens at {server}"), "Is it running? Start it: postern (or: cargo run --release)")
        }
        Some(io::ErrorKind::TimedOut) => (format!("{server} does not answer"), "Check the address and the network"),
        Some(io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof) if server.starts_with("https://") => {
            (format!("{server} hung up"), "If it has no TLS, write http:// instead of https://")
        }
        Some(_) => (format!("{server} cannot be reached"), "Check the address: --server URL, or POSTERN_SERVER"),
        // How tonic tells that the deadline passed on this side.
        None if status.code() == Code::Cancelled => {
            (format!("{server} did not answer in time"), "Try again; if it stays so, look at the server's log")
        }
        None if status.code() == Code::Unavailable => {
            (format!("the connection to {server} broke"), "Try again; if it stays so, look at the server's log")
        }
        None => (
            format!("{server} does not speak gRPC"),
            "Check the port: gRPC is 7301 unless set otherwise, 7303 is for operations. If it has TLS, write https://",
        ),
    };
    Some(failure(what).advise(advice))
}

fn whole_seconds(delay: std::time::Duration) -> std::time::Duration {
    std::time::Duration::from_secs(delay.as_secs() + u64::from(delay.subsec_nanos() > 0))
}

const fn name_of(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
