//! A headless Chromium of one test's own.
//!
//! Its steps panic where something isn't as it should be: that is how tests fail.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use thirtyfour::common::capabilities::chromium::ChromiumLikeCapabilities as _;
use thirtyfour::prelude::TypingData;
use thirtyfour::{By, CapabilitiesHelper as _, DesiredCapabilities, Key, WebDriver, WebElement};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::axe;

/// How long anything on a page may take on a busy machine.
pub const LIMIT: Duration = Duration::from_secs(30);
/// What the driver says once it listens.
const STARTED: &str = "started successfully on port ";

/// What axe may find nothing of: the WCAG's levels A and AA.
const AUDIT: &str = r#"
    const done = arguments[arguments.length - 1];
    axe.run(document, { runOnly: { type: "tag", values: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"] } })
        .then(result => done(result.violations.map(v => v.id + ": " + v.help + " " + v.nodes.map(n => n.html.slice(0, 200) + " " + n.failureSummary).join(" | "))),
              error => done(["axe failed: " + error]));
"#;

/// What tests keep of their pages.
#[derive(Clone, Copy, Debug)]
pub struct Keeping {
    /// The tests' folder: `env!("CARGO_TARGET_TMPDIR")`.
    pub target: &'static str,
    /// The folder in it for screenshots.
    pub screenshots: &'static str,
}

/// A browser, which is closed by [`Chrome::stop`].
pub struct Chrome {
    /// The driver, for what isn't here.
    pub driver: WebDriver,
    base: String,
    axe: &'static str,
    screenshots: PathBuf,
    clicks: AtomicUsize,
    // After the session: its end needs the driver.
    _process: Child,
    _profile: tempfile::TempDir,
}

impl Chrome {
    /// None: there is no browser here, which was said.
    pub async fn start(base: &str, keeping: Keeping) -> Option<Chrome> {
        let browser = ["chromium", "chromedriver"];
        if !browser.into_iter().all(crate::require) {
            return None;
        }
        let target = Path::new(keeping.target);
        let axe = axe::source(target)?;
        let (process, port) = chromedriver().await;
        let profile = tempfile::tempdir().unwrap();
        let mut wishes = DesiredCapabilities::chrome();
        let folder = format!("--user-data-dir={}", profile.path().display());
        // No sandbox: it needs rights that containers don't give, and we show it our own pages only.
        for argument in [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--window-size=1280,900",
            &folder,
        ] {
            wishes.add_arg(argument).unwrap();
        }
        wishes.set("goog:loggingPrefs", json!({"browser": "ALL"})).unwrap();
        let driver = WebDriver::new(format!("http://127.0.0.1:{port}"), wishes)
            .await
            .unwrap();
        Some(Chrome {
            driver,
            base: base.to_owned(),
            axe,
            screenshots: target.join(keeping.screenshots),
            clicks: AtomicUsize::new(0),
            _process: process,
            _profile: profile,
        })
    }

    /// Closes it.
    pub async fn stop(self) {
        self.driver.quit().await.unwrap();
    }

    /// Opens a page of the site, by its path.
    pub async fn open(&self, path: &str) {
        self.driver.goto(format!("{}{path}", self.base)).await.unwrap();
    }

    /// Waits for an element.
    pub async fn find(&self, css: &str) -> WebElement {
        crate::eventually(&format!("{css} is there"), LIMIT, async || {
            self.driver.find(By::Css(css)).await.is_ok()
        })
        .await;
        self.driver.find(By::Css(css)).await.unwrap()
    }

    /// Waits for an element and clicks on it; a page that puts a fresh one in its place meanwhile is no reason to fail.
    pub async fn click_on(&self, css: &str) {
        crate::eventually(&format!("{css} can be clicked"), LIMIT, async || {
            match self.driver.find(By::Css(css)).await {
                Ok(element) => element.click().await.is_ok(),
                Err(_) => false,
            }
        })
        .await;
        self.clicks.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits for a link or button with this text and clicks on it.
    pub async fn click(&self, text: &str) {
        let path = format!("//*[self::a or self::button or self::summary][contains(normalize-space(.), \"{text}\")]");
        crate::eventually(&format!("{text:?} can be clicked"), LIMIT, async || {
            match self.driver.find(By::XPath(path.as_str())).await {
                Ok(element) => element.click().await.is_ok(),
                Err(_) => false,
            }
        })
        .await;
        self.clicks.fetch_add(1, Ordering::Relaxed);
    }

    /// Clicks so far.
    pub fn clicks(&self) -> usize {
        self.clicks.load(Ordering::Relaxed)
    }

    /// Presses keys one after the other, wherever the focus is: as a keyboard does, which knows of no elements that a
    /// page being left could take with it.
    pub async fn press(&self, keys: impl Into<TypingData>) {
        self.driver.action_chain().send_keys(keys).perform().await.unwrap();
    }

    /// Presses a key while Control is held.
    pub async fn press_with_control(&self, key: char) {
        let chain = self.driver.action_chain().key_down(Key::Control);
        chain
            .send_keys(key.to_string())
            .key_up(Key::Control)
            .perform()
            .await
            .unwrap();
    }

    /// Waits until a page below this path is there as a whole, its scripts included. Texts alone don't tell: the page
    /// that is being left may show them too.
    pub async fn arrives(&self, path: &str) {
        let script = "return document.readyState === 'complete' ? location.pathname + location.search : ''";
        crate::eventually(&format!("{path} is shown"), LIMIT, async || {
            let shown = self.driver.execute(script, Vec::new()).await;
            shown.is_ok_and(|shown| shown.json().as_str().is_some_and(|shown| shown.starts_with(path)))
        })
        .await;
    }

    /// Waits until the page's text has this.
    pub async fn shows(&self, text: &str) {
        crate::eventually(&format!("the page shows {text:?}"), LIMIT, async || {
            self.text().await.contains(text)
        })
        .await;
    }

    /// The page's text.
    pub async fn text(&self) -> String {
        match self.driver.find(By::Css("body")).await {
            Ok(body) => body.text().await.unwrap_or_default(),
            Err(_) => String::new(),
        }
    }

    /// What a script gives.
    pub async fn run(&self, script: &str) -> Value {
        self.driver.execute(script, Vec::new()).await.unwrap().json().clone()
    }

    /// Looks at the page with axe, in both themes, and leaves screenshots.
    pub async fn check(&self, name: &str) {
        let mut problems = Vec::new();
        for theme in ["light", "dark"] {
            self.theme(theme).await;
            self.driver.execute(self.axe, Vec::new()).await.unwrap();
            let found = self.driver.execute_async(AUDIT, Vec::new()).await.unwrap();
            let found: Vec<String> = found.convert().unwrap();
            problems.extend(found.into_iter().map(|problem| format!("{name}, {theme}: {problem}")));
            self.screenshot(&format!("{name}-{theme}")).await;
        }
        assert!(problems.is_empty(), "{}", problems.join("\n"));
        self.fits(name).await;
        self.window(390, 844).await;
        self.fits(name).await;
        self.screenshot(&format!("{name}-phone")).await;
        self.window(1280, 900).await;
        self.theme("light").await;
        self.quiet(name).await;
    }

    /// Nothing makes the page wider than its window.
    async fn fits(&self, name: &str) {
        let wide = self
            .run("return document.documentElement.scrollWidth - innerWidth")
            .await;
        assert!(wide.as_i64().unwrap() <= 0, "{name} is {wide} pixels too wide");
    }

    /// Nothing has run that shouldn't, and nothing was refused by the policy.
    pub async fn quiet(&self, name: &str) {
        assert_eq!(self.run("return typeof window.pwned").await, "undefined", "{name}");
        for entry in self.driver.browser_log().await.unwrap() {
            let message = format!("{entry:?}");
            // A page that isn't there, or a saga that has moved on, is said to the console too.
            assert!(message.contains("status of 4"), "{name}: {message}");
        }
    }

    async fn theme(&self, theme: &str) {
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": theme}]});
        self.driver
            .cdp()
            .send_raw("Emulation.setEmulatedMedia", features)
            .await
            .unwrap();
    }

    /// Takes the page's network away, or gives it back. The driver's own connection stays.
    pub async fn offline(&self, offline: bool) {
        let nothing = json!({});
        self.driver.cdp().send_raw("Network.enable", nothing).await.unwrap();
        let conditions = json!({"offline": offline, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1});
        self.driver
            .cdp()
            .send_raw("Network.emulateNetworkConditions", conditions)
            .await
            .unwrap();
    }

    /// Makes the window this large.
    pub async fn window(&self, width: u32, height: u32) {
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.driver
            .cdp()
            .send_raw("Emulation.setDeviceMetricsOverride", metrics)
            .await
            .unwrap();
    }

    /// Keeps a picture of the page.
    pub async fn screenshot(&self, name: &str) {
        std::fs::create_dir_all(&self.screenshots).unwrap();
        self.driver
            .screenshot(&self.screenshots.join(format!("{name}.png")))
            .await
            .unwrap();
    }
}

/// Starts of the driver: it takes a free port for IPv4 and wants the same for IPv6, where another program may have it; then it ends.
const STARTS_MAX: usize = 5;

/// The driver on a free port of its own choice.
async fn chromedriver() -> (Child, u16) {
    let mut said = Vec::new();
    for _ in 0..STARTS_MAX {
        let mut process = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        while let Some(line) = lines.next_line().await.unwrap() {
            if let Some((_, port)) = line.split_once(STARTED) {
                let port = port.trim_end_matches('.').parse().unwrap();
                // Whatever else it says is read, so that it never waits for us.
                tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
                return (process, port);
            }
            said.push(line);
        }
    }
    panic!("chromedriver does not listen:\n{}", said.join("\n"));
}
