//! One conversation from its first request to its end.
//!
//! Owns the conversation and the count of reminders. Invariant: every model call and every tool
//! call is one event, and the number of model calls is bounded.

use crate::agent::conversation::Conversation;
use crate::agent::git::Git;
use crate::agent::guard::{Guard, Stop};
use crate::agent::journal::{Entry, Journal};
use crate::agent::model_client::{Answered, ModelClient, Unanswered};
use crate::agent::tools::{Toolbox, finish::Finisher};
use crate::agent::turn::Turn;
use crate::agent::workspace::Workspace;
use crate::agent::{AgentEnd, AgentSetup, chain, prompt};
use crate::event::{EndReason, HarnessEvent};
use crate::limits::REMINDERS_MAX;
use crate::task::{OUTPUTS_FOLDER, TRANSCRIPT_FILE};
use skep_stdx::{OsEntropy, Redactor, Stopwatch};
use skep_types::{FailureClass, Scope, TokenCounts};
use skep_wire::{Block, CompletedMessage, StopReason};
use std::fs::File;
use std::io::Write;
use std::sync::Arc;

pub(super) struct Session<'a> {
    conversation: Conversation,
    client: ModelClient,
    toolbox: Toolbox,
    guard: Guard,
    journal: Journal<'a>,
    steps_max: u32,
    reminders: u32,
}

/// Everything of a session but the way out for its events.
pub(super) struct Prepared {
    setup: AgentSetup,
    conversation: Conversation,
    client: ModelClient,
    toolbox: Toolbox,
    transcript: File,
}

/// Reads the task and opens what it names; the error is in words.
pub(super) fn prepare(setup: AgentSetup) -> Result<Prepared, String> {
    let task = &setup.task;
    let scope = Scope::parse(&task.scope).map_err(|error| chain(&error))?;
    let workspace = Workspace::open(&task.repo, scope, task.output.join(OUTPUTS_FOLDER))
        .map_err(|error| format!("failed to open the repository: {error}"))?;
    let workspace = Arc::new(workspace);
    let environment = setup.command_environment.clone();
    let git = Git::at(workspace.root().to_owned(), environment.clone());
    let contract_file = setup.contract_file.clone();
    let finisher = Finisher::new(task, git, Arc::clone(&workspace), contract_file);
    let transcript = File::create(task.output.join(TRANSCRIPT_FILE))
        .map_err(|error| format!("failed to open the transcript: {error}"))?;
    Ok(Prepared {
        conversation: Conversation::new(task).map_err(|error| chain(&error))?,
        client: ModelClient::new(
            &setup.gateway_url,
            setup.key.clone(),
            &task.limits,
            Arc::new(OsEntropy),
        )?,
        toolbox: Toolbox::new(task, workspace, environment, finisher),
        transcript,
        setup,
    })
}

impl<'a> Session<'a> {
    pub(super) fn begin(prepared: Prepared, events: &'a mut dyn Write) -> Self {
        let setup = prepared.setup;
        let redactor = Redactor::new([setup.key]);
        let mut journal = Journal::new(events, prepared.transcript, redactor);
        journal.event(&HarnessEvent::SessionStarted {
            session_id: setup.session_id,
        });
        journal.note(&Entry::Start {
            model: &setup.task.model,
            system: prompt::system(setup.task.role),
            tools: prepared.conversation.tools(),
        });
        Self {
            conversation: prepared.conversation,
            client: prepared.client,
            toolbox: prepared.toolbox,
            guard: Guard::new(&setup.task.limits),
            journal,
            steps_max: setup.task.limits.steps_max,
            reminders: 0,
        }
    }

    pub(super) async fn run(mut self) -> AgentEnd {
        match self.drive().await {
            Ok(()) => {
                let contract_written = true;
                self.journal
                    .event(&HarnessEvent::Finished { contract_written });
                AgentEnd::Finished
            }
            Err(mut stop) => {
                stop.detail = self.journal.redact(&stop.detail);
                self.journal.note_messages(self.conversation.messages());
                self.journal.note(&Entry::End {
                    detail: &stop.detail,
                });
                self.journal.event(&stop.event());
                stop.into()
            }
        }
    }

