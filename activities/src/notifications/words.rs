//! The texts of messages in each language, as Fluent has them (`activities/i18n`).

use std::sync::LazyLock;

use fluent_bundle::concurrent::FluentBundle;
use fluent_bundle::{FluentArgs, FluentResource};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use unic_langid::LanguageIdentifier;

/// A language that messages are written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Language {
    /// English.
    #[default]
    En,
    /// German.
    De,
}

impl Language {
    /// All of them.
    pub const ALL: [Language; 2] = [Language::En, Language::De];

    /// Its tag, as BCP 47 has it.
    pub fn tag(self) -> &'static str {
        match self {
            Language::En => "en",
            Language::De => "de",
        }
    }

    /// The language of this tag.
    pub fn parse(tag: &str) -> Option<Language> {
        Language::ALL.into_iter().find(|language| language.tag() == tag)
    }

    fn texts(self) -> &'static Texts {
        match self {
            Language::En => &ENGLISH,
            Language::De => &GERMAN,
        }
    }
}

/// What is wrong with the texts.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum WordsError {
    /// They can't be read.
    #[error("the texts in {language} can't be read: {problem}")]
    Syntax {
        /// Whose.
        language: &'static str,
        /// What Fluent says.
        problem: String,
    },
    /// One is missing.
    #[error("there is no text {name:?} in {language}")]
    Missing {
        /// Where.
        language: &'static str,
        /// Which: a message, or a message's attribute as `message.attribute`.
        name: String,
    },
    /// One names what is not given to it.
    #[error("the text {name:?} in {language} can't be filled in: {problem}")]
    Variables {
        /// Where.
        language: &'static str,
        /// Which.
        name: String,
        /// What Fluent says.
        problem: String,
    },
}

type Texts = Result<FluentBundle<FluentResource>, WordsError>;

static ENGLISH: LazyLock<Texts> = LazyLock::new(|| read(Language::En.tag(), include_str!("../../i18n/en.ftl")));
static GERMAN: LazyLock<Texts> = LazyLock::new(|| read(Language::De.tag(), include_str!("../../i18n/de.ftl")));

fn read(language: &'static str, source: &str) -> Texts {
    let syntax = |problem: String| WordsError::Syntax { language, problem };
    let tag: LanguageIdentifier = language.parse().map_err(|error| syntax(format!("{error:?}")))?;
    let resource = FluentResource::try_new(source.to_owned());
    let resource = resource.map_err(|(_, errors)| syntax(format!("{errors:?}")))?;
    let mut bundle = FluentBundle::new_concurrent(vec![tag]);
    // Its marks around variables, for texts of both directions, show as boxes on older telephones.
    bundle.set_use_isolating(false);
    bundle
        .add_resource(resource)
        .map_err(|errors| syntax(format!("{errors:?}")))?;
    Ok(bundle)
}

/// The text `message`, or `message.attribute`, with its variables filled in.
pub(crate) fn text(language: Language, name: &str, variables: &FluentArgs<'_>) -> Result<String, WordsError> {
    let bundle = language.texts().as_ref().map_err(Clone::clone)?;
    fill(bundle, language.tag(), name, variables)
}

fn fill(
    bundle: &FluentBundle<FluentResource>,
    language: &'static str,
    name: &str,
    variables: &FluentArgs<'_>,
) -> Result<String, WordsError> {
    let missing = || WordsError::Missing {
        language,
        name: name.to_owned(),
    };
    let (message, attribute) = name.split_once('.').map_or((name, None), |(m, a)| (m, Some(a)));
    let message = bundle.get_message(message).ok_or_else(missing)?;
    let pattern = match attribute {
        Some(attribute) => message.get_attribute(attribute).map(|attribute| attribute.value()),
        None => message.value(),
    };
    let mut problems = Vec::new();
    let text = bundle.format_pattern(pattern.ok_or_else(missing)?, Some(variables), &mut problems);
    if problems.is_empty() {
        return Ok(text.into_owned());
    }
    Err(WordsError::Variables {
        language,
        name: name.to_owned(),
        problem: format!("{problems:?}"),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn an_unknown_variable_is_an_error_that_names_the_text() {
        let bundle = read("en", "greeting = Hello, { $nmae }").unwrap();
        let mut variables = FluentArgs::new();
        variables.set("name", "Ada");
        let error = fill(&bundle, "en", "greeting", &variables).unwrap_err();
        assert!(
            error.to_string().contains("\"greeting\" in en") && error.to_string().contains("nmae"),
            "{error}"
        );
        let missing = fill(&bundle, "en", "greeting.subject", &variables).unwrap_err();
        assert_eq!(missing.to_string(), "there is no text \"greeting.subject\" in en");
    }

    #[test]
    fn what_is_no_fluent_is_found_when_it_is_read() {
        let error = read("en", "greeting = { $name").err().unwrap();
        assert!(matches!(error, WordsError::Syntax { .. }), "{error}");
    }
}
