//! Reviews by a worker whose model is of another family.

use super::stand::{
    Engine, FIX, Setup, assert_landed, assert_untouched, contradicted, project, request,
};
use skep_api::{JobView, RetryRequest};
use skep_testkit::{TestStore, on_both_engines};
use skep_types::{FailureClass, Gate, JobState, Purpose, Role};

on_both_engines!(
    a_pass_lands,
    a_pass_without_evidence_is_void,
    a_rejection_waits_for_a_person,
    a_review_by_the_own_loop,
    a_review_of_a_cancelled_job_ends_with_it,
    a_report_that_is_no_text_is_void,
    a_reviewer_that_leaves_nothing_holds_nobody_up,
    a_second_opinion_is_asked_for_each_result,
    an_observer_writes_nothing,
    defects_go_back_and_are_repaired,
    defects_that_stay_wait_for_a_person,
);

const PASS: &str =
    r#"report pass '[{"criterion":"add adds","met":true,"evidence":"bees/calc.py:2"}]' '[]'"#;

const BARE_PASS: &str =
    r#"report pass '[{"criterion":"add adds","met":true,"evidence":" "}]' '[]'"#;

const DEFECT: &str = r#"report fix '[{"criterion":"it says what it does","met":false,"evidence":"bees/calc.py:1"}]' '[{"place":"bees/calc.py:1","severity":"low","what":"add says nothing","evidence":"no docstring"}]'"#;

/// Repairs what the reviewer found.
const HEEDS: &str = r#"
cat "$SKEP_INSTRUCTION_FILE"
if grep -q '## Defects found by the reviewer' "$SKEP_INSTRUCTION_FILE"; then
    sed -i 's/^def add.*/&\n    """The sum."""/' bees/calc.py
    save 'docs: say what add does'
else
    sed -i 's/a - b/a + b/' bees/calc.py
    save 'fix: add adds'
fi
contract DONE "$(ran 'python3 -m unittest -q' 2 0 0)"
"#;

fn verdicts(view: &JobView) -> Vec<&str> {
    let reviews = view.reviews.iter();
    reviews
        .map(|review| review.verdict.as_deref().unwrap_or("none"))
        .collect()
}

fn words(view: &JobView) -> &str {
    view.state_reason.as_deref().unwrap_or_default()
}

async fn a_pass_lands(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let steps = format!("cat \"$SKEP_INSTRUCTION_FILE\"\n{PASS}");
    let setup = Setup::with_fixer(FIX).reviewer("critic", &steps);
    let engine = Engine::start(&store, &setup).await?;
    let view = engine.run(request(&project)).await?;
    assert_landed(&view, &project, "main");
    assert_eq!(view.gate, Gate::G2, "the default where there is a reviewer");
    assert_eq!(verdicts(&view), ["pass"]);
    let [review] = view.reviews.as_slice() else {
        anyhow::bail!("{:?}", view.reviews);
    };
    assert_eq!(review.model.as_deref(), Some("other-large"));
    assert_eq!(review.report["criteria"][0]["evidence"], "bees/calc.py:2");
    let child = engine.at_rest(&review.job).await?;
    assert_eq!(
        (child.state, child.purpose),
        (JobState::Done, Purpose::Review)
    );
    assert_eq!(
        (child.parent.as_ref(), child.role),
        (Some(&view.id), Role::Observer)
    );
    assert_eq!(child.worker, "critic");
    // It is told the task, the change and what the checks said, not the author's word.
    let told = engine.log(&child.id).await?;
    for words in ["Make `add` add.", "+    return a + b", "exit 0"] {
        assert!(told.contains(words), "{words}: {told}");
    }
    assert!(!told.contains("as asked"), "{told}");
    let kinds = engine.kinds(&view.id).await?;
    let of_reviews: Vec<_> = kinds.iter().filter(|k| k.starts_with("review_")).collect();
    assert_eq!(of_reviews, ["review_requested", "review_received"]);
    engine.verify_ledger().await?;
    engine.stop().await
}

