//! `GET /events/{eventId}/seats.svg`: an event's seats as a picture. Made of plain shapes with plain attributes: no style, no script,
//! so that it can be shown under a strict policy.

use std::fmt::Write as _;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;

use super::routes::no_event;
use crate::app::App;
use crate::availability::SeatMap;
use crate::http::extract::{Parameters, PathId};
use crate::http::rendered::Rendered;
use crate::limits::PICTURE_TITLES_MAX;
use crate::problem::{Problem, ProblemDetails};
use crate::store::events::SeatStatus;

/// How seats look, by what they are. The colours differ in lightness too.
const LOOKS: [(SeatStatus, &str, &str); 3] = [
    (SeatStatus::Available, "#1b7f3b", "free"),
    (SeatStatus::Held, "#f2b134", "held"),
    (SeatStatus::Sold, "#9aa0a6", "sold"),
];
/// A seat's share of the room that it has.
const SEAT_SIZE: f64 = 0.8;
/// The picture's longer side, in its own units: enough for tenths to tell seats of a stadium apart.
const SIDE: f64 = 2_000.0;

/// Which part.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PictureParameters {
    /// This section alone.
    section: Option<String>,
}

/// Show an event's seats as a picture.
///
/// As they were at most two seconds ago. Up to 2,000 seats (so, of a hall, a section) each has its name as a `title`.
#[utoipa::path(
    get,
    path = "/events/{eventId}/seats.svg",
    tag = "events",
    params(
        ("eventId" = String, Path, description = "The event's id"),
        PictureParameters,
        ("If-None-Match" = Option<String>, Header, description = "The ETag of an earlier answer"),
    ),
    responses(
        (status = 200, description = "A picture", body = String, content_type = "image/svg+xml",
         headers(("ETag" = String, description = "Changes when the picture changes"))),
        (status = 304, description = "Nothing has changed"),
        (status = 400, description = "A parameter is not known or can't be read", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, description = "There is no such event, or section", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "Not available", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn seats(
    State(app): State<App>,
    PathId(id): PathId,
    Parameters(parameters): Parameters<PictureParameters>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let map = app.availability().read(app.pool(), &id).await?.ok_or_else(no_event)?;
    // Off the threads that answer requests: a stadium takes a while, and whoever looks at the same moment waits for the same picture.
    let picture = app
        .draw(move || match parameters.section.as_deref() {
            None => Some(map.picture(|| draw(&map, None))),
            Some(section) => (0..map.len())
                .any(|place| map.at(place).0.section == section)
                .then(|| Rendered::of(draw(&map, Some(section)))),
        })
        .await;
    let picture = picture.ok_or_else(|| Problem::not_found("the event has no such section"))?;
    Ok(picture.answer(&headers, "image/svg+xml; charset=utf-8"))
}

/// A section's seats, where they are drawn.
struct Block<'a> {
    section: &'a str,
    /// Each with its place in the map.
    seats: Vec<(usize, f64, f64)>,
}

/// The picture.
pub fn draw(map: &SeatMap, section: Option<&str>) -> String {
    let places: Vec<usize> = (0..map.len())
        .filter(|place| section.is_none_or(|section| map.at(*place).0.section == section))
        .collect();
    let has_coordinates = !places.is_empty() && places.iter().all(|place| map.at(*place).0.at.is_some());
    let (blocks, room) = if has_coordinates {
        as_they_are(map, &places)
    } else {
        in_blocks(map, &places)
    };
    let mut area = blocks
        .iter()
        .flat_map(|block| &block.seats)
        .fold(None, |area, (_, x, y)| match area {
            None => Some((*x, *y, *x, *y)),
            Some((left, top, right, bottom)) => Some((
                f64::min(left, *x),
                f64::min(top, *y),
                f64::max(right, *x),
                f64::max(bottom, *y),
            )),
        });
    let stage = has_coordinates.then(|| (f64::from(map.stage().0), f64::from(map.stage().1)));
    if let (Some((x, y)), Some(area), None) = (stage, &mut area, section) {
        *area = (area.0.min(x), area.1.min(y), area.2.max(x), area.3.max(y));
    }
    let (left, top, right, bottom) = area.unwrap_or_default();
    // A seat's room around everything, two above for names.
    let (width, height) = (right - left + 2.0 * room, bottom - top + 4.0 * room);
    let scale = SIDE / width.max(height);
    let at = |x: f64, y: f64| ((x - left + room) * scale, (y - top + 3.0 * room) * scale);
    let half = room * SEAT_SIZE / 2.0 * scale;
    let mut svg = String::new();
    let _ = write!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {:.1} {:.1}\" role=\"img\"><title>{} of {} seats are free</title>",
        width * scale,
        height * scale,
        places
            .iter()
            .filter(|place| map.at(**place).1 == SeatStatus::Available)
            .count(),
        places.len(),
    );
    if let (Some((x, y)), None) = (stage, section) {
        let (x, y) = at(x, y);
        let _ = write!(
            svg,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{:.1}\" text-anchor=\"middle\" fill=\"#333333\">Stage</text>",
            4.0 * half
        );
    }
    let with_titles = places.len() <= PICTURE_TITLES_MAX;
    for block in &blocks {
        let _ = write!(svg, "<g><title>{}</title>", escaped(block.section));
        if let Some((_, x, y)) = block
            .seats
            .iter()
            .min_by(|left, right| left.2.total_cmp(&right.2).then(left.1.total_cmp(&right.1)))
        {
            let (x, y) = at(*x, *y);
            let _ = write!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\" font-size=\"{:.1}\" fill=\"#333333\">{}</text>",
                x - half,
                y - 2.0 * half,
                3.0 * half,
                escaped(block.section)
            );
        }
        for (status, colour, word) in LOOKS {
            let seats = block.seats.iter().filter(|(place, _, _)| map.at(*place).1 == status);
            if with_titles {
                for (place, x, y) in seats {
                    let (seat, _) = map.at(*place);
                    let (x, y) = at(*x, *y);
                    let _ = write!(
                        svg,
                        "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{2:.1}\" height=\"{2:.1}\" fill=\"{colour}\"><title>{id}: row {row}, {number}, {price}, {word}</title></rect>",
                        x - half,
                        y - half,
                        2.0 * half,
                        id = escaped(&seat.id),
                        row = escaped(&seat.row),
                        number = seat.number,
                        price = seat.price,
                    );
                }
                continue;
            }
            // One shape for all of them: a stadium's picture has a tenth of the bytes.
            let mut shape = String::new();
            for (_, x, y) in seats {
                let (x, y) = at(*x, *y);
                let _ = write!(
                    shape,
                    "M{:.1} {:.1}h{2:.1}v{2:.1}h-{2:.1}z",
                    x - half,
                    y - half,
                    2.0 * half
                );
            }
            if !shape.is_empty() {
                let _ = write!(svg, "<path fill=\"{colour}\" d=\"{shape}\"/>");
            }
        }
        svg.push_str("</g>");
    }
    svg.push_str("</svg>");
    svg
}

