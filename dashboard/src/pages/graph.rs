//! A definition's graph as SVG, with where a saga stands on it. Top to bottom; branches side by side.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::Serialize;
use workflows::definition::{Definition, Node};

/// A node's width and height, and the gaps around it, in pixels.
const WIDTH: i32 = 190;
const HEIGHT: i32 = 42;
const GAP: i32 = 22;
const MARGIN: i32 = 12;
/// Characters of a name that fit into a box; the whole is in its title.
const NAME_MAX: usize = 24;

/// What is known of a node.
#[derive(Clone, Debug, Default)]
pub struct Mark {
    /// Its look: `n-done`, `n-running`, `n-waiting`, `n-failed`, `n-undone`.
    pub class: &'static str,
    /// In words.
    pub words: String,
}

/// How far a node has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NodeState {
    /// Nothing of it has happened.
    Ahead,
    /// It is being done.
    Running,
    /// It waits: for its next attempt, a signal, a time.
    Waiting,
    /// It has failed, or nobody knows what came of it.
    Failed,
    /// It is done.
    Done,
    /// It was done and is undone, or is being undone.
    Undone,
}

impl Mark {
    fn state(&self) -> NodeState {
        match self.class {
            "n-done" => NodeState::Done,
            "n-running" => NodeState::Running,
            "n-waiting" => NodeState::Waiting,
            "n-failed" => NodeState::Failed,
            "n-undone" => NodeState::Undone,
            _none => NodeState::Ahead,
        }
    }
}

/// A node of a definition's graph, for who draws it as lines of text.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "GraphNode")]
pub struct Line {
    /// Its name.
    pub name: String,
    /// What it is: its activity, its signal, its deadline.
    pub kind: String,
    /// How many nodes it is within.
    pub depth: u32,
    /// It begins this branch of the node that it is within, from 1 on; 0: it follows the node before it.
    pub branch: u32,
    /// The condition that leads to that branch; empty: none.
    pub when: String,
    /// It is, or has with it, the point of no return.
    pub pivot: bool,
    /// What it does can be undone.
    pub undoable: bool,
    /// How far it has come.
    pub state: NodeState,
    /// That in words.
    pub words: String,
}

/// The nodes in the order in which they are read: what is within a node follows it.
pub fn lines(definition: &Definition, marks: &BTreeMap<String, Mark>) -> Vec<Line> {
    let mut found = Vec::new();
    outline(&definition.flow, 0, marks, &mut found);
    found
}

fn outline(nodes: &[Node], depth: u32, marks: &BTreeMap<String, Mark>, found: &mut Vec<Line>) {
    for node in nodes {
        let (name, kind) = label(node);
        let mark = marks.get(name).cloned().unwrap_or_default();
        let (pivot, undoable) = match node {
            Node::Step(step) => (step.pivot, step.compensation.is_some()),
            Node::Pivot(_) => (true, false),
            Node::Parallel(_)
            | Node::Scope(_)
            | Node::WaitFor(_)
            | Node::Sleep(_)
            | Node::Choice(_)
            | Node::Emit(_)
            | Node::End(_) => (false, false),
        };
        // The signs are for boxes; here they are fields.
        let kind = match node {
            Node::Step(step) => step.activity.clone(),
            Node::Pivot(_) => "point of no return".to_owned(),
            _other => kind,
        };
        let words = mark.words.split_once(' ').map_or("", |(_icon, words)| words);
        found.push(Line {
            name: name.to_owned(),
            kind,
            depth,
            branch: 0,
            when: String::new(),
            pivot,
            undoable,
            state: mark.state(),
            words: words.to_owned(),
        });
        for (branch, (when, nodes)) in (1..).zip(inside(node).unwrap_or_default()) {
            let first = found.len();
            outline(nodes, depth + 1, marks, found);
            if let Some(first) = found.get_mut(first) {
                first.branch = branch;
                first.when = when.to_owned();
            }
        }
    }
}

/// Draws it with where a saga stands. Everything that is somebody's text is escaped here, so the template takes it as it is.
pub fn draw(definition: &Definition, marks: &BTreeMap<String, Mark>) -> String {
    drawn(definition, marks, "The workflow's steps and where the saga stands")
}

/// Draws it with figures of all its sagas.
pub fn draw_all(definition: &Definition, marks: &BTreeMap<String, Mark>) -> String {
    drawn(
        definition,
        marks,
        "The workflow's steps, with how many sagas are there and how many attempts fail",
    )
}

fn drawn(definition: &Definition, marks: &BTreeMap<String, Mark>, label: &str) -> String {
    let (width, height) = sequence_size(&definition.flow);
    let mut canvas = Canvas {
        out: String::new(),
        marks,
    };
    canvas.sequence(&definition.flow, MARGIN, MARGIN, width);
    let (width, height) = (width + 2 * MARGIN, height + 2 * MARGIN);
    format!(
        "<svg width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
         aria-label=\"{label}\">{}</svg>",
        canvas.out
    )
}

fn sequence_size(nodes: &[Node]) -> (i32, i32) {
    let sizes: Vec<(i32, i32)> = nodes.iter().map(size).collect();
    let width = sizes.iter().map(|size| size.0).max().unwrap_or(WIDTH);
    let height: i32 = sizes.iter().map(|size| size.1 + GAP).sum::<i32>() - GAP;
    (width, height.max(0))
}

