//! The SQL statements in the code, read from the sources.

use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use proc_macro2::{TokenStream, TokenTree};

/// Crates that speak to Postgres.
const CRATES: [&str; 6] = [
    "orchestrator",
    "gateway",
    "activities",
    "dashboard",
    "analytics",
    "operations",
];

/// A statement and the file that has it.
pub struct Found {
    pub place: String,
    pub text: String,
}

/// All string literals that begin like a statement, in code that isn't a test, and the engine's batch as a whole.
pub fn statements() -> Vec<Found> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for name in CRATES {
        collect_files(&root.join(name).join("src"), &mut files);
    }
    files.sort();
    let mut found = vec![Found {
        place: "orchestrator/src/store/batch.rs, all parts".to_owned(),
        text: orchestrator::store::batch::whole_statement().to_owned(),
    }];
    for file in files {
        let source = std::fs::read_to_string(&file).unwrap();
        let mut texts = Vec::new();
        collect_literals(TokenStream::from_str(&source).unwrap(), &mut texts);
        let place = file.strip_prefix(root).unwrap().display().to_string();
        let statements = texts.into_iter().filter(|text| is_statement(text));
        found.extend(statements.map(|text| Found {
            place: place.clone(),
            text,
        }));
    }
    found
}

fn collect_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs")
            // The tests' own, and what is said to ClickHouse.
            && path.file_stem().is_some_and(|stem| stem != "tests" && stem != "clickhouse")
        {
            files.push(path);
        }
    }
}

/// Collects literals, but for those in attributes (documentation among them) and in test modules.
fn collect_literals(tokens: TokenStream, found: &mut Vec<String>) {
    let mut tokens = tokens.into_iter().peekable();
    let mut is_test = false;
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Punct(punct) if punct.as_char() == '#' => {
                // Inner attributes have a `!` before their brackets.
                tokens.next_if(|next| matches!(next, TokenTree::Punct(punct) if punct.as_char() == '!'));
                if let Some(TokenTree::Group(attribute)) = tokens.next() {
                    is_test |= attribute.stream().to_string().replace(' ', "") == "cfg(test)";
                }
            }
            TokenTree::Group(group) => {
                if !std::mem::take(&mut is_test) {
                    collect_literals(group.stream(), found);
                }
            }
            TokenTree::Punct(punct) if punct.as_char() == ';' => is_test = false,
            TokenTree::Literal(literal) => found.extend(text_of(&literal.to_string())),
            TokenTree::Ident(_) | TokenTree::Punct(_) => {}
        }
    }
}

/// What a plain or raw string literal says.
fn text_of(literal: &str) -> Option<String> {
    if let Some(raw) = literal.strip_prefix('r') {
        let raw = raw.trim_matches('#');
        return raw.strip_prefix('"')?.strip_suffix('"').map(str::to_owned);
    }
    let inner = literal.strip_prefix('"')?.strip_suffix('"')?;
    let mut text = String::new();
    let mut characters = inner.chars().peekable();
    while let Some(character) = characters.next() {
        if character != '\\' {
            text.push(character);
            continue;
        }
        match characters.next()? {
            'n' => text.push('\n'),
            't' => text.push('\t'),
            '0' => text.push('\0'),
            // The line goes on where the next one's text begins.
            '\n' => while characters.next_if(|next| next.is_whitespace()).is_some() {},
            escaped => text.push(escaped),
        }
    }
    Some(text)
}

/// Whether it begins like a statement, and isn't a format that is filled in at run time.
fn is_statement(text: &str) -> bool {
    let begins = [
        "select ",
        "select\n",
        "insert into ",
        "update ",
        "delete from ",
        "with ",
    ];
    begins.iter().any(|begin| text.starts_with(begin)) && !text.contains('{') && is_sql(text)
}

/// Not a sentence that happens to begin so.
fn is_sql(text: &str) -> bool {
    text.contains("saga.")
        || text.contains("ticketing.")
        || text.contains("ops.")
        || text.contains("analytics.")
        || text.contains("$1")
        || text.starts_with("select ") && text.contains('(')
}
