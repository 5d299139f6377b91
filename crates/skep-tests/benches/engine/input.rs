//! The command line of the benchmark: a part and its numbers.

use anyhow::{Context as _, bail};
use skep_testkit::Backend;

/// What one run does.
#[derive(Debug, Clone)]
pub(crate) struct Input {
    /// The part; `None` for a short look.
    pub(crate) part: Option<String>,
    pub(crate) backend: Backend,
    /// Callers at work at the same time.
    pub(crate) clients: i64,
    /// Jobs in one enqueue, one claim and one completion.
    pub(crate) claim: i64,
    /// How long is measured.
    pub(crate) seconds: u64,
    /// Length of one sample of the series, in seconds.
    pub(crate) sample: u64,
    /// Arrivals a second.
    pub(crate) rate: u64,
    /// Slots of the claiming loop.
    pub(crate) slots: i64,
    /// Jobs to put in.
    pub(crate) jobs: u64,
    /// Claims to time.
    pub(crate) claims: usize,
    /// Finished jobs at which the cost is measured.
    pub(crate) sizes: Vec<u64>,
    /// Jobs of one measurement of the cost.
    pub(crate) window: u64,
    /// Whether an old snapshot stays open.
    pub(crate) pinned: bool,
    /// Whether payload and result are left out.
    pub(crate) bare: bool,
}

impl Default for Input {
    fn default() -> Self {
        Self {
            part: None,
            backend: Backend::Sqlite,
            clients: 128,
            claim: 1,
            seconds: 3,
            sample: 1,
            rate: 800,
            slots: 64,
            jobs: 10_000,
            claims: 300,
            sizes: vec![10_000],
            window: 5_000,
            pinned: false,
            bare: false,
        }
    }
}

impl Input {
    /// Reads the arguments after the program's name.
    pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let mut input = Self::default();
        let mut arguments = arguments.peekable();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                // What `cargo bench` says to every benchmark.
                "--bench" => {}
                "--pinned" => input.pinned = true,
                "--bare" => input.bare = true,
                flag if flag.starts_with("--") => {
                    let value = arguments
                        .next()
                        .with_context(|| format!("{flag} wants a value"))?;
                    input.set(flag, &value)?;
                }
                _ => input.part = Some(argument),
            }
        }
        Ok(input)
    }

    fn set(&mut self, flag: &str, value: &str) -> anyhow::Result<()> {
        match flag {
            "--engine" => {
                self.backend = match value {
                    "sqlite" => Backend::Sqlite,
                    "postgres" => Backend::Postgres,
                    other => bail!("unknown engine `{other}`; there is: sqlite, postgres"),
                }
            }
            "--clients" => self.clients = value.parse()?,
            "--claim" => self.claim = value.parse()?,
            "--seconds" => self.seconds = value.parse()?,
            "--sample" => self.sample = value.parse()?,
            "--rate" => self.rate = value.parse()?,
            "--slots" => self.slots = value.parse()?,
            "--jobs" => self.jobs = value.parse()?,
            "--claims" => self.claims = value.parse()?,
            "--window" => self.window = value.parse()?,
            "--sizes" => {
                self.sizes = value.split(',').map(str::parse).collect::<Result<_, _>>()?;
            }
            other => bail!("unknown flag `{other}`; there is: {}", super::PARTS),
        }
        Ok(())
    }

    /// The engine as one word.
    pub(crate) fn engine(&self) -> &'static str {
        match self.backend {
            Backend::Sqlite => "sqlite",
            Backend::Postgres => "postgres",
        }
    }
}
