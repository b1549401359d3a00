//! Money: whole minor units, read from the API's decimals without ever being a floating-point number.

use std::fmt;
use std::str::FromStr;

use iso_currency::Currency;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// An amount in hundredths of its currency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Amount(i64);

impl FromStr for Amount {
    type Err = ();

    /// `350`, `350.5` and `350.00`.
    fn from_str(text: &str) -> Result<Amount, ()> {
        let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(part) || part.len() > 2 {
            return Err(());
        }
        let whole: i64 = whole.parse().map_err(|_| ())?;
        let part: i64 = format!("{part:0<2}").parse().map_err(|_| ())?;
        let cents = whole.checked_mul(100).and_then(|cents| cents.checked_add(part));
        cents.map(Amount).ok_or(())
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.0 / 100, self.0 % 100)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Amount, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        raw.get()
            .parse()
            .map_err(|()| D::Error::custom("an amount has digits and at most two decimals"))
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RawValue::from_string(self.to_string())
            .expect("digits and a point are a JSON number")
            .serialize(serializer)
    }
}

impl Amount {
    /// As people write it: `$350`, `€223.63`, `120.50 CHF`.
    pub fn told(self, currency: &str) -> String {
        let code = currency.to_uppercase();
        let number = match self.0 % 100 {
            0 => thousands(self.0 / 100),
            part => format!("{}.{part:02}", thousands(self.0 / 100)),
        };
        let symbol = Currency::from_code(&code).map(|currency| currency.symbol().to_string());
        match symbol {
            Some(symbol) if symbol.chars().count() == 1 => format!("{symbol}{number}"),
            _ => format!("{number} {code}"),
        }
    }
}

/// A number with a comma at every thousand.
pub fn thousands(number: i64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(|group| std::str::from_utf8(group).expect("digits are ASCII"))
        .collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact() {
        let read = |text: &str| serde_json::from_str::<Amount>(text).ok();
        for (text, shown) in [
            ("350", "350.00"),
            ("0.07", "0.07"),
            ("223.63", "223.63"),
            ("8.5", "8.50"),
        ] {
            let amount = read(text).expect("it is an amount");
            assert_eq!(amount.to_string(), shown);
            assert_eq!(serde_json::to_string(&amount).ok().as_deref(), Some(shown));
        }
        for text in ["1.234", "-1", "1e3", "\"1\"", "99999999999999999999"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn people_read_them() {
        let told = |text: &str, currency| text.parse::<Amount>().map(|amount| amount.told(currency));
        assert_eq!(told("1350.00", "usd").as_deref(), Ok("$1,350"));
        assert_eq!(told("223.63", "eur").as_deref(), Ok("€223.63"));
        assert_eq!(told("1234567", "xyz").as_deref(), Ok("1,234,567 XYZ"));
    }
}
