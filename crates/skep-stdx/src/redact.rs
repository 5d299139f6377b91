//! Removes known secret values from text that is about to be stored or shown.

use crate::Secret;

/// The shortest value that is searched for: shorter ones would blank out ordinary words.
const SECRET_BYTES_MIN: usize = 8;

/// Replaces every occurrence of the secrets it knows by `[redacted]`.
#[derive(Clone, Default)]
pub struct Redactor(Vec<Secret>);

impl Redactor {
    /// A redactor of these values; values shorter than eight bytes are passed over.
    pub fn new(secrets: impl IntoIterator<Item = Secret>) -> Self {
        let mut known: Vec<Secret> = secrets
            .into_iter()
            .filter(|s| s.reveal().len() >= SECRET_BYTES_MIN)
            .collect();
        // The longest first, so that a secret that contains another leaves no remainder.
        known.sort_by_key(|s| std::cmp::Reverse(s.reveal().len()));
        Self(known)
    }

    /// `text` without the secrets.
    pub fn redact(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, secret| {
            if text.contains(secret.reveal()) {
                text.replace(secret.reveal(), "[redacted]")
            } else {
                text
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longer_secrets_go_first_and_short_ones_are_left() {
        let redactor = Redactor::new(["key-abcdef", "key-abcdef-long", "the"].map(Secret::new));
        assert_eq!(
            redactor.redact("the key-abcdef-long one"),
            "the [redacted] one"
        );
    }
}
