//! What ends a run, and what does not.

use crate::attempt::{Attempt, Ran, edit_sum, finish, turn};
use crate::scripted::{Reply, ScriptedModel, call};
use serde_json::json;
use skep_harness::{AgentEnd, AgentSetup, EndReason, HarnessEvent, run};
use skep_types::FailureClass;

#[tokio::test]
async fn a_passing_failure_of_the_model_is_tried_again() {
    let ran = Ran::of(vec![
        Reply::Cut(vec![call("x", "edit", edit_sum())]),
        Reply::error(
            "429 Too Many Requests",
            "rate_limit_error",
            &[("retry-after", "0")],
        ),
        turn("edit", edit_sum()),
        Reply::error("529 Overloaded", "overloaded_error", &[]),
        Reply::Raw("502 Bad Gateway", vec![], "<html>".to_owned()),
        finish(),
    ])
    .await;
    assert_eq!(ran.end, AgentEnd::Finished);
    let asked = ran.model.asked();
    assert_eq!(asked[0].body, asked[1].body);
    assert_eq!(asked[0].body, asked[2].body);
    let mut tries = Vec::new();
    for event in &ran.events {
        if let HarnessEvent::ModelCalled { retries, .. } = event {
            tries.push(*retries);
        }
    }
    assert_eq!(tries, [2, 2]);
    assert_eq!(
        ran.tool_calls().len(),
        2,
        "a cut answer's call is never carried out"
    );
}

async fn check_model_failure(replies: Vec<Reply>, asked: usize, class: FailureClass) {
    let ran = Ran::of(replies).await;
    ran.assert_ended(EndReason::ModelCall, class);
    assert_eq!(ran.model.asked().len(), asked, "{class}");
}

#[tokio::test]
async fn a_lasting_failure_of_the_model_is_classed() {
    let cut = || Reply::Cut(vec![json!({"type": "text", "text": "half"})]);
    let error = Reply::error;
    check_model_failure(vec![cut(), cut(), cut()], 3, FailureClass::ProviderOutage).await;
    let final_answer = [("x-should-retry", "false"), ("retry-after", "1")];
    check_model_failure(
        vec![error(
            "429 Too Many Requests",
            "billing_error",
            &final_answer,
        )],
        1,
        FailureClass::BudgetExceeded,
    )
    .await;
    check_model_failure(
        vec![error(
            "429 Too Many Requests",
            "rate_limit_error",
            &[("retry-after", "7999")],
        )],
        1,
        FailureClass::RateLimit,
    )
    .await;
    check_model_failure(
        vec![error(
            "403 Forbidden",
            "permission_error",
            &[("x-skep-error", "stale_fence")],
        )],
        1,
        FailureClass::LeaseLost,
    )
    .await;
    check_model_failure(
        vec![error("401 Unauthorized", "authentication_error", &[])],
        1,
        FailureClass::Auth,
    )
    .await;
    let html = || {
        Reply::Raw(
            "200 OK",
            vec![("content-type", "text/html")],
            "hello".to_owned(),
        )
    };
    check_model_failure(
        vec![html(), html(), html()],
        3,
        FailureClass::ProviderOutage,
    )
    .await;
}

#[tokio::test]
async fn a_gateway_that_is_not_there_is_an_outage() {
    let ran = Ran::with(Vec::new(), |setup| {
        // The port is bound and dropped, so that nobody listens there.
        let free = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        setup.gateway_url = format!("http://{free}");
    })
    .await;
    ran.assert_ended(EndReason::ModelCall, FailureClass::ProviderOutage);
}

#[tokio::test]
async fn the_same_call_three_times_ends_the_run() {
    let again = || turn("run", json!({"command": "true"}));
    let ran = Ran::of(vec![again(), again(), again(), finish()]).await;
    ran.assert_ended(EndReason::RepeatedCall, FailureClass::Stalled);
    let asked = ran.model.asked();
    assert_eq!(asked.len(), 3);
    assert!(!asked[1].results()[0].0.contains("one more ends the run"));
    assert!(asked[2].results()[0].0.contains("one more ends the run"));
}

#[tokio::test]
async fn steps_without_news_end_the_run() {
    let miss = |n: i32| turn("read", json!({"path": format!("no/{n}")}));
    let ran = Ran::with((0..5).map(miss).collect(), |setup| {
        setup.task.limits.idle_steps_max = 4;
    })
    .await;
    ran.assert_ended(EndReason::NoProgress, FailureClass::Stalled);
    assert_eq!(ran.model.asked().len(), 4);
}

#[tokio::test]
async fn the_number_of_steps_is_bounded() {
    let look = |n: i32| turn("run", json!({"command": format!("echo {n}")}));
    let ran = Ran::with((0..5).map(look).collect(), |setup| {
        setup.task.limits.steps_max = 3;
    })
    .await;
    ran.assert_ended(EndReason::Steps, FailureClass::Stalled);
    assert_eq!(ran.model.asked().len(), 3);
}

#[tokio::test]
async fn a_model_that_only_talks_is_reminded_and_then_given_up_on() {
    let talk = || Reply::Blocks(vec![json!({"type": "text", "text": "All done!"})]);
    let ran = Ran::of(vec![talk(), talk(), talk(), finish()]).await;
    ran.assert_ended(EndReason::NoFinish, FailureClass::PrematureCompletion);
    let second = ran.model.asked()[1].json();
    let last = second["messages"]
        .as_array()
        .unwrap()
        .last()
        .unwrap()
        .to_string();
    assert!(last.contains("call `finish`"), "{last}");
    let ran = Ran::of(vec![
        talk(),
        turn("edit", edit_sum()),
        talk(),
        talk(),
        finish(),
    ])
    .await;
    assert_eq!(ran.end, AgentEnd::Finished);
}

#[tokio::test]
async fn a_full_window_ends_the_run_before_the_call() {
    let ran = Ran::with(vec![finish()], |setup| {
        setup.task.limits.context_tokens = 1_800;
    })
    .await;
    ran.assert_ended(EndReason::ContextWindow, FailureClass::ContextOverflow);
    assert!(ran.model.asked().is_empty());
}

#[tokio::test]
async fn a_task_that_cannot_be_read_ends_at_once() {
    let changes: [fn(&mut AgentSetup); 4] = [
        |setup| setup.task.scope = vec!["../up".to_owned()],
        |setup| setup.task.repo = "/no/such/repository".into(),
        |setup| setup.gateway_url = "https://elsewhere".to_owned(),
        |setup| setup.task.output = "/no/such/folder".into(),
    ];
    for change in changes {
        let ran = Ran::with(vec![finish()], change).await;
        ran.assert_ended(EndReason::Setup, FailureClass::Unknown);
        assert!(ran.model.asked().is_empty());
    }
}

#[tokio::test]
async fn a_run_that_nobody_listens_to_stops_spending() {
    struct Closed;
    impl std::io::Write for Closed {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let attempt = Attempt::new();
    let model = ScriptedModel::start(vec![finish()]).await;
    let end = run(attempt.setup(&model.url), &mut Closed).await;
    assert!(
        matches!(
            end,
            AgentEnd::Ended {
                reason: EndReason::Unheard,
                ..
            }
        ),
        "{end:?}"
    );
    assert!(model.asked().is_empty());
}
