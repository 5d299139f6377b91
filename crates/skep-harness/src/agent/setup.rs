//! What the agent's process is started with, read from its environment and its task document.
//!
//! Owns the key until the client takes it. Invariant: the environment that is handed on to commands
//! holds no variable of Skep and no value with the key in it.

use crate::launch::variable;
use crate::limits::TASK_BYTES_MAX;
use crate::task::AgentTask;
use skep_stdx::Secret;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// Everything one run of the own loop needs.
#[derive(Debug)]
pub struct AgentSetup {
    /// What to do.
    pub task: AgentTask,
    /// The gateway's address.
    pub gateway_url: String,
    /// The virtual key.
    pub key: Secret,
    /// Where the contract is to be left.
    pub contract_file: PathBuf,
    /// What the run calls itself in its events.
    pub session_id: String,
    /// The whole environment of the commands that the agent runs.
    pub command_environment: Vec<(String, String)>,
}

/// Why an agent cannot start.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A variable is missing, empty or not text.
    #[error("environment variable {name} is missing or empty")]
    Variable {
        /// Its name.
        name: &'static str,
    },
    /// The task document cannot be read.
    #[error("failed to read the task document")]
    Read(#[source] io::Error),
    /// The task document is not one.
    #[error("failed to understand the task document")]
    Task(#[source] serde_json::Error),
}

impl AgentSetup {
    /// Reads the setup that [`crate::launch_plan`] prepared.
    ///
    /// # Errors
    /// See [`SetupError`].
    pub fn from_environment(
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, SetupError> {
        let variables: Vec<(String, String)> = variables.into_iter().collect();
        let value = |name: &'static str| {
            let found = variables.iter().find(|(n, v)| n == name && !v.is_empty());
            found
                .map(|(_, value)| value.clone())
                .ok_or(SetupError::Variable { name })
        };
        let key = value(variable::API_KEY)?;
        Ok(Self {
            task: read_task(Path::new(&value(variable::TASK_FILE)?))?,
            gateway_url: value(variable::GATEWAY_URL)?,
            contract_file: value(variable::CONTRACT_FILE)?.into(),
            session_id: value(variable::ATTEMPT_ID)?,
            command_environment: for_commands(&variables, &key),
            key: Secret::new(key),
        })
    }
}

fn read_task(path: &Path) -> Result<AgentTask, SetupError> {
    let mut text = Vec::new();
    File::open(path)
        .and_then(|file| file.take(TASK_BYTES_MAX).read_to_end(&mut text))
        .map_err(SetupError::Read)?;
    serde_json::from_slice(&text).map_err(SetupError::Task)
}

fn for_commands(variables: &[(String, String)], key: &str) -> Vec<(String, String)> {
    variables
        .iter()
        .filter(|(name, value)| !name.starts_with(variable::PREFIX) && !value.contains(key))
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_get_neither_our_variables_nor_the_key_under_any_name() {
        let pairs = [
            ("SKEP_API_KEY", "sk-1"),
            ("SKEP_JOB_ID", "job_1"),
            ("ANTHROPIC_API_KEY", "sk-1"),
            ("PROXY", "http://sk-1@host"),
            ("PATH", "/bin"),
        ];
        let variables = pairs.map(|(n, v)| (n.to_owned(), v.to_owned()));
        let kept = for_commands(&variables, "sk-1");
        assert_eq!(kept, [("PATH".to_owned(), "/bin".to_owned())]);
    }

    #[test]
    fn what_is_missing_is_named() {
        let empty = [("SKEP_API_KEY".to_owned(), String::new())];
        for variables in [&[][..], &empty] {
            let error = AgentSetup::from_environment(variables.to_vec()).unwrap_err();
            assert_eq!(
                error.to_string(),
                "environment variable SKEP_API_KEY is missing or empty"
            );
        }
    }
}
