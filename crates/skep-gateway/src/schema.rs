//! The tables of this crate.

use skep_db::{SchemaPart, Step, Table};

/// Keys, budgets and calls. All of it is ids, numbers and configured names.
pub const SCHEMA: SchemaPart = SchemaPart {
    owner: "skep-gateway",
    tables: &[
        Table {
            name: "virtual_key",
            tier: "convenience",
        },
        Table {
            name: "budget",
            tier: "convenience",
        },
        Table {
            name: "budget_window",
            tier: "convenience",
        },
        Table {
            name: "model_call",
            tier: "convenience",
        },
        Table {
            name: "reservation",
            tier: "convenience",
        },
    ],
    steps: &[Step {
        version: 1,
        intent: "create-accounts",
        sqlite: include_str!("../schema/0001-create-accounts.sqlite.sql"),
        postgres: include_str!("../schema/0001-create-accounts.postgres.sql"),
    }],
};
