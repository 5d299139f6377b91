//! Programs that are given a deadline: other people's tests and jobs may hang.

use crate::stopwatch::{Stopwatch, pause};
use anyhow::{Context as _, Result, bail};
use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// Between two looks at whether the program has ended.
const LOOK: Duration = Duration::from_millis(20);

/// What is killed when the deadline has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// The program alone: it sees to what it has started.
    Program,
    /// Everything that it has started and that has not left its group.
    Group,
}

/// Runs the command with its stdout in the file `output`, for at most so many seconds.
pub(crate) fn run(
    command: &mut Command,
    output: &Path,
    seconds_max: f64,
    reach: Reach,
) -> Result<ExitStatus> {
    let name = command.get_program().to_string_lossy().into_owned();
    let file =
        File::create(output).with_context(|| format!("failed to create {}", output.display()))?;
    if reach == Reach::Group {
        command.process_group(0);
    }
    let mut child = command
        .stdin(Stdio::null())
        .stdout(file)
        .spawn()
        .with_context(|| format!("failed to start `{name}`"))?;
    let watch = Stopwatch::start();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if watch.seconds() > seconds_max {
            end(&mut child, reach)?;
            bail!("`{name}` was stopped at its limit of {seconds_max} s");
        }
        pause(LOOK);
    }
}

fn end(child: &mut Child, reach: Reach) -> Result<()> {
    if reach == Reach::Group {
        let group = format!("-{}", child.id());
        // The group may have ended by itself in the meantime.
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
    }
    child.kill()?;
    child.wait()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_ends_by_itself_or_at_its_limit() {
        let folder = std::env::temp_dir().join(format!("skep-bounded-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let output = folder.join("output");
        let shell = |text: &str, seconds_max: f64| {
            let mut command = Command::new("sh");
            run(
                command.args(["-c", text]),
                &output,
                seconds_max,
                Reach::Group,
            )
        };
        assert_eq!(shell("exit 3", 60.0).unwrap().code(), Some(3));
        assert!(shell("echo $$; sleep 600 & wait", 0.0).is_err());
        assert!(shell("echo out", 60.0).unwrap().success());
        assert_eq!(std::fs::read_to_string(&output).unwrap(), "out\n");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
