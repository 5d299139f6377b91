//! Typed identifiers: a prefix that says what it names, then 26 characters of Crockford base32
//! holding 48 bits of time and 80 bits of randomness (the ULID layout), so ids sort by age. An
//! attempt needs no randomness of its own: it is a job and a fence, and so is its id.

use skep_stdx::{Clock, Entropy};
use std::fmt;

/// Text that is not an identifier of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MalformedId {
    /// The prefix that was expected, with its underscore.
    pub prefix: &'static str,
    /// What was found.
    pub text: String,
}

impl fmt::Display for MalformedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` is not an id of the form {}…",
            self.text, self.prefix
        )
    }
}

impl std::error::Error for MalformedId {}

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const BODY_CHARS: usize = 26;

fn body(clock: &dyn Clock, entropy: &dyn Entropy) -> String {
    let mut random = [0_u8; 10];
    entropy.fill(&mut random);
    let time = u64::try_from(clock.now_ms()).unwrap_or(0) & 0xffff_ffff_ffff;
    let mut bits = u128::from(time) << 80;
    for (i, byte) in random.iter().enumerate() {
        bits |= u128::from(*byte) << (72 - 8 * i);
    }
    (0..BODY_CHARS)
        .map(|i| {
            let index = usize::try_from((bits >> (125 - 5 * i)) & 31).unwrap_or(0);
            char::from(ALPHABET[index])
        })
        .collect()
}

macro_rules! id {
    ($(#[$meta:meta])* $name:ident, $prefix:literal) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// What every id of this kind starts with.
            pub const PREFIX: &'static str = $prefix;

            /// A fresh id.
            pub fn new(clock: &dyn Clock, entropy: &dyn Entropy) -> Self {
                Self(format!("{}{}", $prefix, body(clock, entropy)))
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = MalformedId;
            fn from_str(text: &str) -> Result<Self, MalformedId> {
                let well_formed = text.strip_prefix($prefix).is_some_and(|body| {
                    body.len() == BODY_CHARS && body.bytes().all(|b| ALPHABET.contains(&b))
                });
                if well_formed {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(MalformedId { prefix: $prefix, text: text.to_owned() })
                }
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

// One line per kind, in alphabetical order; a kind is never renamed.
id!(/** One limit on spending. */ BudgetId, "bud_");
id!(/** One model call through the gateway. */ CallId, "call_");
id!(/** One ledger event. */ EventId, "evt_");
id!(/** One durable unit of work. */ JobId, "job_");
id!(/** One virtual key. */ KeyId, "key_");
id!(/** One running engine process. */ NodeId, "node_");
id!(/** Work that is asked for again and again. */ ScheduleId, "sch_");

/// The number that tells a current claim of a job from every earlier one. It only grows.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct Fence(pub i64);

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One claim of a job that started a worker: `att_`, the job's 26 characters, `_` and the fence.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(transparent)]
pub struct AttemptId(String);

impl AttemptId {
    /// What every id of this kind starts with.
    pub const PREFIX: &'static str = "att_";

    /// The attempt that the claim of `job` with `fence` started.
    pub fn of(job: &JobId, fence: Fence) -> Self {
        let body = job.0.strip_prefix(JobId::PREFIX).unwrap_or(&job.0);
        Self(format!("{}{body}_{fence}", Self::PREFIX))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl std::str::FromStr for AttemptId {
    type Err = MalformedId;

    fn from_str(text: &str) -> Result<Self, MalformedId> {
        let job_and_fence = || {
            let (body, fence) = text.strip_prefix(Self::PREFIX)?.split_once('_')?;
            let job: JobId = format!("{}{body}", JobId::PREFIX).parse().ok()?;
            let fence: i64 = fence.parse().ok().filter(|fence| *fence > 0)?;
            Some(Self::of(&job, Fence(fence)))
        };
        // Written again it must be the same text: no leading zeros, no signs.
        job_and_fence()
            .filter(|id| id.0 == text)
            .ok_or_else(|| MalformedId {
                prefix: Self::PREFIX,
                text: text.to_owned(),
            })
    }
}

impl<'de> serde::Deserialize<'de> for AttemptId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skep_stdx::{ManualClock, SeededEntropy};

    #[test]
    fn ids_sort_by_time_and_read_back() {
        let (clock, entropy) = (ManualClock::at(1_700_000_000_000), SeededEntropy::new(1));
        let first = JobId::new(&clock, &entropy);
        clock.advance_ms(1);
        let second = JobId::new(&clock, &entropy);
        assert!(first < second, "{first} {second}");
        assert_eq!(first.as_str().parse::<JobId>(), Ok(first.clone()));
        assert_eq!(first.as_str().len(), 30);
    }

    #[test]
    fn a_foreign_prefix_is_refused() {
        let id = KeyId::new(&ManualClock::at(1), &SeededEntropy::new(1));
        assert!(id.as_str().parse::<JobId>().is_err());
        assert!("job_short".parse::<JobId>().is_err());
        assert!("job_../../../../../etc/passwd0".parse::<JobId>().is_err());
    }

    #[test]
    fn an_attempt_is_a_job_and_a_fence() {
        let job = JobId::new(&ManualClock::at(1), &SeededEntropy::new(1));
        let id = AttemptId::of(&job, Fence(12));
        assert_eq!(id.as_str().parse::<AttemptId>(), Ok(id.clone()));
        assert_ne!(id, AttemptId::of(&job, Fence(1)));
        let body = &job.as_str()[4..];
        for wrong in ["", "_", "_0", "_-1", "_+1", "_01", "_1x", "_1_2", "_../x"] {
            assert!(
                format!("att_{body}{wrong}").parse::<AttemptId>().is_err(),
                "{wrong}"
            );
        }
    }
}
