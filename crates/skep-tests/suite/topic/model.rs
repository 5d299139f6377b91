//! A topic and one group as a few lists in memory: what every operation must answer.

use super::LEASE_MS;
use std::collections::BTreeSet;

/// One operation. Deliveries are named by their place in the order in which they were handed out.
#[derive(Debug, Clone, Copy)]
pub(super) enum Operation {
    /// Key 0 is none.
    Produce {
        key: u8,
        dedup: Option<u8>,
    },
    Fetch {
        max: usize,
    },
    Ack {
        delivery: usize,
    },
    Later {
        delivery: usize,
        delay_ms: i64,
    },
    Poison {
        delivery: usize,
    },
    Replay {
        message: usize,
    },
    Dismiss {
        message: usize,
    },
    Drain {
        limit: usize,
    },
    Restart,
    Tick {
        ms: i64,
    },
}

pub(super) const TRIES_MAX: i64 = 3;
const LOSSES_MAX: i64 = 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Pending { due: i64 },
    Delivering { until: i64 },
    Delivered,
    Blocked,
    Dismissed,
}

impl State {
    const fn word(self) -> &'static str {
        match self {
            Self::Pending { .. } => "pending",
            Self::Delivering { .. } => "delivering",
            Self::Delivered => "delivered",
            Self::Blocked => "blocked",
            Self::Dismissed => "dismissed",
        }
    }
}

#[derive(Debug, Clone)]
struct Item {
    key: u8,
    dedup: Option<u8>,
    state: State,
    fence: i64,
    tries: i64,
    losses: i64,
    /// Whether a fetch has come past it; one that has not cannot be dismissed.
    looked_at: bool,
}

/// The whole of one partition with one group.
#[derive(Debug, Clone)]
pub(super) struct Model {
    now: i64,
    items: Vec<Item>,
    /// Message and fence of every delivery.
    pub(super) deliveries: Vec<(usize, i64)>,
}

impl Model {
    pub(super) const fn new(now: i64) -> Self {
        Self {
            now,
            items: Vec::new(),
            deliveries: Vec::new(),
        }
    }

    pub(super) fn messages(&self) -> usize {
        self.items.len()
    }

