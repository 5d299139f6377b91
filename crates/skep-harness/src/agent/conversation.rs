//! The conversation with the model: what was said so far, and how full the window is.
//!
//! Owns the messages and the request's unchanging part. Invariant: a request differs from the one
//! before it only by what was added at its end and by where the cache marks stand.

use crate::agent::guard::Stop;
use crate::agent::prompt;
use crate::event::EndReason;
use crate::limits::{CONTEXT_WARN_PERCENT, OUTPUT_PERCENT_MAX};
use crate::task::AgentTask;
use serde_json::value::RawValue;
use skep_types::{FailureClass, TokenCounts};
use skep_wire::anthropic::{CacheControl, MessagesRequest, SystemBlock};
use skep_wire::{Block, Message, Role};

#[derive(Debug)]
pub(crate) struct Conversation {
    model: String,
    max_tokens: u32,
    window_tokens: i64,
    system: &'static str,
    tools: Box<RawValue>,
    messages: Vec<Message>,
    /// The window's fill after the last answer, as the provider counted it.
    counted_tokens: i64,
    /// What was added since, in bytes.
    uncounted_bytes: usize,
    warned: bool,
}

impl Conversation {
    pub(crate) fn new(task: &AgentTask) -> Result<Self, serde_json::Error> {
        let system = prompt::system(task.role);
        let tools = prompt::tools(task.role)?;
        let share = task.limits.context_tokens * OUTPUT_PERCENT_MAX / 100;
        let share = u32::try_from(share.max(1)).unwrap_or(u32::MAX);
        let mut conversation = Self {
            model: task.model.clone(),
            max_tokens: task.limits.output_tokens_max.min(share),
            window_tokens: task.limits.context_tokens,
            system,
            uncounted_bytes: system.len() + tools.get().len(),
            tools,
            messages: Vec::new(),
            counted_tokens: 0,
            warned: false,
        };
        conversation.say(vec![Block::text(&prompt::first_message(task))]);
        Ok(conversation)
    }

    /// Adds a turn of the loop. Two in a row are joined, as the provider would.
    pub(crate) fn say(&mut self, blocks: Vec<Block>) {
        self.uncounted_bytes += blocks.iter().map(|block| block.json().len()).sum::<usize>();
        match self.messages.last_mut() {
            Some(last) if last.role == Role::User => last.content.extend(blocks),
            _ => self.messages.push(Message {
                role: Role::User,
                content: blocks,
            }),
        }
    }

    /// Adds the model's answer. An empty one cannot be sent back and is left out.
    pub(crate) fn answer(&mut self, blocks: Vec<Block>, tokens: TokenCounts) {
        self.counted_tokens = tokens.input + tokens.cache_read + tokens.cache_write + tokens.output;
        self.uncounted_bytes = 0;
        if !blocks.is_empty() {
            self.messages.push(Message {
                role: Role::Assistant,
                content: blocks,
            });
        }
    }

    /// Makes sure that the next answer fits the window.
    ///
    /// Says so once when the window is nearly full, and ends the run when it is.
    pub(crate) fn check_window(&mut self) -> Result<(), Stop> {
        let filled = self.filled_tokens();
        if filled + i64::from(self.max_tokens) > self.window_tokens {
            return Err(Stop::new(
                EndReason::ContextWindow,
                FailureClass::ContextOverflow,
                format!(
                    "about {filled} tokens and an answer of {} do not fit a window of {}",
                    self.max_tokens, self.window_tokens
                ),
            ));
        }
        let nearly = (self.window_tokens - i64::from(self.max_tokens)) * CONTEXT_WARN_PERCENT / 100;
        if filled > nearly && !std::mem::replace(&mut self.warned, true) {
            self.say(vec![Block::text(prompt::WINDOW_WARNING)]);
        }
        Ok(())
    }

