//! What the pages say, in English and in Korean. The only place with such text; nothing in it comes from a provider.

pub(super) mod home;

use http::HeaderMap;
use http::header::ACCEPT_LANGUAGE;

/// A language that the pages know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Language {
    #[default]
    English,
    Korean,
}

/// What a page has to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Matter {
    Cancelled,
    FlowInvalid,
    ProviderAway,
    Rejected,
    AccountExists,
    LinkedElsewhere,
    NotAllowed,
    SignedOut,
    TooMany,
    Outage,
    /// The page that led here is wrong.
    BadRequest,
    /// Another site's page asked in somebody's name.
    Foreign,
    NotFound,
}

/// A page's words.
pub(super) struct Words {
    pub(super) title: &'static str,
    pub(super) text: &'static str,
}

impl Language {
    pub(super) const ALL: [Self; 2] = [Self::English, Self::Korean];

    /// The one that the browser would rather have (RFC 9110, section 12.5.4).
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let asked = headers.get(ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let (mut best, mut weight) = (Self::default(), 0.0);
        for range in asked.split(',').take(16) {
            let (tag, parameters) = range.split_once(';').unwrap_or((range, ""));
            let q = match parameters.trim().strip_prefix("q=") {
                Some(q) => q.trim().parse::<f32>().unwrap_or(0.0),
                None => 1.0,
            };
            let primary = tag.trim().split('-').next().unwrap_or_default();
            let known = Self::ALL.into_iter().find(|language| language.tag().eq_ignore_ascii_case(primary));
            if let Some(known) = known.filter(|_| q > weight) {
                (best, weight) = (known, q);
            }
        }
        best
    }

    pub(super) const fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Korean => "ko",
        }
    }

    pub(super) const fn back(self) -> &'static str {
        match self {
            Self::English => "Back to where you came from",
            Self::Korean => "이전 화면으로 돌아가기",
        }
    }

    pub(super) const fn again(self) -> &'static str {
        match self {
            Self::English => "Try again",
            Self::Korean => "다시 시도",
        }
    }

    pub(super) const fn reference(self) -> &'static str {
        match self {
            Self::English => "Reference for support:",
            Self::Korean => "문의용 참조 번호:",
        }
    }
}

impl Matter {
    #[cfg(test)]
    pub(super) const ALL: [Self; 13] = [
        Self::Cancelled,
        Self::FlowInvalid,
        Self::ProviderAway,
        Self::Rejected,
        Self::AccountExists,
        Self::LinkedElsewhere,
        Self::NotAllowed,
        Self::SignedOut,
        Self::TooMany,
        Self::Outage,
        Self::BadRequest,
        Self::Foreign,
        Self::NotFound,
    ];

    pub(super) const fn in_words(self, language: Language) -> Words {
        let (title, text) = match language {
            Language::English => self.english(),
            Language::Korean => self.korean(),
        };
        Words { title, text }
    }

    const fn english(self) -> (&'static str, &'static str) {
        match self {
            Self::Cancelled => ("Sign-in cancelled", "Nothing was changed. You can go back, or try again."),
            Self::FlowInvalid => (
                "This sign-in is no longer valid",
                "It took longer than ten minutes, was finished already, or began in another browser. Please start again.",
            ),
            Self::ProviderAway => (
                "The sign-in provider does not answer",
                "This is usually over soon. Please try again in a moment, or sign in another way.",
            ),
            Self::Rejected => (
                "The provider's answer was not accepted",
                "It did not prove who you are, so you were not signed in. Please try again.",
            ),
            Self::AccountExists => (
                "You already have an account",
                "An account with this e-mail address exists. Please sign in the way you usually do, and then link this \
                 provider in your account settings.",
            ),
            Self::LinkedElsewhere => (
                "Connected to another account",
                "This sign-in belongs to another account here. Please disconnect it there first, or choose another one.",
            ),
            Self::NotAllowed => (
                "Sign-in is not possible",
                "This account cannot be used to sign in here. If you think it should, please ask whoever runs this service.",
            ),
            Self::SignedOut => ("You are signed out", "Please sign in again."),
            Self::TooMany => ("Too many attempts", "Please wait a moment, and then try again."),
            Self::Outage => ("Something is wrong on our side", "It is not your fault. Please try again in a moment."),
            Self::BadRequest => (
                "This link does not work",
                "The page that led here asked for something that cannot be done. Please go back, and try again.",
            ),
            Self::Foreign => {
                ("This did not come from you", "Another page asked for this in your name, so nothing was done.")
            }
            Self::NotFound => ("There is nothing here", "The address may be mistyped."),
        }
    }

