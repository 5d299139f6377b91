//! The account of a job for people: what was asked, what was found, where it lies, what it cost.

use crate::failure::Failure;
use crate::output::{Printer, Tone, one_line, table_columns, without_controls, wrapped};
use crate::progress::{clock, counted, short};
use skep_api::{
    AnswerView, AttemptView, CallView, JobView, ReviewView, ShellRun, ShellView, VerdictView,
};
use skep_types::{AttemptState, FindingOutcome, JobState, LandingState, TokenCounts, Verdict};

/// The width of the labels on the left, in columns.
const LABEL_COLUMNS: usize = 11;
/// How many lines of a long instruction are shown; `--json` has all of it.
const INSTRUCTION_LINES_MAX: usize = 12;

/// Prints the whole account.
pub(crate) fn print(printer: &Printer, job: &JobView) -> Result<(), Failure> {
    let headline = format!("Job {} {}", job.number, outcome(job));
    printer.line(&printer.painted(&headline, tone_of(job.state)))?;
    printer.line("")?;
    let account = Account { printer };
    account.section("asked", &instruction(&job.instruction))?;
    account.section("worker", &workers(job))?;
    if let Some(call) = &job.call {
        account.section("answer", &answer(call))?;
        return account.end(job);
    }
    if let Some(shell) = &job.shell {
        account.section("output", &output(shell))?;
        return account.end(job);
    }
    account.section("contract", &contract(job))?;
    let earlier = job.verdicts.len().saturating_sub(1);
    let earlier: Vec<String> = job.verdicts[..earlier]
        .iter()
        .map(earlier_verdict)
        .collect();
    account.section("before", &earlier)?;
    match &job.verdict {
        Some(verdict) => account.verdict(verdict)?,
        None => account.section("verdict", &["none: nothing was verified".to_owned()])?,
    }
    let reviews: Vec<String> = job.reviews.iter().map(review).collect();
    account.section("review", &reviews)?;
    account.section("landing", &[landing(job)])?;
    account.end(job)
}

/// Prints what a model answered, and on stderr what is to be known of it.
pub(crate) fn print_answer(printer: &Printer, answer: &AnswerView) -> Result<(), Failure> {
    printer.foreign(&answer.text)?;
    if !answer.text.ends_with('\n') {
        printer.line("")?;
    }
    if answer.stop_reason.as_deref() == Some("max_tokens") {
        printer.warning("the answer was cut at its limit of tokens; see `--max-output-tokens`");
    }
    Ok(())
}

/// Prints the end of what a command wrote, and on stderr how it ended.
pub(crate) fn print_run(printer: &Printer, job: &JobView, run: &ShellRun) -> Result<(), Failure> {
    printer.foreign(&run.tail)?;
    if !run.tail.is_empty() && !run.tail.ends_with('\n') {
        printer.line("")?;
    }
    let shown = i64::try_from(run.tail.len()).unwrap_or(i64::MAX);
    if run.output_bytes > shown {
        let number = job.number;
        printer.note(&format!("(the beginning was cut; `skep job log {number}`)"));
    }
    printer.note(&run_end(run));
    Ok(())
}

/// What became of the job, in a few words.
pub(crate) fn outcome(job: &JobView) -> String {
    let why = job
        .state_reason
        .as_deref()
        .map(one_line)
        .filter(|why| !why.is_empty());
    let class = job.failure_class.map(|class| class.to_string());
    let because = why
        .or(class)
        .map_or_else(String::new, |why| format!(": {why}"));
    if job.state == JobState::Failed {
        return format!("failed{because}");
    }
    if job.state == JobState::Done && job.landing.state == LandingState::Landed {
        let target = job.landing.target.as_deref().unwrap_or("its target");
        let commit = job.landing.commit.as_deref().map_or("", short);
        return format!("is done and landed on {} as {commit}", one_line(target));
    }
    format!("is {}{because}", job.state.as_str().replace('_', " "))
}

/// How a state is shown.
pub(crate) const fn tone_of(state: JobState) -> Tone {
    match state {
        JobState::Done => Tone::Good,
        JobState::Failed | JobState::Quarantined => Tone::Bad,
        JobState::WaitingHuman
        | JobState::WaitingBudget
        | JobState::WaitingQuota
        | JobState::WaitingCallback
        | JobState::Paused
        | JobState::Backoff
        | JobState::Rework
        | JobState::Blocked => Tone::Attention,
        JobState::Cancelled | JobState::Skipped | JobState::Draft => Tone::Quiet,
        JobState::Queued
        | JobState::Running
        | JobState::WaitingChildren
        | JobState::Verifying
        | JobState::InReview
        | JobState::Landing => Tone::Strong,
    }
}

struct Account<'a> {
    printer: &'a Printer,
}

