//! A script answers as a model would, through the whole gateway.

use super::stand::{Reply, Stand, open_key};
use http::StatusCode;
use serde_json::{Value, json};
use skep_gateway::{Script, Sums, Timeouts};
use skep_stdx::Secret;
use skep_testkit::{TestStore, on_both_engines};
use skep_types::{MicroUsd, Tier};
use skep_wire::{CompletedMessage, MessageStream, SseParser};

on_both_engines!(
    a_conversation_of_several_turns,
    a_fault_happens_and_then_no_more,
    a_mismatch_shows_the_difference,
    measured_usage_sees_the_common_prefix,
);

const SCRIPT: &str = r#"
version = 1

[[conversation]]
name = "builder"
when = { model = "bee-1", system = { contains = "You build" }, first_user_text = { contains = "adder" }, tools = { include = ["run"], exclude = ["fly"] } }

[[conversation.turn]]
expect = { tool_results = 0 }
reply.blocks = [
    { text = "I look at {{instruction:the (\\w+)}}." },
    { tool = "run", input = { command = "cargo test", limit = 3, deep = { list = ["{{instruction:in (\\S+)}}", true] } } },
    { tool = "read", input = { path = "src/lib.rs" } },
]
reply.usage = { input = 100, output = 20, cache_read = 30, cache_write_5m = 4, cache_write_1h = 5 }

[[conversation.turn]]
expect.tool_results = 2
expect.tool_result = [
    { tool = "run", contains = ["2 failed", "in <path>"], normalise = ["durations", "paths"], is_error = true },
    { tool = "read", equals = "fn add <hash>", normalise = ["whitespace", "hashes"] },
]
reply.blocks = [{ tool = "run", input = { command = "git show {{tool_result[1]:add\\s+([0-9a-f]{7})}}" } }]

[[conversation.turn]]
delay_ms = 1
reply.blocks = [{ text = "Done: {{tool_result[0]}} format!(\"{{}}\")" }]

[[conversation]]
name = "reviewer"
when.system = { matches = "^You review" }
[[conversation.turn]]
fault = { status = 529, error = "overloaded_error", message = "busy", retry_after_s = 3, times = 2 }
reply = { blocks = [{ text = "fine" }], model = "wasp-1" }
[[conversation.turn]]
fault = { cut_after_events = 3 }
reply = { blocks = [{ text = "fine again" }] }
"#;

async fn stand(store: &TestStore) -> anyhow::Result<(Stand, Secret, skep_types::KeyId)> {
    let path = store.folder().join("bees.toml");
    std::fs::write(&path, SCRIPT)?;
    let more = format!(
        "[provider.script]\napi = \"replay\"\nscript = \"{}\"\n[model.bee]\nprovider = \"script\"\nupstream = \"bee-1\"\nprice = {{ input = 1, output = 1, cache_read = 1, cache_write_5m = 1, cache_write_1h = 1 }}\n",
        path.display()
    );
    let stand = Stand::with(store, &more, Timeouts::default()).await?;
    let mut new = open_key();
    // A script is local, so even this may go there.
    new.tier = Tier::Sacred;
    let (id, key) = stand.mint(new).await?;
    Ok((stand, key, id))
}

/// One request of the conversation so far.
async fn ask(
    stand: &Stand,
    key: &Secret,
    system: &str,
    messages: &[Value],
    stream: bool,
) -> anyhow::Result<Reply> {
    let body = json!({
        "model": "bee", "max_tokens": 1000, "stream": stream, "system": system,
        "tools": [{"name": "run"}, {"name": "read"}],
        "messages": messages,
    });
    stand.messages(key, &body.to_string()).await
}

fn read(reply: &Reply) -> anyhow::Result<CompletedMessage> {
    let mut stream = MessageStream::new();
    let mut parser = SseParser::default();
    let mut taken = Ok(());
    let body = reply.body.clone().unwrap_or_default();
    parser.feed(&body, |event| {
        if taken.is_ok() {
            taken = stream.take(&event);
        }
    })?;
    taken?;
    Ok(stream.finish()?)
}

/// The answer as the next message of the conversation.
fn as_message(answer: &CompletedMessage) -> anyhow::Result<Value> {
    let blocks: Vec<Value> = answer
        .content
        .iter()
        .map(|b| serde_json::from_str(b.json()))
        .collect::<Result<_, _>>()?;
    Ok(json!({"role": "assistant", "content": blocks}))
}

fn results(list: &[(&Value, &str, bool)]) -> Value {
    let blocks: Vec<_> = list
        .iter()
        .map(|(id, text, is_error)| {
            json!({"type": "tool_result", "tool_use_id": id, "content": text, "is_error": is_error})
        })
        .collect();
    json!({"role": "user", "content": blocks})
}

const BUILD: &str = "You build.";