const REVIEWS: &str = r#"
version = 1
[[conversation]]
name = "critic"
when = { model = "other-large", tools = { exclude = ["edit", "write"] } }
[[conversation.turn]]
expect = { last_user_text = { contains = ["Make `add` add.", "+    return a + b"] } }
reply = { blocks = [{ tool = "run", input = { command = "python3 -m unittest -q" } }] }
[[conversation.turn]]
expect = { tool_result = [{ tool = "run", contains = "OK" }] }
reply = { blocks = [{ tool = "finish", input = { summary = "it adds", verdict = "pass", criteria = [{ criterion = "add adds", met = true, evidence = "python3 -m unittest: OK" }], defects = [] } }] }
"#;

async fn a_review_by_the_own_loop(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let setup = Setup::with_fixer(FIX)
        .own_loop("critic", Role::Observer, "other-large")
        .script(REVIEWS);
    let engine = Engine::start(&store, &setup).await?;
    let view = engine.run(request(&project)).await?;
    assert_landed(&view, &project, "main");
    assert_eq!(verdicts(&view), ["pass"]);
    let child = engine.at_rest(&view.reviews[0].job).await?;
    assert!(child.cost_micro_usd.0 > 0, "{child:?}");
    engine.stop().await
}

async fn defects_go_back_and_are_repaired(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let critic = format!("if grep -q 'The sum' bees/calc.py; then {PASS}; else {DEFECT}; fi");
    let setup = Setup::with_fixer(HEEDS).reviewer("critic", &critic);
    let engine = Engine::start(&store, &setup).await?;
    let view = engine.run(request(&project)).await?;
    assert_landed(&view, &project, "main");
    assert_eq!(verdicts(&view), ["fix", "pass"]);
    assert_eq!(view.attempts.len(), 2);
    let told = engine.log(&view.id).await?;
    assert!(
        told.contains("bees/calc.py:1 (low): add says nothing"),
        "{told}"
    );
    assert!(!told.contains("## Findings"), "nothing was false: {told}");
    assert!(project.read("bees/calc.py")?.contains("The sum."));
    engine.stop().await
}

async fn defects_that_stay_wait_for_a_person(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let setup = Setup::with_fixer(HEEDS)
        .reviewer("critic", DEFECT)
        .engine(|engine| engine.rework_rounds_max = 1);
    let engine = Engine::start(&store, &setup).await?;
    let view = engine.run(request(&project)).await?;
    assert_eq!(view.state, JobState::WaitingHuman);
    assert_eq!(verdicts(&view), ["fix", "fix"]);
    assert!(words(&view).contains("still finds defects"), "{view:?}");
    assert_untouched(&project)?;
    engine.stop().await
}

async fn a_rejection_waits_for_a_person(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let setup = Setup::with_fixer(FIX).reviewer("critic", "report reject '[]' '[]'");
    let engine = Engine::start(&store, &setup).await?;
    let view = engine.run(request(&project)).await?;
    assert_eq!(view.state, JobState::WaitingHuman);
    assert_eq!(verdicts(&view), ["reject"]);
    assert!(words(&view).contains("rejects the change"), "{view:?}");
    assert_untouched(&project)?;
    engine.stop().await
}

async fn a_pass_without_evidence_is_void(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let setup = Setup::with_fixer(FIX).reviewer("critic", BARE_PASS);
    let engine = Engine::start(&store, &setup).await?;
    let view = engine.run(request(&project)).await?;
    assert_eq!(view.state, JobState::WaitingHuman);
    assert_eq!(verdicts(&view), ["void", "void"]);
    assert!(
        words(&view).contains("no reviewer left a usable report"),
        "{view:?}"
    );
    for review in &view.reviews {
        let child = engine.at_rest(&review.job).await?;
        assert_eq!(child.state, JobState::Failed);
        assert_eq!(child.failure_class, Some(FailureClass::InvalidOutput));
    }
    assert_untouched(&project)?;
    engine.stop().await
}

