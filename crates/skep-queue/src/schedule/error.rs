//! What can go wrong with a schedule, one type per operation.

use skep_db::DbError;
use skep_types::ScheduleState;

/// Why something does not say when a schedule fires.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TimingError {
    /// A field of a cron line is out of its bounds.
    #[error("read the cron line: `{found}` is no {field}")]
    Field {
        /// The field.
        field: &'static str,
        /// What stands there.
        found: String,
        /// What it takes.
        takes: &'static str,
    },
    /// A cron line has another number of fields.
    #[error("read the cron line: it has {count} fields instead of 5")]
    Fields {
        /// How many.
        count: usize,
    },
    /// There is no such name for a cron line.
    #[error("read the cron line: there is no `{found}`")]
    Name {
        /// The name.
        found: String,
    },
    /// No date has what the cron line asks for.
    #[error("read the cron line: `{found}` never comes")]
    Never {
        /// The line.
        found: String,
    },
    /// A length of time cannot be read or is out of its bounds.
    #[error("read the interval: `{found}` is none that a schedule can have")]
    Interval {
        /// The length.
        found: String,
    },
    /// There is no such time zone.
    #[error("find the time zone: there is no `{found}`")]
    Zone {
        /// The name.
        found: String,
        /// The name that is most like it.
        nearest: Option<String>,
    },
}

impl TimingError {
    /// The stable code for users and scripts.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Field { .. } | Self::Fields { .. } | Self::Name { .. } | Self::Never { .. } => {
                "cron_invalid"
            }
            Self::Interval { .. } => "interval_invalid",
            Self::Zone { .. } => "zone_unknown",
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Field { field, takes, .. } => {
                format!("the {field} takes {takes}, lists, ranges, `*` and steps as in `*/5`")
            }
            Self::Fields { .. } => {
                "write minute, hour, day of month, month and day of week, as in `0 7 * * 1-5`"
                    .into()
            }
            Self::Name { .. } => {
                "the names are @hourly, @daily, @weekly, @monthly and @yearly".into()
            }
            Self::Never { .. } => "choose a day that the calendar has".into(),
            Self::Interval { .. } => {
                "give whole minutes from 1m to 52w, as in `15m`, `1h30m` or `2d`".into()
            }
            Self::Zone { nearest, .. } => match nearest {
                Some(name) => {
                    format!("did you mean `{name}`? Zones have names as in `Europe/Berlin`")
                }
                None => "give a name of the IANA database, as in `Europe/Berlin` or `UTC`".into(),
            },
        }
    }
}

/// Why a schedule was not added or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScheduleError {
    /// There is no such schedule.
    #[error("change the schedule: there is none of that name")]
    NotFound,
    /// There is one of this name.
    #[error("add the schedule: there is one called `{name}`")]
    Exists {
        /// The name.
        name: String,
    },
    /// A field is out of its bounds.
    #[error("add the schedule: {field} {reason}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// What it must be.
        reason: &'static str,
    },
    /// There are as many as there may be.
    #[error("add the schedule: there are {limit} already")]
    TooMany {
        /// How many there may be.
        limit: i64,
    },
    /// It is in that state already.
    #[error("change the schedule: it is {state}")]
    State {
        /// Where it stands.
        state: ScheduleState,
    },
    /// A run is under way and the overlap policy lets no other begin.
    #[error("run the schedule now: a run of it is under way")]
    Busy,
    /// Somebody else changed it at the same time.
    #[error("change the schedule: it was changed at the same time")]
    Moved,
    /// Its timing cannot be read.
    #[error("read the schedule's timing")]
    Timing(#[from] TimingError),
    /// The store failed.
    #[error("change the schedule")]
    Db(#[from] DbError),
}

impl ScheduleError {
    /// The stable code for users and scripts.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "schedule_not_found",
            Self::Exists { .. } => "schedule_exists",
            Self::Invalid { .. } => "schedule_invalid",
            Self::TooMany { .. } => "schedules_full",
            Self::State { .. } => "schedule_state",
            Self::Busy => "schedule_busy",
            Self::Moved => "schedule_moved",
            Self::Timing(error) => error.code(),
            Self::Db(_) => "database_unavailable",
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotFound => Some("`skep schedule list` names every schedule".into()),
            Self::Exists { name } => Some(format!(
                "choose another name, or remove it first with `skep schedule remove {name}`"
            )),
            Self::Invalid { .. } => {
                Some("`skep schedule add --help` says what each option takes".into())
            }
            Self::TooMany { .. } => Some("remove one with `skep schedule remove NAME`".into()),
            Self::State { state } => Some(match state {
                ScheduleState::Active => {
                    "`skep schedule pause NAME --reason TEXT` pauses it".into()
                }
                ScheduleState::Paused | ScheduleState::AutoPaused => {
                    "`skep schedule resume NAME` lets it fire again".into()
                }
                ScheduleState::Removed => "add it again".into(),
            }),
            Self::Busy => Some("wait for its end, or choose another `--overlap`".into()),
            Self::Moved => Some("look at `skep schedule show NAME` and try again".into()),
            Self::Timing(error) => Some(error.hint()),
            Self::Db(_) => None,
        }
    }
}
