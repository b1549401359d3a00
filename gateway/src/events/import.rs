//! A venue's seats, read from CSV or JSON: pure. Every mistake is named with its place, up to a few of them.

use std::collections::HashMap;

use serde::Deserialize;
use utoipa::ToSchema;

use crate::http::text::{self, echo};
use crate::limits::{ERRORS_MAX, ID_CHARS_MAX, SEAT_COORDINATE_MAX, SEAT_NUMBER_MAX, VENUE_SEATS_MAX};
use crate::problem::{FieldError, Problem};

/// What may be said of a seat.
pub const MARKS: [&str; 4] = ["wheelchair", "companion", "step_free", "restricted_view"];
/// The columns of a CSV file. The first three must be there, in any order.
const COLUMNS: [&str; 7] = ["section", "row", "number", "seat_id", "x", "y", "marks"];
const COLUMNS_REQUIRED: usize = 3;

/// Seats, a column each: so they are written by one statement.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layout {
    /// Unique.
    pub seat_ids: Vec<String>,
    /// Section, row and number together are unique too.
    pub sections: Vec<String>,
    /// See above.
    pub rows: Vec<String>,
    /// See above.
    pub numbers: Vec<i32>,
    /// Where they are, in a unit of the venue's choice; both or none.
    pub xs: Vec<Option<f32>>,
    /// See above.
    pub ys: Vec<Option<f32>>,
    /// Some of [`MARKS`], with blanks between them.
    pub marks: Vec<Option<String>>,
}

impl Layout {
    /// How many seats.
    pub fn len(&self) -> usize {
        self.seat_ids.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.seat_ids.is_empty()
    }
}

/// The JSON form of a venue's seats.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SeatsRequest {
    /// At most 100,000.
    seats: Vec<SeatRequest>,
}

/// A seat.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SeatRequest {
    /// Left out: section, row and number with hyphens between them.
    #[serde(default)]
    seat_id: Option<String>,
    /// Its section.
    section: String,
    /// Its row.
    row: String,
    /// Its number in the row.
    number: i64,
    /// Where it is; with `y`.
    #[serde(default)]
    x: Option<f32>,
    /// See above.
    #[serde(default)]
    y: Option<f32>,
    /// `wheelchair`, `companion`, `step_free`, `restricted_view`.
    #[serde(default)]
    marks: Vec<String>,
}

/// Reads CSV with a header line: `section,row,number` and, if wanted, `seat_id,x,y,marks` (several marks with blanks between
/// them).
pub fn from_csv(bytes: &[u8]) -> Result<Layout, Problem> {
    // Of spreadsheets that mark their UTF-8.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(bytes);
    let header = reader.headers().map_err(|error| unreadable(&error))?.clone();
    let columns = columns(&header)?;
    let mut import = Import::default();
    let mut record = csv::StringRecord::new();
    loop {
        match reader.read_record(&mut record) {
            Ok(true) => (),
            Ok(false) => break,
            Err(error) => {
                import.errors.push(unreadable_line(&error));
                break;
            }
        }
        let line = record.position().map_or(0, csv::Position::line);
        let place = |column: &str| match column {
            "" => format!("line {line}"),
            column => format!("line {line}, {column}"),
        };
        let field = |column: usize| columns[column].and_then(|index| record.get(index)).unwrap_or_default();
        let given = |column: usize| Some(field(column)).filter(|text| !text.is_empty());
        let mut errors = Vec::new();
        let mut number_of = |column: usize| {
            let text = given(column)?;
            let parsed = text.parse::<f32>().ok();
            if parsed.is_none() {
                let message = format!("must be a number, not {}", echo(text));
                errors.push(FieldError::new(place(COLUMNS[column]), message));
            }
            parsed
        };
        let (x, y) = (number_of(4), number_of(5));
        let number = field(2).parse::<i64>().ok();
        if number.is_none() {
            let message = format!("must be a whole number, not {}", echo(field(2)));
            errors.push(FieldError::new(place("number"), message));
        }
        let is_readable = errors.is_empty();
        import.errors.append(&mut errors);
        if let (Some(number), true) = (number, is_readable) {
            let marks = field(6).split_whitespace().map(str::to_owned).collect();
            let seat = SeatRequest {
                seat_id: given(3).map(str::to_owned),
                section: field(0).to_owned(),
                row: field(1).to_owned(),
                number,
                x,
                y,
                marks,
            };
            import.add(seat, line, place);
        }
        if import.is_hopeless() {
            break;
        }
    }
    import.finish("line")
}

