//! Who looks at a page: by cookies that no script can read.

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use uuid::Uuid;

use crate::api::{Caller, Failure, Token};
use crate::limits::{ACCESS_MARGIN_SECONDS, COOKIE_BYTES_MAX, GUEST_ORDERS_MAX, GUEST_SECONDS, SESSION_SECONDS};
use crate::options::Options;
use crate::routes::Shop;
use crate::trouble::Trouble;
use crate::types::Tokens;

/// `user:token`, as long as the token is good.
const ACCESS: &str = "sagaline_access";
/// What gives the next one.
const REFRESH: &str = "sagaline_refresh";
/// Under which id somebody books who isn't logged in.
const GUEST: &str = "sagaline_guest";
/// The orders of somebody who isn't logged in, joined by dots.
const ORDERS: &str = "sagaline_orders";

/// Who looks at a page.
#[derive(Clone, Debug)]
pub struct Visitor {
    /// On whose behalf the gateway is asked.
    pub caller: Caller,
    who: Who,
    orders: Vec<String>,
}

#[derive(Clone, Debug)]
enum Who {
    /// A registered user, by their id.
    User(String),
    /// Somebody else, by an id of our own.
    Guest(String),
}

impl Visitor {
    /// Whether they are logged in.
    pub fn is_logged_in(&self) -> bool {
        matches!(self.who, Who::User(_))
    }

    /// Their id, as bookings and places in lines have it.
    pub fn user_id(&self) -> &str {
        match &self.who {
            Who::User(id) | Who::Guest(id) => id,
        }
    }

    /// The orders that this browser knows without a login, the last one first.
    pub fn orders(&self) -> &[String] {
        &self.orders
    }

    /// Whether it is worth asking for this order: what is a user's, the gateway says.
    pub fn may_ask(&self, order: &str) -> bool {
        self.is_logged_in() || self.knows(order)
    }

    /// Whether this order was made, or looked up, in this browser: nobody else sees a guest's.
    pub fn knows(&self, order: &str) -> bool {
        self.orders.iter().any(|known| known == order)
    }

    /// The cookies that keep a guest's id, and this order, if there is one: users may look guests' orders up, too.
    pub fn remember(&self, options: &Options, order: Option<&str>) -> Vec<HeaderValue> {
        let mut cookies = match &self.who {
            Who::Guest(guest) => vec![cookie(options, GUEST, guest, GUEST_SECONDS)],
            Who::User(_) => Vec::new(),
        };
        if let Some(order) = order {
            let others = self.orders.iter().map(String::as_str).filter(|known| *known != order);
            let orders: Vec<&str> = [order].into_iter().chain(others).take(GUEST_ORDERS_MAX).collect();
            cookies.push(cookie(options, ORDERS, &orders.join("."), GUEST_SECONDS));
        }
        cookies
    }
}

/// The cookies of somebody who has logged in.
pub fn log_in(options: &Options, tokens: &Tokens) -> Vec<HeaderValue> {
    let good_for = tokens.expires_in.saturating_sub(ACCESS_MARGIN_SECONDS);
    let access = format!("{}:{}", tokens.user_id, tokens.access_token);
    vec![
        cookie(options, ACCESS, &access, good_for),
        cookie(options, REFRESH, &tokens.refresh_token, SESSION_SECONDS),
    ]
}

/// The cookies of somebody who has not.
pub fn log_out(options: &Options) -> Vec<HeaderValue> {
    vec![cookie(options, ACCESS, "", 0), cookie(options, REFRESH, "", 0)]
}

/// A cookie that no script reads, and that other sites' forms don't bring.
pub fn cookie(options: &Options, name: &str, value: &str, seconds: u64) -> HeaderValue {
    let secure = options.secure();
    let text = format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={seconds}{secure}");
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("sagaline_none=; Max-Age=0"))
}