impl Account<'_> {
    /// A label and what belongs to it; nothing when there is nothing.
    fn section(&self, label: &str, paragraphs: &[String]) -> Result<(), Failure> {
        let columns = table_columns() - LABEL_COLUMNS - 2;
        let mut label = label;
        for paragraph in paragraphs {
            for line in wrapped(&without_controls(paragraph), columns) {
                let padded = format!("{label:<LABEL_COLUMNS$}");
                let painted = self.printer.painted(&padded, Tone::Quiet);
                self.printer.line(format!("  {painted}{line}").trim_end())?;
                label = "";
            }
        }
        Ok(())
    }

    /// What stands at the end of every account.
    fn end(&self, job: &JobView) -> Result<(), Failure> {
        self.section("cost", &[cost(job)])?;
        self.section("lies in", &places(job))
    }

    fn verdict(&self, verdict: &VerdictView) -> Result<(), Failure> {
        let count = |outcome| {
            verdict
                .findings
                .iter()
                .filter(|f| f.outcome == outcome)
                .count()
        };
        let counts: Vec<String> = [
            FindingOutcome::Confirmed,
            FindingOutcome::Contradicted,
            FindingOutcome::Unproved,
            FindingOutcome::Waived,
        ]
        .into_iter()
        .filter(|outcome| count(*outcome) > 0)
        .map(|outcome| format!("{} {outcome}", count(outcome)))
        .collect();
        let tone = match verdict.result {
            Verdict::Valid => Tone::Good,
            Verdict::Invalid | Verdict::Missing => Tone::Bad,
        };
        let word = self.printer.painted(verdict.result.as_str(), tone);
        let label = self
            .printer
            .painted(&format!("{:<LABEL_COLUMNS$}", "verdict"), Tone::Quiet);
        let counts = if counts.is_empty() {
            String::new()
        } else {
            format!(": {}", counts.join(", "))
        };
        self.printer.line(&format!("  {label}{word}{counts}"))?;
        let open = verdict
            .findings
            .iter()
            .filter(|f| f.outcome != FindingOutcome::Confirmed);
        for finding in open {
            let (claim, evidence) = (one_line(&finding.claim), one_line(&finding.evidence));
            let text = format!(
                "{} ({}): {claim}; found: {evidence}",
                finding.rule, finding.outcome
            );
            self.section("", &[text])?;
        }
        Ok(())
    }
}

/// How a command ended, in a few words.
fn run_end(run: &ShellRun) -> String {
    let end = match (run.limit.as_deref(), run.exit_code, run.signal) {
        (Some(limit), _, _) => format!("stopped at its limit of {}", one_line(limit)),
        (None, Some(code), _) => format!("exit code {code}"),
        (None, None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None, None) => "killed".to_owned(),
    };
    let isolation = run.isolation.as_deref().map(one_line).unwrap_or_default();
    let (ms, bytes) = (run.duration_ms, run.output_bytes);
    format!("{end}, {ms} ms, {bytes} bytes of output, isolation {isolation}")
}

fn output(shell: &ShellView) -> Vec<String> {
    let Some(run) = &shell.run else {
        return vec!["none: the command has not ended".to_owned()];
    };
    let mut lines = vec![run_end(run), format!("SHA-256 {}", run.output_sha256)];
    lines.extend(run.tail.lines().map(str::to_owned));
    lines
}

fn answer(call: &CallView) -> Vec<String> {
    let Some(answer) = &call.answer else {
        return vec!["none".to_owned()];
    };
    let stop = answer.stop_reason.as_deref().map(one_line);
    let head = format!(
        "{} ms at the provider, stopped at {}",
        answer.provider_ms,
        stop.unwrap_or_else(|| "an unknown reason".to_owned())
    );
    let mut lines = vec![head];
    lines.extend(
        answer
            .problem
            .as_deref()
            .map(|problem| format!("does not do: {}", one_line(problem))),
    );
    lines.extend(answer.text.lines().map(str::to_owned));
    lines
}

fn instruction(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text.trim().lines().map(str::to_owned).collect();
    if lines.len() > INSTRUCTION_LINES_MAX {
        let more = lines.len() - INSTRUCTION_LINES_MAX;
        lines.truncate(INSTRUCTION_LINES_MAX);
        lines.push(format!("({more} more lines, with --json)"));
    }
    lines
}

fn workers(job: &JobView) -> Vec<String> {
    let count = i64::try_from(job.attempts.len()).unwrap_or(i64::MAX);
    let who = format!(
        "{} ({}), {}",
        one_line(&job.worker),
        job.role,
        counted(count, "attempt")
    );
    std::iter::once(who)
        .chain(job.attempts.iter().zip(1..).map(attempt))
        .collect()
}

fn attempt((attempt, number): (&AttemptView, i64)) -> String {
    let mut parts = vec![format!("attempt {number} {}", attempt_outcome(attempt))];
    parts.extend(attempt.harness.as_deref().map(one_line));
    parts.extend(model(attempt));
    parts.extend(attempt.isolation.as_deref().map(one_line));
    if let Some(ended) = attempt.ended_at {
        let seconds = u64::try_from((ended - attempt.started_at) / 1_000).unwrap_or_default();
        parts.push(clock(seconds));
    }
    if attempt.refusals > 0 {
        parts.push(format!(
            "{} by the fence",
            counted(attempt.refusals, "refusal")
        ));
    }
    parts.push(attempt.cost_micro_usd.to_string());
    parts.join(", ")
}

