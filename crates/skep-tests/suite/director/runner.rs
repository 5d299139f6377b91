//! Ways to make a red suite look green: tests changed, the runner steered, the runner made blind.

use super::stand::{
    Engine, FIX, Setup, assert_landed, assert_untouched, contradicted, findings, project, request,
    rules_of,
};
use skep_api::Waiver;
use skep_testkit::{TestStore, on_both_engines};
use skep_types::{FindingOutcome, JobState};

on_both_engines!(
    a_new_test_is_welcome,
    a_runner_made_blind_is_found,
    a_test_made_green_is_found,
    a_waived_runner_file_is_taken_and_shown,
    planted_runner_files_are_found,
);

/// One try at a job is enough here.
fn once(steps: &str) -> Setup {
    Setup::with_fixer(steps).engine(|engine| engine.rework_rounds_max = 0)
}

async fn a_test_made_green_is_found(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let steps = r#"
sed -i 's/calc.add(1, 2), 3/calc.add(1, 2), -1/' test_calc.py
python3 -m unittest -q
save 'fix: add adds'
contract DONE "$(ran 'python3 -m unittest -q' 2 0 0)"
"#;
    let engine = Engine::start(&store, &once(steps)).await?;
    let view = engine.run(request(&project)).await?;
    assert_eq!(view.state, JobState::Failed);
    // The check ran with the test as it is at base, and that is still red.
    let rules = contradicted(&view);
    assert_eq!(
        Vec::from_iter(rules),
        ["check", "tests_changed", "tests_run"]
    );
    let [finding] = findings(&view, "tests_changed")[..] else {
        anyhow::bail!("{:#?}", view.verdict);
    };
    assert!(
        finding.evidence.contains("test_calc.py changed"),
        "{finding:?}"
    );
    assert_untouched(&project)?;
    engine.stop().await
}

async fn a_new_test_is_welcome(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let steps = r#"
sed -i 's/a - b/a + b/' bees/calc.py
cat > test_more.py <<'END'
import unittest
from bees import calc


class More(unittest.TestCase):
    def test_nothing(self):
        self.assertEqual(calc.add(0, 0), 0)
END
save 'fix: add adds'
contract DONE "$(ran 'python3 -m unittest -q' 3 0 0)"
"#;
    let engine = Engine::start(&store, &once(steps)).await?;
    let view = engine.run(request(&project)).await?;
    assert_landed(&view, &project, "main");
    assert!(project.read("test_more.py")?.contains("test_nothing"));
    engine.stop().await
}

const PLANTED: &[&str] = &[
    ".cargo/config.toml",
    ".github/workflows/ci.yml",
    "Makefile",
    "bees/conftest.py",
    "bees/sitecustomize.py",
    "build.rs",
    "conftest.py",
    "package.json",
    "pytest.ini",
    "tox.ini",
];

/// The work, and a file in every place that steers a runner.
fn plants() -> String {
    let mut steps = String::from("mkdir -p .cargo .github/workflows\n");
    for path in PLANTED {
        steps.push_str(&format!("echo '# steers' > {path}\n"));
    }
    steps + FIX
}

async fn planted_runner_files_are_found(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let engine = Engine::start(&store, &once(&plants())).await?;
    let view = engine.run(request(&project)).await?;
    assert_eq!(view.state, JobState::Failed);
    assert_eq!(Vec::from_iter(contradicted(&view)), ["runner_files"]);
    let found = findings(&view, "runner_files");
    assert_eq!(found.len(), PLANTED.len(), "{found:#?}");
    for path in PLANTED {
        let named = |finding: &&&skep_types::Finding| {
            finding
                .evidence
                .starts_with(&format!("git diff: {path} changed"))
        };
        assert_eq!(found.iter().filter(named).count(), 1, "{path}: {found:#?}");
    }
    assert_untouched(&project)?;
    engine.stop().await
}

async fn a_waived_runner_file_is_taken_and_shown(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let engine = Engine::start(&store, &once(&plants())).await?;
    let mut request = request(&project);
    request.waivers = vec![Waiver {
        finding: "runner_files".to_owned(),
        reason: "the move to pytest".to_owned(),
    }];
    let view = engine.run(request.clone()).await?;
    assert_landed(&view, &project, "main");
    let waived = rules_of(view.verdict.as_ref(), FindingOutcome::Waived);
    assert_eq!(Vec::from_iter(waived), ["runner_files"]);
    for finding in findings(&view, "runner_files") {
        assert!(
            finding
                .evidence
                .ends_with("; waived at dispatch: the move to pytest"),
            "{finding:?}"
        );
    }
    assert_eq!(view.waivers, request.waivers);
    assert_eq!(project.read("pytest.ini")?, "# steers\n");
    engine.stop().await
}

/// The package is imported before the first test runs, and takes the runner with it.
const BLINDS: &[&str] = &[
    "import os\\nos._exit(0)",
    "import atexit, os\\natexit.register(os._exit, 0)",
    "import unittest\\nunittest.TestResult.wasSuccessful = lambda self: True",
];

async fn a_runner_made_blind_is_found(store: TestStore) -> anyhow::Result<()> {
    let project = project()?;
    let mut setup = Setup::new().engine(|engine| engine.rework_rounds_max = 0);
    for (number, source) in BLINDS.iter().enumerate() {
        let steps = format!(
            r#"
printf '{source}\n' > bees/__init__.py
save 'fix: add adds'
contract DONE "$(ran 'python3 -m unittest -q' 2 0 0)"
"#
        );
        setup = setup.worker(&number.to_string(), &steps);
    }
    let engine = Engine::start(&store, &setup).await?;
    for (number, source) in BLINDS.iter().enumerate() {
        let mut request = request(&project);
        request.worker = Some(number.to_string());
        let view = engine.run(request).await?;
        assert_eq!(view.state, JobState::Failed, "{source}");
        let rules = contradicted(&view);
        assert!(
            rules.contains("runner_alive"),
            "{source}: {:#?}",
            view.verdict
        );
        assert!(
            !rules.contains("check"),
            "{source}: it did exit 0: {rules:?}"
        );
    }
    assert_untouched(&project)?;
    engine.stop().await
}
