//! What each column holds, in one line. A name means the same in every table; where it does not,
//! the table's own line goes before.

mod own;

use own::OWN;

/// Lines by column, in the order of the alphabet.
const SHARED: &[(&str, &str)] = &[
    (
        "acked_at_ms",
        "when somebody said that it was seen, in milliseconds since 1970",
    ),
    (
        "after_lane",
        "where the next claim that weighs lanes begins",
    ),
    ("amount_micro_usd", "what the call holds of the budget"),
    (
        "anchor_ms",
        "from where an interval counts, in milliseconds since 1970",
    ),
    ("applied_at", "when, in milliseconds since 1970"),
    (
        "artifacts",
        "the artifacts that it is to leave, a JSON list of names",
    ),
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
    (
        "base_from",
        "where its base is taken from when it may start",
    ),
    (
        "begun_at_ms",
        "when it was begun, in milliseconds since 1970",
    ),
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
    ("catch_up", "what it does about slots that passed"),
    ("catch_up_max", "with `all`: how many of them are fired"),
    (
        "catch_up_window_ms",
        "with `all`: how old a slot may be, in milliseconds",
    ),
    ("cause", "why it was begun"),
    (
        "changed_at_ms",
        "when the state last changed, in milliseconds since 1970",
    ),
    ("checks", "the checks, a JSON list of commands"),
    ("checksum", "SHA-256 of the step's text"),
    (
        "cleared_at_ms",
        "when it was over, in milliseconds since 1970; null while open",
    ),
    ("command", "the command line"),
    ("commit_oid", "the commit"),
    (
        "configured_micro_usd",
        "what the configuration last said; null for budgets of jobs and keys",
    ),
    ("consumer", "who does the steps"),
    ("contract", "what the worker claims, a JSON document"),
    ("contract_error", "why the contract cannot be read"),
    ("cost_micro_usd", "what it cost, in millionths of a dollar"),
    ("counted", "1 if it used up one of the job's attempts"),
    ("created_at", "when, in milliseconds since 1970"),
    (
        "created_at_ms",
        "when it was asked for, in milliseconds since 1970",
    ),
    ("cursor_ms", "every slot up to here is accounted for"),
    (
        "deadline_at",
        "when the call is given up, in milliseconds since 1970",
    ),
    (
        "debounce",
        "requests of one owner with this name become one job",
    ),
    (
        "declared_at_ms",
        "when it was declared last, in milliseconds since 1970",
    ),
    (
        "dedup_id",
        "producing the same id again makes no second message",
    ),
    ("digest", "the digest of the whole request"),
    ("dismissed", "messages that were dismissed"),
    ("done_at_ms", "when it was done, in milliseconds since 1970"),
    ("draining", "1 while it takes no more work"),
    ("due_ms", "when the first slot after the cursor is due"),
    ("duration_ms", "how long it took, in milliseconds"),
    (
        "effect_key",
        "the effect's name among those of its kind; performed once",
    ),
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
    ("failures", "failures in a row"),
    (
        "failures_max",
        "after how many failures in a row it pauses itself; 0 for never",
    ),
    (
        "fence",
        "the number of the claim; only the highest of a job is current",
    ),
    ("findings", "what was found, claim by claim, a JSON list"),
    ("first_offset", "where the group began"),
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
    ("host", "the machine's name"),
    ("http_status", "what the provider answered with"),
    ("id", "the row's own id"),
    ("idempotency_key", "what the owner calls the request"),
    ("input_tokens", "tokens read at full price"),
    ("input_total", "what it has taken in"),
    ("instruction", "the task, in words"),
    ("intent", "why, in words joined by hyphens"),
    ("isolation", "the proof of the fence, a JSON document"),
    ("item", "what they are done for"),
    (
        "jitter_ms",
        "how much later than its slot a firing may be due, in milliseconds",
    ),
    ("job_id", "the job, `job_…`"),
    ("key_id", "the virtual key, `key_…`"),
    ("kind", "what kind of work it is"),
    (
        "lane",
        "jobs that every limit treats alike stand in one lane; not for reading",
    ),
    (
        "last_at_ms",
        "when it was raised last, in milliseconds since 1970",
    ),
    (
        "last_event",
        "the highest event that has a place in the chain",
    ),
    ("last_failure_job", "the job of that run"),
    ("last_failure_ms", "when a run last failed"),
    ("last_seq", "the number of its last entry"),
    ("last_success_job", "the job of that run"),
    ("last_success_ms", "when a run last succeeded"),
    ("lease_node", "the node that works on it"),
    ("lease_until_ms", "until when, in milliseconds since 1970"),
    (
        "leased_at_ms",
        "when it was claimed, in milliseconds since 1970",
    ),
    (
        "ledger_seq",
        "the last entry of the ledger that was fed into the topic",
    ),
    (
        "left_at",
        "when it stopped in good order, in milliseconds since 1970",
    ),
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
    (
        "message_key",
        "messages of one key are read in order, one at a time",
    ),
    ("message_offset", "the message's place in its partition"),
    ("missed", "slots missed since it was added"),
    ("missed_count", "how many slots were missed"),
    ("missed_from_ms", "the first of a range of missed slots"),
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
    ("occurrences", "how often it was raised while open"),
    ("old_commit", "where the target stood before"),
    ("on_exhaust", "what happens when it is used up"),
    ("one", "always 1: the table has one row"),
    (
        "order_ms",
        "its place in the line: when it was due, less its priority's head start",
    ),
    ("output_tokens", "tokens written"),
    ("output_total", "what it has given out"),
    ("overlap", "what it does when a run is under way"),
    (
        "overlap_max",
        "with `allow`: how many runs go on side by side",
    ),
    ("owner", "on whose authority"),
    ("parent", "the job that it is a part of"),
    ("parent_id", "the job that is reviewed"),
    (
        "partition",
        "the part of the topic that keeps its order, from 0",
    ),
    (
        "partitions",
        "how many parts the topic has, each with an order of its own",
    ),
    ("pause_reason", "why it was paused, in words"),
    ("paused_at_ms", "since when, in milliseconds since 1970"),
    (
        "payload",
        "what the event says, JSON as it was hashed; null once purged",
    ),
    ("payload_bytes_max", "the largest payload, in bytes"),
    ("period", "how often its sums begin anew"),
    (
        "planned_at_ms",
        "when it was planned, in milliseconds since 1970",
    ),
    (
        "precheck",
        "the command that decides whether there is something to do",
    ),
    ("precheck_exit_code", "how the pre-check ended"),
    ("precheck_log", "what the pre-check wrote"),
    (
        "precheck_nothing_to_do",
        "the exit code that says there is nothing to do",
    ),
    ("precheck_seconds_max", "how long the pre-check may take"),
    ("price_book", "the version of the prices that were used"),
    ("priority", "the greater number goes first"),
    (
        "produced_at_ms",
        "when it was produced, in milliseconds since 1970",
    ),
    ("project", "what it belongs to"),
    ("provider", "who serves the model"),
    ("purpose", "why it is done"),
    ("queue", "the queue that it stands in"),
    (
        "raised_at_ms",
        "when it was raised first, in milliseconds since 1970",
    ),
    (
        "read_back_at",
        "when the commit was read back, in milliseconds since 1970",
    ),
    ("reader_group", "the group that reads"),
    (
        "readers",
        "who reads it: `running` with the engine, `outside` or `none`",
    ),
    ("reason", "why, in words"),
    ("reference", "where a payload lies that is not in the row"),
    (
        "refusals",
        "tool calls that the fence or the policy refused",
    ),
    ("repo", "the repository"),
    ("report", "what the worker wrote for its reader"),
    ("request", "what each run asks for, a JSON document"),
    ("request_bytes", "the request's length"),
    (
        "request_digest",
        "SHA-256 of what was asked for, so that another request under the same key is refused",
    ),
    ("request_sha256", "SHA-256 of the request's body"),
    (
        "reserved_micro_usd",
        "held for calls under way, in millionths of a dollar",
    ),
    ("result", "VALID, INVALID or MISSING"),
    (
        "retention_bytes",
        "how much is kept at most, in bytes; null for any amount",
    ),
    (
        "retention_ms",
        "how long a message is kept at least, in milliseconds",
    ),
    (
        "retired_at",
        "when it was taken out of force, in milliseconds since 1970",
    ),
    ("retries", "how often it was put off without being counted"),
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
    ("roles", "what it does, words separated by commas"),
    (
        "run_at_ms",
        "not claimed before this, in milliseconds since 1970",
    ),
    ("schedule_id", "the schedule"),
    ("scope", "what it limits"),
    (
        "secret_sha256",
        "SHA-256 of the secret; the secret is stored nowhere",
    ),
    (
        "seen_at",
        "when it was last seen, in milliseconds since 1970",
    ),
    ("seen_blocked", "dead letters when it was last looked at"),
    (
        "seen_output",
        "what it had given out when it was last looked at",
    ),
    ("seq", "the place in the chain, without gaps"),
    ("session_id", "the harness's own name for the conversation"),
    ("shared_id", "which folder it shares with other nodes"),
    ("signature", "the Ed25519 signature of the head"),
    (
        "singleton",
        "one live job of the owner with this name at a time",
    ),
    ("slot_ms", "the time it was for, in milliseconds since 1970"),
    ("slots", "how many jobs it runs at a time"),
    ("spent_micro_usd", "spent, in millionths of a dollar"),
    ("started_at", "when it started, in milliseconds since 1970"),
    (
        "started_at_ms",
        "when its worker started, in milliseconds since 1970",
    ),
    ("state", "where it stands"),
    (
        "status",
        "what its reader says of a message that went on incomplete",
    ),
    ("step", "the step"),
    ("subject", "whom or what it is about: an id, or `home`"),
    ("target", "the branch that it lands on"),
    ("target_branch", "the branch to land on"),
    ("tier", "what the data is: convenience, sensitive or sacred"),
    (
        "timeout_ms",
        "the longest one attempt may take, in milliseconds",
    ),
    ("timing", "when it fires: a cron line or an interval"),
    ("tip_commit", "the commit that the worker left"),
    ("topic", "the topic's name in the configuration"),
    (
        "tries_max",
        "refusals after which a message is a dead letter",
    ),
    (
        "turn",
        "the partition with the lowest one is looked at first",
    ),
    (
        "unconfirmed_micro_usd",
        "held for calls whose end is unknown, in millionths of a dollar",
    ),
    ("vault", "the engine's own repository for it"),
    ("verdict", "what the reviewer says"),
    ("version", "its number, from 1"),
    (
        "waiting_since_ms",
        "since when it owes an output, in milliseconds since 1970",
    ),
    (
        "waivers",
        "findings that are acceptable, and why, a JSON document",
    ),
    ("why", "what its reader said of it"),
    (
        "window_start",
        "when the window began, in milliseconds since 1970",
    ),
    ("worker", "the worker's name in the configuration"),
    ("zone", "in which time zone"),
];

/// The line of a column; empty if there is none.
pub(super) fn about(table: &str, column: &str) -> &'static str {
    let line = |lines: &[(&str, &'static str)], name: &str| {
        let found = lines.iter().find(|(known, _)| *known == name);
        found.map(|(_, about)| *about)
    };
    line(OWN, &format!("{table}.{column}"))
        .or_else(|| line(SHARED, column))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::SCHEMA;
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

    fn lines() -> impl Iterator<Item = &'static (&'static str, &'static str)> {
        OWN.iter().chain(SHARED)
    }

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
                    .find_map(|name| lines().find(|(known, _)| known == name));
                match found {
                    Some((name, _)) => drop(used.insert(name)),
                    None => missing.push(own),
                }
            }
        }
        assert!(
            missing.is_empty(),
            "write a line in this file, or in own.rs, for {missing:?}"
        );
        let unused = lines().filter(|(name, _)| !used.contains(name));
        assert_eq!(unused.collect::<Vec<_>>(), Vec::<&(&str, &str)>::new());
        assert!(OWN.is_sorted_by_key(|(name, _)| name));
        assert!(SHARED.is_sorted_by_key(|(name, _)| name));
    }
}