/// By the venue's coordinates; and the room of a seat.
fn as_they_are<'a>(map: &'a SeatMap, places: &[usize]) -> (Vec<Block<'a>>, f64) {
    let mut blocks: Vec<Block<'a>> = Vec::new();
    let mut gaps: Vec<f64> = Vec::new();
    for place in places {
        let (seat, _) = map.at(*place);
        let (x, y) = seat.at.unwrap_or_default();
        let (x, y) = (f64::from(x), f64::from(y));
        match blocks.last_mut().filter(|block| block.section == seat.section) {
            Some(block) => {
                // Seats come by row and number, so most neighbours in the list are neighbours.
                if let Some((_, before_x, before_y)) = block.seats.last() {
                    gaps.push((x - before_x).hypot(y - before_y));
                }
                block.seats.push((*place, x, y));
            }
            None => blocks.push(Block {
                section: &seat.section,
                seats: vec![(*place, x, y)],
            }),
        }
    }
    gaps.retain(|gap| *gap > 0.0);
    gaps.sort_by(f64::total_cmp);
    let room = gaps.get(gaps.len() / 2).copied().unwrap_or(1.0);
    (blocks, room)
}

/// Where nothing is known: sections beside each other, line by line, with their rows below each other.
fn in_blocks<'a>(map: &'a SeatMap, places: &[usize]) -> (Vec<Block<'a>>, f64) {
    // Twice as wide as high.
    let line_width = (places.len() as f64 * 4.0).sqrt().max(20.0);
    let mut blocks = Vec::new();
    let (mut left, mut top, mut line_height) = (0.0, 0.0, 0.0);
    let of_a_section = |one: &usize, other: &usize| map.at(*one).0.section == map.at(*other).0.section;
    let of_a_row = |one: &usize, other: &usize| map.at(*one).0.row == map.at(*other).0.row;
    for section in places.chunk_by(of_a_section) {
        let mut rows: Vec<&[usize]> = section.chunk_by(of_a_row).collect();
        rows.sort_by_key(|row| {
            let name = map.at(row[0]).0.row.as_str();
            (name.chars().count(), name)
        });
        let width = rows.iter().map(|row| row.len()).max().unwrap_or_default() as f64;
        if left > 0.0 && left + width > line_width {
            (left, top, line_height) = (0.0, top + line_height, 0.0);
        }
        let mut seats = Vec::with_capacity(section.len());
        for (y, row) in rows.iter().enumerate() {
            seats.extend(
                row.iter()
                    .enumerate()
                    .map(|(x, place)| (*place, left + x as f64, top + y as f64)),
            );
        }
        blocks.push(Block {
            section: map.at(section[0]).0.section.as_str(),
            seats,
        });
        line_height = f64::max(line_height, rows.len() as f64 + 3.0);
        left += width + 2.0;
    }
    (blocks, 1.0)
}

/// A text inside of an element.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            // What XML has no place for, however it is written.
            char if char.is_control() || matches!(char, '\u{fffe}' | '\u{ffff}') => escaped.push('\u{fffd}'),
            char => escaped.push(char),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_no_markup() {
        assert_eq!(
            escaped("<script>\"A&B\"\0"),
            "&lt;script&gt;&quot;A&amp;B&quot;\u{fffd}"
        );
    }
}
