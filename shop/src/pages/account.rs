//! Logging in, registering, logging out.

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::http::{Method, StatusCode};
use serde_json::{Map, json};

use super::fields::{Fields, Form, Query};
use super::{Frame, Page, go, html, html_with};
use crate::api::{Ask, Failure};
use crate::routes::Shop;
use crate::text::{local, query};
use crate::trouble::Trouble;
use crate::types::Tokens;
use crate::visitor::{self, Visitor, with_cookies};

#[derive(Template)]
#[template(path = "account.html")]
struct Account {
    frame: Frame,
    registers: bool,
    email: String,
    name: String,
    phone: String,
    next: String,
    other: String,
    problem: String,
}

impl Account {
    fn of(visitor: &Visitor, registers: bool, fields: &Fields, problem: String) -> Account {
        let next = local(fields.text("next"));
        let other = if registers { "/shop/login" } else { "/shop/register" };
        Account {
            frame: Frame::new(visitor, if registers { "register" } else { "login" }),
            registers,
            email: fields.text("email").to_owned(),
            name: fields.text("name").to_owned(),
            phone: fields.text("phone").to_owned(),
            other: format!("{other}?{}", query([("next", next)])),
            next: next.to_owned(),
            problem,
        }
    }
}

/// The form.
pub async fn login_form(Extension(visitor): Extension<Visitor>, Query(fields): Query) -> Page {
    html(&Account::of(&visitor, false, &fields, String::new()))
}

/// The other form.
pub async fn register_form(Extension(visitor): Extension<Visitor>, Query(fields): Query) -> Page {
    html(&Account::of(&visitor, true, &fields, String::new()))
}

/// Lets somebody in, and goes on where they were.
pub async fn log_in(State(shop): State<Shop>, Extension(visitor): Extension<Visitor>, Form(fields): Form) -> Page {
    match session(&shop, &visitor, &fields).await {
        Ok(tokens) => Ok(enter(&shop, &tokens, &fields)),
        Err(failure) if failure.is("wrong-credentials") || failure.is("invalid") => {
            let problem = "The address or the password is wrong.".to_owned();
            html_with(
                StatusCode::UNPROCESSABLE_ENTITY,
                &Account::of(&visitor, false, &fields, problem),
            )
        }
        Err(failure) => Err(failure.into()),
    }
}

async fn session(shop: &Shop, visitor: &Visitor, fields: &Fields) -> Result<Tokens, Failure> {
    let credentials = json!({ "email": fields.text("email"), "password": fields.exact("password") });
    shop.api
        .ask(&visitor.caller, Ask::post("/sessions", &credentials))
        .await
}

fn enter(shop: &Shop, tokens: &Tokens, fields: &Fields) -> axum::response::Response {
    with_cookies(visitor::log_in(&shop.options, tokens), go(local(fields.text("next"))))
}

/// Makes an account, and lets its owner in.
pub async fn register(State(shop): State<Shop>, Extension(visitor): Extension<Visitor>, Form(fields): Form) -> Page {
    let mut account = Map::new();
    for name in ["email", "name", "phone"] {
        if let Some(value) = fields.get(name) {
            account.insert(name.to_owned(), json!(value));
        }
    }
    account.insert("password".to_owned(), json!(fields.exact("password")));
    let problem = match shop.api.tell(&visitor.caller, Ask::post("/users", &account)).await {
        Ok(()) => {
            let tokens = session(&shop, &visitor, &fields).await?;
            return Ok(enter(&shop, &tokens, &fields));
        }
        Err(failure) if failure.is("conflict") => {
            "There is an account of this address already: log in instead.".to_owned()
        }
        Err(Failure::Refused(refusal)) if refusal.code() == "invalid" => format!("Please check: {}.", refusal.told()),
        Err(failure) => return Err(failure.into()),
    };
    html_with(
        StatusCode::UNPROCESSABLE_ENTITY,
        &Account::of(&visitor, true, &fields, problem),
    )
}

/// Ends the session; one that has ended already is ended.
pub async fn log_out(State(shop): State<Shop>, Extension(visitor): Extension<Visitor>) -> Page {
    if visitor.is_logged_in() {
        let ask = Ask::of(Method::DELETE, "/sessions/current");
        match shop.api.tell(&visitor.caller, ask).await {
            Ok(()) => (),
            Err(failure) if failure.is("no-token") => (),
            Err(failure) => return Err(Trouble::from(failure)),
        }
    }
    Ok(with_cookies(visitor::log_out(&shop.options), go("/")))
}
