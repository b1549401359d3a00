//! What users do, for the analytics: taken down beside the answer, which waits for nothing of it.
//!
//! Who isn't logged in has a name that is good for a day and says nothing of them: a keyed hash of the day, their network and what their device
//! calls itself. Of an address only the network is told. The domain's own facts tell of bookings and payments; these tell of the way there.

use std::net::IpAddr;

use analytics::actions::{UserAction, network};
use analytics::fact::Action;
use axum::extract::{FromRequestParts as _, MatchedPath, RawPathParams, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::Response;
use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::app::App;
use crate::http::client::Client;
use crate::options::Secret;
use crate::users::identify;

/// What browsers, and our own pages, send with what nobody may ever look at (W3C, Speculative Loading).
const PURPOSE: &str = "sec-purpose";
/// Bytes of a visitor's name: enough that a day's visitors are told apart.
const NAME_BYTES: usize = 12;

/// What a request to this route is, if it is told of.
fn action(method: &Method, route: &str, uri: &Uri) -> Option<Action> {
    let action = match (method.as_str(), route) {
        ("GET", "/events/{eventId}") => Action::EventViewed,
        ("GET", "/events/{eventId}/seats" | "/events/{eventId}/seats.svg") => Action::SeatsViewed,
        ("GET", "/events") if is_search(uri) => Action::Searched,
        ("POST", "/events/{eventId}/quote") => Action::CheckoutBegun,
        ("POST", "/bookings") => Action::BookingWished,
        ("POST", "/events/{eventId}/queue") => Action::QueueJoined,
        ("POST", "/users") => Action::Registered,
        ("POST", "/sessions") => Action::LoggedIn,
        ("DELETE", "/sessions/current") => Action::LoggedOut,
        _unremarkable => return None,
    };
    Some(action)
}

/// Whether a list is looked through for words, rather than shown as it is.
fn is_search(uri: &Uri) -> bool {
    let query = uri.query().unwrap_or_default();
    form_urlencoded::parse(query.as_bytes()).any(|(name, value)| name == "text" && !value.trim().is_empty())
}

/// Names those who aren't logged in.
pub struct Visitors(Hmac<Sha256>);

impl Visitors {
    /// By what all gateways sign with; without it each has names of its own.
    pub fn new(secret: Option<&Secret>) -> Visitors {
        let random: [u8; 32] = rand::random();
        let key = secret.map_or(random.as_slice(), |secret| secret.expose().as_bytes());
        let mut names = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length will do");
        // What else is signed with that secret doesn't begin so.
        names.update(b"visitor\0");
        Visitors(names)
    }

    /// The same for a day; nobody knows it again the next.
    fn name(&self, at: DateTime<Utc>, network: Option<IpAddr>, user_agent: Option<&str>) -> String {
        let mut name = self.0.clone();
        let network = network.map(|address| address.to_string()).unwrap_or_default();
        name.update(format!("{}\0{network}\0{}", at.date_naive(), user_agent.unwrap_or_default()).as_bytes());
        let digest = name.finalize().into_bytes();
        format!("day_{}", hex::encode(&digest[..NAME_BYTES]))
    }
}

/// Takes down what succeeds.
pub async fn note(State(app): State<App>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>();
    let action = route.and_then(|route| action(request.method(), route.as_str(), request.uri()));
    let Some(action) = action.filter(|_| app.actions().is_on() && !is_ahead_of_time(request.headers())) else {
        return next.run(request).await;
    };
    let (mut parts, body) = request.into_parts();
    let event_id = match RawPathParams::from_request_parts(&mut parts, &app).await {
        Ok(found) => found
            .iter()
            .find(|(name, _)| *name == "eventId")
            .map(|(_, id)| id.to_owned()),
        Err(_) => None,
    };
    let Ok(Client { address, user_agent }) = Client::from_request_parts(&mut parts, &app).await;
    let (at, network) = (Utc::now(), address.map(network));
    let bearer = identify::known(&app, &parts.headers);
    let session_id = match &bearer {
        Some(bearer) => bearer.session.to_string(),
        None => app.visitors().name(at, network, user_agent.as_deref()),
    };
    let taken = UserAction {
        at,
        action,
        user_id: bearer.map(|bearer| bearer.user.to_string()),
        session_id,
        event_id,
        user_agent,
        network,
    };
    let response = next.run(Request::from_parts(parts, body)).await;
    // What somebody has seen already, they see again.
    if response.status().is_success() || response.status() == StatusCode::NOT_MODIFIED {
        app.actions().record(taken);
    }
    response
}

fn is_ahead_of_time(headers: &HeaderMap) -> bool {
    headers
        .get(PURPOSE)
        .is_some_and(|purpose| purpose.as_bytes().starts_with(b"prefetch"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_visitor_has_a_name_for_a_day() {
        let visitors = Visitors::new(Some(&Secret::new("s")));
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let (morning, evening, tomorrow) = (
            at("2026-11-24T08:00:00Z"),
            at("2026-11-24T23:00:00Z"),
            at("2026-11-25T08:00:00Z"),
        );
        let network = Some("192.0.2.0".parse().unwrap());
        let name = |at, agent| visitors.name(at, network, Some(agent));
        assert_eq!(name(morning, "Firefox"), name(evening, "Firefox"));
        assert_ne!(name(morning, "Firefox"), name(tomorrow, "Firefox"));
        assert_ne!(name(morning, "Firefox"), name(morning, "Chrome"));
        // Every gateway with that secret gives it, and nobody without.
        let others = Visitors::new(Some(&Secret::new("s")));
        assert_eq!(name(morning, "Firefox"), others.name(morning, network, Some("Firefox")));
        assert_ne!(
            name(morning, "Firefox"),
            Visitors::new(None).name(morning, network, Some("Firefox"))
        );
    }

    #[test]
    fn a_list_is_searched_if_words_are_looked_for() {
        let what = |path: &str| action(&Method::GET, "/events", &path.parse().unwrap());
        assert_eq!(what("/events?city=Berlin"), None);
        assert_eq!(what("/events?text="), None);
        assert_eq!(what("/events?text=tour&city=Berlin"), Some(Action::Searched));
    }
}
