//! Fields of requests into values of the domain. Every field is looked at before the request is refused, so that a
//! caller hears of all faults at once. A refusal names the field and what would be right, never what was sent. Must not
//! know what the values are for.

use std::fmt::Display;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use crate::auth::error::{AuthError, Violation};
use crate::domain::permission::{Scope, Tenant};
use crate::domain::session::{Device, TokenScope};
use crate::domain::time::Timestamp;
use crate::proto::admin::v1 as admin;
use crate::proto::auth::v1 as wire;
use crate::verifier::{Assurance, Check, Level};

/// How many faults are told: they travel in a header, and clients take only a few KiB of these.
const TOLD_MAX: usize = 10;
const PAGE_SIZE_DEFAULT: u32 = 50;
const USER_AGENT_BYTES_MAX: usize = 512;
const DISPLAY_NAME_CHARS_MAX: usize = 64;
const NOTE_BYTES_MAX: usize = 256;
pub const AUDIENCES_MAX: usize = 16;
pub const AUDIENCE_BYTES_MAX: usize = 256;

/// The longest that a text may be.
#[derive(Clone, Copy, Debug)]
pub enum Length {
    Bytes(usize),
    Chars(usize),
}

impl Length {
    fn holds(self, text: &str) -> bool {
        match self {
            Self::Bytes(max) => text.len() <= max,
            Self::Chars(max) => text.chars().count() <= max,
        }
    }
}

/// What is wrong with a request so far. Each reader gives `None` exactly when it has noted a fault, and takes the field's
/// path in the message.
#[derive(Debug, Default)]
pub struct Fields {
    faults: Vec<Violation>,
}

impl Fields {
    pub fn refuse(&mut self, field: impl Display, problem: impl Display) {
        if self.faults.len() < TOLD_MAX {
            self.faults.push(Violation { field: field.to_string(), problem: problem.to_string() });
        }
    }

    /// What `make` makes of the values, unless there was a fault.
    pub fn finish<T>(self, make: impl FnOnce() -> Option<T>) -> Result<T, AuthError> {
        if !self.faults.is_empty() {
            return Err(AuthError::InvalidField(self.faults));
        }
        make().ok_or_else(|| AuthError::internal("a field was refused without a word"))
    }

    /// Any value that reads itself from text.
    pub fn parse<T>(&mut self, field: impl Display, text: &str) -> Option<T>
    where
        T: FromStr<Err: Display>,
    {
        text.parse().map_err(|why| self.refuse(field, why)).ok()
    }

    /// The same where an empty text means none.
    pub fn parse_if_set<T>(&mut self, field: impl Display, text: &str) -> Option<Option<T>>
    where
        T: FromStr<Err: Display>,
    {
        if text.is_empty() { Some(None) } else { self.parse(field, text).map(Some) }
    }

    /// A part of the message that has to be there.
    pub fn required<T>(&mut self, field: impl Display, part: Option<T>) -> Option<T> {
        if part.is_none() {
            self.refuse(field, "must be set");
        }
        part
    }

    /// Words of people, which end up on terminals: without control characters. May be empty.
    pub fn text(&mut self, field: impl Display, text: String, max: Length) -> Option<String> {
        if !max.holds(&text) {
            match max {
                Length::Bytes(max) => self.refuse(field, format_args!("must have at most {max} bytes")),
                Length::Chars(max) => self.refuse(field, format_args!("must have at most {max} characters")),
            }
            return None;
        }
        if text.chars().any(is_unprintable) {
            self.refuse(field, "must not have control characters");
            return None;
        }
        Some(text)
    }

    /// An administrator's words for the audit log.
    pub fn note(&mut self, field: impl Display, note: String) -> Option<String> {
        self.text(field, note, Length::Bytes(NOTE_BYTES_MAX))
    }

    pub fn check(&mut self, field: impl Display, check: &wire::Check) -> Option<Check> {
        let permission = self.parse(format_args!("{field}.permission"), &check.permission);
        let tenant = self.parse_if_set(format_args!("{field}.tenant"), &check.tenant);
        Some(Check { permission: permission?, tenant: tenant? })
    }

    pub fn checks(&mut self, field: &'static str, checks: &[wire::Check], max: usize) -> Option<Vec<Check>> {
        if checks.len() > max {
            self.refuse(field, format_args!("must have at most {max} entries"));
            return None;
        }
        let mut read = Some(Vec::with_capacity(checks.len()));
        for (index, check) in checks.iter().enumerate() {
            let check = self.check(format_args!("{field}[{index}]"), check);
            read = read.zip(check).map(|(mut read, check)| {
                read.push(check);
                read
            });
        }
        read
    }

    /// Where a binding holds. An empty one is refused, so that nothing is granted everywhere by omission.
    pub fn scope(&mut self, field: impl Display, scope: Option<&admin::Scope>) -> Option<Scope> {
        use admin::scope::Where;
        match scope.and_then(|scope| scope.r#where.as_ref()) {
            Some(Where::Tenant(tenant)) => self.parse(format_args!("{field}.tenant"), tenant).map(Scope::Tenant),
            Some(Where::Everywhere(true)) => Some(Scope::Everywhere),
            Some(Where::Everywhere(false)) => {
                self.refuse(format_args!("{field}.everywhere"), "must be true if it is set");
                None
            }
            None => {
                self.refuse(field, "must name a tenant or say everywhere");
                None
            }
        }
    }