    async fn drive(&mut self) -> Result<(), Stop> {
        for step in 1..=self.steps_max {
            self.conversation.check_window()?;
            let message = self.ask(step).await?;
            if self.step(message).await? {
                return Ok(());
            }
            self.guard.after_step()?;
        }
        Err(Stop::new(
            EndReason::Steps,
            FailureClass::Stalled,
            format!("the task was not finished in {} steps", self.steps_max),
        ))
    }

    /// Takes one answer. Returns whether the run is over.
    async fn step(&mut self, message: CompletedMessage) -> Result<bool, Stop> {
        self.conversation.answer(message.content, message.tokens);
        if message.tool_uses.is_empty() {
            self.remind(&message.stop_reason)?;
            return Ok(false);
        }
        self.reminders = 0;
        let mut turn = Turn {
            toolbox: &self.toolbox,
            guard: &mut self.guard,
            journal: &mut self.journal,
        };
        let (results, finished) = turn.carry_out(message.tool_uses).await?;
        self.conversation.say(results);
        self.journal.note_messages(self.conversation.messages());
        Ok(finished)
    }

    async fn ask(&mut self, step: u32) -> Result<CompletedMessage, Stop> {
        if self.journal.is_unheard() {
            let detail = "nobody reads the events any more";
            return Err(Stop::new(
                EndReason::Unheard,
                FailureClass::LeaseLost,
                detail,
            ));
        }
        self.journal.note_messages(self.conversation.messages());
        let body = self.conversation.body().map_err(|error| {
            Stop::new(EndReason::ModelCall, FailureClass::Unknown, chain(&error))
        })?;
        let request_bytes = body.len() as u64;
        let watch = Stopwatch::start();
        let journal = &mut self.journal;
        let called = self
            .client
            .call(body, |detail| journal.note(&Entry::Retry { detail }))
            .await;
        let (message, tokens, retries) = match &called {
            Ok(Answered { message, retries }) => (Some(message), message.tokens, *retries),
            Err(Unanswered { retries, .. }) => (None, TokenCounts::default(), *retries),
        };
        self.journal.event(&HarnessEvent::ModelCalled {
            step,
            model: message.map(|message| message.model.clone()),
            tokens,
            stop_reason: message.map(|message| message.stop_reason.as_str().to_owned()),
            retries,
            request_bytes,
            duration_ms: watch.elapsed_ms(),
        });
        called
            .map(|answered| answered.message)
            .map_err(|unanswered| unanswered.stop)
    }

    /// The turn had no tool call: say so, or end the run.
    fn remind(&mut self, stop_reason: &StopReason) -> Result<(), Stop> {
        let words = match stop_reason {
            StopReason::Refusal => {
                let detail = "the model declined to go on";
                let class = FailureClass::ProviderPolicy;
                return Err(Stop::new(EndReason::Refusal, class, detail));
            }
            StopReason::ContextWindow => {
                let detail = "the answer reached the end of the context window";
                let class = FailureClass::ContextOverflow;
                return Err(Stop::new(EndReason::ContextWindow, class, detail));
            }
            StopReason::MaxTokens => prompt::CUT_REMINDER,
            StopReason::EndTurn
            | StopReason::ToolUse
            | StopReason::StopSequence
            | StopReason::PauseTurn
            | StopReason::Other(_) => prompt::REMINDER,
        };
        self.reminders += 1;
        if self.reminders > REMINDERS_MAX {
            return Err(Stop::new(
                EndReason::NoFinish,
                FailureClass::PrematureCompletion,
                "the model stopped without calling `finish`",
            ));
        }
        self.conversation.say(vec![Block::text(words)]);
        Ok(())
    }
}
