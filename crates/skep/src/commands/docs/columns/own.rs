//! What a column holds in one table, where its name alone does not say it.

/// Lines by `table.column`, in the order of the alphabet.
pub(super) const OWN: &[(&str, &str)] = &[
    (
        "alarm.kind",
        "what is wrong: `stage_silent`, `group_behind`, `message_oversize` or `restarts_too_many`",
    ),
    ("alarm.subject", "what it is about"),
    ("artifact.bytes", "how large it is, in bytes"),
    ("artifact.job", "the job that left it, `job_…`"),
    ("artifact.place", "where it lies in the home"),
    ("call_answer.problem", "why it is no answer to the question"),
    (
        "call_answer.provider_ms",
        "what the provider took, in milliseconds",
    ),
    (
        "call_answer.salt",
        "forgotten with the text; without it the digest says nothing",
    ),
    (
        "call_answer.stop_reason",
        "why the model stopped, in the vendor's word",
    ),
    ("call_answer.text", "what the model said"),
    ("check_run.place", "the check's place in the list, from 1"),
    ("checkpoint.date", "the day that they count for"),
    ("dead_letter.class", "why it ended without success"),
    ("dead_letter.deaths", "how often it ended without success"),
    (
        "dead_letter.died_at",
        "when it last did, in milliseconds since 1970",
    ),
    (
        "dead_letter.in_a_row",
        "attempts in a row that failed alike",
    ),
    ("dead_letter.replays", "how often it was started again"),
    (
        "delivery.message",
        "its message of the topic `reports`; null for a report from before there were topics",
    ),
    ("delivery.place", "where the report lies"),
    ("dispatch.command", "the worker's command, a JSON list"),
    (
        "dispatch.scope",
        "what the worker may write, a JSON list of globs",
    ),
    (
        "effect.due_ms",
        "when its holder is taken for dead, in milliseconds since 1970",
    ),
    ("effect.fence", "the claim of the job that wants it"),
    ("effect.holder", "who performs it now"),
    ("effect.kind", "what is done, as `mail`"),
    ("effect.outcome", "what was read back"),
    (
        "effect.state",
        "`planned`, `started`, `done`, `failed` or `unknown`",
    ),
    ("effect.tries", "how often it was performed or looked for"),
    ("effect.why", "why it failed or is unknown"),
    ("job.id", "the job, `job_…`"),
    (
        "job_edge.artifact",
        "the artifact that it waits for; empty for other policies",
    ),
    ("job_edge.child", "the job that waits"),
    ("job_edge.outcome", "whether it came about: met or unmet"),
    (
        "job_edge.policy",
        "what it waits for: success, any end, an artifact",
    ),
    (
        "job_node.depth",
        "generations above it in the tree of jobs that are parts of one another",
    ),
    (
        "job_node.edges_open",
        "edges to it that have no outcome yet",
    ),
    ("job_node.job", "the job, `job_…`"),
    (
        "job_node.level",
        "the longest chain of jobs that it comes after",
    ),
    ("job_node.root", "the job at the top of its tree"),
    ("job_tree.ending", "1 while the tree is being cancelled"),
    ("job_tree.job", "the job, `job_…`"),
    ("job_tree.jobs", "jobs ever asked for below it"),
    ("job_tree.open", "its parts that have not ended"),
    (
        "job_tree.wake_to",
        "the state it goes to when its parts have ended",
    ),
    ("ledger_event.id", "the order of writing"),
    ("ledger_event.kind", "what happened, in the past tense"),
    ("ledger_event.version", "the version of the payload's shape"),
    ("leftover.bytes", "how large it is, in bytes"),
    ("leftover.files", "how many files it left"),
    ("leftover.place", "where they lie in the home"),
    ("node.version", "the version of the program"),
    ("schedule.version", "raised by every change"),
    ("schema_step.owner", "the crate whose step it is"),
    (
        "shell_request.output_bytes_max",
        "the most it may print, in bytes",
    ),
    ("shell_run.limit_hit", "the limit that ended it"),
    ("shell_run.output_bytes", "what it printed, in bytes"),
    (
        "shell_run.output_sha256",
        "SHA-256 of the salt and what it printed",
    ),
    (
        "shell_run.salt",
        "forgotten with the output; without it the digest says nothing",
    ),
    ("shell_run.signal", "the signal that ended it"),
    ("shell_run.tail", "the end of what it printed"),
    (
        "topic.silent_after_ms",
        "an alarm when nothing comes out for so long, in milliseconds; null for never",
    ),
    (
        "topic_cursor.next_offset",
        "what comes before it was handed out",
    ),
    (
        "topic_dedup.digest",
        "SHA-256 of the payload, so that another one under the same id is refused",
    ),
    ("topic_group.name", "the group's name in the configuration"),
    (
        "topic_group.silent_after_ms",
        "the same for this group alone",
    ),
    (
        "topic_item.due_ms",
        "when it is handed out again, in milliseconds since 1970",
    ),
    (
        "topic_item.fence",
        "the number of the handing out; an answer with a lower one is refused",
    ),
    ("topic_item.holder", "the reader that has it"),
    ("topic_item.losses", "how often a reader was lost over it"),
    ("topic_item.reason", "why it is a dead letter"),
    (
        "topic_item.state",
        "`pending`, `delivering`, `blocked` (a dead letter), `delivered` or `dismissed`",
    ),
    ("topic_item.tries", "how often it was refused"),
    ("topic_message.bytes", "how large the payload is, in bytes"),
    ("topic_message.digest", "SHA-256 of the payload"),
    (
        "topic_message.payload",
        "what it says; null when it lies in a file",
    ),
    (
        "topic_partition.bytes",
        "how much its messages hold, in bytes",
    ),
    (
        "topic_partition.next_offset",
        "the offset of the next message",
    ),
    (
        "topic_stage.silent_after_ms",
        "an alarm when it has input and gives nothing out for so long, in milliseconds",
    ),
];
