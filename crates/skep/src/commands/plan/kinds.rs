//! The nodes of a plan's file that are no agent's: `call` and `shell`. What stands at the top of the
//! file goes for them too, as far as they know it.

use super::file::{PlanText, flow};
use crate::commands::{absolute, amount};
use crate::failure::Failure;
use serde::Deserialize;
use serde_json::Value;
use skep_api::{CallMessage, CallRequest, ShellRequest};
use skep_types::Tier;
use std::path::{Path, PathBuf};

/// One model call as it is written.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct CallText {
    prompt: String,
    messages: Vec<CallMessage>,
    system: Option<String>,
    model: Option<String>,
    worker: Option<String>,
    max_output_tokens: Option<i64>,
    temperature: Option<f64>,
    schema: Option<Value>,
    budget_usd: Option<f64>,
    timeout_seconds: Option<i64>,
    tier: Option<Tier>,
    queue: Option<String>,
    priority: Option<i64>,
}

/// One command as it is written.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ShellText {
    command: Vec<String>,
    repo: Option<PathBuf>,
    base: Option<String>,
    scope: Vec<String>,
    timeout_seconds: Option<i64>,
    output_bytes_max: Option<i64>,
    tier: Option<Tier>,
    queue: Option<String>,
    priority: Option<i64>,
}

impl CallText {
    pub(super) fn request(self, plan: &PlanText) -> Result<CallRequest, Failure> {
        Ok(CallRequest {
            prompt: self.prompt,
            messages: self.messages,
            system: self.system,
            worker: self.worker.or_else(|| plan.worker.clone()),
            model: self.model,
            max_output_tokens: self.max_output_tokens,
            temperature: self.temperature,
            schema: self.schema,
            budget_micro_usd: amount(self.budget_usd.or(plan.budget_usd))?,
            timeout_seconds: self.timeout_seconds,
            tier: self.tier.or(plan.tier),
            project: None,
            owner: None,
            idempotency_key: None,
            flow: flow(plan, self.queue, self.priority),
        })
    }
}

impl ShellText {
    /// Without a base of its own it sees what an agent of the plan would start from.
    pub(super) fn request(self, plan: &PlanText, folder: &Path) -> Result<ShellRequest, Failure> {
        let repo = self.repo.as_ref().or(plan.repo.as_ref());
        let repo = repo.map(|repo| absolute(&folder.join(repo))).transpose()?;
        let start = plan.base.as_ref().or(plan.target_branch.as_ref());
        let base = self
            .base
            .or_else(|| start.filter(|_| repo.is_some()).cloned());
        Ok(ShellRequest {
            command: self.command,
            repo,
            base,
            scope: self.scope,
            timeout_seconds: self.timeout_seconds,
            output_bytes_max: self.output_bytes_max,
            tier: self.tier.or(plan.tier),
            project: None,
            owner: None,
            idempotency_key: None,
            flow: flow(plan, self.queue, self.priority),
        })
    }
}
