//! Tickets as PDF: a page each, with the code as a QR code large enough for a phone's screen and a bad printer.

use std::sync::LazyLock;

use krilla::Document;
use krilla::color::luma;
use krilla::geom::{PathBuilder, Point, Rect};
use krilla::metadata::Metadata;
use krilla::num::NormalizedF32;
use krilla::page::PageSettings;
use krilla::paint::{Fill, FillRule};
use krilla::surface::Surface;
use krilla::text::{Font, TextDirection};
use thiserror::Error;

use crate::qr::Qr;

/// Pages of one document, at most: more seats than any order may have.
pub const PAGES_MAX: usize = 200;

/// A5 in points.
const WIDTH: f32 = 420.0;
const HEIGHT: f32 = 595.0;
const MARGIN: f32 = 36.0;
/// The QR code's side, its quiet zone not counted: 9 cm, so that a module of the largest code has a millimetre.
const QR_SIDE: f32 = 255.0;
/// Characters of a large line, and of a small one, that fit the page in letters of average width.
const LARGE_CHARS: usize = 26;
const SMALL_CHARS: usize = 52;
/// Lines of the event's name.
const NAME_LINES: usize = 3;

/// What is printed on a ticket.
#[derive(Clone, Debug)]
pub struct Page {
    /// The event's name.
    pub event: String,
    /// Where it is.
    pub venue: String,
    /// When it begins, for people.
    pub date: String,
    /// Where to sit.
    pub section: String,
    /// The row's name.
    pub row: String,
    /// The seat's id.
    pub seat: String,
    /// What was paid, with its currency.
    pub price: String,
    /// The order's confirmation number.
    pub number: String,
    /// What the door scans.
    pub code: String,
}

/// Why there is no PDF.
#[derive(Debug, Error)]
pub enum PdfError {
    /// More than [`PAGES_MAX`], or none.
    #[error("a document has 1 to {PAGES_MAX} tickets")]
    Pages,
    /// The code is too long.
    #[error("the code does not fit a QR code")]
    Qr,
    /// The document can't be written.
    #[error("the document can't be written: {0}")]
    Document(String),
}

/// The letters: read from the program once.
static LETTERS: LazyLock<Option<(Font, Font)>> = LazyLock::new(|| {
    let regular = Font::new(dejavu::sans::regular().into(), 0)?;
    let bold = Font::new(dejavu::sans::bold().into(), 0)?;
    Some((regular, bold))
});

/// A document with a page for each ticket.
///
/// # Errors
/// If there are too many, or none, or one can't be drawn.
pub fn render(pages: &[Page]) -> Result<Vec<u8>, PdfError> {
    if pages.is_empty() || pages.len() > PAGES_MAX {
        return Err(PdfError::Pages);
    }
    let (regular, bold) = LETTERS
        .as_ref()
        .ok_or_else(|| PdfError::Document("the built-in letters can't be read".to_owned()))?;
    let mut document = Document::new();
    let title = format!("Tickets {}", pages[0].number);
    document.set_metadata(Metadata::new().title(title).creator("Sagaline".to_owned()));
    for ticket in pages {
        let qr = Qr::of(&ticket.code).ok_or(PdfError::Qr)?;
        let size = PageSettings::from_wh(WIDTH, HEIGHT).expect("an A5 page has a size");
        let mut page = document.start_page_with(size);
        let mut surface = page.surface();
        let mut pen = Pen {
            surface: &mut surface,
            y: MARGIN,
        };
        for line in wrap(&ticket.event, LARGE_CHARS, NAME_LINES) {
            pen.line(bold, 22.0, &line);
        }
        pen.space(6.0);
        pen.line(regular, 11.0, &shorten(&ticket.venue, SMALL_CHARS));
        pen.line(regular, 11.0, &shorten(&ticket.date, SMALL_CHARS));
        pen.space(10.0);
        let place = format!("{} · Row {} · Seat {}", ticket.section, ticket.row, ticket.seat);
        pen.line(bold, 14.0, &shorten(&place, SMALL_CHARS - 14));
        pen.space(12.0);
        pen.qr(&qr);
        pen.space(14.0);
        pen.line(regular, 11.0, &format!("{}   {}", ticket.number, ticket.price));
        pen.line(regular, 8.0, "Admits one, once. Whoever shows this code first gets in.");
        surface.finish();
        page.finish();
    }
    document
        .finish()
        .map_err(|error| PdfError::Document(format!("{error:?}")))
}

