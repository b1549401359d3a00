//! Expressions and mappings: CEL over a saga's data, with bounds on what they can cost.
//!
//! Most mappings are plain paths (`=input.seatIds`); those are looked up directly in the JSON, without CEL's
//! interpreter. A plain path that leads nowhere is null; inside a longer expression CEL's own rules hold.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use cel::common::ast::Expr;
use cel::{Context, Env, IdedExpr, Program};
use serde_json::{Map, Value};

use crate::limits::{EXPRESSION_CHARS_MAX, EXPRESSION_MACRO_DEPTH_MAX, PAYLOAD_BYTES_MAX};
use crate::size::json_bytes;

/// The variables of every expression.
const ROOTS: [&str; 6] = ["input", "steps", "saga", "signals", "error", "attempt"];

static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

/// Where an expression finds its variables.
pub(crate) trait Variables {
    /// The variable's value, owned or borrowed; none: it is null.
    fn root<'a>(&'a self, name: &str) -> Option<std::borrow::Cow<'a, Value>>;
    /// The value that a path leads to.
    fn path<'a>(&'a self, path: &[String]) -> Option<std::borrow::Cow<'a, Value>>;
}

/// A compiled expression.
#[derive(Debug)]
pub(crate) enum Expression {
    /// `a.b.c`
    Path(Vec<String>),
    /// Anything else.
    Program {
        source: String,
        program: Program,
        roots: Vec<&'static str>,
    },
}

/// A compiled mapping.
#[derive(Debug)]
pub(crate) enum Template {
    Literal(Value),
    Expression(Expression),
    Array(Vec<Template>),
    Object(Vec<(String, Template)>),
}

impl Expression {
    /// Compiles an expression; `steps` are the names that `steps.` may be followed by.
    pub(crate) fn compile(source: &str, steps: &[String]) -> Result<Expression, String> {
        if source.chars().count() > EXPRESSION_CHARS_MAX {
            return Err(format!("an expression has at most {EXPRESSION_CHARS_MAX} characters"));
        }
        let path = plain_path(source);
        let program = Program::compile(source).map_err(|error| format!("not a CEL expression: {error}"))?;
        let mut walk = Walk {
            steps,
            roots: Vec::new(),
            problem: None,
        };
        walk.expression(program.expression(), 0, &mut Vec::new());
        if let Some(problem) = walk.problem {
            return Err(problem);
        }
        if let Some(path) = path {
            return Ok(Expression::Path(path));
        }
        Ok(Expression::Program {
            source: source.to_owned(),
            program,
            roots: walk.roots,
        })
    }

    /// The expression's value.
    pub(crate) fn evaluate(&self, variables: &dyn Variables) -> Result<Value, String> {
        match self {
            Expression::Path(path) => Ok(variables
                .path(path)
                .map(std::borrow::Cow::into_owned)
                .unwrap_or_default()),
            Expression::Program { source, program, roots } => {
                let mut context = Context::with_env(Arc::clone(&ENVIRONMENT));
                for root in roots {
                    let value = variables.root(root);
                    let value = value.as_deref().unwrap_or(&Value::Null);
                    context.add_variable_from_value(*root, to_cel(value));
                }
                let value = program
                    .execute(&context)
                    .map_err(|error| format!("`{source}`: {error}"))?;
                let value = value
                    .json()
                    .map_err(|error| format!("`{source}` gives no JSON: {error}"))?;
                within_size(source, value)
            }
        }
    }

    /// The expression's value, which must be a bool.
    pub(crate) fn holds(&self, variables: &dyn Variables) -> Result<bool, String> {
        match self.evaluate(variables)? {
            Value::Bool(value) => Ok(value),
            other => Err(format!("a condition must give a bool, this one gave {other}")),
        }
    }
}

impl Template {
    /// Compiles a mapping.
    pub(crate) fn compile(mapping: &Value, steps: &[String]) -> Result<Template, (String, String)> {
        match mapping {
            Value::String(text) => match (text.strip_prefix('='), text.strip_prefix("\\=")) {
                (Some(source), _) => Expression::compile(source, steps)
                    .map(Template::Expression)
                    .map_err(|e| (String::new(), e)),
                (None, Some(rest)) => Ok(Template::Literal(Value::String(format!("={rest}")))),
                (None, None) => Ok(Template::Literal(mapping.clone())),
            },
            Value::Array(items) => items
                .iter()
                .enumerate()
                .map(|(i, item)| Template::compile(item, steps).map_err(|(at, e)| (format!("/{i}{at}"), e)))
                .collect::<Result<_, _>>()
                .map(Template::Array),
            Value::Object(fields) => fields
                .iter()
                .map(|(name, item)| match Template::compile(item, steps) {
                    Ok(template) => Ok((name.clone(), template)),
                    Err((at, e)) => Err((format!("/{}{at}", name.replace('~', "~0").replace('/', "~1")), e)),
                })
                .collect::<Result<_, _>>()
                .map(Template::Object),
            Value::Null | Value::Bool(_) | Value::Number(_) => Ok(Template::Literal(mapping.clone())),
        }
    }

