//! The search language of lists: words like `workflow:booking status:failed started:<1h`.

use std::time::Duration;

use orchestrator::store::reads::SagaFilter;
use uuid::Uuid;
use workflows::ids::{SagaId, Timestamp};
use workflows::state::Status;

use crate::limits::{SEARCH_MAX, WIDE_WINDOW};

/// What was asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Search {
    /// As a filter of the engine's list.
    pub filter: SagaFilter,
    /// A saga's id stood there: go to it.
    pub saga: Option<SagaId>,
    /// No index narrows it, so it is cut at [`WIDE_WINDOW`].
    pub cut: bool,
}

/// Reads a search; an error says what is wrong, and with which word.
pub fn parse(text: &str, now: Timestamp) -> Result<Search, String> {
    if text.len() > SEARCH_MAX {
        return Err(format!("a search has at most {SEARCH_MAX} bytes"));
    }
    let mut search = Search::default();
    for word in words(text)? {
        add(&mut search, &word, now)?;
    }
    let filter = &mut search.filter;
    let live = !filter.status.is_empty() && filter.status.iter().all(|status| !status.is_final());
    let undone = !filter.status.is_empty() && filter.status.iter().all(|s| s.is_final() && *s != Status::Completed);
    let indexed = live
        || undone
        || filter.business_key.is_some()
        || filter.tag.is_some()
        || filter.failure_code.is_some()
        || filter.failure_step.is_some();
    // A range that was asked for is the searcher's own; the statement's time limit watches over it.
    if !indexed && filter.created_from.is_none() {
        let end = filter.created_before.unwrap_or(now);
        filter.created_from = Some(earlier(end, WIDE_WINDOW));
        search.cut = true;
    }
    Ok(search)
}

fn add(search: &mut Search, word: &str, now: Timestamp) -> Result<(), String> {
    let filter = &mut search.filter;
    let Some((name, value)) = word.split_once(':') else {
        if let Ok(id) = word.parse::<Uuid>() {
            search.saga = Some(SagaId(id));
        } else {
            filter.business_key = Some(word.to_owned());
        }
        return Ok(());
    };
    if value.is_empty() {
        return Err(format!("`{name}:` has no value"));
    }
    match name {
        "workflow" => filter.workflow = Some(value.to_owned()),
        "step" => filter.failure_step = Some(value.to_owned()),
        "error" => filter.failure_code = Some(value.to_owned()),
        "business-key" | "key" => filter.business_key = Some(value.to_owned()),
        "status" => {
            for status in value.split(',') {
                match status {
                    "live" => filter
                        .status
                        .extend(Status::ALL.into_iter().filter(|status| !status.is_final())),
                    "stuck" => filter.status.push(Status::Failed),
                    other => filter.status.push(other.parse()?),
                }
            }
        }
        "sort" => match value {
            "newest" => filter.oldest_first = false,
            "oldest" => filter.oldest_first = true,
            other => return Err(format!("`sort:{other}` is no order; there are newest and oldest")),
        },
        "started" => {
            let (before, age) = match (value.strip_prefix('>'), value.strip_prefix('<')) {
                (Some(age), _) => (true, age),
                (None, Some(age)) => (false, age),
                (None, None) => {
                    return Err("write `started:<1h` (within the last hour) or `started:>1h` (before)".to_owned());
                }
            };
            let age = humantime::parse_duration(age).map_err(|error| format!("`started:`: {error}"))?;
            let at = earlier(now, age);
            if before {
                filter.created_before = Some(at);
            } else {
                filter.created_from = Some(at);
            }
        }
        _ => match name.strip_prefix("tag.") {
            Some(tag) if !tag.is_empty() => filter.tag = Some((tag.to_owned(), value.to_owned())),
            Some(_) | None => {
                return Err(format!(
                    "{name:?} is not a qualifier; there are workflow, status, step, error, business-key, tag.NAME, started and sort"
                ));
            }
        },
    }
    Ok(())
}

fn earlier(at: Timestamp, by: Duration) -> Timestamp {
    let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
    // Postgres knows no instant before 4713 BC, and there were no sagas in 1970.
    Timestamp(at.0.saturating_sub(by).max(0))
}

/// Words, parted by blanks; `"` holds together what has some.
fn words(text: &str) -> Result<Vec<String>, String> {
    let (mut found, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            c if c.is_whitespace() && !quoted => {
                if !word.is_empty() {
                    found.push(std::mem::take(&mut word));
                }
            }
            c => word.push(c),
        }
    }
    if quoted {
        return Err("a `\"` is not closed".to_owned());
    }
    if !word.is_empty() {
        found.push(word);
    }
    Ok(found)
}

/// A value as a word of a search.
pub fn quoted(value: &str) -> String {
    let plain = value.replace('"', "");
    if plain.contains(char::is_whitespace) {
        format!("\"{plain}\"")
    } else {
        plain
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    #[test]
    fn qualifiers_become_a_filter() {
        let search = parse(
            r#"workflow:booking status:failed,paused key:"a b" started:>1h tag.city:Oslo sort:oldest"#,
            NOW,
        )
        .unwrap();
        let filter = search.filter;
        assert_eq!(filter.workflow.as_deref(), Some("booking"));
        assert_eq!(filter.status, [Status::Failed, Status::Paused]);
        assert_eq!(filter.business_key.as_deref(), Some("a b"));
        assert_eq!(filter.created_before, Some(Timestamp(NOW.0 - 3_600_000)));
        assert_eq!(filter.tag, Some(("city".to_owned(), "Oslo".to_owned())));
        assert!(filter.oldest_first);
        assert!(!search.cut);
    }

    #[test]
    fn what_no_index_narrows_is_cut() {
        for text in [
            "",
            "workflow:x",
            "status:completed",
            "status:live,completed",
            "started:>1h",
        ] {
            assert!(parse(text, NOW).unwrap().cut, "{text}");
        }
        for text in [
            "status:live",
            "error:x",
            "step:x",
            "workflow:x started:<9days",
            "tag.a:b",
        ] {
            assert!(!parse(text, NOW).unwrap().cut, "{text}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for text in [
            "colour:red",
            "sort:loudest",
            "status:odd",
            "started:1h",
            "started:<soon",
            "workflow:",
            "\"open",
            "tag.:x",
        ] {
            assert!(parse(text, NOW).is_err(), "{text}");
        }
    }

    #[test]
    fn an_id_leads_to_its_saga() {
        let id = "0193a2b4-0000-7000-8000-000000000000";
        assert_eq!(parse(id, NOW).unwrap().saga, Some(id.parse().unwrap()));
    }
}
