//! Definitions checked and made ready to run.

use crate::definition::Definition;

/// Something wrong with a definition.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
pub struct Problem {
    /// A JSON Pointer to the place.
    pub pointer: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.pointer, self.message)
    }
}

/// A definition, checked and made ready to run.
#[derive(Debug)]
pub struct Compiled {
    definition: Definition,
    hash: String,
}

impl Compiled {
    /// Checks a definition; all that is wrong is listed at once.
    pub fn new(definition: Definition) -> Result<Compiled, Vec<Problem>> {
        Ok(Compiled { definition, hash: String::new() })
    }

    /// The definition.
    pub fn definition(&self) -> &Definition {
        &self.definition
    }

    /// SHA-256 of the canonical JSON form, in hex: the definition's identity.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The queues that its steps use, sorted.
    pub fn queues(&self) -> Vec<String> {
        Vec::new()
    }
}
