//! The guide for operators on call: `docs/on-call.md`, within the binary, so that it fits the version that runs.

use std::sync::LazyLock;

use askama::Template;
use axum::Extension;
use pulldown_cmark::{CowStr, Event, Parser, Tag, html::push_html};

use super::{Frame, Page, html};
use crate::access::Operator;

const TEXT: &str = include_str!("../../../docs/on-call.md");

/// The text as HTML, and the names of its sections.
static GUIDE: LazyLock<(String, Vec<String>)> = LazyLock::new(|| {
    let names: Vec<String> = TEXT
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .map(slug)
        .collect();
    let mut left = names.iter();
    let events = Parser::new(TEXT).map(|event| match event {
        Event::Start(Tag::Heading {
            level, classes, attrs, ..
        }) if level == pulldown_cmark::HeadingLevel::H2 => {
            let id = left.next().map(|name| CowStr::from(name.clone()));
            Event::Start(Tag::Heading {
                level,
                id,
                classes,
                attrs,
            })
        }
        other => other,
    });
    let mut out = String::new();
    push_html(&mut out, events);
    (out, names)
});

#[derive(Template)]
#[template(path = "guide.html")]
struct GuidePage {
    frame: Frame,
    text: &'static str,
}

/// Shows it.
pub async fn show(Extension(operator): Extension<Operator>) -> Page {
    html(&GuidePage {
        frame: Frame::new(&operator, "help"),
        text: &GUIDE.0,
    })
}

/// The section about an error code; codes without one have theirs together.
pub fn section(code: &str) -> String {
    let name = slug(code);
    let known = GUIDE.1.contains(&name);
    if known { name } else { "any-other-error".to_owned() }
}

/// A heading as Markdown's readers name it in links.
fn slug(heading: &str) -> String {
    heading.trim().to_lowercase().replace(' ', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_found_by_code_and_kind() {
        assert_eq!(section("card_declined"), "card_declined");
        assert_eq!(section("EXPIRED"), "expired");
        assert_eq!(section("<img>"), "any-other-error");
        for kind in [
            crate::inbox::Kind::FailedUndo,
            crate::inbox::Kind::Unknown,
            crate::inbox::Kind::Waits,
            crate::inbox::Kind::Failing,
        ] {
            assert!(GUIDE.1.iter().any(|name| name == kind.words().1), "{kind:?}");
        }
        for name in ["overdue", "no-worker", "any-other-error", "no_answer"] {
            assert!(GUIDE.0.contains(&format!("<h2 id=\"{name}\">")), "{name}");
        }
    }
}
