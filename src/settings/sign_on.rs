//! The identity provider by which operators may come to mission control.

use dashboard::RoleMap;

use super::source::Sources;
use super::{Secret, http_url};

/// What can't be left out where there is a provider.
const NEEDED: [&str; 3] = ["sign_on.client_id", "sign_on.roles", "sign_on.url"];

/// The settings, as they are; complete where there is an issuer.
#[derive(Clone, Debug, PartialEq)]
pub struct SignOn {
    /// The provider, exactly as it names itself; none: there is none.
    pub issuer: Option<String>,
    /// Our name there.
    pub client_id: Option<String>,
    /// Our password there.
    pub client_secret: Option<Secret>,
    /// Where browsers reach mission control.
    pub url: Option<String>,
    /// The claim whose values stand for roles.
    pub claim: String,
    /// Which value stands for which.
    pub roles: Option<RoleMap>,
}

impl SignOn {
    /// Reads them; an issuer without the others is a problem.
    pub(super) fn read(sources: &mut Sources) -> SignOn {
        let plain = |text: &str| Ok(text.to_owned());
        let found = SignOn {
            issuer: sources.optional("sign_on.issuer", issuer),
            client_id: sources.optional("sign_on.client_id", plain),
            client_secret: sources.optional("sign_on.client_secret", |text| Ok(Secret::new(text))),
            url: sources.optional("sign_on.url", http_url),
            claim: sources.required("sign_on.claim", plain),
            roles: sources.optional("sign_on.roles", str::parse),
        };
        if found.issuer.is_some() {
            NEEDED.into_iter().for_each(|key| sources.need(key));
        }
        found
    }

    /// As mission control takes them; none: there is no provider.
    pub fn options(&self) -> Option<dashboard::SignOn> {
        Some(dashboard::SignOn {
            issuer: self.issuer.clone()?,
            client_id: self.client_id.clone()?,
            client_secret: self.client_secret.as_ref().map(|secret| secret.reveal().to_owned()),
            url: self.url.clone()?,
            claim: self.claim.clone(),
            roles: self.roles.clone()?,
        })
    }

    /// A setting's value for people.
    pub(super) fn shown(&self, key: &str) -> Option<String> {
        match key {
            "sign_on.issuer" => self.issuer.clone(),
            "sign_on.client_id" => self.client_id.clone(),
            "sign_on.client_secret" => self.client_secret.as_ref().map(Secret::to_string),
            "sign_on.url" => self.url.clone(),
            "sign_on.claim" => Some(self.claim.clone()),
            "sign_on.roles" => self.roles.as_ref().map(ToString::to_string),
            _ => None,
        }
    }
}

/// Kept letter for letter, since tokens are compared with it. What comes over the network in the clear says nothing about anybody.
fn issuer(text: &str) -> Result<String, String> {
    let url = reqwest::Url::parse(text).map_err(|error| error.to_string())?;
    let here = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    match url.scheme() {
        "https" => Ok(text.to_owned()),
        "http" if here => Ok(text.to_owned()),
        _other => Err("it must begin with https://; http:// is for this very machine only".to_owned()),
    }
}
