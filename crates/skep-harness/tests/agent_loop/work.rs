//! What the loop does when all goes well, and when a call does not.

use crate::attempt::{KEY, Ran, edit_sum, finish, finish_input, turn};
use crate::scripted::{Reply, call};
use serde_json::{Value, json};
use skep_harness::{AgentEnd, ProcessExit, RefusedBy, ReviewReport, ReviewVerdict, outcome};
use skep_stdx::Secret;
use skep_types::Role;
use skep_wire::anthropic::CACHE_MARK;
use std::fs;
use std::path::Path;

#[tokio::test]
async fn reads_edits_runs_and_finishes() {
    let ran = Ran::of(vec![
        Reply::Blocks(vec![
            json!({"type": "text", "text": "I look first."}),
            call("a", "read", json!({"path": "src/sum.txt"})),
            call("b", "list", json!({})),
            call("c", "search", json!({"pattern": "sum"})),
        ]),
        turn("edit", edit_sum()),
        turn("run", json!({"command": "cat src/sum.txt; env; exit 4"})),
        finish(),
    ])
    .await;
    assert_eq!(ran.end, AgentEnd::Finished);
    let asked = ran.model.asked();
    let results: Vec<_> = asked[1]
        .results()
        .into_iter()
        .map(|(text, _)| text)
        .collect();
    assert_eq!(
        results,
        [
            "1\t1 + 1 = 3\n",
            ".git/ [not entered]\nREADME.md\nsrc/\n  sum.txt\n",
            "README.md:1:a sum\n"
        ]
    );
    assert_eq!(
        asked[2].results(),
        [("replaced at line 1".to_owned(), false)]
    );
    let (command, _) = asked[3].results().remove(0);
    assert!(command.starts_with("exit code 4\n1 + 1 = 2\n"), "{command}");
    assert!(
        !command.contains(KEY) && !command.contains("SKEP_"),
        "{command}"
    );

    let contract = ran.attempt.contract();
    assert_eq!(contract.summary, "corrected the sum");
    assert_eq!(
        (
            contract.files_changed[0].added,
            contract.files_changed[0].deleted
        ),
        (1, 1)
    );
    assert_eq!(contract.commits[0].subject, "fix: correct the sum");
    assert_eq!(
        contract.commits[0].sha,
        ran.attempt.git(&["rev-parse", "HEAD"]).trim()
    );
    assert_eq!(ran.attempt.git(&["status", "--porcelain"]), "");

    assert_eq!(
        ran.tool_calls(),
        ["read", "list", "search", "edit", "run", "finish"].map(|name| (name, true, None))
    );
    let exit = ProcessExit {
        code: Some(0),
        signal: None,
    };
    let contract_bytes = fs::read(ran.attempt.path("out/contract.json")).unwrap();
    let outcome = outcome(exit, &ran.events, Some(&contract_bytes));
    assert_eq!(outcome.failure, None);
    assert_eq!(outcome.models, ["stub-large-1"]);
    assert_eq!(
        (
            outcome.model_calls,
            outcome.tokens.input,
            outcome.tokens.output
        ),
        (4, 400, 80)
    );
    assert_eq!(outcome.session_id.as_deref(), Some("session-1"));
}

#[tokio::test]
async fn events_hold_no_text_and_the_transcript_holds_all_but_the_key() {
    let ran = Ran::of(vec![
        turn("run", json!({"command": format!("echo the key is {KEY}")})),
        turn("edit", edit_sum()),
        finish(),
    ])
    .await;
    assert_eq!(ran.end, AgentEnd::Finished);
    for text in ["1 + 1", "sum", "echo", "corrected", KEY] {
        assert!(
            !ran.raw_events.contains(text),
            "{text} in {}",
            ran.raw_events
        );
    }
    let transcript = fs::read_to_string(ran.attempt.path("out/transcript.jsonl")).unwrap();
    assert!(!transcript.contains(KEY));
    assert!(transcript.contains("the key is [redacted]"));
    let kinds: Vec<String> = transcript
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line).unwrap()["kind"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(kinds[0], "start");
    assert_eq!(kinds[1..], ["message"; 7]);
    let (shown, _) = ran.model.asked()[1].results().remove(0);
    assert_eq!(shown, "exit code 0\nthe key is [redacted]\n");
}

