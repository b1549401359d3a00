//! A query's or a form's fields, in which one name may come several times: each seat that was ticked is one.

use std::convert::Infallible;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;

use crate::trouble::Trouble;

/// The fields of a query.
pub struct Query(pub Fields);

/// The fields of a form that was sent.
pub struct Form(pub Fields);

/// Names and values, in their order.
#[derive(Debug, Default)]
pub struct Fields(Vec<(String, String)>);

impl Fields {
    /// What a form begins with.
    pub fn begin(values: Vec<(String, String)>) -> Fields {
        Fields(values)
    }

    fn of(bytes: &[u8]) -> Fields {
        Fields(form_urlencoded::parse(bytes).into_owned().collect())
    }

    /// The first value of this name without blanks around it; nothing where there is none, or it is empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut values = self.0.iter().filter(|(known, _)| known == name);
        values
            .next()
            .map(|(_, value)| value.trim())
            .filter(|value| !value.is_empty())
    }

    /// The first value of this name, or an empty text.
    pub fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    /// The first value of this name as it was typed: a password may begin with a blank.
    pub fn exact(&self, name: &str) -> &str {
        let mut values = self.0.iter().filter(|(known, _)| known == name);
        values.next().map_or("", |(_, value)| value.as_str())
    }

    /// All values of this name, at most so many, each once.
    pub fn all(&self, name: &str, most: usize) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        for (known, value) in &self.0 {
            if known == name && !value.is_empty() && !all.contains(value) && all.len() < most {
                all.push(value.clone());
            }
        }
        all
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Query(Fields::of(parts.uri.query().unwrap_or_default().as_bytes())))
    }
}

impl<S: Send + Sync> FromRequest<S> for Form {
    type Rejection = Trouble;

    async fn from_request(request: Request, state: &S) -> Result<Self, Trouble> {
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|_| Trouble::Invalid("the form is too large, or did not arrive as a whole".to_owned()))?;
        Ok(Form(Fields::of(&bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_come_again() {
        let fields = Fields::of(b"seat=A1&seat=A2&seat=A1&seat=&email=+x%40y+&password=+p");
        assert_eq!(fields.all("seat", 10), ["A1", "A2"]);
        assert_eq!(fields.all("seat", 1), ["A1"]);
        assert_eq!((fields.get("email"), fields.exact("password")), (Some("x@y"), " p"));
        assert_eq!((fields.get("none"), fields.text("none")), (None, ""));
    }
}
