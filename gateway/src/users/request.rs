//! What people send about themselves, read and checked; each mistake is named by its field.

use axum::body::Body;
use axum::http::{HeaderMap, header};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::random::{self, Refresh};
use crate::http::body::{self, Members};
use crate::http::text;
use crate::limits::{
    BODY_BYTES_MAX, EMAIL_CHARS_MAX, ID_CHARS_MAX, PASSWORD_CHARS_MAX, PASSWORD_CHARS_MIN, PHONE_CHARS_MAX,
};
use crate::problem::{FieldError, Problem};

/// Somebody who registers.
#[derive(Serialize, ToSchema)]
pub struct Registration {
    /// Where links are sent to, and what one logs in with.
    #[schema(max_length = 254, format = "email", example = "fan@example.com")]
    pub email: String,
    /// Its length is what counts.
    #[schema(
        min_length = 8,
        max_length = 128,
        format = "password",
        example = "correct horse battery"
    )]
    pub password: String,
    /// As mails address one.
    #[schema(min_length = 1, max_length = 100, example = "Ada Lovelace")]
    pub name: String,
    /// With its country's code.
    #[schema(required = false, example = "+12125550123")]
    pub phone: Option<String>,
}

/// Somebody who logs in.
#[derive(Serialize, ToSchema)]
pub struct Credentials {
    /// As registered, in any case of letters.
    #[schema(max_length = 254, format = "email", example = "fan@example.com")]
    pub email: String,
    /// The password.
    #[schema(max_length = 128, format = "password", example = "correct horse battery")]
    pub password: String,
}

/// The next tokens, please.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RefreshRequest {
    /// The last one that was given.
    pub refresh_token: String,
}

/// What may be changed of a profile; what is left out stays.
#[derive(Serialize, ToSchema)]
pub struct ProfileChange {
    /// The new name.
    #[schema(required = false, min_length = 1, max_length = 100)]
    pub name: Option<String>,
    /// The new number; null: none.
    #[schema(required = false, value_type = Option<String>, example = "+12125550123")]
    pub phone: Option<Option<String>>,
}

/// A link's token.
#[derive(Serialize, ToSchema)]
pub struct ConfirmationRequest {
    /// From the mail.
    pub token: String,
}

/// Whose password was forgotten.
#[derive(Serialize, ToSchema)]
pub struct ResetRequest {
    /// The address of the account.
    #[schema(max_length = 254, format = "email", example = "fan@example.com")]
    pub email: String,
}

/// A new password.
#[derive(Serialize, ToSchema)]
pub struct NewPassword {
    /// Its length is what counts.
    #[schema(min_length = 8, max_length = 128, format = "password")]
    pub password: String,
}

/// Another password, by whoever knows the present one.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PasswordChange {
    /// The present one.
    #[schema(max_length = 128, format = "password", example = "correct horse battery")]
    pub current_password: String,
    /// The next one. Its length is what counts.
    #[schema(
        min_length = 8,
        max_length = 128,
        format = "password",
        example = "staple battery horse"
    )]
    pub new_password: String,
}

/// Another address, by whoever knows the password.
#[derive(Serialize, ToSchema)]
pub struct EmailChange {
    /// The new address: a link is sent there.
    #[schema(max_length = 254, format = "email", example = "ada@example.org")]
    pub email: String,
    /// The account's password.
    #[schema(max_length = 128, format = "password", example = "correct horse battery")]
    pub password: String,
}

/// The body's members, of a JSON object.
pub async fn members(headers: &HeaderMap, body: Body) -> Result<Members, Problem> {
    // The size before the type: whoever sends 10 MB of anything is told so.
    let bytes = body::read(headers, body, BODY_BYTES_MAX).await?;
    body::require_json(headers)?;
    body::parse_object(&bytes)
}

/// The same, also of an HTML form, as the pages behind our links have one. Says whether it was.
pub async fn members_or_form(headers: &HeaderMap, body: Body) -> Result<(Members, bool), Problem> {
    let declared = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = declared.unwrap_or_default().split(';').next().unwrap_or_default();
    if !essence.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Ok((members(headers, body).await?, false));
    }
    let bytes = body::read(headers, body, BODY_BYTES_MAX).await?;
    let fields = form_urlencoded::parse(&bytes)
        .map(|(name, value)| {
            let value = serde_json::value::to_raw_value(&value).expect("text is JSON");
            (name.into_owned(), value)
        })
        .collect();
    Ok((Members::of(fields), true))
}

impl Registration {
    /// Reads the body.
    pub fn parse(mut members: Members) -> Result<Registration, Problem> {
        let mut errors = Vec::new();
        let email = email(&mut members, &mut errors);
        let password = new_password("password", &mut members, &mut errors);
        let name = members.required_text("name", ID_CHARS_MAX, &mut errors);
        let phone = members
            .take("phone", &mut errors)
            .and_then(|raw| phone(&raw, &mut errors));
        members.finish(&["email", "password", "name", "phone"], &mut errors);
        match (email, password, name) {
            (Some(email), Some(password), Some(name)) if errors.is_empty() => Ok(Registration {
                email,
                password,
                name,
                phone,
            }),
            _ => Err(Problem::invalid(errors)),
        }
    }
}

