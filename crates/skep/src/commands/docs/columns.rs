//! What each column holds, in one line. A name means the same in every table; where it does not,
//! the table's own line goes before.

/// Lines by column, or by `table.column`, in the order of the alphabet.
pub(super) const COLUMNS: &[(&str, &str)] = &[
    (
        "after_lane",
        "where the next claim that weighs lanes begins",
    ),
    ("amount_micro_usd", "what the call holds of the budget"),
    ("applied_at", "when, in milliseconds since 1970"),
    ("at_ms", "when, in milliseconds since 1970"),
    ("attempt_id", "the attempt, `att_…`"),
    (
        "attempt_open",
        "1 while the worker of the current fence has not ended",
    ),
    ("attempts_max", "how many attempts may count"),
    ("attempts_used", "attempts that counted"),
    (
        "backend",
        "what works on it, as far as limits are concerned",
    ),
    ("base_commit", "the commit that the work starts from"),
    ("budget_id", "the budget, `bud_…`"),
    (
        "budget_micro_usd",
        "the job's own limit, in millionths of a dollar",
    ),
    ("cache_read_tokens", "tokens read from the provider's cache"),
    (
        "cache_write_1h_tokens",
        "tokens written to the cache for an hour",
    ),
    (
        "cache_write_tokens",
        "tokens written to the cache for five minutes",
    ),
    ("call_id", "the model call, `call_…`"),
    (
        "changed_at_ms",
        "when the state last changed, in milliseconds since 1970",
    ),
    ("check_run.place", "the check's place in the list, from 1"),
    ("checks", "the checks, a JSON list of commands"),
    ("checksum", "SHA-256 of the step's text"),
    ("command", "the command line"),
    ("commit_oid", "the commit"),
    (
        "configured_micro_usd",
        "what the configuration last said; null for budgets of jobs and keys",
    ),
    ("contract", "what the worker claims, a JSON document"),
    ("contract_error", "why the contract cannot be read"),
    ("cost_micro_usd", "what it cost, in millionths of a dollar"),
    ("counted", "1 if it used up one of the job's attempts"),
    ("created_at", "when, in milliseconds since 1970"),
    (
        "created_at_ms",
        "when it was asked for, in milliseconds since 1970",
    ),
    (
        "deadline_at",
        "when the call is given up, in milliseconds since 1970",
    ),
    (
        "debounce",
        "requests of one owner with this name become one job",
    ),
    ("delivery.place", "where the report lies"),
    ("digest", "the digest of the whole request"),
    ("dispatch.command", "the worker's command, a JSON list"),
    (
        "dispatch.scope",
        "what the worker may write, a JSON list of globs",
    ),
    ("duration_ms", "how long it took, in milliseconds"),
    ("ended_at", "when it ended, in milliseconds since 1970"),
    ("ended_at_ms", "when it ended, in milliseconds since 1970"),
    (
        "entries",
        "72 bytes for each event: its id, the SHA-256 of its payload, its hash",
    ),
    ("exit_code", "the exit code; null if a signal ended it"),
    (
        "expires_at",
        "when it stops being valid, in milliseconds since 1970",
    ),
    (
        "failure",
        "why it last failed or waits, one word of the failure classes",
    ),
    (
        "fence",
        "the number of the claim; only the highest of a job is current",
    ),
    ("findings", "what was found, claim by claim, a JSON list"),
    ("first_seq", "the number of its first entry"),
    ("flow_key", "jobs with one key share a limit of their own"),
    ("flow_key_max", "how many of the key run at a time"),
    ("found_at", "when, in milliseconds since 1970"),
    ("gaps", "lower events that may still appear, on PostgreSQL"),
    ("gate", "how deep the result is checked: G0 to G3"),
    ("harness", "what runs the worker"),
    (
        "hash",
        "the hash of the last entry, SHA-256 over the one before and the event",
    ),
    ("high_event", "the highest event up to the segment's end"),
    ("holder", "the node that holds it"),
    ("http_status", "what the provider answered with"),
    ("id", "the row's own id"),
    ("idempotency_key", "what the owner calls the request"),
    ("input_tokens", "tokens read at full price"),
    ("instruction", "the task, in words"),
    ("intent", "why, in words joined by hyphens"),
    ("isolation", "the proof of the fence, a JSON document"),
    ("job.id", "the job, `job_…`"),
    ("job_id", "the job, `job_…`"),
    ("key_id", "the virtual key, `key_…`"),
    ("kind", "what kind of work it is"),
    (
        "lane",
        "jobs that every limit treats alike stand in one lane; not for reading",
    ),
    (
        "last_event",
        "the highest event that has a place in the chain",
    ),
    ("last_seq", "the number of its last entry"),
    ("lease_node", "the node that works on it"),
    ("lease_until_ms", "until when, in milliseconds since 1970"),
    (
        "leased_at_ms",
        "when it was claimed, in milliseconds since 1970",
    ),
    ("ledger_event.id", "the order of writing"),
    ("ledger_event.kind", "what happened, in the past tense"),
    ("ledger_event.version", "the version of the payload's shape"),
    (
        "limit_micro_usd",
        "how much may be spent, in millionths of a dollar",
    ),
    (
        "line",
        "0 not in the line, 1 waits for a slot, 2 will when its time has come",
    ),
    ("log", "what it wrote"),
    (
        "losses",
        "how often an engine died or lost its lease over it",
    ),
    ("low_event", "the lowest event of the segment"),
    ("model", "the model that is asked for"),
    ("model_actual", "the model that answered"),
    ("model_requested", "the model that was asked for"),
    ("model_upstream", "the provider's own name of the model"),
    ("models", "the models that the key may call, a JSON list"),
    ("name", "its name in the configuration"),
    (
        "next_us",
        "when the next start may happen, in microseconds since 1970",
    ),
    ("node", "the node that claimed it"),
    ("number", "its number for people; grows, has gaps"),
    ("old_commit", "where the target stood before"),
    ("on_exhaust", "what happens when it is used up"),
    ("one", "always 1: the table has one row"),
    (
        "order_ms",
        "its place in the line: when it was due, less its priority's head start",
    ),
    ("output_tokens", "tokens written"),
    ("owner", "on whose authority"),
    ("parent", "the job that it is a part of"),
    ("parent_id", "the job that is reviewed"),
    ("paused_at_ms", "since when, in milliseconds since 1970"),
    (
        "payload",
        "what the event says, JSON as it was hashed; null once purged",
    ),
    ("period", "how often its sums begin anew"),
    ("price_book", "the version of the prices that were used"),
    ("priority", "the greater number goes first"),
    ("project", "what it belongs to"),
    ("provider", "who serves the model"),
    ("purpose", "why it is done"),
    ("queue", "the queue that it stands in"),
    (
        "read_back_at",
        "when the commit was read back, in milliseconds since 1970",
    ),
    ("reason", "why, in words"),
    (
        "refusals",
        "tool calls that the fence or the policy refused",
    ),
    ("repo", "the repository"),
    ("report", "what the worker wrote for its reader"),
    ("request_bytes", "the request's length"),
    ("request_sha256", "SHA-256 of the request's body"),
    (
        "reserved_micro_usd",
        "held for calls under way, in millionths of a dollar",
    ),
    ("result", "VALID, INVALID or MISSING"),
    (
        "retired_at",
        "when it was taken out of force, in milliseconds since 1970",
    ),
    ("reviewed_commit", "the commit that a review looks at"),
    ("reviewer", "the worker that reviews"),
    ("reviews", "the job that a review is about"),
    (
        "revoked_at",
        "when it was revoked, in milliseconds since 1970",
    ),
    (
        "rework_rounds_max",
        "how often the result may go back with findings",
    ),
    ("role", "what the worker may do"),
    (
        "run_at_ms",
        "not claimed before this, in milliseconds since 1970",
    ),
    ("schema_step.owner", "the crate whose step it is"),
    ("scope", "what it limits"),
    (
        "secret_sha256",
        "SHA-256 of the secret; the secret is stored nowhere",
    ),
    ("seq", "the place in the chain, without gaps"),
    ("session_id", "the harness's own name for the conversation"),
    ("signature", "the Ed25519 signature of the head"),
    (
        "singleton",
        "one live job of the owner with this name at a time",
    ),
    ("spent_micro_usd", "spent, in millionths of a dollar"),
    ("started_at", "when it started, in milliseconds since 1970"),
    (
        "started_at_ms",
        "when its worker started, in milliseconds since 1970",
    ),
    ("state", "where it stands"),
    ("subject", "whom or what it is about: an id, or `home`"),
    ("target", "the branch that it lands on"),
    ("target_branch", "the branch to land on"),
    ("tier", "what the data is: convenience, sensitive or sacred"),
    ("tip_commit", "the commit that the worker left"),
    (
        "unconfirmed_micro_usd",
        "held for calls whose end is unknown, in millionths of a dollar",
    ),
    ("vault", "the engine's own repository for it"),
    ("verdict", "what the reviewer says"),
    ("version", "its number, from 1"),
    (
        "waivers",
        "findings that are acceptable, and why, a JSON document",
    ),
    (
        "window_start",
        "when the window began, in milliseconds since 1970",
    ),
    ("worker", "the worker's name in the configuration"),
];

