//! Tiers, fees and taxes by example, and totals by property.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

fn pricing(json: &str) -> Pricing {
    serde_json::from_str(json).unwrap()
}

fn cents(cents: i64) -> Cents {
    Cents::new(cents).unwrap()
}

fn layout(places: &[(&str, &str)]) -> Layout {
    let csv = places
        .iter()
        .enumerate()
        .map(|(number, (section, row))| format!("{section},{row},{}\n", number + 1));
    let csv: String = std::iter::once("section,row,number\n".to_owned()).chain(csv).collect();
    crate::events::import::from_csv(csv.as_bytes()).unwrap()
}

#[test]
fn rows_come_before_sections_and_those_before_the_rest() {
    let pricing = pricing(
        r#"{"tiers": [{"name": "Rest", "price": 10}, {"name": "Ring", "price": 20.5, "places": [{"section": "Ring"}]},
            {"name": "Front", "price": 99.99, "places": [{"section": "Ring", "rows": ["A"]}]}]}"#,
    );
    let prices = pricing.price(&layout(&[("Ring", "A"), ("Ring", "B"), ("Floor", "A")]));
    assert_eq!(prices.unwrap(), [cents(9_999), cents(2_050), cents(1_000)]);
}

#[test]
fn seats_without_a_price_and_places_that_are_not_there_are_named() {
    let pricing = pricing(
        r#"{"tiers": [{"name": "Ring", "price": 20, "places": [{"section": "Ring", "rows": ["A", "Z"]}, {"section": "Moon"}]}]}"#,
    );
    let errors = pricing
        .price(&layout(&[("Ring", "A"), ("Ring", "B"), ("Floor", "A")]))
        .unwrap_err();
    let errors: Vec<(&str, &str)> = errors
        .iter()
        .map(|it| (it.pointer.as_str(), it.message.as_str()))
        .collect();
    assert_eq!(
        errors,
        [
            (
                "/pricing/tiers/0/places/0",
                "names a row that section \"Ring\" doesn't have: \"Z\""
            ),
            (
                "/pricing/tiers/0/places/1",
                "names a section that the venue doesn't have: \"Moon\""
            ),
            (
                "/pricing/tiers",
                "leaves 2 seats without a price: row \"A\" of section \"Floor\", row \"B\" of section \"Ring\""
            ),
        ]
    );
}

#[test]
fn what_contradicts_itself_is_refused() {
    let pricing = pricing(
        r#"{"tiers": [{"name": "A", "price": 1}, {"name": "A", "price": 2},
            {"name": "B", "price": 1, "places": [{"section": "X"}, {"section": "X"}, {"section": "X", "rows": ["1", "1"]}]}],
            "fees": [{"name": "", "amount": 1, "per": "seat"}]}"#,
    );
    let pointers: Vec<String> = pricing.check().into_iter().map(|error| error.pointer).collect();
    assert_eq!(
        pointers,
        [
            "/pricing/tiers/1/name",
            "/pricing/fees/0/name",
            "/pricing/tiers/1/places",
            "/pricing/tiers/2/places/1",
            "/pricing/tiers/2/places/2"
        ]
    );
    for bad in [
        r#"{"tiers": [{"name": "A", "price": 1.005}]}"#,
        r#"{"tiers": [{"name": "A", "price": -1}]}"#,
        r#"{"taxes": [{"name": "A", "rate": 100.1}]}"#,
        r#"{"taxes": [{"name": "A", "rate": 1.00001}]}"#,
        r#"{"taxes": [{"name": "A", "rate": "8"}]}"#,
        r#"{"taxes": [{"name": "A", "rate": 1e1}]}"#,
        r#"{"fees": [{"name": "A", "amount": 1, "per": "month"}]}"#,
        r#"{"discounts": []}"#,
    ] {
        assert!(serde_json::from_str::<Pricing>(bad).is_err(), "{bad}");
    }
}

#[test]
fn an_order_is_itemised() {
    let pricing = pricing(
        r#"{"fees": [{"name": "Service", "amount": 4.5, "per": "seat"}, {"name": "Delivery", "amount": 2, "per": "order"}],
            "taxes": [{"name": "Sales tax", "rate": 8.875}, {"name": "VAT", "rate": 19, "included": true}]}"#,
    );
    let order = pricing.breakdown([cents(15_000), cents(15_000)]).unwrap();
    assert_eq!(
        serde_json::to_string(&order).unwrap(),
        r#"{"seats":300.00,"fees":[{"name":"Service","amount":9.00},{"name":"Delivery","amount":2.00}],"taxes":[{"name":"Sales tax","rate":8.875,"amount":27.60,"included":false},{"name":"VAT","rate":19,"amount":49.66,"included":true}],"total":338.60}"#
    );
    assert_eq!(
        Pricing::default()
            .breakdown([cents(35_000), cents(35_000)])
            .unwrap()
            .total,
        cents(70_000)
    );
    assert!(pricing.breakdown([cents(i64::MAX)]).is_none());
}

#[test]
fn halves_of_a_cent_are_rounded_up() {
    let pricing = pricing(r#"{"taxes": [{"name": "T", "rate": 50}]}"#);
    assert_eq!(pricing.breakdown([cents(1)]).unwrap().taxes[0].amount, cents(1));
}

proptest! {
    #[test]
    fn a_total_is_the_sum_of_its_items(prices in proptest::collection::vec(0..10_000_000_i64, 1..10), fee in 0..10_000_i64, rate in 0..1_000_000_i64, included in any::<bool>()) {
        let rate = Percent(Decimal::new(rate, 4));
        let pricing = Pricing {
            tiers: Vec::new(),
            fees: vec![Fee { name: "F".to_owned(), amount: cents(fee), per: Per::Seat }],
            taxes: vec![Tax { name: "T".to_owned(), rate, included }],
        };
        let order = pricing.breakdown(prices.iter().copied().map(cents)).unwrap();
        let added: i64 = order.taxes.iter().filter(|tax| !tax.included).map(|tax| tax.amount.get()).sum();
        prop_assert_eq!(order.seats.get(), prices.iter().sum::<i64>());
        prop_assert_eq!(order.total.get(), order.seats.get() + fee * prices.len() as i64 + added);
        // Written and read again it is the same: that is how it is kept.
        let kept: Pricing = serde_json::from_str(&serde_json::to_string(&pricing).unwrap()).unwrap();
        prop_assert_eq!(kept, pricing);
    }
}