#[tokio::test]
async fn the_prefix_is_the_same_between_turns_and_between_attempts() {
    let script = || {
        vec![
            turn("read", json!({"path": "src/sum.txt"})),
            turn("edit", edit_sum()),
            turn("run", json!({"command": "cat src/sum.txt"})),
            finish(),
        ]
    };
    let first = Ran::of(script()).await;
    let second = Ran::with(script(), |setup| {
        setup.session_id = "session-2".to_owned();
        setup.key = Secret::new("sk-skep-another-key");
    })
    .await;
    assert_ne!(first.attempt.path(""), second.attempt.path(""));
    let (first, second) = (first.model.asked(), second.model.asked());
    for (a, b) in first.iter().zip(&second) {
        assert_eq!(a.body, b.body, "two attempts at one task differ");
    }
    for pair in first.windows(2) {
        let [before, after] =
            [&pair[0].body, &pair[1].body].map(|body| body.replace(CACHE_MARK, ""));
        let shared = before.strip_suffix("]}").unwrap();
        assert!(after.starts_with(shared), "{before}\n{after}");
        let fixed_end = pair[0].body.find(r#""messages":["#).unwrap();
        assert_eq!(pair[0].body[..fixed_end], pair[1].body[..fixed_end]);
    }
    assert!(
        first[0].head.contains(&format!("x-api-key: {KEY}")),
        "{}",
        first[0].head
    );
    assert!(first[0].head.starts_with("POST /v1/messages HTTP/1.1"));
}

#[tokio::test]
async fn the_first_request_is_the_golden_one_and_small() {
    let ran = Ran::of(vec![finish()]).await;
    let body = format!("{}\n", ran.model.asked()[0].body);
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/first-request.json");
    if std::env::var_os("SKEP_UPDATE_GOLDEN").is_some() {
        fs::write(&golden, &body).unwrap();
    }
    assert_eq!(
        body,
        fs::read_to_string(&golden).unwrap(),
        "SKEP_UPDATE_GOLDEN=1 writes it anew"
    );
    // No tokenizer of the vendor is public; English and JSON have at least 3.5 bytes a token.
    let tokens = body.len() * 10 / 35;
    assert!(tokens < 3_000, "about {tokens} tokens");
}

#[tokio::test]
async fn calls_of_one_turn_happen_in_order_and_finish_comes_last() {
    let ran = Ran::of(vec![Reply::Blocks(vec![
        call("1", "finish", finish_input()),
        call(
            "2",
            "write",
            json!({"path": "src/sum.txt", "content": "1 + 1 = 4\n"}),
        ),
        call("3", "read", json!({"path": "src/sum.txt"})),
        call(
            "4",
            "edit",
            json!({"path": "src/sum.txt", "old": "4", "new": "2"}),
        ),
        call("5", "read", json!({"path": "src/sum.txt", "offset": 1})),
    ])])
    .await;
    assert_eq!(ran.end, AgentEnd::Finished);
    assert_eq!(ran.attempt.content("src/sum.txt"), "1 + 1 = 2\n");
    assert_eq!(
        ran.attempt.git(&["show", "HEAD:src/sum.txt"]),
        "1 + 1 = 2\n"
    );
    let names: Vec<_> = ran
        .tool_calls()
        .into_iter()
        .map(|(name, ..)| name)
        .collect();
    assert_eq!(names, ["write", "read", "edit", "read", "finish"]);
    let transcript = fs::read_to_string(ran.attempt.path("out/transcript.jsonl")).unwrap();
    let last: Value = serde_json::from_str(transcript.lines().last().unwrap()).unwrap();
    let ids: Vec<_> = last["content"]
        .as_array()
        .unwrap()
        .iter()
        .map(|b| b["tool_use_id"].as_str().unwrap())
        .collect();
    assert_eq!(
        ids,
        ["1", "2", "3", "4", "5"],
        "results stand in the order of the calls"
    );
}

#[tokio::test]
async fn every_call_of_a_turn_is_answered_and_a_flood_is_not_carried_out() {
    let read = |n: usize| {
        call(
            &format!("c{n}"),
            "read",
            json!({"path": "README.md", "limit": n}),
        )
    };
    let ran = Ran::of(vec![Reply::Blocks((1..=30).map(read).collect()), finish()]).await;
    assert_eq!(ran.end, AgentEnd::Finished);
    let results = ran.model.asked()[1].results();
    assert_eq!(results.len(), 30);
    let refused = |(text, _): &&(String, bool)| text.starts_with("more than 24 calls in one turn");
    assert_eq!(results.iter().filter(refused).count(), 6);
    assert!(results[24..].iter().all(|(_, is_error)| *is_error));
}

#[tokio::test]
async fn a_bad_call_is_answered_and_the_loop_goes_on() {
    let ran = Ran::of(vec![
        Reply::Blocks(vec![
            call("1", "read", json!("{\"path\": \"src/su")),
            call("2", "read", json!({"file": "src/sum.txt"})),
            call("3", "fly", json!({})),
            call(
                "4",
                "edit",
                json!({"path": "README.md", "old": "a", "new": "b"}),
            ),
            call("5", "write", json!({"path": "../escape", "content": ""})),
            call("6", "read", json!({"path": "src/sum.txt"})),
        ]),
        turn("edit", edit_sum()),
        turn("finish", json!({"status": "DONE"})),
        finish(),
    ])
    .await;
    assert_eq!(ran.end, AgentEnd::Finished);
    let results = ran.model.asked()[1].results();
    for (result, expected) in results.iter().zip([
        ("not a JSON object, or was cut off", true),
        ("the input of `read` is not valid", true),
        ("there is no tool `fly`", true),
        ("refused by the scope", true),
        ("outside the repository", true),
        ("1 + 1 = 3", false),
    ]) {
        assert!(
            result.0.contains(expected.0) && result.1 == expected.1,
            "{result:?}"
        );
    }
    let walls: Vec<_> = ran
        .tool_calls()
        .into_iter()
        .filter_map(|(.., by)| by)
        .collect();
    assert_eq!(walls, [RefusedBy::Scope, RefusedBy::Policy]);
    assert!(
        ran.model.asked()[3].results()[0]
            .0
            .contains("missing field `summary`")
    );
}

#[tokio::test]
async fn an_observer_reports_and_changes_nothing() {
    let report = json!({"summary": "looked", "verdict": "pass", "defects": [],
        "criteria": [{"criterion": "the sum is right", "met": true, "evidence": "src/sum.txt:1"}]});
    let ran = Ran::with(
        vec![
            turn("write", json!({"path": "src/sum.txt", "content": ""})),
            turn("finish", report),
        ],
        |setup| setup.task.role = Role::Observer,
    )
    .await;
    assert_eq!(ran.end, AgentEnd::Finished);
    assert_eq!(
        ran.tool_calls()[0],
        ("write", false, Some(RefusedBy::Policy))
    );
    assert_eq!(ran.attempt.content("src/sum.txt"), "1 + 1 = 3\n");
    let report = fs::read(ran.attempt.path("out/review.json")).unwrap();
    let report = ReviewReport::read(Some(&report)).unwrap();
    assert_eq!(report.verdict, ReviewVerdict::Pass);
    let asked = ran.model.asked();
    let names: Vec<_> = asked[0].json()["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| tool["name"].clone())
        .collect();
    assert_eq!(names, ["read", "list", "search", "run", "finish"]);
}