impl Credentials {
    /// Reads the body. A password that nobody can have is simply a wrong one: it is cut short of being hashed by nothing but its length.
    pub fn parse(mut members: Members) -> Result<Credentials, Problem> {
        let mut errors = Vec::new();
        let email = email(&mut members, &mut errors);
        let password = members.required_text("password", PASSWORD_CHARS_MAX, &mut errors);
        members.finish(&["email", "password"], &mut errors);
        match (email, password) {
            (Some(email), Some(password)) if errors.is_empty() => Ok(Credentials { email, password }),
            _ => Err(Problem::invalid(errors)),
        }
    }
}

/// Reads the body of a refresh; none: it is no token of ours.
pub fn refresh_token(mut members: Members) -> Result<Option<Refresh>, Problem> {
    let mut errors = Vec::new();
    let token = members
        .required("refreshToken", &mut errors)
        .and_then(|raw| body::decode::<String>(&raw, "/refreshToken", "must be text", &mut errors));
    members.finish(&["refreshToken"], &mut errors);
    match token {
        Some(token) if errors.is_empty() => Ok(Refresh::parse(&token)),
        _ => Err(Problem::invalid(errors)),
    }
}

impl ProfileChange {
    /// Reads the body.
    pub fn parse(mut members: Members) -> Result<ProfileChange, Problem> {
        let mut errors = Vec::new();
        let name = members.take_or_null("name", &mut errors);
        let name = name.and_then(|raw| body::text_at(&raw, "/name", ID_CHARS_MAX, &mut errors));
        let phone_given = members.take_or_null("phone", &mut errors);
        let phone = phone_given.map(|raw| match raw.get() {
            "null" => None,
            _ => phone(&raw, &mut errors),
        });
        members.finish(&["name", "phone"], &mut errors);
        if errors.is_empty() {
            Ok(ProfileChange { name, phone })
        } else {
            Err(Problem::invalid(errors))
        }
    }
}

impl PasswordChange {
    /// Reads the body.
    pub fn parse(mut members: Members) -> Result<PasswordChange, Problem> {
        let mut errors = Vec::new();
        let current = members.required_text("currentPassword", PASSWORD_CHARS_MAX, &mut errors);
        let new = new_password("newPassword", &mut members, &mut errors);
        members.finish(&["currentPassword", "newPassword"], &mut errors);
        match (current, new) {
            (Some(current_password), Some(new_password)) if errors.is_empty() => Ok(PasswordChange {
                current_password,
                new_password,
            }),
            _ => Err(Problem::invalid(errors)),
        }
    }
}

impl EmailChange {
    /// Reads the body.
    pub fn parse(mut members: Members) -> Result<EmailChange, Problem> {
        let mut errors = Vec::new();
        let email = email(&mut members, &mut errors);
        let password = members.required_text("password", PASSWORD_CHARS_MAX, &mut errors);
        members.finish(&["email", "password"], &mut errors);
        match (email, password) {
            (Some(email), Some(password)) if errors.is_empty() => Ok(EmailChange { email, password }),
            _ => Err(Problem::invalid(errors)),
        }
    }
}

/// What is wrong with a password that isn't the account's.
pub fn wrong_password(pointer: &str) -> Problem {
    Problem::invalid(vec![FieldError::new(pointer, "is not the account's password")])
}

/// Reads the body of a confirmation.
pub fn link_token(mut members: Members) -> Result<String, Problem> {
    let mut errors = Vec::new();
    let token = members
        .required("token", &mut errors)
        .and_then(|raw| body::decode::<String>(&raw, "/token", "must be text", &mut errors));
    members.finish(&["token"], &mut errors);
    match token {
        Some(token) if errors.is_empty() && random::is_token(&token) => Ok(token),
        Some(_) if errors.is_empty() => Err(bad_link()),
        _ => Err(Problem::invalid(errors)),
    }
}

/// What is wrong with a confirmation's token, whatever it is.
pub fn bad_link() -> Problem {
    let message = "is not of a link that is good: it was used, is too old, or there never was one";
    Problem::invalid(vec![FieldError::new("/token", message)])
}

/// Reads the body of a wish for a link.
pub fn reset_email(mut members: Members) -> Result<String, Problem> {
    let mut errors = Vec::new();
    let email = email(&mut members, &mut errors);
    members.finish(&["email"], &mut errors);
    email
        .filter(|_| errors.is_empty())
        .ok_or_else(|| Problem::invalid(errors))
}

/// Reads the body of a new password.
pub fn password_only(mut members: Members) -> Result<String, Problem> {
    let mut errors = Vec::new();
    let password = new_password("password", &mut members, &mut errors);
    members.finish(&["password"], &mut errors);
    password
        .filter(|_| errors.is_empty())
        .ok_or_else(|| Problem::invalid(errors))
}

