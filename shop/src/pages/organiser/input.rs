//! Fields of forms, with what was typed and what is wrong with it beside them. Pure.

use std::collections::BTreeMap;

use crate::api::Refusal;
use crate::pages::fields::Fields;

/// A field as a page shows it.
#[derive(Debug, Default)]
pub struct Input {
    pub name: String,
    pub label: String,
    /// An input's type; or `area`, `select`, `tick`.
    pub kind: &'static str,
    pub value: String,
    pub hint: String,
    pub wrong: String,
    pub must: bool,
    /// The longest text; 0: there is no limit but the form's.
    pub most: usize,
    /// What there is to choose from: values and their texts.
    pub choices: Vec<(String, String)>,
}

impl Input {
    /// A field that must be filled in.
    pub fn must(mut self) -> Input {
        self.must = true;
        self
    }

    /// With a sentence of help.
    pub fn hint(mut self, hint: impl Into<String>) -> Input {
        self.hint = hint.into();
        self
    }

    /// With things to choose from.
    pub fn choices(mut self, choices: Vec<(String, String)>) -> Input {
        self.choices = choices;
        self
    }

    /// With a longest text.
    pub fn most(mut self, most: usize) -> Input {
        self.most = most;
        self
    }
}

/// What is wrong with a form, by its fields' names. What belongs to none has the empty name.
#[derive(Debug, Default)]
pub struct Wrong(BTreeMap<String, Vec<String>>);

impl Wrong {
    /// Adds to what is wrong with a field.
    pub fn say(&mut self, field: impl Into<String>, what: impl Into<String>) {
        self.0.entry(field.into()).or_default().push(what.into());
    }

    /// What the gateway says is wrong: `field` knows which field a place of its request came from.
    pub fn of(refusal: &Refusal, field: impl Fn(&str) -> Option<String>) -> Wrong {
        let mut wrong = Wrong::default();
        for error in &refusal.errors {
            match field(&error.pointer) {
                Some(name) => wrong.say(name, error.message.clone()),
                None => wrong.say("", error.told()),
            }
        }
        if wrong.is_empty() {
            wrong.say("", refusal.detail.clone());
        }
        wrong
    }

    /// Whether nothing is.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is wrong with a field, or with none of them.
    pub fn at(&self, field: &str) -> String {
        self.0.get(field).map(|all| all.join("; ")).unwrap_or_default()
    }

    /// One by one.
    pub fn all_at(&self, field: &str) -> Vec<String> {
        self.0.get(field).cloned().unwrap_or_default()
    }
}

/// What was typed, and what is wrong with it.
pub struct Filled<'a> {
    pub fields: &'a Fields,
    pub wrong: &'a Wrong,
}

impl Filled<'_> {
    /// A field with what was typed.
    pub fn input(&self, kind: &'static str, name: impl Into<String>, label: &str) -> Input {
        let name = name.into();
        Input {
            value: self.fields.exact(&name).to_owned(),
            wrong: self.wrong.at(&name),
            label: label.to_owned(),
            kind,
            name,
            ..Input::default()
        }
    }
}
