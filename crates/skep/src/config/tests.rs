//! What is refused, with which words, and that the table of keys and the parsers agree.

use super::keys::{SECTIONS, known_below};
use super::*;
use std::collections::BTreeSet;

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Path::new("/etc/skep/skep.toml"))
}

/// Parses `text`, which is refused with `code`, and holds message and hint against `expected`.
fn check(text: &str, code: &str, message: &str, hint: &str) {
    let body = match parse(text).and_then(|config| config.gateway(Secrets::Needed)) {
        Ok(_) => panic!("taken: {text}"),
        Err(error) => error.body(),
    };
    assert_eq!((body.code.as_str(), body.exit), (code, 2), "{text}");
    assert!(body.message.contains(message), "{text}: {}", body.message);
    let found = body.hint.expect("a hint");
    assert!(found.contains(hint), "{text}: {found}");
}

#[test]
fn an_unknown_key_names_its_line_and_the_nearest_known_one() {
    check(
        "[provider.local]\napi = \"anthropic\"\nbase_ulr = \"http://x\"\n",
        "config_unknown_key",
        "/etc/skep/skep.toml, line 3: unknown key `provider.local.base_ulr`",
        "did you mean `base_url`?",
    );
    check(
        "[providers.a]\n",
        "config_unknown_key",
        "line 1: unknown key `providers`",
        "`provider`",
    );
    check(
        "[engine]\nslot = 2\n",
        "config_unknown_key",
        "`engine.slot`",
        "`slots`",
    );
    check(
        "[toolchain]\nxyzzy = 1\n",
        "config_unknown_key",
        "`toolchain.xyzzy`",
        "known here: read_only, prepare",
    );
    check(
        "[model.a]\nprovider = \"p\"\nprice = { input = 1, output = 1, cached_read = 1 }\n",
        "config_unknown_key",
        "line 3: unknown key `model.a.price.cached_read`",
        "`cache_read`",
    );
    check(
        "[provider.p]\napi_key = { enw = \"X\" }\n",
        "config_unknown_key",
        "`provider.p.api_key.enw`",
        "`env`",
    );
}

#[test]
fn a_literal_secret_is_refused_and_never_repeated() {
    for text in [
        "[provider.p]\napi = \"anthropic\"\napi_key = \"sk-very-secret\"\n",
        "provider.p.api_key = \"sk-very-secret\"\n",
        "[database]\nurl = \"postgres://skep:sk-very-secret@db/skep\"\n",
        "[database]\nurl = \"host=db password=sk-very-secret\"\n",
    ] {
        check(
            text,
            "config_secret_literal",
            "is a literal secret",
            "{ env = \"NAME\" }",
        );
        let body = parse(text).expect_err("refused").body();
        assert!(!format!("{body:?}").contains("sk-very-secret"), "{body:?}");
    }
    check(
        "[provider.p]\napi_key = { keychain = \"skep\" }\n",
        "config_keychain_unsupported",
        "line 2",
        "{ file = \"path\" }",
    );
}

#[test]
fn values_and_parts_that_do_not_fit_say_where() {
    check(
        "[engine]\nslots = \"many\"\n",
        "config_value",
        "line 2",
        "docs/reference/config.md",
    );
    check(
        "[engine\n",
        "config_syntax",
        "line 1: this is not TOML",
        "skep.example.toml",
    );
    check(
        "[worker.w]\nrole = \"builder\"\n",
        "config_value",
        "missing field `harness`",
        "",
    );
    check("[engine]\nslots = 0\n", "config_invalid", "above zero", "");
    check(
        "[worker.w]\nharness = \"skep\"\nmodel = \"sonet\"\n[provider.p]\napi = \"replay\"\n[model.sonnet]\nprovider = \"p\"\n",
        "config_invalid",
        "did you mean `sonnet`?",
        "",
    );
    check(
        "[worker.w]\nharness = \"exec\"\n",
        "config_invalid",
        "no `command`",
        "",
    );
    check(
        "[model.m]\nprovider = \"nobody\"\n",
        "config_invalid",
        "provider `nobody`",
        "",
    );
    check(
        "[provider.p]\napi = \"anthropic\"\nbase_url = \"http://127.0.0.1:1\"\napi_key = { env = \"SKEP_TEST_NO_SUCH_VARIABLE\" }\n",
        "secret_unavailable",
        "SKEP_TEST_NO_SUCH_VARIABLE is not set",
        "`skep doctor`",
    );
}