    /// What a front tells of the person's device. It is shown to people later, and stands in the audit log.
    pub fn device(&mut self, field: &'static str, device: wire::Device) -> Option<Device> {
        // Only a sign-in asks for the token.
        let wire::Device { ip_address, user_agent, display_name, device_token: _ } = device;
        let ip_address = self.ip_address(format_args!("{field}.ip_address"), &ip_address);
        let display_name =
            self.text(format_args!("{field}.display_name"), display_name, Length::Chars(DISPLAY_NAME_CHARS_MAX));
        Some(Device { ip_address: ip_address?, user_agent: cut(user_agent), display_name: display_name? })
    }

    /// In the one spelling that comparisons need: no mapped addresses, no zeros that could be left out.
    fn ip_address(&mut self, field: impl Display, text: &str) -> Option<String> {
        if text.is_empty() {
            return Some(String::new());
        }
        let Ok(address) = text.parse::<IpAddr>() else {
            self.refuse(field, "must be an IPv4 or IPv6 address without port");
            return None;
        };
        Some(address.to_canonical().to_string())
    }

    pub fn token_options(&mut self, field: &'static str, options: wire::TokenOptions) -> Option<TokenScope> {
        let wire::TokenOptions { audiences, tenant } = options;
        let tenant: Option<Option<Tenant>> = self.parse_if_set(format_args!("{field}.tenant"), &tenant);
        let list = format_args!("{field}.audiences");
        if audiences.len() > AUDIENCES_MAX {
            self.refuse(list, format_args!("must have at most {AUDIENCES_MAX} entries"));
            return None;
        }
        for (index, audience) in audiences.iter().enumerate() {
            if !(1..=AUDIENCE_BYTES_MAX).contains(&audience.len()) {
                self.refuse(format_args!("{list}[{index}]"), format_args!("must be 1 to {AUDIENCE_BYTES_MAX} bytes"));
            }
            if audiences.iter().take(index).any(|earlier| earlier == audience) {
                self.refuse(format_args!("{list}[{index}]"), "must not be named twice");
            }
        }
        Some(TokenScope { audiences, tenant: tenant? })
    }

    pub fn assurance(&mut self, field: &'static str, assurance: Option<&wire::Assurance>) -> Option<Assurance> {
        let Some(assurance) = assurance else { return Some(Assurance::default()) };
        let max_age = self.duration(format_args!("{field}.max_age"), assurance.max_age.as_ref());
        let level = match wire::AssuranceLevel::try_from(assurance.level) {
            Ok(wire::AssuranceLevel::Unspecified) => Some(Level::Any),
            Ok(wire::AssuranceLevel::SingleFactor) => Some(Level::SingleFactor),
            Ok(wire::AssuranceLevel::MultiFactor) => Some(Level::MultiFactor),
            // Taken for the weakest it would let through what the caller meant to keep out.
            Err(_unknown) => {
                self.refuse(format_args!("{field}.level"), "must be a level that this server knows");
                None
            }
        };
        Some(Assurance { max_age: max_age?, level: level? })
    }

    /// Unset: none.
    pub fn duration(
        &mut self,
        field: impl Display,
        duration: Option<&prost_types::Duration>,
    ) -> Option<Option<Duration>> {
        let Some(duration) = duration else { return Some(None) };
        if duration.seconds < 0 || duration.nanos < 0 {
            self.refuse(field, "must not be negative");
            return None;
        }
        match Duration::try_from(*duration) {
            Ok(duration) => Some(Some(duration)),
            Err(_out_of_range) => {
                self.refuse(field, "must be a duration");
                None
            }
        }
    }

    /// Unset: none.
    pub fn timestamp(
        &mut self,
        field: impl Display,
        time: Option<&prost_types::Timestamp>,
    ) -> Option<Option<Timestamp>> {
        /// 0001-01-01 to 9999-12-31, as the type is documented.
        const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
        let Some(time) = time else { return Some(None) };
        if !SECONDS.contains(&time.seconds) || !(0..1_000_000_000).contains(&time.nanos) {
            self.refuse(field, "must be a time between the years 1 and 9999");
            return None;
        }
        Some(Some(Timestamp::from_micros(time.seconds * 1_000_000 + i64::from(time.nanos / 1_000))))
    }

    /// As AIP-158 has it: zero is the default, more than the maximum is the maximum.
    pub fn page_size(&mut self, size: i32, max: u32) -> Option<u32> {
        match u32::try_from(size) {
            Ok(0) => Some(PAGE_SIZE_DEFAULT),
            Ok(size) => Some(size.min(max)),
            Err(_negative) => {
                self.refuse("page_size", "must not be negative");
                None
            }
        }
    }
}

/// A browser's own text is cut and cleaned rather than refused: the person behind it cannot mend it.
fn cut(mut text: String) -> String {
    text.retain(|letter| !is_unprintable(letter));
    text.truncate(text.floor_char_boundary(USER_AGENT_BYTES_MAX));
    text
}

/// Control characters, and the marks that turn the order of what stands after them.
fn is_unprintable(letter: char) -> bool {
    letter.is_control() || matches!(letter, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests;
