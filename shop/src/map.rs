//! Seats as a picture that one can act on: plain shapes with names, in the order of a keyboard's way through them. Pure.

use std::fmt::Write as _;

use askama::filters::{Html, escape};

use crate::text::seat_label;
use crate::types::{Seat, SeatStatus};

/// A seat's room in the picture's units.
const ROOM: f64 = 24.0;
/// A seat's share of its room.
const SIZE: f64 = 18.0;
/// Room at the left for the names of rows.
const NAMES: f64 = 34.0;
/// Rows and sections whose seats have no coordinates are so far apart.
const GAP: f64 = 1.6;

/// Where a seat is, in seats' widths.
struct Placed<'a> {
    seat: &'a Seat,
    x: f64,
    y: f64,
}

/// The picture of these seats, which come by section, row and number.
pub fn draw(seats: &[Seat], currency: &str) -> String {
    let placed = place(seats);
    let (mut width, mut height) = (0.0_f64, 0.0_f64);
    for seat in &placed {
        (width, height) = (width.max(seat.x), height.max(seat.y));
    }
    let (width, height) = ((width + 1.0) * ROOM + 2.0 * NAMES, (height + 1.0) * ROOM + 2.0 * ROOM);
    // As wide as most of the rows, so that it is seen in a large section too.
    let stage = (width * 0.6).clamp(100.0, 600.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" preserveAspectRatio=\"xMidYMin meet\" role=\"group\" aria-label=\"Seat map\">\
         <rect class=\"stage\" x=\"{:.0}\" y=\"2\" width=\"{:.0}\" height=\"18\" rx=\"6\"/><text class=\"stage-name\" x=\"{:.0}\" y=\"15\">STAGE</text>",
        (width - stage) / 2.0,
        stage,
        width / 2.0,
    );
    let mut row = None;
    for Placed { seat, x, y } in &placed {
        let (x, y) = (NAMES + x * ROOM, 1.4 * ROOM + y * ROOM);
        let this = (seat.section.as_str(), seat.row.as_str());
        if row != Some(this) {
            row = Some(this);
            let _ = write!(
                svg,
                "<text class=\"row\" x=\"{:.1}\" y=\"{:.1}\" aria-hidden=\"true\">{}</text>",
                x - 6.0,
                y + 13.0,
                escaped(&seat.row)
            );
        }
        let (class, word) = match seat.status {
            SeatStatus::Available => ("free", "free"),
            SeatStatus::Held => ("held", "held by somebody"),
            SeatStatus::Sold => ("sold", "sold"),
        };
        let price = seat.price.told(currency);
        let marks = seat
            .marks
            .iter()
            .map(|mark| format!(", {}", mark.replace('_', " ")))
            .collect::<String>();
        let name = format!("Row {}, seat {}, {price}{marks}", seat.row, seat_label(&seat.seat_id));
        let _ = write!(
            svg,
            "<g class=\"seat {class}\" role=\"checkbox\" aria-checked=\"false\" aria-disabled=\"{}\" aria-label=\"{name}\" data-id=\"{id}\" tabindex=\"-1\">\
             <title>{name}: {word}</title><rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{SIZE}\" height=\"{SIZE}\" rx=\"5\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\">{}</text></g>",
            seat.status != SeatStatus::Available,
            x + SIZE / 2.0,
            y + 12.5,
            escaped(seat_label(&seat.seat_id)),
            name = escaped(&name),
            id = escaped(&seat.seat_id),
        );
    }
    svg.push_str("</svg>");
    svg
}

/// By the venue's coordinates; where there are none, rows below each other, their middles in line.
fn place(seats: &[Seat]) -> Vec<Placed<'_>> {
    match by_coordinates(seats) {
        Some(placed) => placed,
        None => in_rows(seats),
    }
}