/// The line of a column; empty if there is none.
pub(super) fn about(table: &str, column: &str) -> &'static str {
    let line = |name: &str| COLUMNS.iter().find(|(known, _)| *known == name);
    line(&format!("{table}.{column}"))
        .or_else(|| line(column))
        .map_or("", |(_, about)| about)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::SCHEMA;
    use skep_db::Catalogue;
    use std::collections::BTreeSet;

    /// Columns of the register of steps, which no part declares.
    const REGISTER: [&str; 5] = [
        "applied_at",
        "checksum",
        "intent",
        "schema_step.owner",
        "version",
    ];

    #[test]
    fn every_column_has_a_line_and_every_line_a_column() {
        let catalogue = Catalogue::of(&SCHEMA).unwrap();
        let mut used = BTreeSet::from(REGISTER);
        let mut missing = Vec::new();
        for table in catalogue.tables() {
            for column in catalogue.shape(table).map_or(&[][..], |s| &s.columns) {
                let own = format!("{table}.{}", column.name);
                let names = [own.as_str(), column.name.as_str()];
                let found = names
                    .iter()
                    .find_map(|name| COLUMNS.iter().find(|(known, _)| known == name));
                match found {
                    Some((name, _)) => drop(used.insert(name)),
                    None => missing.push(own),
                }
            }
        }
        assert!(
            missing.is_empty(),
            "write a line in this file for {missing:?}"
        );
        let unused = COLUMNS.iter().filter(|(name, _)| !used.contains(name));
        assert_eq!(unused.collect::<Vec<_>>(), Vec::<&(&str, &str)>::new());
        assert!(COLUMNS.is_sorted_by_key(|(name, _)| name));
    }
}