/// One result had a review that asked for repair; the next gets both its chances all the same.
async fn a_second_opinion_is_asked_for_each_result(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    // The second of two reviews of a repaired result is told so by the test.
    let critic = format!(
        "if ! grep -q 'The sum' bees/calc.py; then {DEFECT}; exit 0; fi
        until [ -p $TMPDIR/void ] || [ -p $TMPDIR/pass ]; do sleep 0.01; done
        if [ -p $TMPDIR/void ]; then meet void; {BARE_PASS}; else meet pass; {PASS}; fi"
    );
    let setup = Setup::with_fixer(HEEDS).reviewer("critic", &critic);
    let engine = Engine::start(&store, &setup).await?;
    let job = engine.dispatch(request(&project)).await?;
    for (number, answer) in [(2, "void"), (3, "pass")] {
        let view = engine.until(&job.id, "it is reviewed", |view| {
            view.reviews.len() == number || view.state == JobState::WaitingHuman
        });
        let view = view.await?;
        anyhow::ensure!(view.state != JobState::WaitingHuman, "{}", words(&view));
        let review = view.reviews[number - 1].job.clone();
        let child = engine.working(&review, 1).await?;
        engine.meet(&child, answer).await?;
    }
    let view = engine.at_rest(&job.id).await?;
    assert_eq!(verdicts(&view), ["fix", "void", "pass"]);
    assert_landed(&view, &project, "main");
    engine.stop().await
}

async fn a_report_that_is_no_text_is_void(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let critic = format!("{PASS}\nprintf '\\000{{' > \"$SKEP_REVIEW_FILE\"");
    let setup = Setup::with_fixer(FIX).reviewer("critic", &critic);
    let engine = Engine::start(&store, &setup).await?;
    let view = engine.run(request(&project)).await?;
    assert_eq!(view.state, JobState::WaitingHuman, "{view:?}");
    assert_eq!(verdicts(&view), ["void", "void"]);
    let child = engine.at_rest(&view.reviews[0].job).await?;
    assert_eq!(
        child.failure_class,
        Some(FailureClass::InvalidOutput),
        "{child:?}"
    );
    engine.stop().await
}

async fn a_reviewer_that_leaves_nothing_holds_nobody_up(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let setup = Setup::with_fixer(FIX).reviewer("critic", "exit 1");
    let engine = Engine::start(&store, &setup).await?;
    let view = engine.run(request(&project)).await?;
    assert_eq!(view.state, JobState::WaitingHuman, "{view:?}");
    assert_eq!(verdicts(&view).last(), Some(&"void"));
    assert_untouched(&project)?;
    // The verified result was not lost: a person may land it.
    engine
        .director
        .retry(view.id.as_str(), RetryRequest::default())
        .await?;
    engine.stop().await
}

async fn a_review_of_a_cancelled_job_ends_with_it(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let mark = format!("mark-{}", project.beside().display());
    let setup =
        Setup::with_fixer(FIX).reviewer("critic", &format!("meet here; sleep 600; : {mark}"));
    let engine = Engine::start(&store, &setup).await?;
    let job = engine.dispatch(request(&project)).await?;
    let view = engine.until(&job.id, "it is reviewed", |view| !view.reviews.is_empty());
    let review = view.await?.reviews[0].job.clone();
    let child = engine.working(&review, 1).await?;
    engine.meet(&child, "here").await?;
    engine.director.cancel(job.id.as_str()).await?;
    let child = engine.at_rest(&review).await?;
    assert_eq!(
        child.state,
        JobState::Cancelled,
        "nobody waits for it any more"
    );
    assert_eq!(engine.at_rest(&job.id).await?.state, JobState::Cancelled);
    engine.stop().await?;
    super::stand::assert_no_process(&mark)?;
    assert_untouched(&project)
}

async fn an_observer_writes_nothing(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let critic = format!(
        r#"
try() {{ if sh -c "$1" > /dev/null 2>&1; then echo "came through: $1"; else echo "refused: $1"; fi; }}
try 'echo mine > bees/calc.py'
try 'echo mine > new.txt'
try 'git commit --quiet --allow-empty --message mine'
try 'git update-ref refs/heads/mine HEAD'
try 'echo mine | git hash-object -w --stdin'
{PASS}"#
    );
    let setup = Setup::with_fixer(FIX).reviewer("critic", &critic);
    let engine = Engine::start(&store, &setup).await?;
    let view = engine.run(request(&project)).await?;
    assert_landed(&view, &project, "main");
    assert_eq!(contradicted(&view).len(), 0);
    let log = engine.log(&view.reviews[0].job).await?;
    assert_eq!(log.matches("refused: ").count(), 5, "{log}");
    engine.stop().await
}
