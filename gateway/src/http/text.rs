//! What text from outside may be: Postgres stores no NUL, logs and mails want no control characters.

use crate::limits::{ECHO_CHARS_MAX, ID_CHARS_MAX};

/// What is wrong with a text, if anything: it must have 1 to `chars_max` characters, none of them a control
/// character, and not only blanks. The answer completes "it …".
pub fn check(text: &str, chars_max: usize) -> Result<(), String> {
    if text.is_empty() {
        return Err("must not be empty".to_owned());
    }
    if let Some((index, control)) = text.chars().enumerate().find(|(_, char)| char.is_control()) {
        return Err(format!(
            "must not contain control characters; the character at index {index} is U+{:04X}",
            u32::from(control)
        ));
    }
    let chars = text.chars().count();
    if chars > chars_max {
        return Err(format!("must have at most {chars_max} characters, not {chars}"));
    }
    if text.trim().is_empty() {
        return Err("must not be blank".to_owned());
    }
    Ok(())
}

/// Whether a text that was checked may be an e-mail address: only what would break a mail's header is refused. Whether it exists, a
/// mail will show.
pub fn is_email(text: &str) -> bool {
    text.rsplit_once('@').is_some_and(|(local, domain)| {
        !local.is_empty()
            && !domain.is_empty()
            && !text.chars().any(|char| char.is_whitespace() || "<>,;\"".contains(char))
    })
}

/// Whether a text could name anything at all; if not, there is no need to ask the database (which could not even be
/// asked for a NUL).
pub fn is_possible_id(text: &str) -> bool {
    check(text, ID_CHARS_MAX).is_ok()
}

/// A client's own text, quoted and shortened, to be repeated in an error.
pub fn echo(text: &str) -> String {
    match text.char_indices().nth(ECHO_CHARS_MAX) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// A text as one token of a JSON Pointer (RFC 6901), shortened.
pub fn pointer_token(text: &str) -> String {
    let short: String = text.chars().take(ECHO_CHARS_MAX).collect();
    short.replace('~', "~0").replace('/', "~1")
}

/// A text as one segment of a URL's path.
pub fn path_segment(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut path, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => path.push(char::from(byte)),
            _ => path.push_str(&format!("%{byte:02X}")),
        }
        path
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_checked() {
        assert_eq!(check("A15", 10), Ok(()));
        assert_eq!(check("Łódź, Arena \"A\"/1'; drop table seats", 50), Ok(()));
        assert_eq!(check("", 10), Err("must not be empty".to_owned()));
        assert_eq!(check("  ", 10), Err("must not be blank".to_owned()));
        assert_eq!(check("ééééé", 5), Ok(()));
        assert_eq!(
            check("éééééé", 5),
            Err("must have at most 5 characters, not 6".to_owned())
        );
        let nul = check("A\u{0}15", 10);
        assert_eq!(
            nul,
            Err("must not contain control characters; the character at index 1 is U+0000".to_owned())
        );
        assert!(check("A\u{85}", 10).is_err());
    }

    #[test]
    fn texts_are_quoted() {
        assert_eq!(echo("a\"b\n"), r#""a\"b\n""#);
        assert_eq!(echo(&"é".repeat(65)), format!("\"{}\"…", "é".repeat(64)));
        assert_eq!(pointer_token("a/b~c"), "a~1b~0c");
        assert_eq!(path_segment("a/b é"), "a%2Fb%20%C3%A9");
    }
}