fn attempt_outcome(attempt: &AttemptView) -> String {
    match attempt.failure_class {
        Some(class) if attempt.state != AttemptState::Succeeded => {
            format!("{}: {class}", attempt.state)
        }
        _ => attempt.state.to_string(),
    }
}

/// The model that was asked for, and the one that answered if it is another.
fn model(attempt: &AttemptView) -> Option<String> {
    match (&attempt.model_requested, &attempt.model_actual) {
        (Some(asked), Some(answered)) if asked != answered => Some(format!(
            "model {} asked, {} answered",
            one_line(asked),
            one_line(answered)
        )),
        (Some(name), _) | (None, Some(name)) => Some(format!("model {}", one_line(name))),
        (None, None) => None,
    }
}

fn contract(job: &JobView) -> Vec<String> {
    let Some(contract) = &job.contract else {
        return vec!["none: the worker left no contract".to_owned()];
    };
    let count = |items: usize, noun| counted(i64::try_from(items).unwrap_or(i64::MAX), noun);
    let head = format!(
        "{}: {}, {}, {}",
        contract.status,
        count(contract.files_changed.len(), "file"),
        count(contract.commits.len(), "commit"),
        count(contract.tests_run.len(), "test run"),
    );
    let mut lines = vec![head, one_line(&contract.summary)];
    lines.extend(contract.deviations.iter().map(|deviation| {
        format!(
            "departs: {} ({})",
            one_line(&deviation.what),
            one_line(&deviation.why)
        )
    }));
    lines.extend(contract.follow_ups.iter().map(|left| {
        format!(
            "left to do ({}): {}",
            one_line(&left.severity),
            one_line(&left.title)
        )
    }));
    lines.extend(
        contract
            .blocked_on
            .as_deref()
            .map(|what| format!("waits for: {}", one_line(what))),
    );
    lines.retain(|line| !line.is_empty());
    lines
}

/// A result that was sent back: the verdict and the rules that it broke.
fn earlier_verdict(verdict: &VerdictView) -> String {
    let broken = verdict
        .findings
        .iter()
        .filter(|finding| finding.outcome == FindingOutcome::Contradicted);
    let rules: Vec<String> = broken.map(|finding| one_line(&finding.rule)).collect();
    match rules.is_empty() {
        true => verdict.result.to_string(),
        false => format!("{}: {}", verdict.result, rules.join(", ")),
    }
}

fn review(review: &ReviewView) -> String {
    let model = review
        .model
        .as_deref()
        .map_or_else(String::new, |m| format!(" ({})", one_line(m)));
    let verdict = review
        .verdict
        .as_deref()
        .map_or("under way".to_owned(), one_line);
    format!("{verdict} by {}{model}", one_line(&review.worker))
}

fn landing(job: &JobView) -> String {
    let target = job
        .landing
        .target
        .as_deref()
        .map_or("its target".to_owned(), one_line);
    let reason = job.landing.reason.as_deref().map(one_line);
    let reason = reason.map_or_else(String::new, |reason| format!(": {reason}"));
    match job.landing.state {
        LandingState::None if job.state.is_terminal() => format!("none{reason}"),
        LandingState::None => format!("not yet{reason}"),
        LandingState::Landed => {
            let commit = job.landing.commit.as_deref().map_or("", short);
            format!("{commit} on {target}, read back from there")
        }
        state @ (LandingState::Pending
        | LandingState::Landing
        | LandingState::Conflict
        | LandingState::Refused) => format!("{state} on {target}{reason}"),
    }
}

fn cost(job: &JobView) -> String {
    let TokenCounts {
        input,
        cache_read,
        cache_write,
        output,
        ..
    } = job.tokens;
    let mut text = format!(
        "{} for {input} input, {cache_read} cached, {cache_write} written to cache and {output} output tokens",
        job.cost_micro_usd
    );
    if job.unconfirmed_micro_usd.0 > 0 {
        text.push_str(&format!(
            "; up to {} more is unconfirmed",
            job.unconfirmed_micro_usd
        ));
    }
    if let Some(budget) = job.budget_micro_usd {
        text.push_str(&format!("; budget {budget}"));
    }
    text
}

fn places(job: &JobView) -> Vec<String> {
    let mut places = Vec::new();
    places.extend(
        job.repo
            .as_deref()
            .map(|repo| format!("repository {}", one_line(repo))),
    );
    places.extend(
        job.delivery
            .place
            .as_deref()
            .map(|place| format!("report {}", one_line(place))),
    );
    places.extend(
        job.schedule
            .as_ref()
            .map(|schedule| format!("runs of its schedule: `skep schedule history {schedule}`")),
    );
    let number = job.number;
    places.push(format!(
        "`skep job log {number}`, `skep job diff {number}`, `skep job show {number} --json`"
    ));
    places
}
