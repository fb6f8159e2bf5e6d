//! What the page at `/` says.

use super::Language;

/// Its words, in the order of the page.
#[derive(Debug)]
pub(in super::super) struct HomeWords {
    pub(in super::super) profile: &'static str,
    pub(in super::super) no_provider: &'static str,
    pub(in super::super) register: &'static str,
    pub(in super::super) configure: &'static str,
    pub(in super::super) sign_in: &'static str,
    /// Around a provider's name.
    with: [&'static str; 2],
    /// Behind a provider's name.
    pub(in super::super) is_away: &'static str,
    pub(in super::super) come_back: &'static str,
    pub(in super::super) paused: &'static str,
    pub(in super::super) paused_text: &'static str,
    pub(in super::super) go_on: &'static str,
    pub(in super::super) log_out: &'static str,
    pub(in super::super) signed_in: &'static str,
    pub(in super::super) user: &'static str,
    pub(in super::super) session: &'static str,
    pub(in super::super) ends: &'static str,
    pub(in super::super) refresh: &'static str,
    pub(in super::super) all_sessions: &'static str,
    pub(in super::super) this_one: &'static str,
    pub(in super::super) by: &'static str,
    pub(in super::super) device: &'static str,
    pub(in super::super) unknown: &'static str,
    pub(in super::super) from: &'static str,
    pub(in super::super) signed_in_at: &'static str,
    pub(in super::super) last_refresh: &'static str,
    pub(in super::super) revoke: &'static str,
}

impl HomeWords {
    pub(in super::super) const fn of(language: Language) -> &'static Self {
        match language {
            Language::English => &ENGLISH,
            Language::Korean => &KOREAN,
        }
    }

    pub(in super::super) fn sign_in_with(&self, provider: &str) -> String {
        let [before, behind] = self.with;
        format!("{before}{provider}{behind}")
    }
}

const ENGLISH: HomeWords = HomeWords {
    profile: "Development profile. This page is for trying things out; production does not have it.",
    no_provider: "No provider is configured yet",
    register: "Register an application with a provider, name this as its redirect URI:",
    configure: "and put this into postern.toml, then restart:",
    sign_in: "Sign in",
    with: ["Sign in with ", ""],
    is_away: " does not answer at the moment.",
    come_back: "You come back here, with the session in two cookies of this origin.",
    paused: "Your access token has ended",
    paused_text: "The session has not: the refresh token brings the next pair.",
    go_on: "Continue",
    log_out: "Log out",
    signed_in: "Signed in",
    user: "User",
    session: "Session",
    ends: "Ends",
    refresh: "Refresh the tokens",
    all_sessions: "All your sessions",
    this_one: "this one",
    by: "By",
    device: "Device",
    unknown: "unknown",
    from: "From",
    signed_in_at: "Signed in",
    last_refresh: "Last refresh",
    revoke: "Revoke",
};

const KOREAN: HomeWords = HomeWords {
    profile: "개발 프로필입니다. 이 페이지는 시험용이며 운영 환경에는 없습니다.",
    no_provider: "설정된 로그인 제공자가 없습니다",
    register: "제공자에 애플리케이션을 등록하고 아래 주소를 리디렉션 URI로 입력하세요.",
    configure: "그런 다음 아래 내용을 postern.toml에 추가하고 다시 시작하세요.",
    sign_in: "로그인",
    with: ["", "(으)로 로그인"],
    is_away: ": 지금은 응답하지 않습니다.",
    come_back: "로그인하면 이 페이지로 돌아오며, 세션은 이 주소의 쿠키 두 개에 저장됩니다.",
    paused: "액세스 토큰이 만료되었습니다",
    paused_text: "세션은 아직 유효합니다. 리프레시 토큰으로 새 토큰을 받을 수 있습니다.",
    go_on: "계속하기",
    log_out: "로그아웃",
    signed_in: "로그인되었습니다",
    user: "사용자",
    session: "세션",
    ends: "만료",
    refresh: "토큰 갱신",
    all_sessions: "모든 세션",
    this_one: "현재 세션",
    by: "로그인 방법",
    device: "기기",
    unknown: "알 수 없음",
    from: "접속 주소",
    signed_in_at: "로그인 시각",
    last_refresh: "마지막 갱신",
    revoke: "세션 종료",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_is_said_in_each_language() {
        assert!(format!("{ENGLISH:?}").is_ascii());
        // What stands in quotes, for none of it has any.
        let korean = format!("{KOREAN:?}");
        for said in korean.split('"').skip(1).step_by(2).filter(|said| !said.is_empty()) {
            assert!(!said.is_ascii(), "{said}");
        }
        assert_eq!(HomeWords::of(Language::English).sign_in_with("Kakao"), "Sign in with Kakao");
        assert_eq!(HomeWords::of(Language::Korean).sign_in_with("Kakao"), "Kakao(으)로 로그인");
    }
}