/// Reads the JSON form.
pub fn from_json(request: SeatsRequest) -> Result<Layout, Problem> {
    let mut import = Import::default();
    for (index, seat) in request.seats.into_iter().enumerate() {
        let place = |column: &str| match column {
            "" => format!("/seats/{index}"),
            "seat_id" => format!("/seats/{index}/seatId"),
            column => format!("/seats/{index}/{column}"),
        };
        import.add(seat, index as u64, place);
        if import.is_hopeless() {
            break;
        }
    }
    import.finish("/seats/")
}

/// Which field of a record is which column.
fn columns(header: &csv::StringRecord) -> Result<[Option<usize>; 7], Problem> {
    let mut columns = [None; COLUMNS.len()];
    let mut errors = Vec::new();
    for (index, name) in header.iter().enumerate() {
        let known = COLUMNS.iter().position(|column| name.eq_ignore_ascii_case(column));
        match known {
            Some(column) if columns[column].is_none() => columns[column] = Some(index),
            Some(_) => errors.push(FieldError::new(
                "line 1",
                format!("names the column {} twice", echo(name)),
            )),
            None => {
                let message = format!("names a column {}; known are {}", echo(name), COLUMNS.join(", "));
                errors.push(FieldError::new("line 1", message));
            }
        }
        if errors.len() > ERRORS_MAX {
            break;
        }
    }
    for (column, name) in columns.iter().zip(COLUMNS).take(COLUMNS_REQUIRED) {
        if column.is_none() {
            errors.push(FieldError::new("line 1", format!("must name the column {name:?}")));
        }
    }
    if errors.is_empty() {
        Ok(columns)
    } else {
        Err(Problem::invalid(errors))
    }
}

fn unreadable(error: &csv::Error) -> Problem {
    let FieldError { pointer, message } = unreadable_line(error);
    Problem::malformed(pointer, message)
}

fn unreadable_line(error: &csv::Error) -> FieldError {
    let line = error.position().map_or(1, csv::Position::line);
    let message = match error.kind() {
        csv::ErrorKind::Utf8 { .. } => "is not valid UTF-8".to_owned(),
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("has {len} columns, where the header has {expected_len}")
        }
        _ => "can't be read as CSV".to_owned(),
    };
    FieldError::new(format!("line {line}"), message)
}

/// Seats so far, what was wrong, and where each name was seen first.
#[derive(Default)]
struct Import {
    layout: Layout,
    errors: Vec<FieldError>,
    ids: HashMap<String, u64>,
    places: HashMap<(String, String, i32), u64>,
    too_many: bool,
}

