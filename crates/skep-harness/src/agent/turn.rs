//! The tool calls of one turn.
//!
//! Owns nothing that outlives the turn. Invariant: every call of the turn gets exactly one result,
//! in the order of the calls; reading calls may run beside each other, effects happen one by one in
//! order, and `finish` comes after everything else.

use crate::agent::guard::{Guard, Repeat, Stop};
use crate::agent::journal::Journal;
use crate::agent::prompt;
use crate::agent::tools::{Reply, Toolbox};
use crate::event::HarnessEvent;
use crate::limits::PARALLEL_CALLS_MAX;
use futures_util::future::join_all;
use ring::digest::{SHA256, digest};
use skep_stdx::Stopwatch;
use skep_wire::{Block, ToolUse};

pub(super) struct Turn<'t, 'a> {
    pub(super) toolbox: &'t Toolbox,
    pub(super) guard: &'t mut Guard,
    pub(super) journal: &'t mut Journal<'a>,
}

/// One tool call, and what it came to.
struct Call {
    tool_use: ToolUse,
    /// Of the input, in hex.
    input_sha256: String,
    /// An equal one came before, and one more ends the run.
    warned: bool,
    reply: Option<Reply>,
    duration_ms: i64,
}

impl Turn<'_, '_> {
    /// Carries out the calls. Returns their results and whether the run is over.
    pub(super) async fn carry_out(
        &mut self,
        tool_uses: Vec<ToolUse>,
    ) -> Result<(Vec<Block>, bool), Stop> {
        let mut calls: Vec<Call> = tool_uses.into_iter().map(Call::new).collect();
        for call in calls.iter_mut().skip(PARALLEL_CALLS_MAX) {
            let words = format!("more than {PARALLEL_CALLS_MAX} calls in one turn; call it again");
            call.reply = Some(Reply::error(words));
        }
        let (mut finishing, mut others): (Vec<_>, Vec<_>) = calls
            .iter_mut()
            .partition(|call| Toolbox::is_finish(&call.tool_use.name));
        for group in groups(&mut others) {
            self.carry_out_group(group).await?;
        }
        for call in &mut finishing {
            self.carry_out_group(std::slice::from_mut(call)).await?;
        }
        let finished = calls.iter().any(Call::is_finished);
        let results = calls.iter().map(|call| call.result(self.journal)).collect();
        Ok((results, finished))
    }

    /// Carries out calls that may run beside each other.
    async fn carry_out_group(&mut self, group: &mut [&mut Call]) -> Result<(), Stop> {
        for call in group.iter_mut() {
            self.admit(call)?;
        }
        let toolbox = self.toolbox;
        for call in group.iter().filter(|call| call.reply.is_none()) {
            self.journal.event(&call.started(toolbox));
        }
        join_all(group.iter_mut().map(|call| call.carry_out(toolbox))).await;
        for call in group.iter_mut() {
            self.settle(call);
        }
        Ok(())
    }

    /// What stands before a call: an input that is no JSON is answered, and a call that comes again
    /// and again ends the run.
    fn admit(&mut self, call: &mut Call) -> Result<(), Stop> {
        if call.reply.is_some() {
            return Ok(());
        }
        if call.tool_use.input.is_err() {
            let name = &call.tool_use.name;
            let words = format!("the input of `{name}` is not a JSON object, or was cut off");
            call.reply = Some(Reply::error(words));
        }
        match self.guard.before_call(&call.identity()) {
            Repeat::Fine => Ok(()),
            Repeat::LastWarning => {
                call.warned = true;
                Ok(())
            }
            Repeat::TooOften(stop) => Err(stop),
        }
    }

    fn settle(&mut self, call: &mut Call) {
        let identity = call.identity();
        if let Some(reply) = &mut call.reply {
            self.guard.after_call(&identity, reply.ok, reply.changed);
            if call.warned {
                reply.text += prompt::REPEAT_WARNING;
            }
        }
        self.journal.event(&call.event());
    }
}

/// Runs of reading calls together, every other call alone, in order.
fn groups<'c, 'd>(calls: &'c mut [&'d mut Call]) -> impl Iterator<Item = &'c mut [&'d mut Call]> {
    calls.chunk_by_mut(|a, b| {
        Toolbox::is_reading(&a.tool_use.name) && Toolbox::is_reading(&b.tool_use.name)
    })
}

impl Call {
    fn new(tool_use: ToolUse) -> Self {
        let (Ok(input) | Err(input)) = &tool_use.input;
        let hash = digest(&SHA256, input.as_bytes());
        Self {
            input_sha256: hash
                .as_ref()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
            tool_use,
            warned: false,
            reply: None,
            duration_ms: 0,
        }
    }

    /// What makes two calls equal.
    fn identity(&self) -> String {
        format!("{} {}", self.tool_use.name, self.input_sha256)
    }

    async fn carry_out(&mut self, toolbox: &Toolbox) {
        if let (None, Ok(input)) = (&self.reply, &self.tool_use.input) {
            let watch = Stopwatch::start();
            self.reply = Some(toolbox.call(&self.tool_use.name, input).await);
            self.duration_ms = watch.elapsed_ms();
        }
    }

    fn is_finished(&self) -> bool {
        self.reply.as_ref().is_some_and(|reply| reply.finished)
    }

    /// The name as events have it.
    fn name(&self) -> String {
        const NAME_BYTES_MAX: usize = 64;
        let name = &self.tool_use.name;
        name[..name.floor_char_boundary(NAME_BYTES_MAX)].to_owned()
    }

    fn started(&self, toolbox: &Toolbox) -> HarnessEvent {
        let input = self.tool_use.input.as_deref().unwrap_or_default();
        HarnessEvent::ToolStarted {
            name: self.name(),
            input_sha256: self.input_sha256.clone(),
            timeout_ms: toolbox.timeout_ms(&self.tool_use.name, input),
        }
    }

    fn event(&self) -> HarnessEvent {
        let reply = self.reply.as_ref();
        HarnessEvent::ToolCalled {
            name: self.name(),
            ok: reply.is_some_and(|reply| reply.ok),
            exit_code: reply.and_then(|reply| reply.exit_code),
            duration_ms: self.duration_ms,
            input_sha256: self.input_sha256.clone(),
            output_bytes: reply.map_or(0, |reply| reply.text.len() as u64),
            refused_by: reply.and_then(|reply| reply.refused_by),
        }
    }

    fn result(&self, journal: &Journal<'_>) -> Block {
        let (text, ok) = match &self.reply {
            Some(reply) => (journal.redact(&reply.text), reply.ok),
            None => ("the call was not carried out".to_owned(), false),
        };
        Block::tool_result(&self.tool_use.id, &text, !ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_calls_stand_together_and_effects_alone() {
        let names = [
            "read", "list", "edit", "run", "search", "fly", "read", "search",
        ];
        let mut calls: Vec<Call> = names
            .iter()
            .map(|name| {
                Call::new(ToolUse {
                    id: String::new(),
                    name: (*name).to_owned(),
                    input: Ok("{}".to_owned()),
                })
            })
            .collect();
        let mut calls: Vec<&mut Call> = calls.iter_mut().collect();
        let sizes: Vec<usize> = groups(&mut calls).map(|group| group.len()).collect();
        assert_eq!(sizes, [2, 1, 1, 1, 1, 2]);
    }
}
