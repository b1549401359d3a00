//! Links from a saga's page to where else something of it is to be seen: its booking in the shop, its payment at the provider, its trace.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use workflows::SagaView;
use workflows::ids::SagaId;
use workflows::protocol::trace_id;
use workflows::state::State;

use crate::access::{Operator, Role};

/// What is left as it is in a filled-in value: unreserved characters.
const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// Links on a page: more is no help.
const LINKS_MAX: usize = 10;

/// Templates, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Links {
    templates: Vec<(String, Vec<Part>)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Saga,
    Trace,
    /// A field of the input.
    Input(Vec<String>),
    /// A field of a step's output.
    Output(String, Vec<String>),
}

/// A link.
#[derive(Debug, PartialEq, Eq)]
pub struct Link {
    /// Its words.
    pub name: String,
    /// Where it leads.
    pub href: String,
}

impl Links {
    /// `Name=https://host/{saga}`, several of them separated by spaces.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn parse(text: &str) -> Result<Links, String> {
        let templates = text.split_whitespace().map(|one| {
            let (name, url) = one
                .split_once('=')
                .filter(|(name, _)| !name.is_empty())
                .ok_or_else(|| format!("{one:?} is not Name=https://…"))?;
            // Only these: a link that runs a script must not be possible, whatever is filled in.
            let host = url.strip_prefix("https://").or(url.strip_prefix("http://"));
            if host.is_none_or(|host| host.is_empty() || host.starts_with(['/', '{'])) {
                return Err(format!("{url:?} does not begin with https:// or http:// and a host"));
            }
            Ok((name.to_owned(), parts(url)?))
        });
        let templates: Vec<_> = templates.collect::<Result<_, String>>()?;
        if templates.len() > LINKS_MAX {
            return Err(format!("there are {} links; at most {LINKS_MAX}", templates.len()));
        }
        Ok(Links { templates })
    }

    /// Those of a saga for which everything is there. Who may not see inputs and outputs gets no links made of them.
    pub fn of(&self, id: SagaId, state: &State, view: &SagaView, operator: &Operator) -> Vec<Link> {
        let fill = |part: &Part| -> Option<String> {
            match part {
                Part::Text(text) => return Some(text.clone()),
                Part::Saga => Some(id.to_string()),
                Part::Trace => Some(trace_id(state.traceparent.as_deref()).to_owned()),
                Part::Input(_) | Part::Output(_, _) if operator.role < Role::Operator => None,
                Part::Input(path) => field(&view.input, path),
                Part::Output(step, path) => {
                    let step = view.steps.iter().find(|known| known.name == *step)?;
                    field(&step.output, path)
                }
            }
            .filter(|value| !value.is_empty())
            .map(|value| utf8_percent_encode(&value, KEPT).to_string())
        };
        let link = |(name, parts): &(String, Vec<Part>)| {
            let href: Option<String> = parts.iter().map(fill).collect();
            href.map(|href| Link {
                name: name.clone(),
                href,
            })
        };
        self.templates.iter().filter_map(link).collect()
    }
}

impl fmt::Display for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (name, parts)) in self.templates.iter().enumerate() {
            write!(f, "{}{name}=", if i == 0 { "" } else { " " })?;
            for part in parts {
                match part {
                    Part::Text(text) => f.write_str(text)?,
                    Part::Saga => f.write_str("{saga}")?,
                    Part::Trace => f.write_str("{trace}")?,
                    Part::Input(path) => write!(f, "{{input.{}}}", path.join("."))?,
                    Part::Output(step, path) => write!(f, "{{steps.{step}.{}}}", path.join("."))?,
                }
            }
        }
        Ok(())
    }
}

fn parts(url: &str) -> Result<Vec<Part>, String> {
    let mut found = Vec::new();
    let mut rest = url;
    while let Some((text, behind)) = rest.split_once('{') {
        let (name, after) = behind
            .split_once('}')
            .ok_or_else(|| format!("a brace of {url:?} is not closed"))?;
        found.push(Part::Text(text.to_owned()));
        let path: Vec<String> = name.split('.').map(ToOwned::to_owned).collect();
        found.push(match path.as_slice() {
            [one] if one == "saga" => Part::Saga,
            [one] if one == "trace" => Part::Trace,
            [root, path @ ..] if root == "input" && !path.is_empty() => Part::Input(path.to_vec()),
            [root, step, path @ ..] if root == "steps" && !path.is_empty() => Part::Output(step.clone(), path.to_vec()),
            _other => {
                return Err(format!(
                    "{{{name}}} is none of {{saga}}, {{trace}}, {{input.<field>}}, {{steps.<step>.<field>}}"
                ));
            }
        });
        rest = after;
    }
    found.push(Part::Text(rest.to_owned()));
    Ok(found)
}

fn field(value: &Value, path: &[String]) -> Option<String> {
    let value = path.iter().try_fold(value, |value, name| value.get(name))?;
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn templates_are_read_and_written() {
        let text = "Booking=https://shop.example/b/{saga}?x={input.a.b} Trace=http://t/{trace} P=https://p/{steps.charge.id}#x";
        assert_eq!(Links::parse(text).unwrap().to_string(), text);
        assert_eq!(Links::parse("").unwrap(), Links::default());
        for wrong in [
            "https://no.name/{saga}",
            "a=javascript:alert(1)",
            "a=https://{input.host}/",
            "a=https://",
            "a=https://h/{saga",
            "a=https://h/{other}",
            "a=https://h/{input}",
        ] {
            assert!(Links::parse(wrong).is_err(), "{wrong}");
        }
    }
}
