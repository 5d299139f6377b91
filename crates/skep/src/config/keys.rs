//! Every key of `skep.toml`, once: what is known, what it means, and an example. The keys of a table
//! that has a parser of its own stand beside that.
//!
//! The unknown-key check, `skep.example.toml` and `docs/reference/config.md` all come from this
//! table; tests hold it against what the parsers take.

use super::{limits, topic};

/// One key. A table that the user names stands in the path as `NAME`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key {
    /// Where it stands, as in `provider.NAME.api`.
    pub(crate) path: &'static str,
    /// What its value looks like.
    pub(crate) shape: &'static str,
    /// What holds when it is left out; `None` when it must be there.
    pub(crate) default: Option<&'static str>,
    /// What it does.
    pub(crate) about: &'static str,
    /// The value in the example file, as TOML.
    pub(crate) example: &'static str,
}

/// One table of the file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Section {
    /// Its heading in the example file, as in `provider.anthropic`.
    pub(crate) heading: &'static str,
    /// Its path with the user's part as `NAME`.
    pub(crate) path: &'static str,
    /// What it is for.
    pub(crate) about: &'static str,
    /// Its keys, in the order of the example.
    pub(crate) keys: &'static [Key],
}

/// A key with all that is said of it.
pub(super) const fn key(
    path: &'static str,
    shape: &'static str,
    default: Option<&'static str>,
    example: &'static str,
    about: &'static str,
) -> Key {
    Key {
        path,
        shape,
        default,
        about,
        example,
    }
}

