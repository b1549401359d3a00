//! What seats of an event cost, and what is added: pure. Money is whole cents; decimals are for the rates of taxes alone.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::str::FromStr;

use rust_decimal::{Decimal, RoundingStrategy};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::import::Layout;
use crate::http::text::{self, echo};
use crate::limits::{CHARGES_MAX, ID_CHARS_MAX, TIER_PLACES_MAX, TIERS_MAX};
use crate::money::Cents;
use crate::problem::FieldError;

/// Rows without a price that are named in an error.
const UNPRICED_NAMED: usize = 10;

/// An event's prices, and what is added to them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pricing {
    /// What which seats cost.
    #[serde(default)]
    #[schema(max_items = 100)]
    pub tiers: Vec<Tier>,
    /// What is added.
    #[serde(default)]
    #[schema(max_items = 10)]
    pub fees: Vec<Fee>,
    /// What the state wants of both.
    #[serde(default)]
    #[schema(max_items = 10)]
    pub taxes: Vec<Tax>,
}

/// Seats that cost the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tier {
    /// Its name.
    #[schema(example = "Gold")]
    pub name: String,
    /// What a seat costs, without fees; with those taxes that are included.
    #[schema(value_type = f64, multiple_of = 0.01, example = json!(150.00))]
    pub price: Cents,
    /// Which seats: a section's rows come before the section, and that before a tier without places, which has the rest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub places: Vec<TierPlace>,
}

/// A section, or some rows of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TierPlace {
    /// The section.
    #[schema(example = "Floor")]
    pub section: String,
    /// Its rows; left out, all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rows: Vec<String>,
}

/// What is added to the seats' prices.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fee {
    /// As it is shown.
    #[schema(example = "Service fee")]
    pub name: String,
    /// How much.
    #[schema(value_type = f64, multiple_of = 0.01, example = json!(4.50))]
    pub amount: Cents,
    /// For each seat, or once an order.
    pub per: Per,
}

/// How often a fee is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Per {
    /// For each seat.
    Seat,
    /// Once.
    Order,
}

/// A tax on seats and fees together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tax {
    /// As it is shown.
    #[schema(example = "Sales tax")]
    pub name: String,
    /// Per cent, with at most four decimals.
    #[schema(value_type = f64, example = json!(8.875))]
    pub rate: Percent,
    /// Whether prices and fees contain it (as VAT is shown in Europe) or it is added.
    #[serde(default)]
    pub included: bool,
}

/// A share in per cent, exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Percent(Decimal);

impl Percent {
    /// Reads the text of a JSON number.
    fn parse(text: &str) -> Result<Percent, String> {
        let problem = || "must be a number from 0 to 100 with at most four decimals, such as 8.875".to_owned();
        // As it is written: no exponents, no plus.
        if !text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') || text.len() > 10 {
            return Err(problem());
        }
        let rate = Decimal::from_str(text).map_err(|_| problem())?;
        if rate > Decimal::ONE_HUNDRED || rate.scale() > 4 {
            return Err(problem());
        }
        Ok(Percent(rate))
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.normalize())
    }
}

impl Serialize for Percent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RawValue::from_string(self.to_string())
            .map_err(serde::ser::Error::custom)?
            .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Percent::parse(raw.get()).map_err(D::Error::custom)
    }
}

/// What an order costs, item by item.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Breakdown {
    /// The seats' prices.
    #[schema(value_type = f64, multiple_of = 0.01)]
    pub seats: Cents,
    /// What is added to them.
    pub fees: Vec<FeeLine>,
    /// Taxes on both, each rounded to the cent, halves up.
    pub taxes: Vec<TaxLine>,
    /// Seats, fees and those taxes that are not included in them.
    #[schema(value_type = f64, multiple_of = 0.01)]
    pub total: Cents,
}

/// A fee of an order.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FeeLine {
    /// Its name.
    pub name: String,
    /// How much it is for this order.
    #[schema(value_type = f64, multiple_of = 0.01)]
    pub amount: Cents,
}