fn size(node: &Node) -> (i32, i32) {
    match inside(node) {
        None => (WIDTH, HEIGHT),
        Some(branches) => {
            let sizes: Vec<(i32, i32)> = branches.iter().map(|(_, nodes)| sequence_size(nodes)).collect();
            let width: i32 = sizes.iter().map(|size| size.0 + GAP).sum::<i32>() + GAP;
            let height = sizes.iter().map(|size| size.1).max().unwrap_or(0);
            (width.max(WIDTH), HEIGHT + GAP + height + GAP)
        }
    }
}

/// The sequences within a node, each with what leads there.
fn inside(node: &Node) -> Option<Vec<(&str, &[Node])>> {
    match node {
        Node::Parallel(parallel) => Some(parallel.branches.iter().map(|branch| ("", branch.as_slice())).collect()),
        Node::Scope(scope) => Some(vec![("", scope.flow.as_slice())]),
        Node::Choice(choice) => {
            let cases = choice
                .cases
                .iter()
                .map(|case| (case.when.as_str(), case.flow.as_slice()));
            Some(cases.chain([("otherwise", choice.otherwise.as_slice())]).collect())
        }
        Node::Step(_) | Node::WaitFor(_) | Node::Sleep(_) | Node::Emit(_) | Node::Pivot(_) | Node::End(_) => None,
    }
}

/// A node's name, and its kind with what matters of it.
fn label(node: &Node) -> (&str, String) {
    match node {
        Node::Step(step) => {
            let undo = if step.compensation.is_some() { " ↶" } else { "" };
            let pivot = if step.pivot { " ◆ pivot" } else { "" };
            (&step.name, format!("{}{undo}{pivot}", step.activity))
        }
        Node::Parallel(parallel) => (&parallel.name, "parallel".to_owned()),
        Node::Scope(scope) => {
            let deadline = humantime::format_duration(scope.deadline);
            (&scope.name, format!("within {deadline}"))
        }
        Node::WaitFor(wait) => (&wait.name, format!("waits for {}", wait.signal)),
        Node::Sleep(sleep) => (
            &sleep.name,
            format!("sleeps {}", humantime::format_duration(sleep.duration)),
        ),
        Node::Choice(choice) => (&choice.name, "choice".to_owned()),
        Node::Emit(emit) => (&emit.name, format!("tells {}", emit.topic)),
        Node::Pivot(pivot) => (&pivot.name, "◆ point of no return".to_owned()),
        Node::End(end) => (&end.name, "end".to_owned()),
    }
}

struct Canvas<'a> {
    out: String,
    marks: &'a BTreeMap<String, Mark>,
}

impl Canvas<'_> {
    fn sequence(&mut self, nodes: &[Node], left: i32, top: i32, width: i32) {
        let (middle, mut y) = (left + width / 2, top);
        for (place, node) in nodes.iter().enumerate() {
            if place > 0 {
                self.put(format_args!("<path class=\"edge\" d=\"M{middle} {} V{y}\"/>", y - GAP));
            }
            let (own_width, own_height) = size(node);
            self.node(node, middle - own_width / 2, y, own_width, own_height);
            y += own_height + GAP;
        }
    }

    fn node(&mut self, node: &Node, left: i32, top: i32, width: i32, height: i32) {
        let (name, kind) = label(node);
        if let Some(branches) = inside(node) {
            self.put(format_args!(
                "<rect class=\"group\" x=\"{left}\" y=\"{top}\" width=\"{width}\" height=\"{height}\" rx=\"8\"/>"
            ));
            let mut x = left + GAP;
            for (when, nodes) in branches {
                let (own_width, _) = sequence_size(nodes);
                if !when.is_empty() {
                    let y = top + HEIGHT + GAP - 5;
                    self.put(format_args!(
                        "<text class=\"small\" x=\"{x}\" y=\"{y}\">{}</text>",
                        escape(&short(when))
                    ));
                }
                self.sequence(nodes, x, top + HEIGHT + GAP, own_width);
                x += own_width + GAP;
            }
        }
        let x = left + (width - WIDTH) / 2;
        // They matter whatever the second line says.
        let signs: String = kind.chars().filter(|c| matches!(c, '↶' | '◆')).collect();
        let mark = self.marks.get(name).cloned().unwrap_or_default();
        self.put(format_args!(
            "<g><title>{}: {} {}</title><rect class=\"box {}\" x=\"{x}\" y=\"{top}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"5\"/>",
            escape(name),
            escape(&kind),
            escape(&mark.words),
            mark.class,
        ));
        self.put(format_args!(
            "<text x=\"{}\" y=\"{}\">{} {signs}</text>",
            x + 8,
            top + 17,
            escape(&short(name))
        ));
        let second = if mark.words.is_empty() { &kind } else { &mark.words };
        self.put(format_args!(
            "<text class=\"small\" x=\"{}\" y=\"{}\">{}</text></g>",
            x + 8,
            top + 33,
            escape(&short(second))
        ));
    }

    fn put(&mut self, what: std::fmt::Arguments<'_>) {
        // Writing to a String can't fail.
        let _ = self.out.write_fmt(what);
    }
}

fn short(text: &str) -> String {
    if text.chars().count() <= NAME_MAX {
        return text.to_owned();
    }
    text.chars().take(NAME_MAX - 1).chain(['…']).collect()
}

/// Text within markup or an attribute.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}
