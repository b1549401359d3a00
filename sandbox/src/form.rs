//! Parameters as Stripe takes them: form-encoded, nested by brackets (`metadata[bookingId]=…`).

use std::collections::BTreeMap;

use crate::error::Refusal;

/// A request's parameters by their full, bracketed names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Form(BTreeMap<String, String>);

impl Form {
    pub fn parse(encoded: &[u8]) -> Result<Form, Refusal> {
        let mut fields = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(encoded) {
            if name.contains('\0') || value.contains('\0') {
                return Err(Refusal::invalid(
                    "parameter_invalid_string",
                    &name.replace('\0', ""),
                    "Invalid string: contains a null character",
                ));
            }
            fields.insert(name.into_owned(), value.into_owned());
        }
        Ok(Form(fields))
    }

    /// What names the request under an idempotency key: the same for the same parameters in any order. FNV-1a, because it
    /// is kept in the journal and so must not change with the compiler, as the standard library's may.
    pub fn fingerprint(&self, route: &str) -> u64 {
        let parts = self
            .0
            .iter()
            .flat_map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes(), b"\0"]);
        let bytes = [route.as_bytes(), b"\0"].into_iter().chain(parts).flatten();
        bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        })
    }

    /// Refuses parameters whose first part is not one of `known`.
    pub fn only(&self, known: &[&str]) -> Result<(), Refusal> {
        for name in self.0.keys() {
            let root = name.split('[').next().unwrap_or_default();
            if !known.contains(&root) {
                return Err(Refusal::invalid(
                    "parameter_unknown",
                    root,
                    format!("Received unknown parameter: {root}"),
                ));
            }
        }
        Ok(())
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|text| !text.is_empty())
    }

    pub fn required(&self, name: &str) -> Result<&str, Refusal> {
        self.text(name).ok_or_else(|| Refusal::missing(name))
    }

    pub fn integer(&self, name: &str) -> Result<Option<i64>, Refusal> {
        let parse = |text: &str| {
            text.parse::<i64>()
                .map_err(|_| Refusal::invalid("parameter_invalid_integer", name, format!("Invalid integer: {text}")))
        };
        self.text(name).map(parse).transpose()
    }

    pub fn flag(&self, name: &str) -> Result<bool, Refusal> {
        match self.text(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(other) => Err(Refusal::invalid(
                "parameter_invalid",
                name,
                format!("Invalid boolean: {other}"),
            )),
        }
    }

    /// The members of `name[…]`, by key.
    pub fn map(&self, name: &str) -> BTreeMap<String, String> {
        let prefix = format!("{name}[");
        let member = |(full, value): (&String, &String)| {
            let key = full.strip_prefix(&prefix)?.strip_suffix(']')?;
            Some((key.to_owned(), value.clone()))
        };
        self.0.iter().filter_map(member).collect()
    }

    /// The members of the list `name[]`, `name[0]`, ….
    pub fn list(&self, name: &str) -> Vec<String> {
        self.map(name).into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_nest_and_order_does_not_matter() {
        let form = Form::parse(b"amount=100&metadata[a%20b]=x%26y&payment_method_types[0]=card&confirm=true").unwrap();
        assert_eq!(form.integer("amount").unwrap(), Some(100));
        assert_eq!(form.map("metadata")["a b"], "x&y");
        assert_eq!(form.list("payment_method_types"), ["card"]);
        assert!(form.flag("confirm").unwrap());
        let other = Form::parse(b"confirm=true&payment_method_types[0]=card&amount=100&metadata[a%20b]=x%26y").unwrap();
        assert_eq!(form.fingerprint("x"), other.fingerprint("x"));
        assert_ne!(form.fingerprint("x"), other.fingerprint("y"));
        assert_eq!(form.only(&["amount"]).unwrap_err().code, Some("parameter_unknown"));
    }

    #[test]
    fn bad_values_name_their_parameter() {
        let form = Form::parse(b"amount=1.5&confirm=maybe").unwrap();
        assert_eq!(form.integer("amount").unwrap_err().param.as_deref(), Some("amount"));
        assert_eq!(form.flag("confirm").unwrap_err().param.as_deref(), Some("confirm"));
        assert_eq!(form.required("currency").unwrap_err().code, Some("parameter_missing"));
        assert!(Form::parse(b"a=%00").is_err());
    }
}
