//! `sagaline saga watch`: a saga on its workflow's graph, live on a terminal; elsewhere a line whenever it has changed.

use std::io::{IsTerminal, Write, stdout};
use std::time::Duration;

use crossterm::style::Stylize;
use crossterm::{cursor, execute, queue, terminal};
use serde_json::Value;
use workflows::ids::SagaId;
use workflows::state::Status;

use super::control::{self, Client, Column, cell, plain};
use crate::cli::Global;
use crate::output::{self, Output};
use crate::shutdown;

/// How often a saga that is watched is looked at.
const POLL: Duration = Duration::from_millis(500);
/// A terminal that doesn't tell its size, and none is smaller: below this nothing useful can be shown.
const SIZE: (usize, usize) = (80, 24);
const SIZE_MIN: (usize, usize) = (40, 12);
/// Where the second column begins at most: longer names push it on.
const NAMES_MAX: usize = 48;

const SAGA: &[Column] = &[
    ("saga", "/id"),
    ("workflow", "/workflow"),
    ("version", "/version"),
    ("status", "/status"),
    ("about", "/businessKey"),
    ("entry", "/seq"),
];

/// Follows a saga until it has ended or waits for an operator.
pub async fn watch(global: &Global, client: &Client, saga: SagaId) -> anyhow::Result<()> {
    match global.output {
        Output::Table if stdout().is_terminal() => live(client, saga).await,
        Output::Table => {
            let path = format!("/sagas/{saga}/graph");
            follow(client, &path, |found| output::print_text(&line(found))).await
        }
        form @ (Output::Json | Output::Jsonl) => {
            let path = format!("/sagas/{saga}");
            follow(client, &path, |found| control::print_item(form, SAGA, found)).await
        }
    }
}

/// Gives each of its changes to `each`.
async fn follow(client: &Client, path: &str, mut each: impl FnMut(&Value) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let mut last = Value::Null;
    loop {
        let found = client.get(path, &[]).await?.body;
        if found["seq"] != last {
            last = found["seq"].clone();
            each(&found)?;
        }
        if is_settled(&found) {
            return Ok(());
        }
        tokio::time::sleep(POLL).await;
    }
}

fn is_settled(found: &Value) -> bool {
    let status = found["status"].as_str().unwrap_or_default().parse::<Status>();
    status.is_ok_and(orchestrator::client::is_settled)
}

/// A change in one line: when, which entry of the journal, and what is open.
fn line(found: &Value) -> String {
    let open = nodes(found).filter(|node| matches!(text(node, "state"), "running" | "waiting" | "failed"));
    let open: Vec<String> = open
        .map(|node| format!("{}: {}", plain(text(node, "name")), plain(text(node, "words"))))
        .collect();
    let (at, seq, status) = (text(found, "updatedAt"), &found["seq"], text(found, "status"));
    format!("{at}  #{seq}  {status}  {}", open.join(", "))
        .trim_end()
        .to_owned()
}

/// Redraws it on the terminal's other screen; what was there last stays to be read on the usual one.
async fn live(client: &Client, saga: SagaId) -> anyhow::Result<()> {
    let path = format!("/sagas/{saga}/graph");
    // What can't be looked at is said where it can be read.
    let mut found = client.get(&path, &[]).await?.body;
    let leave = shutdown::on_signal()?;
    {
        let screen = Screen::open()?;
        while !is_settled(&found) {
            screen.draw(&found)?;
            if leave.run_until_cancelled(tokio::time::sleep(POLL)).await.is_none() {
                break;
            }
            let Some(answer) = leave.run_until_cancelled(client.get(&path, &[])).await else {
                break;
            };
            found = answer?.body;
        }
    }
    let width = size().0;
    let rows: Vec<String> = frame(&found, width, usize::MAX).into_iter().map(Row::painted).collect();
    output::print_text(&rows.join("\n"))
}

fn size() -> (usize, usize) {
    let (width, height) = terminal::size().map_or(SIZE, |(width, height)| (width.into(), height.into()));
    (width.max(SIZE_MIN.0), height.max(SIZE_MIN.1))
}

/// The terminal's other screen, until it is dropped.
struct Screen;

impl Screen {
    fn open() -> anyhow::Result<Screen> {
        execute!(
            stdout(),
            terminal::EnterAlternateScreen,
            terminal::DisableLineWrap,
            cursor::Hide
        )?;
        Ok(Screen)
    }

