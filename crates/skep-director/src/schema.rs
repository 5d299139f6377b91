//! The director's tables: what was asked for, what came of it, what was found, where it went.

use skep_db::{SchemaPart, Step, Table};

/// The tables and their steps.
pub const SCHEMA: SchemaPart = SchemaPart {
    owner: "skep-director",
    tables: &[
        Table {
            name: "dispatch",
            tier: "sacred",
        },
        Table {
            name: "call_request",
            tier: "sacred",
        },
        Table {
            name: "call_answer",
            tier: "sacred",
        },
        Table {
            name: "shell_request",
            tier: "sacred",
        },
        Table {
            name: "shell_run",
            tier: "sacred",
        },
        Table {
            name: "leftover",
            tier: "sensitive",
        },
        Table {
            name: "dead_letter",
            tier: "convenience",
        },
        Table {
            name: "job_reason",
            tier: "sensitive",
        },
        Table {
            name: "result",
            tier: "sacred",
        },
        Table {
            name: "verdict",
            tier: "sacred",
        },
        Table {
            name: "check_run",
            tier: "sensitive",
        },
        Table {
            name: "review",
            tier: "sacred",
        },
        Table {
            name: "landing",
            tier: "sensitive",
        },
        Table {
            name: "delivery",
            tier: "sensitive",
        },
        Table {
            name: "node",
            tier: "convenience",
        },
        Table {
            name: "scope_gate",
            tier: "convenience",
        },
        Table {
            name: "schedule_template",
            tier: "sacred",
        },
    ],
    steps: &[
        Step {
            version: 1,
            intent: "dispatch-to-delivery",
            sqlite: include_str!("../schema/0001-dispatch-to-delivery.sqlite.sql"),
            postgres: include_str!("../schema/0001-dispatch-to-delivery.postgres.sql"),
        },
        Step {
            version: 2,
            intent: "nodes",
            sqlite: include_str!("../schema/0002-nodes.sqlite.sql"),
            postgres: include_str!("../schema/0002-nodes.postgres.sql"),
        },
        Step {
            version: 3,
            intent: "schedule-templates",
            sqlite: include_str!("../schema/0003-schedule-templates.sqlite.sql"),
            postgres: include_str!("../schema/0003-schedule-templates.postgres.sql"),
        },
        Step {
            version: 4,
            intent: "plan",
            sqlite: include_str!("../schema/0004-plan.sqlite.sql"),
            postgres: include_str!("../schema/0004-plan.postgres.sql"),
        },
        Step {
            version: 5,
            intent: "kinds-and-dead-letters",
            sqlite: include_str!("../schema/0005-kinds-and-dead-letters.sqlite.sql"),
            postgres: include_str!("../schema/0005-kinds-and-dead-letters.postgres.sql"),
        },
        Step {
            version: 6,
            intent: "deliver-by-topic",
            sqlite: include_str!("../schema/0006-deliver-by-topic.sqlite.sql"),
            postgres: include_str!("../schema/0006-deliver-by-topic.postgres.sql"),
        },
        Step {
            version: 7,
            intent: "commands-of-plans",
            sqlite: include_str!("../schema/0007-commands-of-plans.sqlite.sql"),
            postgres: include_str!("../schema/0007-commands-of-plans.postgres.sql"),
        },
    ],
};