/// A tax of an order.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaxLine {
    /// Its name.
    pub name: String,
    /// Per cent.
    #[schema(value_type = f64)]
    pub rate: Percent,
    /// How much it is for this order.
    #[schema(value_type = f64, multiple_of = 0.01)]
    pub amount: Cents,
    /// Whether seats and fees contain it.
    pub included: bool,
}

impl Pricing {
    /// What is wrong with it by itself, each with its place below `/pricing`.
    pub fn check(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut say = |pointer: String, message: String| errors.push(FieldError::new(pointer, message));
        let lists = [
            ("tiers", self.tiers.len(), TIERS_MAX),
            ("fees", self.fees.len(), CHARGES_MAX),
            ("taxes", self.taxes.len(), CHARGES_MAX),
        ];
        for (list, count, max) in lists {
            if count > max {
                say(
                    format!("/pricing/{list}"),
                    format!("must have at most {max} entries, not {count}"),
                );
            }
        }
        let tiers = self.tiers.iter().map(|tier| ("tiers", &tier.name));
        let fees = self.fees.iter().map(|fee| ("fees", &fee.name));
        let taxes = self.taxes.iter().map(|tax| ("taxes", &tax.name));
        let mut names = HashSet::new();
        let mut position: HashMap<&str, usize> = HashMap::new();
        for (list, name) in tiers.chain(fees).chain(taxes) {
            let index = position.entry(list).or_default();
            let pointer = format!("/pricing/{list}/{index}/name");
            *index += 1;
            if let Err(message) = text::check(name, ID_CHARS_MAX) {
                say(pointer, message);
            } else if !names.insert((list, name)) {
                say(pointer, format!("repeats the name {}", echo(name)));
            }
        }
        let places: usize = self
            .tiers
            .iter()
            .flat_map(|tier| &tier.places)
            .map(|place| place.rows.len().max(1))
            .sum();
        if places > TIER_PLACES_MAX {
            let message = format!("must name at most {TIER_PLACES_MAX} sections and rows together, not {places}");
            say("/pricing/tiers".to_owned(), message);
            return errors;
        }
        let mut seen: HashSet<(Option<&str>, Option<&str>)> = HashSet::new();
        for (index, tier) in self.tiers.iter().enumerate() {
            let pointer = format!("/pricing/tiers/{index}/places");
            if tier.places.is_empty() && !seen.insert((None, None)) {
                say(
                    pointer.clone(),
                    "is left out by another tier too: only one has the rest".to_owned(),
                );
            }
            for (place, TierPlace { section, rows }) in tier.places.iter().enumerate() {
                let pointer = format!("{pointer}/{place}");
                if rows.is_empty() && !seen.insert((Some(section), None)) {
                    say(
                        pointer.clone(),
                        format!("names the section {} a second time", echo(section)),
                    );
                }
                for row in rows {
                    if !seen.insert((Some(section), Some(row))) {
                        let message = format!("names row {} of section {} a second time", echo(row), echo(section));
                        say(pointer.clone(), message);
                    }
                }
            }
        }
        errors
    }

