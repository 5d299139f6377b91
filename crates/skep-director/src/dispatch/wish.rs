//! What is asked for by whoever may ask for a job of any kind: a node of a plan, a schedule.

use super::{PinAt, Pins, Prepared, call, prepare, shell};
use crate::context::Context;
use crate::error::DirectorError;
use skep_api::{CallRequest, DispatchRequest, FlowRequest, ShellRequest};
use skep_types::JobKind;

/// The request for one job.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Wish {
    Agent(Box<DispatchRequest>),
    Call(Box<CallRequest>),
    Shell(Box<ShellRequest>),
}

/// What the requests of every kind have in common.
pub(crate) struct Shared<'a> {
    pub(crate) owner: &'a mut Option<String>,
    pub(crate) project: &'a mut Option<String>,
    pub(crate) idempotency_key: &'a mut Option<String>,
    pub(crate) flow: &'a mut FlowRequest,
}

impl Wish {
    /// The one that was given; `word` is what the request of an agent is called there.
    pub(crate) fn only(
        word: &str,
        agent: Option<DispatchRequest>,
        call: Option<CallRequest>,
        shell: Option<ShellRequest>,
    ) -> Result<Self, DirectorError> {
        let said = match (agent, call, shell) {
            (Some(request), None, None) => return Ok(Self::Agent(Box::new(request))),
            (None, Some(request), None) => return Ok(Self::Call(Box::new(request))),
            (None, None, Some(request)) => return Ok(Self::Shell(Box::new(request))),
            (None, None, None) => format!("none of `{word}`, `call` and `shell` is given"),
            (agent, call, shell) => {
                let words = [
                    agent.map(|_| word),
                    call.map(|_| "call"),
                    shell.map(|_| "shell"),
                ];
                let words: Vec<_> = words.into_iter().flatten().collect();
                format!("`{}` are given at once", words.join("` and `"))
            }
        };
        Err(DirectorError::usage(
            "work_unclear",
            said,
            format!(
                "give one: `{word}` for an agent, `call` for a model call, `shell` for a command"
            ),
        ))
    }

    pub(crate) const fn kind(&self) -> JobKind {
        match self {
            Self::Agent(_) => JobKind::Agent,
            Self::Call(_) => JobKind::Call,
            Self::Shell(_) => JobKind::Shell,
        }
    }

    pub(crate) fn shared(&mut self) -> Shared<'_> {
        macro_rules! shared {
            ($request:expr) => {
                Shared {
                    owner: &mut $request.owner,
                    project: &mut $request.project,
                    idempotency_key: &mut $request.idempotency_key,
                    flow: &mut $request.flow,
                }
            };
        }
        match self {
            Self::Agent(request) => shared!(request),
            Self::Call(request) => shared!(request),
            Self::Shell(request) => shared!(request),
        }
    }

    /// Whether its cost belongs to an account without anybody saying to which: that of its
    /// project, or of its repository.
    pub(crate) const fn has_account(&self) -> bool {
        match self {
            Self::Agent(_) => true,
            Self::Call(request) => request.project.is_some(),
            Self::Shell(request) => request.project.is_some() || request.repo.is_some(),
        }
    }

    /// [`Wish::prepare`] for a job that can start at once.
    pub(crate) async fn prepare_now(&self, context: &Context) -> Result<Prepared, DirectorError> {
        self.prepare(context, PinAt::Dispatch, &mut Pins::default())
            .await
    }

    /// Checks the request and completes it, as if it had been dispatched alone.
    pub(crate) async fn prepare(
        &self,
        context: &Context,
        at: PinAt,
        pins: &mut Pins,
    ) -> Result<Prepared, DirectorError> {
        match self {
            Self::Agent(request) => prepare(context, request, at, pins).await,
            Self::Call(request) => call::prepare(context, (**request).clone()),
            Self::Shell(request) => shell::prepare(context, (**request).clone(), at, pins).await,
        }
    }
}
