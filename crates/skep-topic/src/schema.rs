//! The tables of this crate and their tiers. A payload, and the text of whoever refused it, may
//! hold anything.

use skep_db::{SchemaPart, Step, Table};

/// The tables and their steps.
pub const SCHEMA: SchemaPart = SchemaPart {
    owner: "skep-topic",
    tables: &[
        Table {
            name: "topic",
            tier: "convenience",
        },
        Table {
            name: "topic_partition",
            tier: "convenience",
        },
        Table {
            name: "topic_message",
            tier: "sacred",
        },
        Table {
            name: "topic_dedup",
            tier: "sensitive",
        },
        Table {
            name: "topic_group",
            tier: "convenience",
        },
        Table {
            name: "topic_cursor",
            tier: "convenience",
        },
        Table {
            name: "topic_item",
            tier: "sacred",
        },
        Table {
            name: "topic_inbox",
            tier: "convenience",
        },
        Table {
            name: "topic_bridge",
            tier: "convenience",
        },
        Table {
            name: "topic_stage",
            tier: "convenience",
        },
        Table {
            name: "checkpoint",
            tier: "sensitive",
        },
        Table {
            name: "effect",
            tier: "sacred",
        },
        Table {
            name: "alarm",
            tier: "convenience",
        },
    ],
    steps: &[Step {
        version: 1,
        intent: "create-topics",
        sqlite: include_str!("../schema/0001-create-topics.sqlite.sql"),
        postgres: include_str!("../schema/0001-create-topics.postgres.sql"),
    }],
};
