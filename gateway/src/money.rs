//! Money: whole cents inside, a JSON number with two decimals outside, no floating point anywhere.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use serde_json::value::RawValue;

use crate::limits::AMOUNT_DIGITS_MAX;

/// An amount of money in cents, not negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cents(i64);

/// Why a JSON value is not an amount. The text completes "it must …".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// Text, null, a list …
    #[error("must be a JSON number such as 700.00, not in quotes")]
    NotANumber,
    /// Below zero.
    #[error("must not be negative")]
    Negative,
    /// `7e2`.
    #[error("must be written without an exponent, such as 700.00")]
    Exponent,
    /// `7.005`.
    #[error("must have at most two decimals: there is nothing smaller than a cent")]
    FractionOfCent,
    /// More than anybody could pay.
    #[error("is too large")]
    TooLarge,
}

impl Cents {
    /// This many cents; none if negative.
    pub fn new(cents: i64) -> Option<Cents> {
        (cents >= 0).then_some(Cents(cents))
    }

    /// The number of cents.
    pub fn get(self) -> i64 {
        self.0
    }

    /// The sum; none if it exceeds 64 bits.
    pub fn sum(amounts: impl IntoIterator<Item = Cents>) -> Option<Cents> {
        amounts
            .into_iter()
            .try_fold(0_i64, |sum, cents| sum.checked_add(cents.0))
            .map(Cents)
    }

    /// Reads the text of a JSON number, exactly: `700`, `700.5` and `700.50` are amounts, `7e2` and `700.500` are not.
    pub fn parse(text: &str) -> Result<Cents, AmountError> {
        if !text.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
            return Err(AmountError::NotANumber);
        }
        if text.contains(['e', 'E']) {
            return Err(AmountError::Exponent);
        }
        if text.starts_with('-') {
            return Err(AmountError::Negative);
        }
        let (whole, fraction) = match text.split_once('.') {
            Some((_, "")) => return Err(AmountError::NotANumber),
            Some((whole, fraction)) => (whole, fraction),
            None => (text, ""),
        };
        if !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
            return Err(AmountError::NotANumber);
        }
        if fraction.len() > 2 {
            return Err(AmountError::FractionOfCent);
        }
        if whole.len() > AMOUNT_DIGITS_MAX {
            return Err(AmountError::TooLarge);
        }
        let digits = format!("{whole}{fraction:0<2}");
        digits.parse().map(Cents).map_err(|_| AmountError::TooLarge)
    }
}

impl fmt::Display for Cents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.0 / 100, self.0 % 100)
    }
}

impl Serialize for Cents {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RawValue::from_string(self.to_string())
            .map_err(ser::Error::custom)?
            .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Cents {
    /// Exactly, by [`Cents::parse`]: of JSON only.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Cents::parse(raw.get()).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;
    use serde_json::value::RawValue;

    use super::*;

    #[test]
    fn amounts_are_read_exactly() {
        for (text, cents) in [
            ("0", 0),
            ("0.01", 1),
            ("0.1", 10),
            ("700", 70_000),
            ("700.5", 70_050),
            ("800.00", 80_000),
            ("0.29", 29),
            ("1.15", 115),
            ("999999999999.99", 99_999_999_999_999),
        ] {
            assert_eq!(Cents::parse(text), Ok(Cents(cents)), "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused_by_name() {
        for (text, error) in [
            ("-1", AmountError::Negative),
            ("-0", AmountError::Negative),
            ("-0.001", AmountError::Negative),
            ("7e2", AmountError::Exponent),
            ("7E2", AmountError::Exponent),
            ("-7e-2", AmountError::Exponent),
            ("0.001", AmountError::FractionOfCent),
            ("700.000", AmountError::FractionOfCent),
            ("1000000000000", AmountError::TooLarge),
            ("99999999999999999999999999999999", AmountError::TooLarge),
            ("\"700\"", AmountError::NotANumber),
            ("null", AmountError::NotANumber),
            ("true", AmountError::NotANumber),
            ("[700]", AmountError::NotANumber),
            ("", AmountError::NotANumber),
            ("7.", AmountError::NotANumber),
            ("7.0.0", AmountError::NotANumber),
            ("７", AmountError::NotANumber),
        ] {
            assert_eq!(Cents::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn amounts_are_json_numbers_with_two_decimals() {
        assert_eq!(
            serde_json::to_string(&[Cents(80_000), Cents(5), Cents(0)]).unwrap(),
            "[800.00,0.05,0.00]"
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(cents in 0..=99_999_999_999_999_i64) {
            let written = serde_json::to_string(&Cents(cents)).unwrap();
            prop_assert_eq!(Cents::parse(&written), Ok(Cents(cents)));
        }

        #[test]
        fn trailing_zeros_change_nothing(whole in 0..1_000_000_i64, tenths in 0..10_i64) {
            let long = Cents::parse(&format!("{whole}.{tenths}0"));
            prop_assert_eq!(long, Cents::parse(&format!("{whole}.{tenths}")));
            prop_assert_eq!(long, Ok(Cents(whole * 100 + tenths * 10)));
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,40}") {
            let _ = Cents::parse(&text);
        }

        #[test]
        fn any_json_number_is_an_exact_amount_or_refused(text in "-?(0|[1-9][0-9]{0,14})(\\.[0-9]{1,4})?([eE][+-]?[0-9]{1,2})?") {
            let raw: Box<RawValue> = serde_json::from_str(&text).unwrap();
            match Cents::parse(raw.get()) {
                Ok(cents) => {
                    // The decimal expansions agree, digit by digit.
                    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
                    prop_assert_eq!(cents.to_string(), format!("{}.{:0<2}", whole, fraction));
                }
                Err(_) => prop_assert!(
                    text.starts_with('-')
                        || text.contains(['e', 'E'])
                        || text.split_once('.').is_some_and(|(_, fraction)| fraction.len() > 2)
                        || text.split('.').next().unwrap().len() > AMOUNT_DIGITS_MAX
                ),
            }
        }
    }
}
