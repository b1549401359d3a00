//! Which seats a price is for, as lines of text: `Floor: A, B` is two rows of a section, `Balcony` all of one. Pure.

use super::types::Place;

/// What parts a section from its rows, and rows from each other, is written with this before it where a name has it.
const ESCAPE: char = '\\';

/// As lines.
pub fn told(places: &[Place]) -> String {
    let line = |place: &Place| {
        let rows: Vec<String> = place.rows.iter().map(|row| escaped(row)).collect();
        match rows.is_empty() {
            true => escaped(&place.section),
            false => format!("{}: {}", escaped(&place.section), rows.join(", ")),
        }
    };
    places.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// What lines say; empty ones say nothing.
pub fn read(text: &str) -> Vec<Place> {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let place = |line: &str| {
        let mut parts = split(line, ':').into_iter();
        let section = plain(&parts.next().unwrap_or_default());
        // What follows a second colon belongs to the rows.
        let rows = parts.collect::<Vec<_>>().join(":");
        let rows = split(&rows, ',')
            .iter()
            .map(|row| plain(row))
            .filter(|row| !row.is_empty())
            .collect();
        Place { section, rows }
    };
    lines.map(place).collect()
}

fn escaped(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for char in name.chars() {
        if matches!(char, ':' | ',' | ESCAPE) {
            text.push(ESCAPE);
        }
        text.push(char);
    }
    text
}

/// Parts it, and leaves what is escaped as it is.
fn split(text: &str, at: char) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        let last = parts.last_mut().expect("there is always a part");
        if char == ESCAPE {
            last.push(char);
            last.extend(chars.next());
        } else if char == at {
            parts.push(String::new());
        } else {
            last.push(char);
        }
    }
    parts
}

fn plain(text: &str) -> String {
    let mut chars = text.trim().chars();
    let mut name = String::new();
    while let Some(char) = chars.next() {
        match char {
            ESCAPE => name.extend(chars.next()),
            char => name.push(char),
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(section: &str, rows: &[&str]) -> Place {
        Place {
            section: section.to_owned(),
            rows: rows.iter().map(|row| (*row).to_owned()).collect(),
        }
    }

    #[test]
    fn what_is_told_is_read_again() {
        let places = [
            place("Floor", &["A", "B"]),
            place("Balcony", &[]),
            place("A: left, \\near", &["1,2", "x:y", "z\\"]),
        ];
        assert_eq!(read(&told(&places)), places);
        assert!(told(&places).starts_with("Floor: A, B\nBalcony\n"));
    }

    #[test]
    fn people_type_as_they_like() {
        assert_eq!(
            read("  Floor :A,B ,\r\n\r\n Balcony "),
            [place("Floor", &["A", "B"]), place("Balcony", &[])]
        );
        assert!(read(" \n").is_empty());
    }
}