fn by_coordinates(seats: &[Seat]) -> Option<Vec<Placed<'_>>> {
    let at = |seat: &Seat| Some((f64::from(seat.x?), f64::from(seat.y?)));
    let places = seats.iter().map(at).collect::<Option<Vec<_>>>()?;
    let mut gaps: Vec<f64> = places
        .windows(2)
        .map(|pair| (pair[1].0 - pair[0].0).hypot(pair[1].1 - pair[0].1))
        .filter(|gap| *gap > 0.0)
        .collect();
    gaps.sort_by(f64::total_cmp);
    let unit = gaps.get(gaps.len() / 2).copied().unwrap_or(1.0);
    let left = places.iter().map(|(x, _)| *x).fold(f64::INFINITY, f64::min);
    let top = places.iter().map(|(_, y)| *y).fold(f64::INFINITY, f64::min);
    let placed = seats.iter().zip(&places).map(|(seat, (x, y))| Placed {
        seat,
        x: (x - left) / unit,
        y: (y - top) / unit,
    });
    Some(placed.collect())
}

fn in_rows(seats: &[Seat]) -> Vec<Placed<'_>> {
    let of_a_row = |one: &Seat, other: &Seat| one.section == other.section && one.row == other.row;
    let mut rows: Vec<&[Seat]> = seats.chunk_by(of_a_row).collect();
    // 2 before 10, Z before AA; sections stay in their order.
    rows.sort_by_key(|row| (row[0].section.as_str(), row[0].row.chars().count(), row[0].row.as_str()));
    let widest = rows.iter().map(|row| row.len()).max().unwrap_or_default() as f64;
    let mut placed = Vec::with_capacity(seats.len());
    let (mut y, mut section) = (0.0, None);
    for row in rows {
        if section.is_some_and(|section| section != row[0].section) {
            y += GAP;
        }
        section = Some(row[0].section.clone());
        let left = (widest - row.len() as f64) / 2.0;
        placed.extend(row.iter().enumerate().map(|(at, seat)| Placed {
            seat,
            x: left + at as f64,
            y,
        }));
        y += 1.0;
    }
    placed
}

/// A text inside of an element or an attribute; what XML has no place for is replaced.
fn escaped(text: &str) -> String {
    let plain: String = text
        .chars()
        .map(|char| match char {
            char if char.is_control() || matches!(char, '\u{fffe}' | '\u{ffff}') => '\u{fffd}',
            char => char,
        })
        .collect();
    escape(&plain, Html).map_or_else(|_| String::new(), |safe| safe.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seats(rows: &[(&str, usize)]) -> Vec<Seat> {
        let seat = |row: &str, number: usize| {
            let json = format!(
                "{{\"seatId\": \"{row}{number}\", \"section\": \"S\", \"row\": \"{row}\", \"price\": 10, \"status\": \"available\"}}"
            );
            serde_json::from_str(&json).expect("it is a seat")
        };
        rows.iter()
            .flat_map(|(row, count)| (1..=*count).map(|number| seat(row, number)).collect::<Vec<_>>())
            .collect()
    }

    #[test]
    fn rows_are_below_each_other_and_centred() {
        let seats = seats(&[("A", 4), ("AA", 2), ("B", 2)]);
        let placed = in_rows(&seats);
        let at: Vec<(&str, f64, f64)> = placed.iter().map(|it| (it.seat.seat_id.as_str(), it.x, it.y)).collect();
        assert_eq!(at[0], ("A1", 0.0, 0.0));
        assert_eq!(at[4], ("B1", 1.0, 1.0));
        assert_eq!(at[6], ("AA1", 1.0, 2.0));
    }

    #[test]
    fn coordinates_are_kept_in_proportion() {
        let mut seats = seats(&[("A", 3)]);
        for (place, seat) in seats.iter_mut().enumerate() {
            (seat.x, seat.y) = (Some(100.0 + place as f32 * 0.5), Some(-3.0));
        }
        let placed = place(&seats);
        assert_eq!((placed[0].x, placed[2].x, placed[2].y), (0.0, 2.0, 0.0));
    }

    #[test]
    fn names_are_no_markup() {
        let mut seats = seats(&[("A", 1)]);
        seats[0].seat_id = "\"><script>\u{0}".to_owned();
        seats[0].row = "<b>".to_owned();
        let svg = draw(&seats, "usd");
        assert!(
            !svg.contains("<script") && !svg.contains("<b>") && !svg.contains('\0'),
            "{svg}"
        );
    }
}