    /// In place, line by line: clearing all first would flicker.
    fn draw(&self, found: &Value) -> anyhow::Result<()> {
        let (width, height) = size();
        let mut out = stdout().lock();
        queue!(out, cursor::MoveTo(0, 0))?;
        let mut rows = frame(found, width, height - 1);
        rows.push(Row::new(Look::Ahead, "Ctrl-C leaves; the saga goes on.".to_owned()));
        let last = rows.len();
        for (place, row) in (1..).zip(rows) {
            write!(out, "{}", row.painted())?;
            queue!(out, terminal::Clear(terminal::ClearType::UntilNewLine))?;
            if place < last {
                write!(out, "\r\n")?;
            }
        }
        queue!(out, terminal::Clear(terminal::ClearType::FromCursorDown))?;
        Ok(out.flush()?)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs no tidying.
        let _ = execute!(
            stdout(),
            cursor::Show,
            terminal::EnableLineWrap,
            terminal::LeaveAlternateScreen
        );
    }
}

/// How a line looks. Each has an icon or words of its own too: colour is never all there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    Plain,
    Title,
    Ahead,
    Running,
    Waiting,
    Failed,
    Done,
    Undone,
}

impl Look {
    fn of(state: &str) -> (Look, char) {
        match state {
            "running" => (Look::Running, '▶'),
            "waiting" => (Look::Waiting, '◷'),
            "failed" => (Look::Failed, '‼'),
            "done" => (Look::Done, '✔'),
            "undone" => (Look::Undone, '↩'),
            _ahead => (Look::Ahead, '·'),
        }
    }
}

/// A line of the view.
#[derive(Debug)]
struct Row {
    look: Look,
    text: String,
}

impl Row {
    fn new(look: Look, text: String) -> Row {
        Row { look, text }
    }

    /// With the terminal's colours, unless `NO_COLOR` is set.
    fn painted(self) -> String {
        let text = self.text;
        match self.look {
            Look::Plain => text,
            Look::Title => text.bold().to_string(),
            Look::Ahead => text.dim().to_string(),
            Look::Running => text.cyan().bold().to_string(),
            Look::Waiting => text.yellow().to_string(),
            Look::Failed => text.red().bold().to_string(),
            Look::Done => text.green().to_string(),
            Look::Undone => text.magenta().to_string(),
        }
    }
}

/// The view: what it is, its graph, what comes next; no more than `height` lines, where the graph gives way first.
fn frame(found: &Value, width: usize, height: usize) -> Vec<Row> {
    let title = format!(
        "{} v{}  {}  {}",
        cell(found, "/workflow"),
        cell(found, "/version"),
        cell(found, "/status"),
        cell(found, "/businessKey")
    );
    let below = format!(
        "{}  entry {} of its journal, {}",
        cell(found, "/id"),
        found["seq"],
        cell(found, "/updatedAt")
    );
    let mut rows = vec![
        Row::new(Look::Title, cut(&title, width)),
        Row::new(Look::Ahead, cut(&below, width)),
        Row::new(Look::Plain, String::new()),
    ];
    let sentences = found["standing"].as_array().into_iter().flatten();
    let mut next: Vec<String> = sentences
        .filter_map(Value::as_str)
        .flat_map(|sentence| wrapped(&plain(sentence), width))
        .collect();
    // Half of the screen is for what comes next, at most.
    next.truncate(height / 2);
    let room = height.saturating_sub(rows.len() + next.len() + 1);
    rows.extend(window(graph(found, width), room));
    rows.push(Row::new(Look::Plain, String::new()));
    rows.extend(next.into_iter().map(|text| Row::new(Look::Plain, text)));
    rows
}

/// The nodes, each below the one before it, and what is within a node further right.
fn graph(found: &Value, width: usize) -> Vec<Row> {
    let pivoted = found["pivoted"] == true;
    let mut lines: Vec<(Look, String, String)> = Vec::new();
    for node in nodes(found) {
        let depth = usize::try_from(node["depth"].as_u64().unwrap_or_default()).unwrap_or_default();
        let (when, branch) = (text(node, "when"), node["branch"].as_u64().unwrap_or_default());
        if !when.is_empty() {
            lines.push((
                Look::Ahead,
                format!("{}┄ {}", "│ ".repeat(depth), plain(when)),
                String::new(),
            ));
        } else if branch > 1 {
            lines.push((Look::Ahead, format!("{}┄ beside it", "│ ".repeat(depth)), String::new()));
        }
        let (mut look, mut icon) = Look::of(text(node, "state"));
        // A point of no return of its own leaves no mark on the saga but this one.
        if node["pivot"] == true && pivoted && look == Look::Ahead {
            (look, icon) = (Look::Done, '✔');
        }
        let mut name = format!("{}{icon} {}", "│ ".repeat(depth), plain(text(node, "name")));
        if node["undoable"] == true {
            name.push_str(" ↶");
        }
        if node["pivot"] == true {
            name.push_str(" ◆");
        }
        let second = match text(node, "words") {
            "" => plain(text(node, "kind")),
            words => plain(words),
        };
        lines.push((look, name, second));
    }
    let longest = lines
        .iter()
        .map(|(_, name, _)| name.chars().count())
        .max()
        .unwrap_or_default();
    let column = longest.min(NAMES_MAX.min(width / 2)) + 2;
    let row = |(look, name, second): (Look, String, String)| {
        let text = match second.as_str() {
            "" => name,
            second => format!("{name:column$}{second}"),
        };
        Row::new(look, cut(&text, width))
    };
    lines.into_iter().map(row).collect()
}