/// Writes from the top of a page to its bottom.
struct Pen<'a, 'b> {
    surface: &'a mut Surface<'b>,
    y: f32,
}

impl Pen<'_, '_> {
    fn line(&mut self, font: &Font, size: f32, text: &str) {
        self.y += size * 1.25;
        self.surface.set_fill(Some(black()));
        let at = Point::from_xy(MARGIN, self.y);
        self.surface
            .draw_text(at, font.clone(), size, text, false, TextDirection::Auto);
    }

    fn space(&mut self, points: f32) {
        self.y += points;
    }

    /// One path for all dark modules; those side by side are one rectangle, or printers show seams.
    fn qr(&mut self, qr: &Qr) {
        let module = QR_SIDE / qr.side() as f32;
        let left = (WIDTH - QR_SIDE) / 2.0;
        let mut path = PathBuilder::new();
        for run in qr.runs() {
            let (x, y) = (left + run.column as f32 * module, self.y + run.row as f32 * module);
            let dark = Rect::from_xywh(x, y, run.length as f32 * module, module);
            path.push_rect(dark.expect("a run of modules has a size"));
        }
        self.surface.set_fill(Some(black()));
        if let Some(path) = path.finish() {
            self.surface.draw_path(&path);
        }
        self.y += QR_SIDE;
    }
}

fn black() -> Fill {
    Fill {
        paint: luma::Color::black().into(),
        opacity: NormalizedF32::ONE,
        rule: FillRule::NonZero,
    }
}

/// Lines of at most so many characters, broken between words where that can be done; what is left over is shown by an ellipsis.
fn wrap(text: &str, chars_max: usize, lines_max: usize) -> Vec<String> {
    let mut lines: Vec<String> = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is one");
        let joined = line.chars().count() + 1 + word.chars().count();
        if line.is_empty() {
            *line = word.to_owned();
        } else if joined <= chars_max {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    if lines.len() > lines_max {
        let rest = lines.split_off(lines_max - 1).join(" ");
        lines.push(rest);
    }
    lines.iter().map(|line| shorten(line, chars_max)).collect()
}

/// At most so many characters.
fn shorten(text: &str, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(chars_max - 1).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn page() -> Page {
        Page {
            event: "Taylor Swift: The Eras Tour".to_owned(),
            venue: "Madison Square Garden, New York".to_owned(),
            date: "Sunday, 17 May 2026, 19:30 (America/New_York)".to_owned(),
            section: "Floor".to_owned(),
            row: "A".to_owned(),
            seat: "A15".to_owned(),
            price: "400.00 USD".to_owned(),
            number: "SL-ZC028-63VGV".to_owned(),
            code: "x".repeat(400),
        }
    }

    #[test]
    fn a_document_has_a_page_for_each_ticket() {
        let document = render(&[page(), page()]).unwrap();
        assert!(document.starts_with(b"%PDF-"));
        let pages = document.windows(12).filter(|bytes| bytes == b"/Type /Page\n").count()
            + document.windows(11).filter(|bytes| bytes == b"/Type/Page\n").count();
        assert!(pages == 2 || String::from_utf8_lossy(&document).contains("/Count 2"));
        assert!(matches!(render(&[]), Err(PdfError::Pages)));
        assert!(matches!(render(&vec![page(); PAGES_MAX + 1]), Err(PdfError::Pages)));
    }

    #[test]
    fn names_of_any_length_and_script_are_drawn() {
        for event in [
            "w".repeat(5_000),
            "Ein sehr langer Name ".repeat(40),
            "משחקי הכס‏ — Игра".to_owned(),
            "演唱会\u{202e}evil".to_owned(),
            String::new(),
        ] {
            render(&[Page { event, ..page() }]).unwrap();
        }
        assert!(matches!(
            render(&[Page {
                code: "x".repeat(5_000),
                ..page()
            }]),
            Err(PdfError::Qr)
        ));
    }

    #[test]
    fn lines_break_between_words() {
        assert_eq!(wrap("one two three", 7, 3), ["one two", "three"]);
        assert_eq!(wrap("one two three four five", 7, 2), ["one two", "three …"]);
        assert_eq!(wrap("", 7, 2), [""]);
        assert_eq!(shorten("abcdefgh", 4), "abc…");
    }
}