#[test]
fn secrets_come_from_where_the_file_says_and_can_be_left_there() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join(FILE_NAME);
    std::fs::write(folder.path().join("key"), "the-real-key\n")?;
    std::fs::write(
        &path,
        "[provider.p]\napi = \"anthropic\"\nbase_url = \"http://127.0.0.1:1\"\napi_key = { file = \"key\" }\n",
    )?;
    let config = Config::load(Some(&path), folder.path()).expect("a good file");
    let source = SecretSource::File("key".into());
    assert_eq!(config.fetch(&source), Ok(Secret::new("the-real-key")));
    config.gateway(Secrets::Needed).expect("the key is there");
    std::fs::remove_file(folder.path().join("key"))?;
    config
        .gateway(Secrets::Left)
        .expect("the key is not needed");
    config
        .gateway(Secrets::Needed)
        .expect_err("the key is gone");
    Ok(())
}

#[test]
fn a_named_file_must_be_there_and_the_home_goes_first() -> anyhow::Result<()> {
    let home = tempfile::tempdir()?;
    let missing = home.path().join("missing.toml");
    let error = Config::load(Some(&missing), home.path()).expect_err("refused");
    assert_eq!(error.code(), "config_not_found");
    let path = home.path().join(FILE_NAME);
    std::fs::write(&path, "[engine]\nslots = 7\n")?;
    let config = Config::load(None, home.path()).expect("a good file");
    assert_eq!((config.engine.slots, config.file), (7, Some(path)));
    Ok(())
}

#[test]
fn the_example_is_complete_and_loads() {
    let text = example();
    let config = parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    config
        .gateway(Secrets::Left)
        .unwrap_or_else(|error| panic!("{error}"));
    for section in SECTIONS {
        for key in section.keys {
            let name = key.path.rsplit('.').next().unwrap_or_default();
            let line = format!("{name} = {}", key.example);
            assert!(text.contains(&line), "{line}");
        }
    }
    assert!(
        text.lines().all(|line| line.len() <= 110),
        "a line is too wide"
    );
}

#[test]
fn the_keys_of_the_example_that_are_commented_out_are_good_too() {
    let text = example()
        .replace("# script =", "script =")
        .replace("# command =", "command =");
    parse(&text).unwrap_or_else(|error| panic!("{error}"));
}

/// The names that a parser lists when it meets a key it does not know.
fn names_of_parser<T: serde::de::DeserializeOwned + std::fmt::Debug>(
    text: &str,
) -> BTreeSet<String> {
    let error = toml::from_str::<T>(text).expect_err("an unknown key");
    let message = error.message();
    let listed = message.split_once("expected").expect(message).1;
    listed
        .split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_table_of_keys_lists_what_the_parsers_take() {
    let unknown = "no_such_key = 1\n";
    let cases: [(&[&str], BTreeSet<String>); 12] = [
        (&[], names_of_parser::<File>(unknown)),
        (
            &["provider", "NAME"],
            names_of_parser::<ProviderTable>(unknown),
        ),
        (&["model", "NAME"], names_of_parser::<ModelTable>(unknown)),
        (&["budget", "NAME"], names_of_parser::<BudgetTable>(unknown)),
        (
            &["worker", "NAME"],
            names_of_parser::<WorkerConfig>(unknown),
        ),
        (&["toolchain"], names_of_parser::<ToolchainConfig>(unknown)),
        (&["engine"], names_of_parser::<EngineConfig>(unknown)),
        (&["cluster"], names_of_parser::<ClusterTable>(unknown)),
        (&["limits"], names_of_parser::<LimitsTable>(unknown)),
        (
            &["limits", "queue", "NAME"],
            names_of_parser::<limits::LimitTable>(unknown),
        ),
        (
            &["limits", "backend", "NAME"],
            names_of_parser::<limits::LimitTable>(unknown),
        ),
        (
            &["limits", "project", "NAME"],
            names_of_parser::<limits::ProjectTable>(unknown),
        ),
    ];
    for (path, taken) in cases {
        let listed = known_below(path).expect("a fixed list");
        let listed: BTreeSet<String> = listed.into_iter().map(str::to_owned).collect();
        assert_eq!(listed, taken, "{path:?}");
    }
}

#[test]
fn defaults_of_the_table_are_those_of_the_parsers() {
    let config = Config::default();
    let default_of = |path: &str| {
        let keys = SECTIONS.iter().flat_map(|section| section.keys);
        keys.clone()
            .find(|key| key.path == path)
            .and_then(|key| key.default)
            .expect(path)
    };
    let engine = &config.engine;
    for (path, value) in [
        ("engine.slots", engine.slots.to_string()),
        ("engine.isolation", engine.isolation.to_string()),
        (
            "engine.attempt_seconds_max",
            engine.attempt_seconds_max.to_string(),
        ),
        (
            "engine.check_seconds_max",
            engine.check_seconds_max.to_string(),
        ),
        (
            "engine.rework_rounds_max",
            engine.rework_rounds_max.to_string(),
        ),
        ("server.listen", config.server.listen.to_string()),
    ] {
        assert_eq!(default_of(path), value, "{path}");
    }
}