/// So many of the graph's lines as there is room for, those around where the saga is.
fn window(rows: Vec<Row>, room: usize) -> Vec<Row> {
    if rows.len() <= room {
        return rows;
    }
    let here = |row: &Row| matches!(row.look, Look::Running | Look::Waiting | Look::Failed);
    let here = rows.iter().rposition(here).unwrap_or_default();
    // A line above and one below say how much is left out.
    let shown = room.saturating_sub(2).max(1);
    let first = here.saturating_sub(shown / 2).min(rows.len() - shown);
    let after = rows.len() - first - shown;
    let more = |count: usize, word: &str| Row::new(Look::Ahead, format!("… {count} more {word}"));
    let mut found = vec![more(first, "above")];
    found.extend(rows.into_iter().skip(first).take(shown));
    found.push(more(after, "below"));
    found
}

fn nodes(found: &Value) -> impl Iterator<Item = &Value> {
    found["nodes"].as_array().into_iter().flatten()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// At most `width` characters a line, broken between words.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.last_mut().expect("there is one from the beginning");
        let long = last.chars().count() + 1 + word.chars().count() > width;
        if last.is_empty() {
            *last = cut(word, width);
        } else if long {
            lines.push(cut(word, width));
        } else {
            last.push(' ');
            last.push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{frame, line};

    fn saga() -> Value {
        let node = |name: &str, depth: u32, state: &str, words: &str| {
            json!({"name": name, "kind": "a thing", "depth": depth, "branch": 0, "when": "", "pivot": false,
                   "undoable": false, "state": state, "words": words})
        };
        let mut nodes = vec![
            node("hold", 0, "running", "attempt 1"),
            node("reserve", 1, "done", "done"),
            node("charge", 1, "failed", "bank_down\u{1b}[2J"),
            node("point", 0, "ahead", ""),
            node("notify", 0, "ahead", ""),
        ];
        nodes[1]["undoable"] = true.into();
        nodes[2]["when"] = "input.vip".into();
        nodes[3]["pivot"] = true.into();
        json!({"id": "s1", "workflow": "booking", "version": 3, "status": "failed", "businessKey": "k", "seq": 7,
               "updatedAt": "2026-12-01T10:00:00Z", "pivoted": false, "nodes": nodes,
               "standing": ["It waits for you: nothing happens to the steps named here until somebody acts."]})
    }

    fn shown(width: usize, height: usize) -> Vec<String> {
        frame(&saga(), width, height).into_iter().map(|row| row.text).collect()
    }

    #[test]
    fn the_graph_is_drawn_with_its_marks() {
        let rows = shown(60, usize::MAX);
        assert_eq!(
            rows[3..],
            [
                "▶ hold         attempt 1",
                "│ ✔ reserve ↶  done",
                "│ ┄ input.vip",
                "│ ‼ charge     bank_down\u{fffd}[2J",
                "· point ◆      a thing",
                "· notify       a thing",
                "",
                "It waits for you: nothing happens to the steps named here",
                "until somebody acts.",
            ],
            "{rows:#?}"
        );
        assert!(rows[0].starts_with("booking v3  failed  k"), "{rows:#?}");
    }

    #[test]
    fn a_small_terminal_sees_where_the_saga_is() {
        let rows = shown(40, 10);
        assert!(
            rows.len() <= 10 && rows.iter().any(|row| row.contains("charge")),
            "{rows:#?}"
        );
        assert!(rows.iter().any(|row| row.contains("more above")), "{rows:#?}");
        assert!(rows.iter().all(|row| row.chars().count() <= 40), "{rows:#?}");
    }

    #[test]
    fn elsewhere_a_change_is_a_line() {
        assert_eq!(
            line(&saga()),
            "2026-12-01T10:00:00Z  #7  failed  hold: attempt 1, charge: bank_down\u{fffd}[2J"
        );
    }
}
