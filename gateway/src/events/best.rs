//! The best seats that can be had for a group: pure. First by all rules; where that is not possible, without the last of them, and so on.
//!
//! A group sits side by side in one row, leaves no single seat behind that nobody would want, and is as near to the stage as can be.

use std::cmp::Ordering;
use std::collections::HashMap;

use serde::Serialize;
use utoipa::ToSchema;

/// A rule that can be given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// No single free seat is left between two that are taken, or at a row's end.
    NoOrphan,
    /// The seats are next to each other.
    Adjacent,
    /// They are in one row.
    SameRow,
    /// They are in one section.
    SameSection,
}

/// In the order in which they are given up.
const RULES: [Rule; 4] = [Rule::NoOrphan, Rule::Adjacent, Rule::SameRow, Rule::SameSection];

/// A row of seats that may be wanted, in the order of their numbers.
#[derive(Clone, Debug)]
pub struct Row<'a> {
    /// Its section.
    pub section: &'a str,
    /// All of its seats, those that can't be had too.
    pub seats: Vec<Seat>,
}

/// A seat of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seat {
    /// Whose place in the seat map it is.
    pub place: usize,
    /// Its number in the row.
    pub number: i32,
    /// Nobody has it.
    pub free: bool,
    /// It is what is asked for: by price, and by who is to sit there.
    pub fits: bool,
    /// How far it is from the stage; of the same unit for all seats.
    pub distance: f64,
}

impl Seat {
    fn can_be_had(&self) -> bool {
        self.free && self.fits
    }
}