async fn a_conversation_of_several_turns(store: TestStore) -> anyhow::Result<()> {
    let (stand, key, id) = stand(&store).await?;
    let mut messages = vec![json!({"role": "user", "content": "Fix the adder in src/add.rs"})];
    let reply = ask(&stand, &key, BUILD, &messages, true).await?;
    assert_eq!(reply.status, StatusCode::OK, "{:?}", reply.body);
    assert_eq!(reply.header("x-skep-model-actual"), Some("bee-1"));
    let first = as_message(&read(&reply)?)?;
    let blocks = &first["content"];
    assert_eq!(blocks[0]["text"], "I look at adder.");
    let input =
        json!({"command": "cargo test", "limit": 3, "deep": {"list": ["src/add.rs", true]}});
    assert_eq!(
        (&blocks[1]["name"], &blocks[1]["input"]),
        (&"run".into(), &input)
    );
    assert_ne!(blocks[1]["id"], blocks[2]["id"]);
    assert_eq!(
        stand.sums(&id).await?.spent,
        MicroUsd(159),
        "the script's usage at list price"
    );

    let run = ("2 failed in /tmp/work after 0.31s", "fn add\n  1a2b3c4");
    let second = results(&[
        (&blocks[1]["id"], run.0, true),
        (&blocks[2]["id"], run.1, false),
    ]);
    messages.extend([first, second]);
    let reply = ask(&stand, &key, BUILD, &messages, false).await?;
    let answer = reply.json()?;
    assert_eq!(answer["content"][0]["input"]["command"], "git show 1a2b3c4");
    assert_eq!(answer["stop_reason"], "tool_use");

    let id = answer["content"][0]["id"].clone();
    messages.push(json!({"role": "assistant", "content": answer["content"]}));
    messages.push(results(&[(&id, "all \"good\"", false)]));
    let reply = ask(&stand, &key, BUILD, &messages, true).await?;
    let last = as_message(&read(&reply)?)?;
    assert_eq!(
        last["content"][0]["text"],
        "Done: all \"good\" format!(\"{}\")".replace("{}", "{{}}")
    );
    messages.extend([last, json!({"role": "user", "content": "more"})]);
    let over = ask(&stand, &key, BUILD, &messages, true).await?;
    assert!(over.error()?.1.contains("has 3 turns"), "{:?}", over.body);
    Ok(())
}

async fn a_mismatch_shows_the_difference(store: TestStore) -> anyhow::Result<()> {
    let (stand, key, id) = stand(&store).await?;
    let task = |text: &str| json!({"role": "user", "content": text});
    let called = json!({"role": "assistant", "content": [
        {"type": "tool_use", "id": "t1", "name": "run", "input": {}},
        {"type": "tool_use", "id": "t2", "name": "read", "input": {}}]});
    let (run, file) = (json!("t1"), json!("t2"));
    let bad = "7 passed in /tmp/x after 0.3s";
    let good = "2 failed in /tmp/x";
    for (system, messages, words) in [
        (
            BUILD,
            vec![task("Fix the subtractor")],
            &[
                "no conversation fits",
                "`builder`: `first_user_text` should contain \"adder\"",
                "\"Fix the subtractor\"",
                "`reviewer`: `system` should match",
            ][..],
        ),
        (
            BUILD,
            vec![
                task("adder"),
                called.clone(),
                results(&[(&run, good, true)]),
            ],
            &["`builder`, turn 1", "`tool_results` should be 2"],
        ),
        (
            BUILD,
            vec![
                task("adder"),
                called.clone(),
                results(&[(&run, bad, true), (&file, "fn add 1a2b3c4", false)]),
            ],
            &[
                "`tool_result[0] of run` should contain \"2 failed\"",
                "after normalising durations, paths",
                "\"7 passed in <path> after <duration>\"",
            ],
        ),
        (
            BUILD,
            vec![
                task("adder"),
                called.clone(),
                results(&[(&run, good, false), (&file, "fn add 1a2b3c4", false)]),
            ],
            &["is_error = true"],
        ),
        (
            BUILD,
            vec![
                task("adder"),
                called.clone(),
                results(&[(&run, good, true), (&file, "fn add 1a2b3c4 it", false)]),
            ],
            &[
                "`tool_result[0] of read` should equal \"fn add <hash>\"",
                "it is \"fn add <hash> it\"",
            ],
        ),
        (
            BUILD,
            vec![task("the adder")],
            &[
                "`builder`, turn 0",
                "`instruction` should match \"in (\\\\S+)\"",
            ],
        ),
    ] {
        let reply = ask(&stand, &key, system, &messages, true).await?;
        let (kind, message, _) = reply.error()?;
        assert_eq!(
            (reply.status.as_u16(), kind.as_str()),
            (400, "invalid_request_error")
        );
        for word in words {
            assert!(message.contains(word), "{word} is not in: {message}");
        }
        assert!(
            message.starts_with("replay script `bees.toml`"),
            "{message}"
        );
    }
    let long = "x".repeat(100_000);
    let reply = ask(&stand, &key, BUILD, &[task(&long)], true).await?;
    let message = reply.error()?.1;
    assert!(
        message.len() < 2_000 && message.contains("bytes more"),
        "{}",
        message.len()
    );
    assert_eq!(
        stand.sums(&id).await?,
        Sums::default(),
        "an error costs nothing"
    );
    Ok(())
}

