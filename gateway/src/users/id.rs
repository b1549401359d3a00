//! Users' ids, as everybody outside of the users' own tables writes them.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// What every registered user's id begins with. Nobody else's may, or somebody could book in their name.
const PREFIX: &str = "usr_";

/// A registered user: `usr_` and 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UserId(pub Uuid);

impl UserId {
    /// A new one.
    pub fn random() -> UserId {
        UserId(Uuid::now_v7())
    }
}

/// Whether an id is of the form of a registered user's, in any case of letters.
pub fn is_reserved(text: &str) -> bool {
    text.get(..PREFIX.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", self.0.simple())
    }
}

impl FromStr for UserId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let id: Uuid = text.strip_prefix(PREFIX).ok_or(())?.parse().map_err(|_| ())?;
        // One way to write it, so that texts can be compared.
        if UserId(id).to_string() == text {
            Ok(UserId(id))
        } else {
            Err(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_form() {
        let id = UserId::random();
        assert_eq!(id.to_string().parse(), Ok(id));
        for other in [
            id.0.to_string(),
            format!("usr_{}", id.0),
            id.to_string().to_uppercase(),
            "usr_".to_owned(),
            "user_1".to_owned(),
        ] {
            assert_eq!(other.parse::<UserId>(), Err(()), "{other}");
        }
    }

    #[test]
    fn nobody_else_has_such_an_id() {
        assert!(is_reserved("usr_1") && is_reserved("USR_1") && is_reserved("usr_"));
        assert!(!is_reserved("user_1") && !is_reserved("us") && !is_reserved("ü"));
    }
}
