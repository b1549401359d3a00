//! A code as a QR code: which of its squares are dark.

use std::fmt::Write as _;

use fast_qr::{ECL, QRBuilder, QRCode};

/// The quiet zone around a QR code on a screen, in modules, as ISO/IEC 18004 wants it.
const QUIET: usize = 4;

/// A QR code.
pub struct Qr(QRCode);

/// Dark modules side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The row, from the top.
    pub row: usize,
    /// The first one's column.
    pub column: usize,
    /// How many there are.
    pub length: usize,
}

impl Qr {
    /// The QR code of this text; none: it is too long for one.
    pub fn of(text: &str) -> Option<Qr> {
        QRBuilder::new(text).ecl(ECL::M).build().ok().map(Qr)
    }

    /// Modules in a row.
    pub fn side(&self) -> usize {
        self.0.size
    }

    /// The dark modules, row by row; those side by side together, or printers show seams.
    pub fn runs(&self) -> Vec<Run> {
        let mut runs = Vec::new();
        for row in 0..self.side() {
            let modules = &self.0[row];
            let mut column = 0;
            while column < self.side() {
                let begin = column;
                while column < self.side() && modules[column].value() {
                    column += 1;
                }
                if column > begin {
                    runs.push(Run {
                        row,
                        column: begin,
                        length: column - begin,
                    });
                }
                column += 1;
            }
        }
        runs
    }

    /// As a picture: black on white whatever surrounds it, for scanners want that.
    pub fn svg(&self) -> String {
        let side = self.side() + 2 * QUIET;
        let mut path = String::new();
        for run in self.runs() {
            let (x, y) = (run.column + QUIET, run.row + QUIET);
            let _ = write!(path, "M{x} {y}h{length}v1h-{length}z", length = run.length);
        }
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {side} {side}\" shape-rendering=\"crispEdges\">\
             <path fill=\"#fff\" d=\"M0 0h{side}v{side}H0z\"/><path d=\"{path}\"/></svg>"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_the_dark_modules() {
        let qr = Qr::of("a ticket").expect("a short text fits");
        let dark: usize = qr.runs().iter().map(|run| run.length).sum();
        let modules = (0..qr.side()).flat_map(|row| qr.0[row].iter().take(qr.side()));
        assert_eq!(dark, modules.filter(|module| module.value()).count());
        // The finder pattern begins with seven dark modules.
        let first = Run {
            row: 0,
            column: 0,
            length: 7,
        };
        assert_eq!(qr.runs()[0], first);
        assert!(qr.svg().contains("M4 4h7v1h-7z"));
        assert!(Qr::of(&"x".repeat(8_000)).is_none());
    }
}