/// An answer with these cookies.
pub fn with_cookies(cookies: Vec<HeaderValue>, answer: impl IntoResponse) -> Response {
    let mut response = answer.into_response();
    for cookie in cookies {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

/// Finds out who is asking. A session whose access token has ended gets the next one on the way.
pub async fn visit(State(shop): State<Shop>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0);
    let caller = Caller::of(request.headers(), peer);
    let (visitor, cookies) = match find(&shop, request.headers(), caller).await {
        Ok(found) => found,
        Err(failure) => return Trouble::from(failure).into_response(),
    };
    let was_logged_in = visitor.is_logged_in();
    request.extensions_mut().insert(visitor);
    let mut response = next.run(request).await;
    // What the page itself says of its cookies, it says last.
    let mut cookies = cookies;
    cookies.extend(response.headers().get_all(header::SET_COOKIE).iter().cloned());
    if was_logged_in && response.status() == StatusCode::UNAUTHORIZED {
        cookies.extend(log_out(&shop.options));
    }
    response.headers_mut().remove(header::SET_COOKIE);
    with_cookies(cookies, response)
}

async fn find(shop: &Shop, headers: &HeaderMap, caller: Caller) -> Result<(Visitor, Vec<HeaderValue>), Failure> {
    let short = |name| web::cookie(headers, name).filter(|value| !value.is_empty() && value.len() <= COOKIE_BYTES_MAX);
    let orders = short(ORDERS).map(known_orders).unwrap_or_default();
    let user = |caller: &Caller, id: &str, token: &str| Visitor {
        caller: Caller {
            token: Some(Token(token.to_owned())),
            ..caller.clone()
        },
        who: Who::User(id.to_owned()),
        orders: orders.clone(),
    };
    if let Some((id, token)) = short(ACCESS).and_then(|value| value.split_once(':')) {
        return Ok((user(&caller, id, token), Vec::new()));
    }
    let mut cookies = Vec::new();
    if let Some(token) = short(REFRESH) {
        match shop.refreshes.next(&shop.api, &caller, token).await {
            Ok(tokens) => {
                let visitor = user(&caller, &tokens.user_id, &tokens.access_token);
                return Ok((visitor, log_in(&shop.options, &tokens)));
            }
            // The session has ended.
            Err(failure) if failure.is("no-token") => cookies = log_out(&shop.options),
            // Nobody shall go on as a guest who believes to be logged in.
            Err(failure) => return Err(failure),
        }
    }
    let guest = short(GUEST).filter(|id| is_guest(id)).map(str::to_owned);
    let visitor = Visitor {
        caller,
        who: Who::Guest(guest.unwrap_or_else(|| format!("guest_{}", hex::encode(rand::random::<[u8; 16]>())))),
        orders,
    };
    Ok((visitor, cookies))
}

fn is_guest(id: &str) -> bool {
    let digits = id.strip_prefix("guest_").unwrap_or_default();
    digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn known_orders(text: &str) -> Vec<String> {
    let ids = text.split('.').filter(|id| id.parse::<Uuid>().is_ok());
    ids.take(GUEST_ORDERS_MAX).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{Guests, Payments};

    fn options(url: &str) -> Options {
        Options {
            guests: Guests::Welcome,
            payments: Payments::Elsewhere,
            url: url.to_owned(),
        }
    }

    #[test]
    fn cookies_are_for_the_server_alone() {
        let text = |url| format!("{:?}", cookie(&options(url), "a", "b", 5));
        assert!(text("http://127.0.0.1").contains("a=b; Path=/; HttpOnly; SameSite=Lax; Max-Age=5\""));
        assert!(text("https://shop.example").contains("; Secure"));
        // What fits no header is no cookie.
        assert!(!format!("{:?}", cookie(&options(""), "a", "b\nc", 5)).contains("a=b"));
    }

    #[test]
    fn a_guest_has_a_form_and_a_few_orders() {
        assert!(is_guest(&format!("guest_{}", "0a".repeat(16))));
        assert!(!is_guest("guest_1") && !is_guest("usr_1") && !is_guest(""));
        let ids = vec![Uuid::nil().to_string(); 30].join(".");
        assert_eq!(known_orders(&ids).len(), GUEST_ORDERS_MAX);
        assert!(known_orders("x.<script>").is_empty());
    }
}