impl Import {
    fn add(&mut self, seat: SeatRequest, at: u64, place: impl Fn(&str) -> String) {
        if self.layout.len() >= VENUE_SEATS_MAX {
            self.too_many = true;
            let message = format!("is one seat too many: a venue has at most {VENUE_SEATS_MAX}");
            self.errors.push(FieldError::new(place(""), message));
            return;
        }
        let before = self.errors.len();
        let check = |errors: &mut Vec<FieldError>, column: &str, text: &str| {
            if let Err(message) = text::check(text, ID_CHARS_MAX) {
                errors.push(FieldError::new(place(column), message));
            }
        };
        check(&mut self.errors, "section", &seat.section);
        check(&mut self.errors, "row", &seat.row);
        let is_given = seat.seat_id.is_some();
        let id = seat
            .seat_id
            .unwrap_or_else(|| format!("{}-{}-{}", seat.section, seat.row, seat.number));
        // One that was made of what is wrong need not be named too.
        if is_given || self.errors.len() == before {
            check(&mut self.errors, "seat_id", &id);
        }
        let number = i32::try_from(seat.number)
            .ok()
            .filter(|number| (1..=SEAT_NUMBER_MAX).contains(number));
        if number.is_none() {
            let message = format!("must be 1 to {SEAT_NUMBER_MAX}, not {}", seat.number);
            self.errors.push(FieldError::new(place("number"), message));
        }
        for (column, value) in [("x", seat.x), ("y", seat.y)] {
            let is_near = |value: f32| value.is_finite() && value.abs() <= SEAT_COORDINATE_MAX;
            if value.is_some_and(|value| !is_near(value)) {
                let message = format!("must be within ±{SEAT_COORDINATE_MAX}");
                self.errors.push(FieldError::new(place(column), message));
            }
        }
        if seat.x.is_some() != seat.y.is_some() {
            let message = "has one coordinate without the other";
            self.errors.push(FieldError::new(place(""), message));
        }
        for mark in &seat.marks {
            if !MARKS.contains(&mark.as_str()) {
                let message = format!("names a mark {}; known are {}", echo(mark), MARKS.join(", "));
                self.errors.push(FieldError::new(place("marks"), message));
            }
        }
        let Some(number) = number.filter(|_| self.errors.len() == before) else {
            return;
        };
        let key = (seat.section, seat.row, number);
        if let Some(first) = self.places.get(&key) {
            let message = format!(
                "repeats the seat {} of row {} of section {}, which is {} already",
                number,
                echo(&key.1),
                echo(&key.0),
                named(&place(""), *first)
            );
            self.errors.push(FieldError::new(place(""), message));
            return;
        }
        if let Some(first) = self.ids.get(&id) {
            let message = format!(
                "repeats the seat id {}, which is {} already",
                echo(&id),
                named(&place(""), *first)
            );
            self.errors.push(FieldError::new(place("seat_id"), message));
            return;
        }
        self.ids.insert(id.clone(), at);
        self.places.insert(key.clone(), at);
        let layout = &mut self.layout;
        layout.seat_ids.push(id);
        layout.sections.push(key.0);
        layout.rows.push(key.1);
        layout.numbers.push(number);
        layout.xs.push(seat.x);
        layout.ys.push(seat.y);
        layout
            .marks
            .push((!seat.marks.is_empty()).then(|| seat.marks.join(" ")));
    }

    /// More mistakes would not be named.
    fn is_hopeless(&self) -> bool {
        self.too_many || self.errors.len() > ERRORS_MAX
    }

    fn finish(mut self, place: &str) -> Result<Layout, Problem> {
        if self.errors.is_empty() && self.layout.is_empty() {
            let pointer = place.trim_end_matches('/');
            let pointer = if pointer == "line" { "line 2" } else { pointer };
            self.errors
                .push(FieldError::new(pointer, "must have at least one seat"));
        }
        if self.errors.is_empty() {
            Ok(self.layout)
        } else {
            Err(Problem::invalid(self.errors))
        }
    }
}

