//! What the model is told: system prompt, tool definitions, first message.
//!
//! Owns nothing. Invariant: the same role and task give the same bytes in every attempt, on every
//! machine and on every day, so that the provider's prompt cache is shared between them. There is
//! no date, no absolute path, no identifier and no host in it.

use crate::task::AgentTask;
use serde_json::value::RawValue;
use skep_types::Role;

/// The system prompt of a role.
pub(crate) fn system(role: Role) -> &'static str {
    match role {
        Role::Observer => include_str!("observer_prompt.md"),
        Role::Builder | Role::Director => include_str!("builder_prompt.md"),
    }
}

/// The tool definitions of a role, a JSON array.
pub(crate) fn tools(role: Role) -> Result<Box<RawValue>, serde_json::Error> {
    let text = match role {
        Role::Observer => include_str!("observer_tools.json"),
        Role::Builder | Role::Director => include_str!("builder_tools.json"),
    };
    // One definition stands on one line for whoever edits them; the wire has no use for the lines.
    serde_json::from_str(&text.replace('\n', ""))
}

/// The first message.
pub(crate) fn first_message(task: &AgentTask) -> String {
    let mut text = format!("# Task\n\n{}\n", task.instruction.trim());
    if task.role != Role::Observer {
        text += "\n# Scope\n\n";
        for glob in &task.scope {
            text += &format!("- {glob}\n");
        }
    }
    if !task.checks.is_empty() {
        text += "\n# Checks\n\n";
        for check in &task.checks {
            text += &format!("- {check}\n");
        }
    }
    text
}

/// The answer to a turn without a tool call.
pub(crate) const REMINDER: &str = "You ended your turn without a tool call, so nobody has a result. If the work is done or cannot be done, call `finish`. Otherwise go on.";

/// The answer to a turn that the output cap cut off.
pub(crate) const CUT_REMINDER: &str =
    "Your answer was cut off at the output limit. Go on in smaller steps.";

/// Said once, when the window is nearly full.
pub(crate) const WINDOW_WARNING: &str = "The conversation has nearly filled the context window. Bring the work to a safe state now and call `finish`, with PARTIAL if something is left.";

/// Added to the second of three equal calls.
pub(crate) const REPEAT_WARNING: &str =
    "\n[the same call as before, and nothing has changed since; one more ends the run]";
