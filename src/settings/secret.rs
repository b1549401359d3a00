//! Settings that carry a password: shown without it.

use std::fmt;

/// What is shown instead.
const HIDDEN: &str = "***";

/// A text that is not for logs.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    text: String,
    shown: String,
}

impl Secret {
    /// A secret from end to end.
    pub fn new(text: &str) -> Self {
        Secret {
            text: text.to_owned(),
            shown: HIDDEN.to_owned(),
        }
    }

    /// A URL of which only the password is secret.
    pub fn url(text: &str) -> Self {
        let shown = match reqwest::Url::parse(text) {
            Ok(mut url) => {
                if url.password().is_some() {
                    // Refused only for URLs that can't have a password, and this one has.
                    let _ = url.set_password(Some(HIDDEN));
                }
                let secret = |name: &str| name.contains("password") || name.contains("passwd");
                if url.query_pairs().any(|(name, _)| secret(&name)) {
                    let pairs: Vec<(String, String)> = url
                        .query_pairs()
                        .map(|(name, value)| {
                            let value = if secret(&name) {
                                HIDDEN.to_owned()
                            } else {
                                value.into_owned()
                            };
                            (name.into_owned(), value)
                        })
                        .collect();
                    url.query_pairs_mut().clear().extend_pairs(pairs);
                }
                url.to_string()
            }
            // Several hosts are no URL by the book.
            Err(_) => without_password(text).unwrap_or_else(|| HIDDEN.to_owned()),
        };
        Secret {
            text: text.to_owned(),
            shown,
        }
    }

    /// The text itself. Don't show it.
    pub fn reveal(&self) -> &str {
        &self.text
    }
}

/// `scheme://user:***@hosts/path`, if that is all there is to it.
fn without_password(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (user, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    if path.contains("passw") {
        return None;
    }
    Some(match user.split_once(':') {
        Some((name, _)) => format!("{scheme}://{name}:{HIDDEN}@{hosts}{path}"),
        None => text.to_owned(),
    })
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.shown, f)
    }
}
