//! A browser without pages: it keeps cookies and names its origin.

use dashboard::{Role, operators};
use reqwest::redirect::Policy;
use reqwest::{Method, Response, StatusCode};

use crate::control::Control;

pub const PASSWORD: &str = "correct horse battery staple";

impl Control {
    /// A browser of nobody's.
    pub fn browser(&self) -> Browser {
        let client = reqwest::Client::builder().redirect(Policy::none()).build().unwrap();
        Browser {
            client,
            base: self.base.clone(),
            cookie: None,
        }
    }

    /// A browser that is logged in.
    pub async fn logged_in(&self, name: &str, role: Role) -> Browser {
        operators::add(&self.database.pool, name, role, PASSWORD).await.unwrap();
        let mut browser = self.browser();
        let answer = browser.log_in(name, PASSWORD).await;
        assert_eq!(answer.status(), StatusCode::SEE_OTHER);
        browser
    }
}

/// What a browser does with cookies and origins.
pub struct Browser {
    client: reqwest::Client,
    pub base: String,
    pub cookie: Option<String>,
}

impl Browser {
    pub async fn send(&mut self, method: Method, path: &str, form: Option<&[(&str, &str)]>) -> Response {
        let mut request = self.client.request(method, format!("{}{path}", self.base));
        if let Some(cookie) = &self.cookie {
            request = request.header("cookie", format!("other=1; {cookie}"));
        }
        if let Some(form) = form {
            request = request.header("sec-fetch-site", "same-origin").form(form);
        }
        let answer = request.send().await.unwrap();
        if let Some(set) = answer.headers().get("set-cookie") {
            self.cookie = set.to_str().unwrap().split(';').next().map(str::to_owned);
        }
        answer
    }

    pub async fn get(&mut self, path: &str) -> Response {
        self.send(Method::GET, path, None).await
    }

    /// A page that is there.
    pub async fn page(&mut self, path: &str) -> String {
        let answer = self.get(path).await;
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert_eq!(status, StatusCode::OK, "{path}: {text}");
        text
    }

    pub async fn post(&mut self, path: &str, form: &[(&str, &str)]) -> Response {
        self.send(Method::POST, path, Some(form)).await
    }

    pub async fn log_in(&mut self, name: &str, password: &str) -> Response {
        self.post("/login", &[("name", name), ("password", password)]).await
    }
}
