//! The address of a server, with the one setting that is Skep's own and not the driver's.

use crate::DbError;
use skep_stdx::Secret;

/// How statements are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Statements {
    /// Prepared once for each connection and kept there under a name.
    Kept,
    /// Parsed anew each time and never named, because the next transaction may meet another server
    /// process behind the same connection: `statement_cache=off`.
    Unnamed,
}

/// A parsed address.
pub(super) struct Address {
    pub(super) config: tokio_postgres::Config,
    pub(super) statements: Statements,
}

impl Address {
    /// Reads a `postgres://` address or a list of settings; either may hold `statement_cache=on`
    /// or `statement_cache=off`.
    pub(super) fn parse(address: &Secret) -> Result<Self, DbError> {
        let (rest, setting) = take_setting(address.reveal());
        let statements = match setting.as_deref() {
            None | Some("on") => Statements::Kept,
            Some("off") => Statements::Unnamed,
            Some(_) => return Err(DbError::Unavailable(BAD_SETTING.into())),
        };
        let config = rest
            .parse()
            .map_err(|_| DbError::Unavailable(BAD_ADDRESS.into()))?;
        Ok(Self { config, statements })
    }
}

const BAD_ADDRESS: &str = "the address is not of the form postgres://user@host/database";
const BAD_SETTING: &str = "the address sets statement_cache to something other than on and off";
const SETTING: &str = "statement_cache=";

/// The address without the setting, and the setting's value.
fn take_setting(address: &str) -> (String, Option<String>) {
    let (base, settings, separator) = if !address.contains("://") {
        ("", address, " ")
    } else if let Some((base, query)) = address.split_once('?') {
        (base, query, "&")
    } else {
        return (address.to_owned(), None);
    };
    let mut value = None;
    let kept: Vec<&str> = settings
        .split(separator)
        .filter(|setting| match setting.strip_prefix(SETTING) {
            Some(found) => {
                value = Some(found.to_owned());
                false
            }
            None => true,
        })
        .collect();
    let kept = kept.join(separator);
    let rest = match (base, kept.as_str()) {
        ("", kept) => kept.to_owned(),
        (base, "") => base.to_owned(),
        (base, kept) => format!("{base}?{kept}"),
    };
    (rest, value)
}

#[cfg(test)]
mod tests {
    use super::take_setting;

    #[test]
    fn the_setting_is_taken_out_of_either_form() {
        for (address, rest, value) in [
            ("postgres://a@b/c", "postgres://a@b/c", None),
            (
                "postgres://a@b/c?statement_cache=off",
                "postgres://a@b/c",
                Some("off"),
            ),
            (
                "postgres://a@b/c?x=1&statement_cache=on&y=2",
                "postgres://a@b/c?x=1&y=2",
                Some("on"),
            ),
            ("host=/run user=a", "host=/run user=a", None),
            (
                "host=/run statement_cache=off user=a",
                "host=/run user=a",
                Some("off"),
            ),
        ] {
            let found = take_setting(address);
            assert_eq!((found.0.as_str(), found.1.as_deref()), (rest, value));
        }
    }
}
