//! Who may do what: roles, passwords, sessions, single sign-on.

pub mod password;
pub mod session;
pub mod sign_on;

use std::fmt;
use std::str::FromStr;

use crate::error::PageError;

/// What an operator may do; each may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Look, with inputs and outputs redacted.
    Viewer,
    /// Read everything; retry, pause, resume, cancel, signal, note.
    Operator,
    /// Change what a saga goes on with: edited inputs, skips, compensation.
    Approver,
    /// Everything.
    Admin,
}

impl Role {
    /// All of them.
    pub const ALL: [Role; 4] = [Role::Viewer, Role::Operator, Role::Approver, Role::Admin];

    /// As in the database and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Operator => "operator",
            Role::Approver => "approver",
            Role::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let role = Role::ALL.into_iter().find(|role| role.as_str() == text);
        role.ok_or_else(|| format!("{text:?} is not a role; there are viewer, operator, approver and admin"))
    }
}

/// Who is logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// The user's id.
    pub id: i64,
    /// The user's name.
    pub name: String,
    /// What they may do.
    pub role: Role,
}

impl Operator {
    /// Refuses who may do less than `needed`.
    pub fn must_be(&self, needed: Role) -> Result<(), PageError> {
        if self.role >= needed {
            Ok(())
        } else {
            Err(PageError::Forbidden {
                needed: needed.as_str(),
                role: self.role.as_str(),
            })
        }
    }
}