    /// The price of each of a venue's seats, in their order; or what is wrong.
    pub fn price(&self, layout: &Layout) -> Result<Vec<Cents>, Vec<FieldError>> {
        let mut rows: HashMap<(&str, &str), Cents> = HashMap::new();
        let mut sections: HashMap<&str, Cents> = HashMap::new();
        let mut rest = None;
        for tier in &self.tiers {
            if tier.places.is_empty() {
                rest = Some(tier.price);
            }
            for place in &tier.places {
                let section = place.section.as_str();
                if place.rows.is_empty() {
                    sections.insert(section, tier.price);
                }
                rows.extend(place.rows.iter().map(|row| ((section, row.as_str()), tier.price)));
            }
        }
        let there: HashSet<(&str, &str)> = layout
            .sections
            .iter()
            .map(String::as_str)
            .zip(layout.rows.iter().map(String::as_str))
            .collect();
        let sections_there: HashSet<&str> = there.iter().map(|(section, _)| *section).collect();
        let mut errors = Vec::new();
        for (index, tier) in self.tiers.iter().enumerate() {
            for (place, TierPlace { section, rows }) in tier.places.iter().enumerate() {
                let pointer = format!("/pricing/tiers/{index}/places/{place}");
                if !sections_there.contains(section.as_str()) {
                    let message = format!("names a section that the venue doesn't have: {}", echo(section));
                    errors.push(FieldError::new(pointer, message));
                    continue;
                }
                for row in rows
                    .iter()
                    .filter(|row| !there.contains(&(section.as_str(), row.as_str())))
                {
                    let message = format!("names a row that section {} doesn't have: {}", echo(section), echo(row));
                    errors.push(FieldError::new(pointer.clone(), message));
                }
            }
        }
        let mut prices = Vec::with_capacity(layout.len());
        let mut unpriced: BTreeSet<(&str, &str)> = BTreeSet::new();
        for (section, row) in layout.sections.iter().zip(&layout.rows) {
            let (section, row) = (section.as_str(), row.as_str());
            match rows
                .get(&(section, row))
                .or_else(|| sections.get(section))
                .copied()
                .or(rest)
            {
                Some(price) => prices.push(price),
                None => drop(unpriced.insert((section, row))),
            }
        }
        if !unpriced.is_empty() {
            let named: Vec<String> = unpriced
                .iter()
                .take(UNPRICED_NAMED)
                .map(|(section, row)| format!("row {} of section {}", echo(row), echo(section)))
                .collect();
            let more = unpriced.len().saturating_sub(UNPRICED_NAMED);
            let more = if more > 0 {
                format!(" and {more} more rows")
            } else {
                String::new()
            };
            let message = format!(
                "leaves {} seats without a price: {}{more}",
                layout.len() - prices.len(),
                named.join(", ")
            );
            errors.push(FieldError::new("/pricing/tiers", message));
        }
        if errors.is_empty() { Ok(prices) } else { Err(errors) }
    }

    /// Whether seats cost what they cost and nothing is added or shown.
    pub fn is_plain(&self) -> bool {
        self.fees.is_empty() && self.taxes.is_empty()
    }

    /// What seats of these prices cost together; none: it is more than anybody could pay.
    pub fn breakdown(&self, prices: impl IntoIterator<Item = Cents>) -> Option<Breakdown> {
        let prices: Vec<Cents> = prices.into_iter().collect();
        let count = i64::try_from(prices.len()).ok()?;
        let seats = Cents::sum(prices)?;
        let fee = |fee: &Fee| {
            let amount = match fee.per {
                Per::Seat => fee.amount.get().checked_mul(count)?,
                Per::Order => fee.amount.get(),
            };
            Some(FeeLine {
                name: fee.name.clone(),
                amount: Cents::new(amount)?,
            })
        };
        let fees = self.fees.iter().map(fee).collect::<Option<Vec<_>>>()?;
        let base = Cents::sum(fees.iter().map(|line| line.amount).chain([seats]))?;
        let tax = |tax: &Tax| {
            let base = Decimal::from(base.get());
            let share = if tax.included {
                base.checked_mul(tax.rate.0)?
                    .checked_div(Decimal::ONE_HUNDRED + tax.rate.0)?
            } else {
                base.checked_mul(tax.rate.0)?.checked_div(Decimal::ONE_HUNDRED)?
            };
            let rounded = share.round_dp_with_strategy(0, RoundingStrategy::MidpointAwayFromZero);
            Some(TaxLine {
                name: tax.name.clone(),
                rate: tax.rate,
                amount: Cents::new(i64::try_from(rounded).ok()?)?,
                included: tax.included,
            })
        };
        let taxes = self.taxes.iter().map(tax).collect::<Option<Vec<_>>>()?;
        let added = taxes.iter().filter(|line| !line.included).map(|line| line.amount);
        let total = Cents::sum(added.chain([base]))?;
        Some(Breakdown {
            seats,
            fees,
            taxes,
            total,
        })
    }
}

#[cfg(test)]
mod tests;
