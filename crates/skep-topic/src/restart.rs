//! Counting restarts, and telling of too many on a path that needs neither store nor log: the
//! counts and the alarms are files in the home, and whoever counts is told what to say on stderr.

use crate::limits::{RESTART_FILE_BYTES_MAX, RESTART_WINDOW_MS, RESTARTS_MAX};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// The file that holds one line for each restart: time and child.
const COUNTS: &str = "restarts";
/// The file that holds one line for each alarm about restarts.
const ALARMS: &str = "restarts.alarm";

/// Counts the restarts of the children of one home.
#[derive(Debug, Clone)]
pub struct RestartWatch(PathBuf);

/// The restarts of one child within the last hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restarts {
    /// How many, this one included.
    pub count: usize,
    /// Whether that is more than [`RESTARTS_MAX`].
    pub too_many: bool,
}

impl RestartWatch {
    /// Counts in files in `folder`.
    pub const fn at(folder: PathBuf) -> Self {
        Self(folder)
    }

    /// Counts a restart of `child` at `now_ms`. With too many within an hour an alarm is appended
    /// to the file of alarms and `tell` is called with one sentence; the caller has that printed.
    ///
    /// # Errors
    /// What the file system says; `tell` was called all the same if the count is known.
    pub fn count(&self, child: &str, now_ms: i64, tell: impl FnOnce(&str)) -> io::Result<Restarts> {
        let path = self.0.join(COUNTS);
        let mut lines = recent(&path, now_ms)?;
        lines.push((now_ms, child.to_owned()));
        let counted = keep(&path, &lines);
        let count = lines.iter().filter(|(_, other)| other == child).count();
        let too_many = count > RESTARTS_MAX;
        if too_many {
            let sentence = format!(
                "`{child}` was started {count} times within an hour; look at its log, and at `skep doctor`"
            );
            tell(&sentence);
            append(&self.0.join(ALARMS), &format!("{now_ms} {sentence}\n"))?;
        }
        counted.map(|()| Restarts { count, too_many })
    }
}

fn recent(path: &Path, now_ms: i64) -> io::Result<Vec<(i64, String)>> {
    let text = match std::fs::metadata(path) {
        Ok(found) if found.len() > RESTART_FILE_BYTES_MAX => String::new(),
        Ok(_) => std::fs::read_to_string(path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error),
    };
    let lines = text.lines().filter_map(|line| {
        let (at_ms, child) = line.split_once(' ')?;
        Some((at_ms.parse::<i64>().ok()?, child.to_owned()))
    });
    // What lies in the future was counted before the clock was set back, and counts.
    Ok(lines
        .filter(|(at_ms, _)| now_ms - at_ms < RESTART_WINDOW_MS)
        .collect())
}

fn keep(path: &Path, lines: &[(i64, String)]) -> io::Result<()> {
    let text: String = lines
        .iter()
        .map(|(at_ms, child)| format!("{at_ms} {child}\n"))
        .collect();
    let partial = path.with_extension("partial");
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&partial)?;
    file.write_all(text.as_bytes())?;
    std::fs::rename(&partial, path)
}

fn append(path: &Path, line: &str) -> io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)?
        .write_all(line.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_eleventh_restart_within_an_hour_is_one_too_many() {
        let folder = tempfile::tempdir().unwrap();
        let watch = RestartWatch::at(folder.path().to_owned());
        let minute = 60_000;
        for n in 1..=10_i64 {
            let counted = watch
                .count("engine", n * minute, |said| panic!("{said}"))
                .unwrap();
            assert_eq!(counted.count, usize::try_from(n).unwrap());
            assert!(!counted.too_many);
        }
        let other = watch
            .count("web", 11 * minute, |said| panic!("{said}"))
            .unwrap();
        assert_eq!(other.count, 1);
        let mut said = String::new();
        let counted = watch
            .count("engine", 11 * minute, |text| said = text.to_owned())
            .unwrap();
        assert_eq!((counted.count, counted.too_many), (11, true));
        assert!(said.starts_with("`engine` was started 11 times"), "{said}");
        let alarms = std::fs::read_to_string(folder.path().join(ALARMS)).unwrap();
        assert_eq!(alarms, format!("{} {said}\n", 11 * minute));
        let later = watch.count("engine", 66 * minute, |_| {}).unwrap();
        assert_eq!(later.count, 6, "those of the minutes 7 to 11, and this one");
    }
}