/// What addresses are compared by: their owners don't mind the case of letters. Of ASCII letters only: others become letters that are
/// not the same (`K`, the sign for kelvin, becomes `k`), and somebody could register an address that is another's.
pub fn email_key(email: &str) -> String {
    email.to_ascii_lowercase()
}

fn email(members: &mut Members, errors: &mut Vec<FieldError>) -> Option<String> {
    let email = members.required_text("email", EMAIL_CHARS_MAX, errors)?;
    // The key must fit too, and lower case can be longer.
    if text::is_email(&email) && email_key(&email).chars().count() <= EMAIL_CHARS_MAX {
        return Some(email);
    }
    errors.push(FieldError::new(
        "/email",
        "must be an e-mail address such as fan@example.com",
    ));
    None
}

fn new_password(field: &str, members: &mut Members, errors: &mut Vec<FieldError>) -> Option<String> {
    let password = members.required_text(field, PASSWORD_CHARS_MAX, errors)?;
    if password.chars().count() >= PASSWORD_CHARS_MIN {
        return Some(password);
    }
    let message = format!("must have at least {PASSWORD_CHARS_MIN} characters");
    errors.push(FieldError::new(format!("/{field}"), message));
    None
}

/// A phone number in E.164, without what people write between its digits.
fn phone(raw: &RawValue, errors: &mut Vec<FieldError>) -> Option<String> {
    let text = body::text_at(raw, "/phone", PHONE_CHARS_MAX, errors)?;
    let phone = international(&text);
    if phone.is_none() {
        errors.push(FieldError::new("/phone", NOT_INTERNATIONAL));
    }
    phone
}

/// What is wrong with a number that is not [`international`].
pub const NOT_INTERNATIONAL: &str = "must be a number with its country's code, such as +1 212 555 0123";

/// A phone number in E.164, if the text is one.
pub fn international(text: &str) -> Option<String> {
    let phone: String = text.chars().filter(|char| !" -()./".contains(*char)).collect();
    let digits = phone.strip_prefix('+').unwrap_or_default();
    let is_number = (7..=15).contains(&digits.len())
        && !digits.starts_with('0')
        && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then_some(phone)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn registration(body: &str) -> Result<Registration, Vec<String>> {
        let members = body::parse_object(body.as_bytes()).unwrap();
        let pointers = |problem: Problem| problem.errors().iter().map(|error| error.pointer.clone()).collect();
        Registration::parse(members).map_err(pointers)
    }

    #[test]
    fn addresses_are_compared_without_case_and_no_other_way() {
        assert_eq!(email_key("Mike@Example.COM"), "mike@example.com");
        assert_ne!(
            email_key("mi\u{212a}e@example.com"),
            "mike@example.com",
            "the sign for kelvin"
        );
    }

    #[test]
    fn a_registration_is_read() {
        let body =
            r#"{"email": "Ada@Example.com", "password": "12345678", "name": "Ada", "phone": "+1 (212) 555-0123"}"#;
        let ada = registration(body).ok().unwrap();
        assert_eq!(
            (ada.email.as_str(), ada.phone.as_deref()),
            ("Ada@Example.com", Some("+12125550123"))
        );
        assert_eq!(email_key(&ada.email), "ada@example.com");
    }

    #[test]
    fn every_mistake_is_named() {
        let all = registration(r#"{"email": "ada", "password": "1234567", "phone": "0049", "role": "admin"}"#);
        assert_eq!(all.err().unwrap(), ["/email", "/password", "/name", "/phone", "/role"]);
        for (field, value) in [
            ("password", format!("{:?}", "x".repeat(129))),
            ("password", r#""1234567\u0000""#.to_owned()),
            ("password", "12345678".to_owned()),
            ("email", r#""a@b, c@d""#.to_owned()),
            ("email", r#""a@b\r\nBcc: c@d""#.to_owned()),
            ("email", format!("{:?}", format!("{}@example.com", "x".repeat(250)))),
            ("name", r#""A\nB""#.to_owned()),
            ("phone", r#""+1234567890123456""#.to_owned()),
            ("phone", r#""+49 ４４４４４４４""#.to_owned()),
        ] {
            let mut fields = std::collections::BTreeMap::from([
                ("email", r#""a@example.com""#.to_owned()),
                ("password", r#""12345678""#.to_owned()),
                ("name", r#""A""#.to_owned()),
            ]);
            fields.insert(field, value.clone());
            let fields: Vec<String> = fields
                .iter()
                .map(|(name, value)| format!("{name:?}: {value}"))
                .collect();
            let errors = registration(&format!("{{{}}}", fields.join(", "))).err();
            assert_eq!(errors, Some(vec![format!("/{field}")]), "{value}");
        }
    }

    #[test]
    fn a_change_tells_null_from_nothing() {
        let parse = |text: &str| ProfileChange::parse(body::parse_object(text.as_bytes()).unwrap());
        assert_eq!(parse("{}").ok().unwrap().phone, None);
        assert_eq!(parse(r#"{"phone": null}"#).ok().unwrap().phone, Some(None));
        assert!(parse(r#"{"name": null}"#).is_err());
        assert!(parse(r#"{"email": "a@b.example"}"#).is_err());
    }
}