/// The sections, in the order of the example.
pub(crate) const SECTIONS: &[Section] = &[
    Section {
        heading: "provider.anthropic",
        path: "provider.NAME",
        about: "Where models are served. One table for each provider, under a name of your choice.",
        keys: &[
            key(
                "provider.NAME.api",
                "anthropic | openai-chat | openai-responses | gemini | replay",
                None,
                "\"anthropic\"",
                "The wire format. `replay` answers from a script, without a provider.",
            ),
            key(
                "provider.NAME.base_url",
                "address",
                Some("none; must be there unless `api` is `replay`"),
                "\"https://api.anthropic.com\"",
                "Up to and including the version for OpenAI formats, without it for anthropic and gemini.",
            ),
            key(
                "provider.NAME.api_key",
                "{ env = \"NAME\" } | { file = \"path\" }",
                Some("no key is sent"),
                "{ env = \"ANTHROPIC_API_KEY\" }",
                "Where the credential is; never the credential itself. `{ keychain = \"name\" }` is reserved.",
            ),
            key(
                "provider.NAME.locality",
                "local | remote",
                Some("remote; local for a script"),
                "\"remote\"",
                "Which tier of data may go there: sacred data goes to local providers only.",
            ),
            key(
                "provider.NAME.allow_sensitive",
                "true | false",
                Some("false"),
                "false",
                "Your recorded consent that sensitive data, which is all data without a label, may go to this remote provider. Without it only jobs with `--tier convenience` go there.",
            ),
            key(
                "provider.NAME.script",
                "path",
                Some("none; must be there if `api` is `replay`"),
                "\"replay.toml\"",
                "The script to replay, relative to this file.",
            ),
        ],
    },
    Section {
        heading: "model.sonnet",
        path: "model.NAME",
        about: "What can be asked for. One table for each model, under the name that workers use.",
        keys: &[
            key(
                "model.NAME.provider",
                "name",
                None,
                "\"anthropic\"",
                "The provider that serves it.",
            ),
            key(
                "model.NAME.upstream",
                "text",
                Some("the table's own name"),
                "\"claude-sonnet-4-5\"",
                "The name sent to the provider.",
            ),
            key(
                "model.NAME.family",
                "text",
                Some("the table's own name"),
                "\"claude\"",
                "Reviewers come from another family than the worker.",
            ),
            key(
                "model.NAME.context_tokens",
                "integer",
                Some("none: requests that need it are refused"),
                "200000",
                "The context window; bounds the worst case of a call that cannot be bounded otherwise.",
            ),
            key(
                "model.NAME.output_tokens_max",
                "integer",
                Some("none: requests without a cap are refused"),
                "64000",
                "The longest answer; bounds requests without a cap of their own.",
            ),
            key(
                "model.NAME.price",
                "{ input, output, cache_read, cache_write_5m, cache_write_1h }",
                Some("none: without a price no call is made"),
                "{ input = 3.0, output = 15.0, cache_read = 0.3, cache_write_5m = 3.75, cache_write_1h = 6.0 }",
                "The list price in US dollars per million tokens. Cache prices may be left out: writes count 1.25 and 2 times the input, reads as input.",
            ),
        ],
    },
    Section {
        heading: "worker.fixer",
        path: "worker.NAME",
        about: "Who does the work. One table for each worker, under a name of your choice.",
        keys: &[
            key(
                "worker.NAME.harness",
                "skep | exec",
                None,
                "\"skep\"",
                "What drives it: Skep's own loop, or any command.",
            ),
            key(
                "worker.NAME.model",
                "name",
                Some("none; must be there unless `harness` is `exec`"),
                "\"sonnet\"",
                "The model it asks for.",
            ),
            key(
                "worker.NAME.role",
                "builder | observer | director",
                Some("builder"),
                "\"builder\"",
                "What it may do. Held by the fence, not by the prompt.",
            ),
            key(
                "worker.NAME.command",
                "list of text",
                Some("[]; must be there if `harness` is `exec`"),
                "[]",
                "The command and its arguments, with `exec`.",
            ),
            key(
                "worker.NAME.login",
                "gateway",
                Some("gateway"),
                "\"gateway\"",
                "Whose login pays: every model call goes through Skep's gateway.",
            ),
        ],
    },
    Section {
        heading: "budget.daily",
        path: "budget.NAME",
        about: "What may be spent. A call is charged to every budget that applies, and made only if its worst case fits into all of them.",
        keys: &[
            key(
                "budget.NAME.scope",
                "all | project:NAME | worker:NAME | job",
                None,
                "\"all\"",
                "What it applies to; `job` is a limit for every job by itself.",
            ),
            key(
                "budget.NAME.limit_usd",
                "amount",
                None,
                "5.0",
                "The limit in US dollars.",
            ),
            key(
                "budget.NAME.period",
                "job | hour | day | week | month",
                None,
                "\"day\"",
                "When it starts again, in UTC.",
            ),
            key(
                "budget.NAME.on_exhaust",
                "pause | refuse",
                Some("pause"),
                "\"pause\"",
                "What happens to work that reaches it: it waits for money, or it fails.",
            ),
        ],
    },
    Section {
        heading: "toolchain",
        path: "toolchain",
        about: "What agents may read besides the system.",
        keys: &[
            key(
                "toolchain.read_only",
                "list of folders",
                Some("[]"),
                "[\"~/.cargo/bin\", \"~/.cargo/registry\", \"~/.rustup\"]",
                "Folders that every fence shows, read-only. Never a whole home. Those that do not exist are passed over.",
            ),
            key(
                "toolchain.prepare",
                "list of command lines",
                Some("[]"),
                "[\"cargo fetch\"]",
                "Run by the engine in the fresh repository before the fence closes, with network. Only what you would run in any repository yourself.",
            ),
        ],
    },
    Section {
        heading: "engine",
        path: "engine",
        about: "How jobs are run.",
        keys: &[
            key(
                "engine.slots",
                "integer",
                Some("4"),
                "4",
                "Jobs that run at the same time.",
            ),
            key(
                "engine.isolation",
                "namespaces | landlock",
                Some("namespaces"),
                "\"namespaces\"",
                "The fence around attempts and checks. A level that cannot be had stops the run; `skep doctor` says what this machine can do.",
            ),
            key(
                "engine.attempt_seconds_max",
                "integer",
                Some("3600"),
                "3600",
                "The longest an attempt may take, in seconds.",
            ),
            key(
                "engine.progress_seconds_max",
                "integer",
                Some("720"),
                "720",
                "The longest a worker may show no sign of life, in seconds. A tool call or a model call under way with a limit of its own is one.",
            ),
            key(
                "engine.interrupt_grace_seconds",
                "integer",
                Some("10"),
                "10",
                "How long a worker that was asked to end may take for it, in seconds; then it is killed with all it started.",
            ),
            key(
                "engine.check_seconds_max",
                "integer",
                Some("1200"),
                "1200",
                "The longest one check may take, in seconds.",
            ),
            key(
                "engine.rework_rounds_max",
                "integer",
                Some("2"),
                "2",
                "How often a result goes back with its findings before the job fails.",
            ),
            key(
                "engine.job_budget_usd",
                "amount",
                Some("1.0"),
                "1.0",
                "What a job may spend that is given no `--budget-usd`, in US dollars.",
            ),
        ],
    },
    limits::SECTION,
    limits::QUEUE_SECTION,
    limits::BACKEND_SECTION,
    limits::PROJECT_SECTION,
    Section {
        heading: "server",
        path: "server",
        about: "Where `skep up` listens.",
        keys: &[key(
            "server.listen",
            "address and port",
            Some("127.0.0.1:7575"),
            "\"127.0.0.1:7575\"",
            "A loopback address; `--listen` goes before it.",
        )],
    },
    topic::SECTION,
    Section {
        heading: "database",
        path: "database",
        about: "Where everything is kept.",
        keys: &[key(
            "database.url",
            "sqlite | postgres://… | { env = \"NAME\" } | { file = \"path\" }",
            Some("sqlite"),
            "\"sqlite\"",
            "`sqlite` is a file in the home. An address with a password is a secret and stands elsewhere.",
        )],
    },
    Section {
        heading: "cluster",
        path: "cluster",
        about: "Several nodes on one PostgreSQL store, each with a home of its own.",
        keys: &[key(
            "cluster.shared",
            "folder",
            Some("the home, for one node"),
            "\"/srv/skep\"",
            "A folder that every node sees under this path: vaults, logs, reports and the key that signs the ledger. The repositories that jobs name lie on paths that every node sees too.",
        )],
    },
];

