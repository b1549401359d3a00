//! Who comes and what they want. No I/O: a buyer is the same for the same number and seed, whoever is served before.

use anyhow::Context as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use rand_distr::{Distribution as _, Zipf};

/// Seats that a buyer wants, at most.
const WANTED_MAX: u32 = 4;
/// How much more popular the first seats are: the exponent of the Zipf distribution. At 1 the second seat is wanted half as
/// often as the first; below, the crowd spreads more.
const POPULARITY: f64 = 0.9;
/// Buyers of a thousand whose first card is declined for good; they try another one.
const DECLINED: u32 = 15;
/// Whose card is declined once and works when the engine asks again. Together with the former, 3 %.
const DECLINED_ONCE: u32 = 15;
/// Whose payment is made and never answered.
const TIMED_OUT: u32 = 10;
/// Whose bank takes its time and is done in the end.
const SLOW_BANK: u32 = 10;
/// Who leave while they should authenticate.
const ABANDONED: u32 = 30;
/// Who submit each wish twice at once.
const TWICE: u32 = 5;

/// What kind of buyers come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mix {
    /// Everybody pays at once.
    Untroubled,
    /// Some don't.
    Rush,
}

/// Everybody.
#[derive(Clone, Debug)]
pub struct Crowd {
    seed: u64,
    seats: u32,
    mix: Mix,
    popularity: Zipf<f64>,
}

/// How a buyer pays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Card {
    /// Pays at once.
    Good,
    /// Is declined.
    Declined,
    /// Is declined the first time.
    DeclinedOnce,
    /// Pays, but nobody hears of it.
    TimesOut,
    /// Pays after a while.
    SlowBank,
    /// Wants an authentication that never comes.
    Abandoned,
}

impl Card {
    /// The sandbox's name for it.
    pub fn payment_method(self) -> &'static str {
        match self {
            Card::Good => "pm_card_visa",
            Card::Declined => "pm_card_visa_chargeDeclined",
            Card::DeclinedOnce => "pm_sandbox_flaky",
            Card::TimesOut => "pm_sandbox_timeout",
            Card::SlowBank => "pm_sandbox_processing",
            Card::Abandoned => "pm_card_authenticationRequired",
        }
    }
}

/// One buyer.
#[derive(Debug)]
pub struct Buyer {
    /// Whose number.
    pub number: u64,
    /// How the buyer pays; another card after a decline.
    pub card: Card,
    /// Each wish is sent twice at once, under one key.
    pub twice: bool,
    wanted: u32,
    random: StdRng,
}

impl Crowd {
    /// A crowd that wants seats of this many.
    pub fn new(seed: u64, seats: u32, mix: Mix) -> anyhow::Result<Crowd> {
        let popularity = Zipf::new(f64::from(seats), POPULARITY).context("spreading the crowd over the seats")?;
        Ok(Crowd {
            seed,
            seats,
            mix,
            popularity,
        })
    }

    /// The buyer of that number.
    pub fn buyer(&self, number: u64) -> Buyer {
        // Far apart for neighbours, so that no two runs or buyers share their choices.
        let mut random = StdRng::seed_from_u64(self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number);
        let (card, twice) = match self.mix {
            Mix::Untroubled => (Card::Good, false),
            Mix::Rush => (
                card(random.random_range(0..1_000)),
                random.random_range(0..1_000) < TWICE,
            ),
        };
        Buyer {
            number,
            card,
            twice,
            wanted: random.random_range(1..=WANTED_MAX),
            random,
        }
    }

    /// The seats that a buyer wants first, side by side: by rank.
    pub fn first_wish(&self, buyer: &mut Buyer) -> Vec<u32> {
        // The distribution counts from 1.
        let first = self.popularity.sample(&mut buyer.random) as u32 - 1;
        let first = first.min(self.seats - buyer.wanted);
        (first..first + buyer.wanted).collect()
    }
}

impl Buyer {
    /// How many seats.
    pub fn wanted(&self) -> u32 {
        self.wanted
    }

    /// Somewhere between 0 and 1: what else there is to decide.
    pub fn whim(&mut self) -> f64 {
        self.random.random()
    }

    /// Some of the seats that are said to be free; fewer than wanted if there are no more.
    pub fn next_wish(&mut self, free: &[u32]) -> Vec<u32> {
        free.sample(&mut self.random, self.wanted as usize).copied().collect()
    }
}

fn card(of_thousand: u32) -> Card {
    let shares = [
        (DECLINED, Card::Declined),
        (DECLINED_ONCE, Card::DeclinedOnce),
        (TIMED_OUT, Card::TimesOut),
        (SLOW_BANK, Card::SlowBank),
        (ABANDONED, Card::Abandoned),
    ];
    let mut below = 0;
    for (share, card) in shares {
        below += share;
        if of_thousand < below {
            return card;
        }
    }
    Card::Good
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_buyers() {
        let wishes = |seed| -> Vec<_> {
            let crowd = Crowd::new(seed, 500, Mix::Rush).unwrap();
            let wish = |number| {
                let mut buyer = crowd.buyer(number);
                let first = crowd.first_wish(&mut buyer);
                (first, buyer.next_wish(&[1, 2, 3, 4, 5, 6]), buyer.card, buyer.twice)
            };
            (0..100).map(wish).collect()
        };
        assert_eq!(wishes(7), wishes(7));
        assert_ne!(wishes(7), wishes(8));
    }

    #[test]
    fn wishes_are_of_seats_that_exist_and_the_first_ones_are_popular() {
        let crowd = Crowd::new(1, 20, Mix::Rush).unwrap();
        let mut popular = 0;
        for number in 0..2_000 {
            let mut buyer = crowd.buyer(number);
            let wish = crowd.first_wish(&mut buyer);
            assert!(
                (1..=4).contains(&wish.len()) && wish.iter().all(|rank| *rank < 20),
                "{wish:?}"
            );
            popular += u32::from(wish[0] == 0);
        }
        assert!(popular > 300, "{popular} of 2000 begin with the first of 20 seats");
    }

    #[test]
    fn troubles_come_in_their_shares() {
        let crowd = Crowd::new(1, 20, Mix::Rush).unwrap();
        let cards: Vec<Card> = (0..100_000).map(|number| crowd.buyer(number).card).collect();
        let share = |wanted| cards.iter().filter(|card| **card == wanted).count();
        assert!((1_300..1_700).contains(&share(Card::Declined)));
        assert!((2_700..3_300).contains(&share(Card::Abandoned)));
        assert!(share(Card::Good) > 90_000);
    }

    #[test]
    fn what_is_free_is_all_one_can_get() {
        let crowd = Crowd::new(1, 20, Mix::Rush).unwrap();
        let mut buyer = crowd.buyer(1);
        assert!(buyer.next_wish(&[]).is_empty());
        assert_eq!(buyer.next_wish(&[9]), [9]);
    }
}
