//! How strong and how recent a sign-in was. Owns what the values of `amr` (RFC 8176) are worth.

use std::time::Duration;

use crate::domain::time::Timestamp;

/// Strength of a sign-in, in ascending order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    #[default]
    Any,
    SingleFactor,
    MultiFactor,
}

/// How recent and how strong a sign-in must be. The default asks for nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Assurance {
    /// At most so long ago.
    pub max_age: Option<Duration>,
    pub level: Level,
}

impl Assurance {
    pub(super) fn is_met(&self, signed_in_at: Timestamp, level: Level, now: Timestamp) -> bool {
        level >= self.level && self.max_age.is_none_or(|max_age| now.since(signed_in_at) <= max_age)
    }
}

/// What a person can prove with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Factor {
    Knowledge,
    Possession,
    Inherence,
}

impl Level {
    /// Two methods of one kind are one factor, and what we do not know adds none, such as the name of a provider: who
    /// signs in there has shown us one factor at most.
    pub fn of_methods<'a>(amr: impl IntoIterator<Item = &'a str>) -> Self {
        let mut level = Self::Any;
        let mut seen = None;
        for method in amr {
            level = level.max(Self::SingleFactor);
            let factor = factor(method);
            if method == "mfa" || (seen.is_some() && factor.is_some() && factor != seen) {
                return Self::MultiFactor;
            }
            seen = seen.or(factor);
        }
        level
    }
}

fn factor(method: &str) -> Option<Factor> {
    match method {
        "pwd" | "pin" | "kba" => Some(Factor::Knowledge),
        "hwk" | "swk" | "otp" | "sms" | "tel" | "sc" | "pop" => Some(Factor::Possession),
        "face" | "fpt" | "iris" | "retina" | "vbm" => Some(Factor::Inherence),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_count_by_kind() {
        for (amr, expected) in [
            (&[][..], Level::Any),
            (&["pwd"], Level::SingleFactor),
            (&["pwd", "pin"], Level::SingleFactor),
            (&["otp", "sms"], Level::SingleFactor),
            (&["google"], Level::SingleFactor),
            (&["google", "pwd"], Level::SingleFactor),
            (&["google", "kakao"], Level::SingleFactor),
            (&["user", "pwd", "geo"], Level::SingleFactor),
            (&["MFA"], Level::SingleFactor),
            (&["mfa"], Level::MultiFactor),
            (&["pwd", "mfa"], Level::MultiFactor),
            (&["pwd", "otp"], Level::MultiFactor),
            (&["otp", "x", "pwd"], Level::MultiFactor),
            (&["hwk", "fpt"], Level::MultiFactor),
        ] {
            assert_eq!(Level::of_methods(amr.iter().copied()), expected, "{amr:?}");
        }
    }

    #[test]
    fn age_counts_to_the_limit_and_no_further() {
        let asked = Assurance { max_age: Some(Duration::from_secs(10)), level: Level::Any };
        let now = Timestamp::from_secs(100);
        assert!(asked.is_met(Timestamp::from_secs(90), Level::Any, now));
        assert!(!asked.is_met(Timestamp::from_secs(89), Level::MultiFactor, now));
        assert!(asked.is_met(Timestamp::from_secs(130), Level::Any, now), "a sign-in by a clock that is ahead");
        assert!(Assurance::default().is_met(Timestamp::default(), Level::Any, Timestamp::MAX));
    }
}