    /// The word for where each message stands.
    pub(super) fn states(&self) -> Vec<&'static str> {
        self.items.iter().map(|item| item.state.word()).collect()
    }

    /// Runs one operation; the answer is the text that the real topic's answer must have.
    pub(super) fn run(&mut self, operation: Operation) -> String {
        match operation {
            Operation::Produce { key, dedup } => self.produce(key, dedup),
            Operation::Fetch { max } => self.fetch(max),
            Operation::Ack { delivery } => self.answer(delivery, |item, _| {
                item.state = State::Delivered;
                "ok"
            }),
            Operation::Later { delivery, delay_ms } => self.answer(delivery, |item, now| {
                item.state = State::Pending {
                    due: now + delay_ms,
                };
                "ok"
            }),
            Operation::Poison { delivery } => self.answer(delivery, |item, now| {
                item.tries += 1;
                if item.tries >= TRIES_MAX {
                    item.state = State::Blocked;
                    "Dead"
                } else {
                    item.state = State::Pending { due: now };
                    "Again"
                }
            }),
            Operation::Replay { message } => {
                let now = self.now;
                let item = &mut self.items[message];
                if item.state != State::Blocked {
                    return format!("refused {}", item.state.word());
                }
                item.state = State::Pending { due: now };
                "ok".to_owned()
            }
            Operation::Dismiss { message } => {
                let item = &mut self.items[message];
                let allowed = match item.state {
                    State::Blocked => true,
                    State::Pending { .. } => item.looked_at,
                    State::Delivering { .. } | State::Delivered | State::Dismissed => false,
                };
                if !allowed {
                    return format!("refused {}", item.state.word());
                }
                item.state = State::Dismissed;
                "ok".to_owned()
            }
            Operation::Drain { limit } => {
                let now = self.now;
                let blocked = self
                    .items
                    .iter_mut()
                    .filter(|item| item.state == State::Blocked);
                let drained = blocked
                    .take(limit)
                    .map(|item| item.state = State::Pending { due: now });
                drained.count().to_string()
            }
            Operation::Restart => {
                let now = self.now;
                let mut ended = 0;
                for item in &mut self.items {
                    if let State::Delivering { until } = &mut item.state
                        && *until > now
                    {
                        *until = now;
                        ended += 1;
                    }
                }
                ended.to_string()
            }
            Operation::Tick { ms } => {
                self.now += ms;
                String::new()
            }
        }
    }

    fn produce(&mut self, key: u8, dedup: Option<u8>) -> String {
        let same = |item: &Item| dedup.is_some() && item.dedup == dedup;
        if let Some(place) = self.items.iter().position(same) {
            return format!("{place} earlier");
        }
        self.items.push(Item {
            key,
            dedup,
            state: State::Pending { due: i64::MIN },
            fence: 0,
            tries: 0,
            losses: 0,
            looked_at: false,
        });
        format!("{} new", self.items.len() - 1)
    }

    /// First what was handed out before and is due, then what is new, both by age; of a key only
    /// the oldest open one, as it stood before the fetch or was taken in it.
    fn fetch(&mut self, max: usize) -> String {
        let open =
            |item: &Item| matches!(item.state, State::Pending { .. } | State::Delivering { .. });
        let mut answer = Vec::new();
        let mut keys: BTreeSet<u8> = BTreeSet::new();
        let mut oldest = Vec::new();
        for (place, item) in self.items.iter().enumerate() {
            if item.looked_at && open(item) && (item.key == 0 || keys.insert(item.key)) {
                oldest.push(place);
            }
        }
        let mut looked = 0;
        for place in oldest {
            let item = &mut self.items[place];
            let (State::Pending { due } | State::Delivering { until: due }) = item.state else {
                continue;
            };
            if due > self.now || looked == max {
                continue;
            }
            looked += 1;
            if matches!(item.state, State::Delivering { .. }) {
                item.losses += 1;
                if item.losses >= LOSSES_MAX {
                    item.state = State::Blocked;
                    continue;
                }
            }
            hand_out(item, place, self.now, &mut self.deliveries, &mut answer);
        }
        // A key whose message has just become a dead letter is free for what is new.
        let mut held: BTreeSet<u8> = self
            .items
            .iter()
            .filter(|item| item.looked_at && open(item) && item.key != 0)
            .map(|item| item.key)
            .collect();
        for place in 0..self.items.len() {
            if answer.len() == max {
                break;
            }
            let item = &mut self.items[place];
            if item.looked_at {
                continue;
            }
            item.looked_at = true;
            if item.key != 0 && !held.insert(item.key) {
                item.state = State::Pending { due: self.now };
                continue;
            }
            hand_out(item, place, self.now, &mut self.deliveries, &mut answer);
        }
        answer.join(", ")
    }

    fn answer(
        &mut self,
        delivery: usize,
        change: impl FnOnce(&mut Item, i64) -> &'static str,
    ) -> String {
        let (message, fence) = self.deliveries[delivery];
        let now = self.now;
        let item = &mut self.items[message];
        if item.fence != fence || !matches!(item.state, State::Delivering { .. }) {
            return "stale".to_owned();
        }
        change(item, now).to_owned()
    }
}

fn hand_out(
    item: &mut Item,
    place: usize,
    now: i64,
    deliveries: &mut Vec<(usize, i64)>,
    answer: &mut Vec<String>,
) {
    item.fence += 1;
    item.state = State::Delivering {
        until: now + LEASE_MS,
    };
    deliveries.push((place, item.fence));
    answer.push(format!(
        "{place} fence {} tries {} losses {}",
        item.fence, item.tries, item.losses
    ));
}
