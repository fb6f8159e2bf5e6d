//! The pages. No script, no picture, nothing from elsewhere; what is put into one is escaped by `maud`.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::words::{Language, Matter};

/// The one style of all pages. Its hash stands in the policy of each answer, so it is the only one that holds.
pub(super) const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1c2024;--faint:#60646c;--paper:#fcfcfd;--card:#fff;--line:#e0e1e6;--accent:#3451b2;--on-accent:#fff}\
@media(prefers-color-scheme:dark){:root{--ink:#edeef0;--faint:#b0b4ba;--paper:#111113;--card:#19191b;--line:#363a3f;--accent:#9eb1ff;--on-accent:#11131f}}\
*{box-sizing:border-box}\
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,-apple-system,'Segoe UI','Apple SD Gothic Neo','Malgun Gothic',sans-serif}\
main{max-width:44rem;margin:0 auto;padding:12vh 1.25rem 4rem}\
h1{font-size:1.6rem;line-height:1.25;margin:0 0 .75rem}h2{font-size:1.05rem;margin:2rem 0 .75rem}\
p{margin:0 0 1rem}.faint{color:var(--faint);font-size:.875rem}\
.row{display:flex;flex-wrap:wrap;gap:.6rem;margin:1.25rem 0}\
.button,button{display:inline-block;font:inherit;font-weight:600;padding:.55rem 1rem;border:1px solid var(--line);border-radius:.5rem;background:var(--card);color:var(--ink);text-decoration:none;cursor:pointer}\
.main{background:var(--accent);border-color:var(--accent);color:var(--on-accent)}\
.button:focus-visible,button:focus-visible{outline:3px solid var(--accent);outline-offset:2px}\
.away{opacity:.55}.card{background:var(--card);border:1px solid var(--line);border-radius:.75rem;padding:1rem 1.25rem;margin:0 0 .75rem}\
.card form{margin-top:.75rem}dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1rem;margin:0}dt{color:var(--faint)}dd{margin:0;overflow-wrap:anywhere}\
pre{overflow-x:auto;background:var(--card);border:1px solid var(--line);border-radius:.75rem;padding:1rem;font:.875rem/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}\
code{font:.9em ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}";

pub(super) fn frame(language: Language, title: &str, content: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang=(language.tag()) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="robots" content="noindex";
                title { (title) }
                // The hash in the policy is that of these very bytes.
                style { (PreEscaped(STYLE)) }
            }
            body { main { (content) } }
        }
    }
}

/// One thing to say, and where to go from there.
pub(super) fn message(
    language: Language,
    matter: Matter,
    back: Option<&str>,
    again: Option<&str>,
    request_id: &str,
) -> Markup {
    let words = matter.in_words(language);
    let content = html! {
        h1 { (words.title) }
        p { (words.text) }
        @if back.is_some() || again.is_some() {
            div.row {
                @if let Some(again) = again { a.button.main href=(again) { (language.again()) } }
                @if let Some(back) = back { a.button href=(back) { (language.back()) } }
            }
        }
        p.faint { (language.reference()) " " code { (request_id) } }
    };
    frame(language, words.title, &content)
}

/// Whether a page may link there: any other scheme could be one that a browser runs.
pub(super) fn is_web(url: &str) -> bool {
    url.starts_with("https://") || url.starts_with("http://")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_into_a_page_is_escaped() {
        let evil = "https://a.example/\"><script>alert(1)</script>";
        for language in Language::ALL {
            for matter in Matter::ALL {
                let page = message(language, matter, Some(evil), Some(evil), "<b>").into_string();
                assert!(!page.contains("<script") && !page.contains("<b>"), "{page}");
                assert!(page.contains(&format!("lang=\"{}\"", language.tag())));
                assert!(!page.contains("src=") && !page.contains("@import") && !page.contains("url("), "{page}");
            }
        }
    }

    #[test]
    fn the_style_stands_in_the_page_as_it_was_hashed() {
        let page = message(Language::English, Matter::NotFound, None, None, "id").into_string();
        assert!(page.contains(&format!("<style>{STYLE}</style>")));
    }
}
