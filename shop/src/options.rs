//! How the site is set up.

/// How the site is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Who may buy.
    pub guests: Guests,
    /// How they pay.
    pub payments: Payments,
    /// Where browsers reach the site: over TLS, cookies never leave TLS.
    pub url: String,
}

/// Who may buy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guests {
    /// Also those who aren't logged in, as the gateway allows it.
    Welcome,
    /// Only those who are.
    LogIn,
}

/// How buyers pay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payments {
    /// By one of the sandbox's test cards; banks' pages are at this address.
    TestCards {
        /// The sandbox, as browsers reach it.
        bank_url: String,
    },
    /// Not here: cards are entered on the payment provider's own form, which this site doesn't have.
    Elsewhere,
}

impl Options {
    /// What cookies end with.
    pub(crate) fn secure(&self) -> &'static str {
        match self.url.starts_with("https://") {
            true => "; Secure",
            false => "",
        }
    }
}