    /// The mapping's value.
    pub(crate) fn evaluate(&self, variables: &dyn Variables) -> Result<Value, String> {
        match self {
            Template::Literal(value) => Ok(value.clone()),
            Template::Expression(expression) => expression.evaluate(variables),
            Template::Array(items) => items
                .iter()
                .map(|item| item.evaluate(variables))
                .collect::<Result<_, _>>()
                .map(Value::Array),
            Template::Object(fields) => {
                let mut object = Map::new();
                for (name, item) in fields {
                    object.insert(name.clone(), item.evaluate(variables)?);
                }
                Ok(Value::Object(object))
            }
        }
    }

    /// Nothing was mapped.
    pub(crate) fn is_null(&self) -> bool {
        matches!(self, Template::Literal(Value::Null))
    }
}

fn within_size(source: &str, value: Value) -> Result<Value, String> {
    // Only composed values can be large; an upper bound without encoding the small ones.
    let large = match &value {
        Value::String(text) => text.len() > PAYLOAD_BYTES_MAX,
        Value::Array(_) | Value::Object(_) => json_bytes(&value) > PAYLOAD_BYTES_MAX,
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    };
    if large {
        Err(format!("`{source}` gives more than {PAYLOAD_BYTES_MAX} bytes"))
    } else {
        Ok(value)
    }
}

/// `a.b.c` where each part is an identifier and the first a known variable.
fn plain_path(source: &str) -> Option<Vec<String>> {
    let parts: Vec<String> = source.trim().split('.').map(str::to_owned).collect();
    let identifier = |part: &String| {
        let mut chars = part.chars();
        chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
            && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    (parts.iter().all(identifier) && ROOTS.contains(&parts[0].as_str())).then_some(parts)
}

fn to_cel(value: &Value) -> cel::Value {
    match value {
        Value::Null => cel::Value::Null,
        Value::Bool(value) => cel::Value::Bool(*value),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(value), _) => cel::Value::Int(value),
            (None, Some(value)) => cel::Value::UInt(value),
            (None, None) => cel::Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => cel::Value::String(Arc::new(text.clone())),
        Value::Array(items) => cel::Value::List(Arc::new(items.iter().map(to_cel).collect())),
        Value::Object(fields) => {
            let fields: HashMap<String, cel::Value> = fields
                .iter()
                .map(|(name, value)| (name.clone(), to_cel(value)))
                .collect();
            cel::Value::Map(fields.into())
        }
    }
}

/// Checks an expression's tree: names, and how deep its macros are.
struct Walk<'a> {
    steps: &'a [String],
    roots: Vec<&'static str>,
    problem: Option<String>,
}

impl Walk<'_> {
    fn expression(&mut self, node: &IdedExpr, macros: usize, bound: &mut Vec<String>) {
        match &node.expr {
            Expr::Unspecified | Expr::Literal(_) => {}
            Expr::Ident(name) => self.identifier(name, bound),
            Expr::Select(select) => {
                if let Expr::Ident(root) = &select.operand.expr
                    && root == "steps"
                    && !bound.contains(root)
                    && !self.steps.contains(&select.field)
                {
                    self.report(format!(
                        "`steps.{}`: the definition has no step of that name",
                        select.field
                    ));
                }
                self.expression(&select.operand, macros, bound);
            }
            Expr::Call(call) => {
                for part in call.target.iter().map(|target| &**target).chain(&call.args) {
                    self.expression(part, macros, bound);
                }
            }
            Expr::List(list) => {
                for element in &list.elements {
                    self.expression(element, macros, bound);
                }
            }
            Expr::Map(map) => {
                for entry in &map.entries {
                    if let cel::common::ast::EntryExpr::MapEntry(entry) = &entry.expr {
                        self.expression(&entry.key, macros, bound);
                        self.expression(&entry.value, macros, bound);
                    }
                }
            }
            Expr::Struct(_) => self.report("messages can't be made here: use a map".to_owned()),
            Expr::Comprehension(inner) => {
                if macros >= EXPRESSION_MACRO_DEPTH_MAX {
                    self.report("macros (map, filter, all, exists) can't be nested: the cost must stay linear".into());
                    return;
                }
                self.expression(&inner.iter_range, macros, bound);
                let before = bound.len();
                bound.push(inner.iter_var.clone());
                bound.extend(inner.iter_var2.clone());
                bound.push(inner.accu_var.clone());
                for part in [&inner.accu_init, &inner.loop_cond, &inner.loop_step, &inner.result] {
                    self.expression(part, macros + 1, bound);
                }
                bound.truncate(before);
            }
        }
    }

    fn identifier(&mut self, name: &str, bound: &[String]) {
        if bound.iter().any(|known| known == name) {
            return;
        }
        match ROOTS.iter().find(|root| **root == name) {
            Some(root) if !self.roots.contains(root) => self.roots.push(root),
            Some(_) => {}
            None => self.report(format!("`{name}` is not known here; there are {}", ROOTS.join(", "))),
        }
    }

    fn report(&mut self, problem: String) {
        self.problem.get_or_insert(problem);
    }
}