    const fn korean(self) -> (&'static str, &'static str) {
        match self {
            Self::Cancelled => {
                ("로그인을 취소했습니다", "변경된 내용은 없습니다. 이전 화면으로 돌아가거나 다시 시도할 수 있습니다.")
            }
            Self::FlowInvalid => (
                "더 이상 유효하지 않은 로그인입니다",
                "10분이 지났거나, 이미 완료되었거나, 다른 브라우저에서 시작한 로그인입니다. 처음부터 다시 시작해 주세요.",
            ),
            Self::ProviderAway => (
                "로그인 제공자가 응답하지 않습니다",
                "보통 금방 해결됩니다. 잠시 후 다시 시도하거나 다른 방법으로 로그인해 주세요.",
            ),
            Self::Rejected => (
                "제공자의 응답을 확인하지 못했습니다",
                "본인 확인이 되지 않아 로그인하지 않았습니다. 다시 시도해 주세요.",
            ),
            Self::AccountExists => (
                "이미 가입된 계정이 있습니다",
                "같은 이메일 주소를 쓰는 계정이 있습니다. 평소 쓰던 방법으로 로그인한 다음 계정 설정에서 이 제공자를 연결해 \
                 주세요.",
            ),
            Self::LinkedElsewhere => (
                "다른 계정에 연결되어 있습니다",
                "이 로그인은 이미 다른 계정에 연결되어 있습니다. 먼저 그 계정에서 연결을 해제하거나 다른 로그인을 선택해 주세요.",
            ),
            Self::NotAllowed => (
                "로그인할 수 없습니다",
                "이 계정으로는 여기에 로그인할 수 없습니다. 문제가 있다고 생각되면 서비스 운영자에게 문의해 주세요.",
            ),
            Self::SignedOut => ("로그아웃되었습니다", "다시 로그인해 주세요."),
            Self::TooMany => ("시도가 너무 많습니다", "잠시 기다린 후 다시 시도해 주세요."),
            Self::Outage => ("저희 쪽에 문제가 생겼습니다", "이용자의 잘못이 아닙니다. 잠시 후 다시 시도해 주세요."),
            Self::BadRequest => {
                ("사용할 수 없는 링크입니다", "이전 페이지의 요청을 처리할 수 없습니다. 돌아가서 다시 시도해 주세요.")
            }
            Self::Foreign => {
                ("본인의 요청이 아닙니다", "다른 페이지가 이용자의 이름으로 보낸 요청이므로 아무것도 하지 않았습니다.")
            }
            Self::NotFound => ("페이지가 없습니다", "주소를 다시 확인해 주세요."),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_language_is_the_one_that_was_asked_for() {
        for (asked, language) in [
            ("", Language::English),
            ("ko", Language::Korean),
            ("ko-KR,ko;q=0.9,en-US;q=0.8", Language::Korean),
            ("en-US,en;q=0.9,ko;q=0.8", Language::English),
            ("de, ko;q=0.3", Language::Korean),
            ("en;q=0.1, KO;q=0.2", Language::Korean),
            ("ko;q=0, en;q=0", Language::English),
            ("ko;q=x", Language::English),
            ("*", Language::English),
        ] {
            let headers = HeaderMap::from_iter([(ACCEPT_LANGUAGE, asked.parse().unwrap())]);
            assert_eq!(Language::of(&headers), language, "{asked}");
        }
        assert_eq!(Language::of(&HeaderMap::new()), Language::English);
    }

    #[test]
    fn each_matter_is_said_in_each_language() {
        for matter in Matter::ALL {
            let [english, korean] = Language::ALL.map(|language| matter.in_words(language));
            assert!(english.title.is_ascii() && english.text.is_ascii());
            assert!(!korean.title.is_ascii() && !korean.text.is_ascii(), "{}", korean.title);
        }
    }
}