/// Another place, in the words of this one.
fn named(here: &str, other: u64) -> String {
    if here.starts_with("line") {
        format!("on line {other}")
    } else {
        format!("/seats/{other}")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn errors(csv: &str) -> Vec<(String, String)> {
        let problem = from_csv(csv.as_bytes()).unwrap_err();
        let error = |error: &FieldError| (error.pointer.clone(), error.message.clone());
        problem.errors().iter().map(error).collect()
    }

    #[test]
    fn seats_are_read_from_csv() {
        let csv = "\u{feff}Row, section,number,marks,y,x\nA,Floor,1,wheelchair step_free,2.5,-1\n\"B \"\"2\"\"\",Floor,7,,,\n";
        let layout = from_csv(csv.as_bytes()).unwrap();
        assert_eq!(layout.seat_ids, ["Floor-A-1", "Floor-B \"2\"-7"]);
        assert_eq!(layout.numbers, [1, 7]);
        assert_eq!((layout.xs[0], layout.ys[0]), (Some(-1.0), Some(2.5)));
        assert_eq!(layout.marks, [Some("wheelchair step_free".to_owned()), None]);
    }

    #[test]
    fn wrong_columns_are_named() {
        assert_eq!(
            errors("section,place,number\n")
                .iter()
                .map(|(_, message)| message.as_str())
                .collect::<Vec<_>>(),
            [
                "names a column \"place\"; known are section, row, number, seat_id, x, y, marks",
                "must name the column \"row\""
            ]
        );
        assert_eq!(errors("")[0].1, "must name the column \"section\"");
        assert_eq!(
            errors("section,row,number\nA,B\n"),
            [("line 2".to_owned(), "has 2 columns, where the header has 3".to_owned())]
        );
        assert_eq!(errors("section,row,number\n")[0].1, "must have at least one seat");
    }

    #[test]
    fn every_wrong_row_is_named_by_its_line() {
        let csv = "section,row,number,seat_id,x,y,marks\n\
                   A,1,1,one,,,\nA,1,1,two,,,\nA,1,2,one,,,\nA,1,x,,,,\n,1,0,,,,\nA,2,3,,1,,\nA,2,4,,1e9,nan,\nA,2,5,,,,throne\n";
        let pointers: Vec<String> = errors(csv).into_iter().map(|(pointer, _)| pointer).collect();
        assert_eq!(
            pointers,
            [
                "line 3",
                "line 4, seat_id",
                "line 5, number",
                "line 6, section",
                "line 6, number",
                "line 7",
                "line 8, x",
                "line 8, y",
                "line 9, marks"
            ]
        );
        assert!(errors(csv)[0].1.ends_with("which is on line 2 already"));
    }

    #[test]
    fn ids_that_only_look_different_are_found() {
        // Both would be called A-B-1-1.
        let found = errors("section,row,number\nA-B,1,1\nA,B-1,1\n");
        assert_eq!(found[0].0, "line 3, seat_id");
    }

    #[test]
    fn a_million_rows_end_at_the_limit() {
        let rows = (1..=1_000_000).map(|n| format!("S,R{},{}\n", n / 500, n % 500 + 1));
        let csv: String = std::iter::once("section,row,number\n".to_owned()).chain(rows).collect();
        let found = errors(&csv);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].0, format!("line {}", VENUE_SEATS_MAX + 2));
        assert!(found[0].1.contains("at most 100000"), "{}", found[0].1);
        let wrong = csv.replace("S,", ",");
        let problem = from_csv(wrong.as_bytes()).unwrap_err();
        assert_eq!(problem.errors().len(), ERRORS_MAX);
    }

    #[test]
    fn json_says_the_same() {
        let read = |json: &str| from_json(serde_json::from_str(json).unwrap());
        let layout =
            read(r#"{"seats": [{"section": "A", "row": "1", "number": 1, "seatId": "x", "marks": ["companion"]}]}"#);
        assert_eq!(layout.unwrap().seat_ids, ["x"]);
        let twice =
            r#"{"seats": [{"section": "A", "row": "1", "number": 1}, {"section": "A", "row": "1", "number": 1}]}"#;
        let problem = read(twice).unwrap_err();
        assert_eq!(problem.errors()[0].pointer, "/seats/1");
        assert!(problem.errors()[0].message.ends_with("which is /seats/0 already"));
        assert_eq!(read(r#"{"seats": []}"#).unwrap_err().errors()[0].pointer, "/seats");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = from_csv(&[b"section,row,number,seat_id,x,y,marks\n".as_slice(), &bytes].concat());
            let _ = from_csv(&bytes);
        }
    }
}
