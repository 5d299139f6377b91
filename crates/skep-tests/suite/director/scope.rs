//! Work that reaches further than it may.

use super::stand::{
    CHECK, Engine, FIX, Setup, assert_landed, assert_untouched, contradicted, findings, project,
    request,
};
use skep_testkit::{TestStore, on_both_engines};
use skep_types::{FailureClass, JobState, Role};

on_both_engines!(
    a_commit_made_by_plumbing_is_found,
    the_kernel_refuses_a_write,
    the_own_loop_is_refused_and_says_so,
);

async fn the_kernel_refuses_a_write(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    // Each of these would change something outside `bees`, or outside the repository.
    let steps = format!(
        r#"
try() {{ if sh -c "$1" > /dev/null 2>&1; then echo "came through: $1"; else echo "refused: $1"; fi; }}
try 'echo mine > README.md'
try 'rm README.md'
try 'mv README.md bees/README.md'
try 'chmod 777 README.md'
try 'ln README.md bees/linked && echo mine > bees/linked'
try 'ln -s ../README.md bees/link && echo mine > bees/link'
try 'echo mine > new.txt'
try 'echo mine > .git'
try 'echo mine > {beside}/planted'
try 'echo mine >> {project}/README.md'
rm -f bees/linked bees/link bees/README.md
{FIX}"#,
        beside = project.beside().display(),
        project = project.text_path(),
    );
    let engine = Engine::start(&store, &Setup::with_fixer(&steps)).await?;
    let mut request = request(&project);
    request.scope = vec!["bees/**".to_owned()];
    let view = engine.run(request).await?;
    let log = engine.log(&view.id).await?;
    assert!(!log.contains("came through"), "{log}");
    assert_eq!(log.matches("refused: ").count(), 10, "{log}");
    assert_landed(&view, &project, "main");
    assert_eq!(project.read("README.md")?, "# Bees\n");
    let changed = project.git(&["diff", "--name-only", "HEAD~1", "HEAD"])?;
    assert_eq!(changed, "bees/calc.py");
    assert!(!project.beside().join("planted").exists());
    engine.stop().await
}

/// Git's object store is writable for a builder, so a tree can name any path.
const PLUMBING: &str = r#"
sed -i 's/a - b/a + b/' bees/calc.py
git add bees
blob=$(echo mine | git hash-object -w --stdin)
git update-index --cacheinfo "100644,$blob,README.md"
git update-index --add --cacheinfo "100644,$blob,planted.txt"
tree=$(git write-tree)
commit=$(git commit-tree "$tree" -p HEAD -m 'fix: add adds')
git update-ref HEAD "$commit"
contract DONE "$(ran 'python3 -m unittest -q' 2 0 0)"
"#;

async fn a_commit_made_by_plumbing_is_found(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let setup = Setup::with_fixer(PLUMBING).engine(|engine| engine.rework_rounds_max = 0);
    let engine = Engine::start(&store, &setup).await?;
    let mut request = request(&project);
    request.scope = vec!["bees/**".to_owned()];
    let view = engine.run(request).await?;
    assert_eq!(view.state, JobState::Failed);
    assert_eq!(view.failure_class, Some(FailureClass::ScopeViolation));
    assert_eq!(Vec::from_iter(contradicted(&view)), ["scope"], "{view:#?}");
    let [finding] = findings(&view, "scope")[..] else {
        anyhow::bail!("{:#?}", view.verdict);
    };
    assert_eq!(finding.evidence, "outside: README.md, planted.txt");
    assert_untouched(&project)?;
    engine.stop().await
}

/// A model that tries to write where it may not, then does what it may.
const REACHES: &str = r#"
version = 1
[[conversation]]
name = "builder"
[[conversation.turn]]
reply = { blocks = [
    { tool = "write", input = { path = "README.md", content = "mine" } },
    { tool = "write", input = { path = "../../etc/mine", content = "mine" } },
    { tool = "run", input = { command = "echo mine > README.md" } }] }
[[conversation.turn]]
expect = { tool_result = [
    { tool = "write", index = 0, is_error = true },
    { tool = "write", index = 1, is_error = true },
    { tool = "run", contains = "exit code" }] }
reply = { blocks = [{ tool = "edit", input = { path = "bees/calc.py", old = "a - b", new = "a + b" } }] }
[[conversation.turn]]
reply = { blocks = [{ tool = "finish", input = { status = "DONE", summary = "add adds", commit = "fix: add adds", files_changed = ["bees/calc.py"], tests_run = [{ command = "python3 -m unittest -q", passed = 2, failed = 0, skipped = 0, exit_code = 0 }] } }] }
"#;

async fn the_own_loop_is_refused_and_says_so(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let setup = Setup::new()
        .own_loop("fixer", Role::Builder, "stub-large")
        .script(REACHES);
    let engine = Engine::start(&store, &setup).await?;
    let mut request = request(&project);
    request.scope = vec!["bees/**".to_owned()];
    let view = engine.run(request).await?;
    assert_landed(&view, &project, "main");
    assert_eq!(view.checks, [CHECK]);
    let events = engine.events(&view.id).await?;
    let refused: Vec<_> = events
        .iter()
        .filter(|event| event.kind == "tool_called")
        .map(|event| event.payload["refused_by"].as_str())
        .collect();
    let expected = [Some("scope"), Some("policy"), Some("kernel"), None, None];
    assert_eq!(refused, expected);
    assert_eq!(view.attempts[0].refusals, 3);
    assert_eq!(project.read("README.md")?, "# Bees\n");
    engine.stop().await
}