/// Finds the places of so many seats.
type Search = fn(&[Row<'_>], usize) -> Option<Vec<usize>>;

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The seats' places, in the order of rows and numbers.
    pub places: Vec<usize>,
    /// The rules that had to be given up.
    pub relaxed: Vec<Rule>,
}

/// The best `count` seats; none: there are not so many.
pub fn best(rows: &[Row<'_>], count: usize) -> Option<Found> {
    if count == 0 {
        return None;
    }
    // Alone, one sits next to nobody: a rule that is kept in any case can't be what stands in the way.
    let levels: [Search; 5] = [
        |rows, count| side_by_side(rows, count, true),
        |rows, count| side_by_side(rows, count, false),
        in_a_row,
        in_a_section,
        anywhere,
    ];
    levels.iter().enumerate().find_map(|(given_up, level)| {
        level(rows, count).map(|places| Found {
            places,
            relaxed: RULES[..given_up].to_vec(),
        })
    })
}

/// Seats without a gap between them.
fn side_by_side(rows: &[Row<'_>], count: usize, no_orphan: bool) -> Option<Vec<usize>> {
    let mut best: Option<(f64, &[Seat])> = None;
    for row in rows {
        let step = step_of(&row.seats);
        for run in row.seats.chunk_by(|left, right| is_next(left, right, step)) {
            for (at, window) in run.windows(count).enumerate() {
                if !window.iter().all(Seat::can_be_had) || no_orphan && leaves_orphan(run, at, count) {
                    continue;
                }
                let distance = window.iter().map(|seat| seat.distance).sum();
                if best.is_none_or(|(least, _)| distance < least) {
                    best = Some((distance, window));
                }
            }
        }
    }
    best.map(|(_, seats)| places(seats.iter()))
}

/// How far the numbers of neighbours are apart: rows may have odd numbers alone.
fn step_of(seats: &[Seat]) -> i32 {
    let gaps = seats.windows(2).map(|pair| pair[1].number - pair[0].number);
    gaps.filter(|gap| *gap > 0).min().unwrap_or(1)
}

fn is_next(left: &Seat, right: &Seat, step: i32) -> bool {
    right.number - left.number == step
}

/// Whether taking `count` seats of an unbroken run from `at` on leaves one free seat alone, where there was none alone before.
fn leaves_orphan(run: &[Seat], at: usize, count: usize) -> bool {
    let free_before = run[..at].iter().rev().take_while(|seat| seat.free).count();
    let free_behind = run[at + count..].iter().take_while(|seat| seat.free).count();
    free_before == 1 || free_behind == 1
}

/// Seats of one row, with as few others between them as can be.
fn in_a_row(rows: &[Row<'_>], count: usize) -> Option<Vec<usize>> {
    let mut best: Option<(i32, f64, Vec<usize>)> = None;
    for row in rows {
        let free: Vec<&Seat> = row.seats.iter().filter(|seat| seat.can_be_had()).collect();
        for window in free.windows(count) {
            let spread = window[count - 1].number - window[0].number;
            let distance = window.iter().map(|seat| seat.distance).sum();
            let is_better = |(least, nearest, _): &(i32, f64, Vec<usize>)| {
                spread.cmp(least).then_with(|| order(distance, *nearest)).is_lt()
            };
            if best.as_ref().is_none_or(is_better) {
                best = Some((spread, distance, places(window.iter().copied())));
            }
        }
    }
    best.map(|(_, _, places)| places)
}

/// The nearest seats of the section whose nearest seats are the nearest.
fn in_a_section(rows: &[Row<'_>], count: usize) -> Option<Vec<usize>> {
    let mut sections: HashMap<&str, Vec<&Seat>> = HashMap::new();
    for row in rows {
        let free = row.seats.iter().filter(|seat| seat.can_be_had());
        sections.entry(row.section).or_default().extend(free);
    }
    let nearest = sections.into_values().filter_map(|seats| nearest(seats, count));
    let nearest = nearest.min_by(|left, right| order(left.0, right.0).then_with(|| left.1.cmp(&right.1)));
    nearest.map(|(_, places)| places)
}

/// The nearest seats, wherever they are.
fn anywhere(rows: &[Row<'_>], count: usize) -> Option<Vec<usize>> {
    let free = rows.iter().flat_map(|row| &row.seats).filter(|seat| seat.can_be_had());
    nearest(free.collect(), count).map(|(_, places)| places)
}

fn nearest(mut seats: Vec<&Seat>, count: usize) -> Option<(f64, Vec<usize>)> {
    if seats.len() < count {
        return None;
    }
    seats.sort_by(|left, right| order(left.distance, right.distance).then(left.place.cmp(&right.place)));
    seats.truncate(count);
    let distance = seats.iter().map(|seat| seat.distance).sum();
    seats.sort_by_key(|seat| seat.place);
    Some((distance, places(seats.into_iter())))
}

fn places<'a>(seats: impl Iterator<Item = &'a Seat>) -> Vec<usize> {
    seats.map(|seat| seat.place).collect()
}

fn order(left: f64, right: f64) -> Ordering {
    left.total_cmp(&right)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    /// Rows as text: `.` free, `x` taken, `-` free but not what is asked for, ` ` an aisle. The first row is the nearest.
    fn hall<'a>(rows: &[(&'a str, &str)]) -> Vec<Row<'a>> {
        let mut place = 0;
        let mut row = |(index, (section, text)): (usize, &(&'a str, &str))| {
            let middle = text.len() as f64 / 2.0;
            let seats = text
                .bytes()
                .enumerate()
                .filter(|(_, byte)| *byte != b' ')
                .map(|(at, byte)| {
                    place += 1;
                    Seat {
                        place: place - 1,
                        number: at as i32 + 1,
                        free: byte != b'x',
                        fits: byte != b'-',
                        distance: (index as f64 * 10.0).hypot(at as f64 + 0.5 - middle),
                    }
                });
            Row {
                section,
                seats: seats.collect(),
            }
        };
        rows.iter().enumerate().map(&mut row).collect()
    }

    fn check(rows: &[(&str, &str)], count: usize, places: &[usize], relaxed: &[Rule]) {
        let found = best(&hall(rows), count).unwrap();
        assert_eq!(
            (found.places.as_slice(), found.relaxed.as_slice()),
            (places, relaxed),
            "{rows:?}"
        );
    }

    #[test]
    fn a_group_sits_in_the_middle_of_the_first_row() {
        check(&[("A", "......"), ("A", "......")], 2, &[2, 3], &[]);
    }

    #[test]
    fn no_seat_is_left_alone_if_that_can_be_helped() {
        // In the middle there would be one seat left on either side.
        check(&[("A", "....")], 2, &[0, 1], &[]);
        check(&[("A", "x...x"), ("A", "x....x")], 2, &[6, 7], &[]);
        // A whole gap leaves nothing behind.
        check(&[("A", "x..x...x")], 2, &[1, 2], &[]);
        check(&[("A", "x...x")], 2, &[1, 2], &[Rule::NoOrphan]);
    }

    #[test]
    fn rules_are_given_up_one_after_the_other() {
        use Rule::{Adjacent, NoOrphan, SameRow, SameSection};
        check(&[("A", ".x.x"), ("A", "..")], 2, &[4, 5], &[]);
        check(&[("A", ".x.x."), ("A", ".xxx.")], 2, &[0, 2], &[NoOrphan, Adjacent]);
        check(
            &[("A", ".xx"), ("A", ".xx"), ("B", ".xx")],
            2,
            &[0, 3],
            &[NoOrphan, Adjacent, SameRow],
        );
        check(
            &[("A", ".xx"), ("B", ".xx")],
            2,
            &[0, 3],
            &[NoOrphan, Adjacent, SameRow, SameSection],
        );
        assert_eq!(best(&hall(&[("A", ".x"), ("B", "x-")]), 2), None);
        assert_eq!(best(&hall(&[("A", "..")]), 0), None);
    }

    #[test]
    fn an_aisle_parts_neighbours_and_odd_numbers_do_not() {
        check(&[("A", "x. .xx"), ("A", "..")], 2, &[5, 6], &[]);
        let odd = [1, 3, 5, 9].iter().enumerate().map(|(place, number)| Seat {
            place,
            number: *number,
            free: true,
            fits: true,
            distance: 0.0,
        });
        let row = Row {
            section: "A",
            seats: odd.collect(),
        };
        assert_eq!(
            best(std::slice::from_ref(&row), 3).unwrap(),
            Found {
                places: vec![0, 1, 2],
                relaxed: vec![]
            }
        );
        assert_eq!(best(&[row], 4).unwrap().relaxed, [Rule::NoOrphan, Rule::Adjacent]);
    }

    fn halls() -> impl Strategy<Value = Vec<(String, String)>> {
        let row = ("[AB]", "[.x\\- ]{1,12}");
        proptest::collection::vec(row, 1..6)
    }

    proptest! {
        #[test]
        fn what_is_found_can_be_had_and_keeps_the_rules_that_are_kept(rows in halls(), count in 1..6_usize) {
            let rows: Vec<(&str, &str)> = rows.iter().map(|(section, row)| (section.as_str(), row.as_str())).collect();
            let hall = hall(&rows);
            let all: Vec<(usize, &Row<'_>, &Seat)> = hall.iter().enumerate()
                .flat_map(|(index, row)| row.seats.iter().map(move |seat| (index, row, seat))).collect();
            let can_be_had = all.iter().filter(|(_, _, seat)| seat.can_be_had()).count();
            let Some(found) = best(&hall, count) else {
                prop_assert!(can_be_had < count);
                return Ok(());
            };
            let seats: Vec<_> = all.iter().filter(|(_, _, seat)| found.places.contains(&seat.place)).collect();
            prop_assert_eq!(found.places.iter().collect::<HashSet<_>>().len(), count);
            prop_assert!(seats.iter().all(|(_, _, seat)| seat.can_be_had()));
            let kept = |rule: Rule| !found.relaxed.contains(&rule);
            let rows_of: HashSet<usize> = seats.iter().map(|(row, _, _)| *row).collect();
            let sections: HashSet<&str> = seats.iter().map(|(_, row, _)| row.section).collect();
            if kept(Rule::SameSection) { prop_assert_eq!(sections.len(), 1); }
            if kept(Rule::SameRow) { prop_assert_eq!(rows_of.len(), 1); }
            if kept(Rule::Adjacent) {
                let (_, row, _) = seats[0];
                let step = step_of(&row.seats);
                prop_assert!(seats.windows(2).all(|pair| pair[1].2.number - pair[0].2.number == step));
            }
            // Nothing is given up that a search of every seat shows to be possible.
            prop_assert_eq!(&found.relaxed[..], &RULES[..levels_needed(&hall, count)]);
        }
    }

    /// How many rules must be given up, found by trying every window.
    fn levels_needed(hall: &[Row<'_>], count: usize) -> usize {
        let mut least = 4;
        for row in hall {
            let step = step_of(&row.seats);
            let free = |from: usize| row.seats[from..from + count].iter().all(Seat::can_be_had);
            let adjacent = |from: usize| {
                row.seats[from..from + count]
                    .windows(2)
                    .all(|it| it[1].number - it[0].number == step)
            };
            for from in 0..=row.seats.len().saturating_sub(count) {
                if from + count > row.seats.len() || !free(from) || !adjacent(from) {
                    continue;
                }
                // Free neighbours to one side, one by one.
                let mut left = 0;
                while from > left
                    && row.seats[from - left - 1].free
                    && row.seats[from - left].number - row.seats[from - left - 1].number == step
                {
                    left += 1;
                }
                let (end, mut right) = (from + count, 0);
                while end + right < row.seats.len()
                    && row.seats[end + right].free
                    && row.seats[end + right].number - row.seats[end + right - 1].number == step
                {
                    right += 1;
                }
                least = least.min(usize::from(left == 1 || right == 1));
            }
            if row.seats.iter().filter(|seat| seat.can_be_had()).count() >= count {
                least = least.min(2);
            }
        }
        for section in ["A", "B"] {
            let rows = hall.iter().filter(|row| row.section == section);
            if rows.flat_map(|row| &row.seats).filter(|seat| seat.can_be_had()).count() >= count {
                least = least.min(3);
            }
        }
        least
    }
}