/// The names below `table` (a path with `NAME` for the user's part): `None` when the user names
/// them, empty when there are none.
pub(super) fn known_below(table: &[&str]) -> Option<Vec<&'static str>> {
    let mut names = Vec::new();
    for path in all_paths() {
        let parts: Vec<&str> = path.split('.').collect();
        if parts.len() <= table.len() || parts[..table.len()] != *table {
            continue;
        }
        let name = parts[table.len()];
        if name == "NAME" {
            return None;
        }
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Some(names)
}

/// Every path of the table, and the keys inside inline tables.
fn all_paths() -> impl Iterator<Item = &'static str> {
    let inline = [
        "provider.NAME.api_key.env",
        "provider.NAME.api_key.file",
        "provider.NAME.api_key.keychain",
        "model.NAME.price.input",
        "model.NAME.price.output",
        "model.NAME.price.cache_read",
        "model.NAME.price.cache_write_5m",
        "model.NAME.price.cache_write_1h",
        "database.url.env",
        "database.url.file",
        "database.url.keychain",
    ];
    SECTIONS
        .iter()
        .flat_map(|section| section.keys.iter().map(|key| key.path))
        .chain(inline)
}

/// The keys whose value is a secret, or may hold one.
pub(super) fn is_secret(path: &[&str]) -> bool {
    matches!(path, ["provider", "NAME", "api_key"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_stands_in_its_section() {
        for section in SECTIONS {
            for key in section.keys {
                let name = key
                    .path
                    .strip_prefix(section.path)
                    .and_then(|rest| rest.strip_prefix('.'));
                assert!(name.is_some_and(|name| !name.contains('.')), "{}", key.path);
            }
        }
    }

    #[test]
    fn names_of_the_user_are_not_checked() {
        assert_eq!(known_below(&["provider"]), None);
        let top = known_below(&[]).expect("a fixed list");
        assert_eq!(
            top,
            [
                "provider",
                "model",
                "worker",
                "budget",
                "toolchain",
                "engine",
                "limits",
                "server",
                "topic",
                "database",
                "cluster"
            ]
        );
        assert_eq!(
            known_below(&["toolchain"]),
            Some(vec!["read_only", "prepare"])
        );
    }
}
