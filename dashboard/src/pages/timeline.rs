//! The attempts of a saga as bars over time: its journal is folded again, and what each entry dispatched and what came
//! back are put side by side.

use std::fmt::Write as _;

use workflows::effect::Effect;
use workflows::event::Event;
use workflows::ids::{SagaId, Timestamp};
use workflows::protocol::{Outcome, Role, Token};
use workflows::{Compiled, replay};

use super::graph::escape;
use super::text::span;

/// The picture's measures, in pixels.
const WIDTH: f64 = 900.0;
const NAMES: f64 = 220.0;
const ROW: usize = 22;
/// Attempts that are drawn: the latest.
const BARS_MAX: usize = 60;

/// An attempt, from its dispatch to its answer.
pub struct Bar {
    /// Which one.
    pub token: Token,
    /// When it was dispatched.
    pub from: Timestamp,
    /// When it was answered.
    pub to: Option<Timestamp>,
    /// Its look: `bar-good` has succeeded, `bar-bad` has failed.
    pub class: &'static str,
    words: String,
}

/// Draws it; none: there was no attempt, or the journal doesn't begin with the saga.
pub fn draw<'a>(
    definition: &Compiled,
    saga: SagaId,
    journal: impl Iterator<Item = (Timestamp, &'a Event)>,
    now: Timestamp,
) -> Option<String> {
    let mut bars = bars(definition, saga, journal)?;
    let skipped = bars.len().saturating_sub(BARS_MAX);
    bars.drain(..skipped);
    let first = bars.first()?.from;
    let last = bars
        .iter()
        .map(|bar| bar.to.unwrap_or(now))
        .max()?
        .max(Timestamp(first.0 + 1));
    let scale = (WIDTH - NAMES - 90.0) / (last.0 - first.0) as f64;
    let height = bars.len() * ROW + 12;
    let mut out = format!(
        "<svg width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"Attempts over time\">"
    );
    for (place, bar) in bars.iter().enumerate() {
        let y = place * ROW + 6;
        let to = bar.to.unwrap_or(now).max(bar.from);
        let x = NAMES + (bar.from.0 - first.0) as f64 * scale;
        let width = ((to.0 - bar.from.0) as f64 * scale).max(3.0);
        let took = span(to.0.saturating_sub(bar.from.0).unsigned_abs());
        let name: String = format!("{} {}", bar.token.step, role(bar.token.role))
            .chars()
            .take(28)
            .collect();
        // Writing to a String can't fail.
        let _ = write!(
            out,
            "<g><title>{} {} attempt {}: {} ({took}), from {}</title><text class=\"small\" x=\"8\" y=\"{}\">{}{}</text>\
             <rect class=\"{}\" x=\"{x:.1}\" y=\"{y}\" width=\"{width:.1}\" height=\"{}\" rx=\"2\"/>\
             <text class=\"small\" x=\"{:.1}\" y=\"{}\">{took}</text></g>",
            escape(&bar.token.step),
            role(bar.token.role),
            bar.token.attempt,
            escape(&bar.words),
            bar.from.to_rfc3339(),
            y + 12,
            escape(&name),
            bar.token.attempt,
            bar.class,
            ROW - 8,
            x + width + 5.0,
            y + 12,
        );
    }
    out.push_str("</svg>");
    Some(out)
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Run => "#",
        Role::Probe => "probe #",
        Role::Fence => "fence #",
        Role::Compensate => "undo #",
    }
}

/// A saga's attempts, in the order of their dispatch; none: the journal doesn't begin with the saga.
pub fn bars<'a>(
    definition: &Compiled,
    saga: SagaId,
    journal: impl Iterator<Item = (Timestamp, &'a Event)>,
) -> Option<Vec<Bar>> {
    let mut bars: Vec<Bar> = Vec::new();
    let replayed = replay(definition, saga, journal, |at, event, transition| {
        if let Event::Result(result) = event {
            let open = bars
                .iter_mut()
                .rev()
                .find(|bar| bar.token == result.token && bar.to.is_none());
            if let Some((bar, (class, words))) = open.zip(ended(&result.outcome)) {
                (bar.to, bar.class, bar.words) = (Some(at), class, words);
            }
        }
        for effect in &transition.effects {
            let Effect::Dispatch { queue: _, task } = effect else {
                continue;
            };
            // Sent again after the broker lost it, an attempt is still the same one.
            if !bars.iter().any(|bar| bar.token == task.token && bar.to.is_none()) {
                bars.push(Bar {
                    token: task.token.clone(),
                    from: at,
                    to: None,
                    class: "bar-busy",
                    words: "no answer yet".to_owned(),
                });
            }
        }
    });
    replayed.is_ok().then_some(bars)
}

fn ended(outcome: &Outcome) -> Option<(&'static str, String)> {
    match outcome {
        Outcome::Succeeded { output: _ } => Some(("bar-good", "succeeded".to_owned())),
        Outcome::Failed { code, message, .. } => Some(("bar-bad", format!("{code}: {message}"))),
        Outcome::Unknown { message } => Some(("bar-wait", format!("outcome unknown: {message}"))),
        Outcome::Pending { .. } => Some(("bar-wait", "under way elsewhere".to_owned())),
        Outcome::Heartbeat {} => None,
    }
}
