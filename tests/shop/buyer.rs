//! A browser without scripts: it keeps cookies, follows no redirect by itself, and names its origin.

use std::collections::BTreeMap;

use reqwest::{Method, StatusCode};
use testkit::eventually;

use crate::LIMIT;
use crate::running::Dev;

/// See above.
pub struct Buyer {
    http: reqwest::Client,
    base: String,
    pub cookies: BTreeMap<String, String>,
}

/// A page, read whole.
pub struct Answer {
    pub status: StatusCode,
    pub to: String,
    pub kind: String,
    pub policy: String,
    pub text: String,
}

impl Buyer {
    pub fn of(dev: &Dev) -> Buyer {
        Buyer::at(dev.url("gateway"))
    }

    /// One at a site at this address.
    pub fn at(base: &str) -> Buyer {
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
        Buyer {
            http: http.build().unwrap(),
            base: base.to_owned(),
            cookies: BTreeMap::new(),
        }
    }

    pub async fn send(&mut self, method: Method, path: &str, site: &str, form: Option<&[(&str, &str)]>) -> Answer {
        self.ask(method, path, site, |request| match form {
            Some(form) => request.form(form),
            None => request,
        })
        .await
    }

    async fn ask(
        &mut self,
        method: Method,
        path: &str,
        site: &str,
        with: impl FnOnce(reqwest::RequestBuilder) -> reqwest::RequestBuilder,
    ) -> Answer {
        let cookies: Vec<String> = self
            .cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let request = self
            .http
            .request(method, format!("{}{path}", self.base))
            .header("cookie", cookies.join("; "))
            .header("sec-fetch-site", site);
        let answer = with(request).send().await.unwrap();
        for set in answer.headers().get_all("set-cookie") {
            let set = set.to_str().unwrap();
            assert!(set.contains("; HttpOnly; SameSite=Lax"), "{set}");
            let (name, value) = set.split(';').next().unwrap().split_once('=').unwrap();
            match set.contains("Max-Age=0") {
                true => self.cookies.remove(name),
                false => self.cookies.insert(name.to_owned(), value.to_owned()),
            };
        }
        let header = |name: &str| {
            let value = answer
                .headers()
                .get(name)
                .map(|value| value.to_str().unwrap().to_owned());
            value.unwrap_or_default()
        };
        Answer {
            status: answer.status(),
            to: header("location"),
            kind: header("content-type"),
            policy: header("content-security-policy"),
            text: String::from_utf8_lossy(&answer.bytes().await.unwrap()).into_owned(),
        }
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        self.send(Method::GET, path, "same-origin", None).await
    }

    /// A page that is there, as every page must be.
    pub async fn page(&mut self, path: &str) -> String {
        let answer = self.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        assert!(answer.policy.contains("script-src 'self'"), "{path}: {}", answer.policy);
        assert!(answer.text.len() < 100_000, "{path} has {} bytes", answer.text.len());
        assert!(
            !answer.text.contains("<script>") && !answer.text.contains("style=\""),
            "{path}"
        );
        answer.text
    }

    /// Sends a form with a file, as browsers do.
    pub async fn upload(&mut self, path: &str, file: &str, text: &str) -> Answer {
        const EDGE: &str = "edge-of-a-part";
        let body = format!(
            "--{EDGE}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"seats\"\r\nContent-Type: text/csv\r\n\r\n{file}\r\n\
             --{EDGE}\r\nContent-Disposition: form-data; name=\"text\"\r\n\r\n{text}\r\n--{EDGE}--\r\n"
        );
        let kind = format!("multipart/form-data; boundary={EDGE}");
        self.ask(Method::POST, path, "same-origin", |request| {
            request.header("content-type", kind).body(body)
        })
        .await
    }

    pub async fn post(&mut self, path: &str, form: &[(&str, &str)]) -> Answer {
        self.send(Method::POST, path, "same-origin", Some(form)).await
    }

    /// Opens the checkout of these seats, and gives its path with the order's key, and its form's fields.
    pub async fn checkout(&mut self, event: &str, seats: &[&str]) -> (String, Vec<(String, String)>) {
        let seats: Vec<String> = seats.iter().map(|seat| format!("seat={seat}")).collect();
        let keyed = self
            .get(&format!("/shop/events/{event}/checkout?{}", seats.join("&")))
            .await;
        assert_eq!(keyed.status, 303, "{}", keyed.text);
        let page = self.page(&keyed.to).await;
        let fields = page.split("<input type=\"hidden\" ").skip(1).map(|input| {
            let value = |name: &str| {
                let begin = input.find(&format!("{name}=\"")).unwrap() + name.len() + 2;
                input[begin..].split('"').next().unwrap().to_owned()
            };
            (value("name"), value("value"))
        });
        (keyed.to.clone(), fields.collect())
    }

    /// Orders seats, and gives the path of the order.
    pub async fn order(&mut self, event: &str, seats: &[&str], card: &str) -> String {
        let (_, fields) = self.checkout(event, seats).await;
        let answer = self.pay(event, &fields, card).await;
        assert_eq!(answer.status, 303, "{}", answer.text);
        answer.to
    }

    /// Sends a checkout's form.
    pub async fn pay(&mut self, event: &str, fields: &[(String, String)], card: &str) -> Answer {
        let mut form: Vec<(&str, &str)> = fields
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        form.extend([("card", card), ("email", "fan@example.com")]);
        self.post(&format!("/shop/events/{event}/checkout"), &form).await
    }

    /// Waits until a page says this.
    pub async fn until(&mut self, path: &str, text: &str) -> String {
        let mut page = String::new();
        eventually(&format!("{path} says {text:?}"), LIMIT, async || {
            page = self.page(path).await;
            page.contains(text)
        })
        .await;
        page
    }
}

/// The number of a confirmed order, as its page has it.
pub fn number_on(page: &str) -> String {
    let (_, rest) = page.split_once("class=\"number\">").unwrap();
    rest.split('<').next().unwrap().to_owned()
}