    /// The next request's body. The cache is marked after the system prompt and after the last two
    /// turns of the loop: the later mark writes, the earlier one is what the turn before wrote.
    pub(crate) fn body(&mut self) -> Result<Vec<u8>, serde_json::Error> {
        let mut unmarked = Vec::new();
        let turns = (0..self.messages.len()).rev();
        for index in turns
            .filter(|i| self.messages[*i].role == Role::User)
            .take(2)
            .collect::<Vec<_>>()
        {
            if let Some(block) = self.messages[index].content.last_mut() {
                let marked = block.with_cache_mark();
                unmarked.push((index, std::mem::replace(block, marked)));
            }
        }
        let request = MessagesRequest {
            model: &self.model,
            max_tokens: self.max_tokens,
            stream: true,
            system: &[SystemBlock {
                text: self.system,
                cache_control: Some(CacheControl {}),
            }],
            tools: &self.tools,
            messages: &self.messages,
        };
        let body = request.to_body();
        for (index, block) in unmarked {
            if let Some(last) = self.messages[index].content.last_mut() {
                *last = block;
            }
        }
        body
    }

    /// The tool definitions, for the transcript.
    pub(crate) fn tools(&self) -> &RawValue {
        &self.tools
    }

    /// The messages, for the transcript.
    pub(crate) fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// The window's fill: what the provider counted, and for the rest an estimate on the high side.
    fn filled_tokens(&self) -> i64 {
        let estimate = self.uncounted_bytes * 10 / 35;
        self.counted_tokens + i64::try_from(estimate).unwrap_or(i64::MAX / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::AgentLimits;
    use skep_wire::anthropic::CACHE_MARK;

    fn task(window: i64) -> AgentTask {
        AgentTask {
            instruction: "Make the failing test in src/lib.rs pass.".to_owned(),
            role: skep_types::Role::Builder,
            scope: vec!["src/**".to_owned()],
            checks: vec!["cargo test".to_owned()],
            model: "stub-large".to_owned(),
            base_commit: "0".repeat(40),
            repo: "/a".into(),
            output: "/b".into(),
            limits: AgentLimits {
                context_tokens: window,
                ..AgentLimits::default()
            },
        }
    }

    fn body(conversation: &mut Conversation) -> String {
        String::from_utf8(conversation.body().unwrap()).unwrap()
    }

    fn tokens(input: i64) -> TokenCounts {
        TokenCounts {
            input,
            ..TokenCounts::default()
        }
    }

    #[test]
    fn requests_grow_at_the_end_and_only_marks_move() {
        let mut conversation = Conversation::new(&task(200_000)).unwrap();
        let mut before = body(&mut conversation);
        for turn in 0..5 {
            conversation.answer(vec![Block::text("thinking")], tokens(100));
            conversation.say(vec![Block::tool_result(&format!("t{turn}"), "ok", false)]);
            let after = body(&mut conversation);
            assert_eq!(
                after,
                body(&mut conversation),
                "the same state, the same bytes"
            );
            let (old, new) = (
                before.replace(CACHE_MARK, ""),
                after.replace(CACHE_MARK, ""),
            );
            let shared = old.strip_suffix("]}").unwrap();
            assert!(new.starts_with(shared), "turn {turn}:\n{old}\n{new}");
            assert_eq!(after.matches(CACHE_MARK).count(), 3, "{after}");
            before = after;
        }
    }

    #[test]
    fn a_small_window_gets_small_answers() {
        let mut conversation = Conversation::new(&task(8_000)).unwrap();
        assert!(body(&mut conversation).contains(r#""max_tokens":2000,"#));
        conversation.check_window().unwrap();
    }

    #[test]
    fn a_window_that_fills_is_warned_of_once_and_then_ends_the_run() {
        let mut conversation = Conversation::new(&task(100_000)).unwrap();
        conversation.check_window().unwrap();
        conversation.answer(vec![Block::text("a")], tokens(70_000));
        conversation.say(vec![Block::tool_result("t", "ok", false)]);
        conversation.check_window().unwrap();
        conversation.check_window().unwrap();
        assert_eq!(
            body(&mut conversation)
                .matches(prompt::WINDOW_WARNING)
                .count(),
            1
        );
        conversation.say(vec![Block::tool_result("t", &"x".repeat(70_000), false)]);
        let stop = conversation.check_window().unwrap_err();
        assert_eq!(stop.class, FailureClass::ContextOverflow);
    }
}
