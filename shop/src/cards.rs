//! The sandbox's test cards, as the checkout offers them.

/// A card to choose.
pub struct Card {
    /// The payment method.
    pub method: &'static str,
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub about: &'static str,
}

/// Those that buyers can choose from: one for each thing that can happen to a payment.
pub const CARDS: [Card; 8] = [
    card("pm_card_visa", "Visa •••• 4242", "Pays at once"),
    card("pm_card_mastercard", "Mastercard •••• 4444", "Pays at once"),
    card(
        "pm_card_threeDSecure2Required",
        "Visa •••• 3220",
        "The bank asks whether it is you (3-D Secure)",
    ),
    card(
        "pm_sandbox_processing",
        "Slow bank •••• 0077",
        "Takes the bank two seconds",
    ),
    card(
        "pm_sandbox_flaky",
        "Unsteady bank •••• 0341",
        "Fails at first; we try again after a while",
    ),
    card("pm_card_visa_chargeDeclined", "Visa •••• 0002", "Is declined"),
    card(
        "pm_card_visa_chargeDeclinedInsufficientFunds",
        "Visa •••• 9995",
        "Has too little money on it",
    ),
    card("pm_card_chargeDeclinedExpiredCard", "Visa •••• 0069", "Has expired"),
];

const fn card(method: &'static str, name: &'static str, about: &'static str) -> Card {
    Card { method, name, about }
}

/// Whether the checkout offers this method.
pub fn is_offered(method: &str) -> bool {
    CARDS.iter().any(|card| card.method == method)
}
