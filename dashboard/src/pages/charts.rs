//! Charts as SVG, made here from figures: nothing of anybody's text is in them but what is escaped.

use std::fmt::Write as _;

use super::graph::escape;

/// A chart's measures, in pixels.
const WIDTH: usize = 360;
const HEIGHT: usize = 72;
/// A sparkline's.
const SPARK_WIDTH: usize = 120;
const SPARK_HEIGHT: usize = 22;

/// Bars from left to right, in the look `class`; `label` says in words what they are.
pub fn bars(label: &str, class: &str, values: &[i64]) -> String {
    draw(label, class, values, WIDTH, HEIGHT)
}

/// The same, small enough for a table.
pub fn sparkline(label: &str, class: &str, values: &[i64]) -> String {
    draw(label, class, values, SPARK_WIDTH, SPARK_HEIGHT)
}

/// One bar from the left, as long as `value` is of `most`, small enough for a table.
pub fn bar(label: &str, class: &str, value: i64, most: i64) -> String {
    let wide = value.max(0) as f64 / most.max(1) as f64 * SPARK_WIDTH as f64;
    let height = SPARK_HEIGHT;
    format!(
        "<svg class=\"chart\" width=\"{SPARK_WIDTH}\" height=\"{height}\" viewBox=\"0 0 {SPARK_WIDTH} {height}\" role=\"img\" \
         aria-label=\"{}\"><path class=\"{class}\" d=\"M0 4h{wide:.1}v{tall}h-{wide:.1}z\"/></svg>",
        escape(label),
        tall = height - 8,
    )
}

fn draw(label: &str, class: &str, values: &[i64], width: usize, height: usize) -> String {
    let most = values.iter().copied().max().unwrap_or(0).max(1) as f64;
    let step = width as f64 / values.len().max(1) as f64;
    let mut out = format!(
        "<svg class=\"chart\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{}\">",
        escape(label)
    );
    let _ = write!(out, "<path class=\"{class}\" d=\"");
    for (place, value) in values.iter().enumerate().filter(|(_, value)| **value > 0) {
        // A single one is still to be seen.
        let tall = (*value as f64 / most * (height as f64 - 4.0)).max(2.0);
        let (x, wide) = (place as f64 * step, (step - 1.0).max(1.0));
        // Writing to a String can't fail.
        let _ = write!(out, "M{x:.1} {height}v-{tall:.1}h{wide:.1}v{tall:.1}z");
    }
    out.push_str("\"/>");
    out.push_str("</svg>");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_says_in_words_what_it_shows() {
        let chart = bars("<b>begun", "bar-busy", &[0, 1, 100]);
        assert!(chart.contains("aria-label=\"&lt;b&gt;begun\""), "{chart}");
        assert_eq!(chart.matches("M").count(), 2, "{chart}");
        assert!(!sparkline("", "bar-bad", &[]).contains("NaN"));
    }
}