async fn a_fault_happens_and_then_no_more(store: TestStore) -> anyhow::Result<()> {
    let (stand, key, id) = stand(&store).await?;
    let mut messages = vec![json!({"role": "user", "content": "look"})];
    for _ in 0..2 {
        let reply = ask(&stand, &key, "You review.", &messages, true).await?;
        assert_eq!(
            (reply.status.as_u16(), reply.header("retry-after")),
            (529, Some("3"))
        );
        assert_eq!(reply.error()?.1, "busy");
    }
    let reply = ask(&stand, &key, "You review.", &messages, true).await?;
    assert_eq!(reply.header("x-skep-model-actual"), Some("wasp-1"));
    assert_eq!(stand.payloads("model_substituted").await?.len(), 1);
    messages.extend([
        as_message(&read(&reply)?)?,
        json!({"role": "user", "content": "again"}),
    ]);
    let spent = stand.sums(&id).await?.spent;
    let cut = ask(&stand, &key, "You review.", &messages, true).await?;
    assert_eq!((cut.status, cut.body.clone()), (StatusCode::OK, None));
    let sums = stand.sums(&id).await?;
    assert!(
        sums.unconfirmed > MicroUsd::ZERO && sums.spent == spent,
        "{sums:?}"
    );
    let reply = ask(&stand, &key, "You review.", &messages, true).await?;
    assert!(read(&reply).is_ok());
    Ok(())
}

async fn measured_usage_sees_the_common_prefix(store: TestStore) -> anyhow::Result<()> {
    let (stand, key, _) = stand(&store).await?;
    let mut messages =
        vec![json!({"role": "user", "content": format!("look {}", "around ".repeat(200))})];
    for _ in 0..3 {
        ask(&stand, &key, "You review.", &messages, true).await?;
    }
    messages.push(json!({"role": "assistant", "content": "fine"}));
    messages.push(json!({"role": "user", "content": "again"}));
    for _ in 0..2 {
        ask(&stand, &key, "You review.", &messages, true).await?;
    }
    let settled = stand.payloads("model_call_settled").await?;
    let tokens = |call: usize, class: &str| settled[call]["tokens"][class].as_i64().unwrap();
    assert_eq!(tokens(0, "cache_read"), 0, "nothing came before");
    assert_eq!(tokens(0, "output"), 1, "four bytes");
    let before = tokens(0, "input");
    let (read, new) = (tokens(1, "cache_read"), tokens(1, "input"));
    assert!(
        read > before - 5 && read <= before && new < 30,
        "{before} {read} {new}"
    );
    Ok(())
}

#[test]
fn a_mistake_in_a_script_is_shown_with_its_line() {
    for (from, to, word) in [
        ("version = 1", "version = 2", "version 2 is not known"),
        ("delay_ms = 1", "dely_ms = 1", "unknown field `dely_ms`"),
        (
            "delay_ms = 1",
            "delay_ms = 99999999",
            "a delay of more than",
        ),
        (
            "\"durations\", \"paths\"",
            "\"durrations\"",
            "unknown variant `durrations`",
        ),
        (
            "matches = \"^You review\"",
            "matches = \"(\"",
            "not a regular expression",
        ),
        (
            "matches = \"^You review\"",
            "matches = \"a\", equals = \"b\"",
            "exactly one of",
        ),
        ("in (\\\\S+)", "in \\\\S+", "exactly one group"),
        ("status = 529", "status = 200", "between 400 and 599"),
        ("cut_after_events = 3", "times = 3", "either `status` or"),
        ("{ text = \"fine\" }", "", "at least one is needed"),
    ] {
        let at = SCRIPT.find(from).unwrap();
        let line = SCRIPT[..at].matches('\n').count() + 1;
        let text = SCRIPT.replacen(from, to, 1);
        let error = Script::parse("bees.toml".to_owned(), &text)
            .unwrap_err()
            .to_string();
        assert!(error.contains(word), "{from} -> {to}: {error}");
        assert!(error.contains(&format!("line {line},")), "{line}: {error}");
    }
    let error = Script::parse("bees.toml".to_owned(), "conversation = []")
        .unwrap_err()
        .to_string();
    assert!(error.contains("at least one is needed"), "{error}");
}

#[test]
fn the_script_of_the_reference_is_a_script() {
    let reference = include_str!("../../../../docs/reference/replay-script.md");
    let blocks: Vec<&str> = reference.split("```toml\n").skip(1).collect();
    let script = blocks.iter().find(|block| block.starts_with("version = 1"));
    let script = script.and_then(|block| block.split("```").next()).unwrap();
    Script::parse("reference".to_owned(), script).unwrap();
}
