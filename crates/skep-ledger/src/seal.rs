//! Sealing: giving appended events their place in the chain and signing the new head.
//!
//! On SQLite there is one writer, so a commit numbers, hashes and seals its own events from
//! memory. On PostgreSQL a commit only writes them, and the sealer takes the lowest of all
//! committed events that have no place yet. Whoever follows from an event has seen it committed
//! before it drew a number and so has the higher one; when the later event is visible the earlier
//! one is too, and goes first: it is either above the head's last event, where the lowest go
//! first, or in one of the head's gaps, all of which are looked at every time. (Ordering by
//! transaction number would not do: a transaction that began earlier may have waited for a row of
//! a later one, and then follows from it.)

use crate::append::Appended;
use crate::digest::{Covered, Digest};
use crate::error::LedgerError;
use crate::gaps::{Gaps, Transactions};
use crate::head::{self, Head};
use crate::key::LedgerKey;
use crate::limits::SEAL_EVENTS_MAX;
use crate::segment::Segment;
use crate::write;
use skep_db::{BeforeCommit, DbError, Engine, Locals, Row, Tx, Value, params};
use std::sync::{Arc, Mutex, PoisonError};

/// Writes the events that a transaction has appended just before its commit, and on SQLite seals
/// them there.
///
/// Fails the commit when the head that is to be extended was not signed with `key`: a chain that
/// somebody else has rewritten must not get a good signature with the next event.
pub fn sealer(key: LedgerKey) -> BeforeCommit {
    let sealer = Arc::new(Sealer::new(key));
    Box::new(move |tx: &mut Tx<'_>, left: &mut [Locals]| {
        let sealer = Arc::clone(&sealer);
        Box::pin(async move {
            let events: Vec<Appended> = left
                .iter_mut()
                .filter_map(Locals::take::<Vec<Appended>>)
                .flatten()
                .collect();
            match tx.engine() {
                Engine::Sqlite => Ok(sealer.write_and_seal(tx, events).await?),
                Engine::Postgres => write::drawn(tx, events).await,
            }
        })
    })
}

/// Takes over a chain that was moved here with its store: seals whatever had no place yet, on either
/// engine, and closes the gaps, because no transaction of the earlier store can fill them here. The
/// answer is how many events were sealed.
///
/// Fails when the head was not signed with `key`, as in a store that came without its key.
pub async fn take_over(tx: &mut Tx<'_>, key: &LedgerKey) -> Result<i64, LedgerError> {
    let mut old = Sealer::new(key.clone()).read_head(tx).await?;
    check_last_event(tx, &old).await?;
    let mut sealed = 0;
    loop {
        let events = left_over(tx, &old).await?;
        let mut head = Head {
            gaps: Gaps::default(),
            ..old.clone()
        };
        if events.is_empty() && head == old {
            return Ok(sealed);
        }
        let mut segment = Segment::with_capacity(events.len());
        for event in &events {
            segment.push(&mut head, &event.covered());
            sealed += 1;
        }
        store(tx, &old, &head, segment, key).await?;
        old = head;
    }
}

/// Events without a place: those in the gaps, then the lowest above the last one that has a place.
async fn left_over(tx: &mut Tx<'_>, head: &Head) -> Result<Vec<Event>, LedgerError> {
    let columns = "SELECT id, at_ms, kind, version, subject, payload FROM ledger_event";
    let mut rows = Vec::new();
    for gap in head.gaps.ranges() {
        let sql = format!("{columns} WHERE id BETWEEN ?1 AND ?2 ORDER BY id");
        rows.extend(tx.query(&sql, params![gap.first, gap.last]).await?);
    }
    let sql = format!("{columns} WHERE id > ?1 ORDER BY id LIMIT ?2");
    let above = params![head.last_event, SEAL_EVENTS_MAX];
    rows.extend(tx.query(&sql, above).await?);
    let events = rows
        .iter()
        .filter_map(|row| Event::from_row(row).transpose());
    Ok(events.collect::<Result<_, DbError>>()?)
}

/// When to seal while another sealer is at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Not at all.
    IfFree,
    /// After it.
    Next,
}

/// Seals events; remembers the head it made, so as to read it and check its signature only when
/// somebody else has made the head.
#[derive(Debug)]
pub(crate) struct Sealer {
    pub(crate) key: LedgerKey,
    trusted: Mutex<Option<Head>>,
}

impl Sealer {
    pub(crate) fn new(key: LedgerKey) -> Self {
        Self {
            key,
            trusted: Mutex::new(None),
        }
    }

    /// Writes and seals the events of one SQLite commit.
    pub(crate) async fn write_and_seal(
        &self,
        tx: &mut Tx<'_>,
        events: Vec<Appended>,
    ) -> Result<(), LedgerError> {
        if events.is_empty() {
            return Ok(());
        }
        let known = self.trusted();
        let (mut old, mut remembered) = match known {
            Some(head) => (head, true),
            None => (self.read_head(tx).await?, false),
        };
        loop {
            let (head, segments) = extended(&old, &events);
            if head::replace(tx, &old, &head, &self.key).await? {
                write::numbered(tx, old.last_event + 1, events).await?;
                for row in segments {
                    tx.execute(INSERT_SEGMENT, &row).await?;
                }
                self.trust(head);
                return Ok(());
            }
            if !remembered {
                return Err(LedgerError::ForeignHead { seq: old.seq });
            }
            // Not the head that is remembered: a commit failed after it was made here.
            (old, remembered) = (self.read_head(tx).await?, false);
        }
    }

    /// Seals up to [`SEAL_EVENTS_MAX`] events of a PostgreSQL ledger; the answer is how many.
    pub(crate) async fn seal(&self, tx: &mut Tx<'_>, turn: Turn) -> Result<i64, LedgerError> {
        // Whoever holds the head's row seals.
        let found = match turn {
            Turn::IfFree => head::read_if_free(tx).await?,
            Turn::Next => head::read_locked(tx).await?,
        };
        let Some(found) = found else {
            return Ok(0);
        };
        let old = if self.trusted().as_ref() == Some(&found.head) {
            found.head
        } else {
            let head = found.trusted(&self.key)?;
            check_last_event(tx, &head).await?;
            head
        };
        let rows = look(tx, &old).await?;
        let Some(first) = rows.first() else {
            return Ok(0);
        };
        let now = Transactions {
            ended_below: first.get("ended_below")?,
            own: first.get("own")?,
        };
        let mut events = rows
            .iter()
            .filter_map(|row| Event::from_row(row).transpose())
            .collect::<Result<Vec<Event>, DbError>>()?;
        let mut head = old.clone();
        head.gaps = match next_gaps(&old, &events, now) {
            Some(gaps) => gaps,
            None => {
                tracing::warn!(
                    event = old.last_event,
                    "events wait for their seal until a transaction that has lasted long ends"
                );
                events.retain(|event| event.id <= old.last_event);
                next_gaps(&old, &events, now).unwrap_or_default()
            }
        };
        if events.is_empty() && head.gaps == old.gaps {
            return Ok(0);
        }
        let mut segment = Segment::with_capacity(events.len());
        for event in &events {
            segment.push(&mut head, &event.covered());
        }
        store(tx, &old, &head, segment, &self.key).await?;
        self.trust(head);
        Ok(i64::try_from(events.len()).unwrap_or(i64::MAX))
    }

    async fn read_head(&self, tx: &mut Tx<'_>) -> Result<Head, LedgerError> {
        match head::read(tx).await? {
            Some(found) => found.trusted(&self.key),
            None => Err(LedgerError::ForeignHead { seq: 0 }),
        }
    }

    fn trusted(&self) -> Option<Head> {
        let trusted = self.trusted.lock().unwrap_or_else(PoisonError::into_inner);
        trusted.clone()
    }

    /// If the commit fails after all, the head in the store is another one and is checked again.
    fn trust(&self, head: Head) {
        *self.trusted.lock().unwrap_or_else(PoisonError::into_inner) = Some(head);
    }
}

/// The head and the segments that `events` make after `old`, numbered from its last event on.
fn extended(old: &Head, events: &[Appended]) -> (Head, Vec<[Value; 6]>) {
    let mut head = old.clone();
    let most = usize::try_from(SEAL_EVENTS_MAX).unwrap_or(usize::MAX);
    let mut rows = Vec::new();
    for chunk in events.chunks(most) {
        let mut segment = Segment::with_capacity(chunk.len());
        for event in chunk {
            let covered = Covered {
                event_id: head.last_event + 1,
                at_ms: event.at_ms,
                kind: event.kind,
                version: event.version,
                subject: &event.subject,
                payload_digest: Digest::of(&event.payload),
            };
            segment.push(&mut head, &covered);
        }
        rows.push(segment.into_row(&head));
    }
    (head, rows)
}

fn next_gaps(old: &Head, events: &[Event], now: Transactions) -> Option<Gaps> {
    let ids: Vec<i64> = events.iter().map(|event| event.id).collect();
    old.gaps.after(old.last_event, &ids, now)
}

/// What the sealer reads of an event.
struct Event {
    id: i64,
    at_ms: i64,
    kind: String,
    version: i64,
    subject: String,
    payload_digest: Digest,
}

impl Event {
    /// `None` for the row that stands where there are no events.
    fn from_row(row: &Row) -> Result<Option<Self>, DbError> {
        let Some(id) = row.get("id")? else {
            return Ok(None);
        };
        Ok(Some(Self {
            id,
            at_ms: row.get("at_ms")?,
            kind: row.get("kind")?,
            version: row.get("version")?,
            subject: row.get("subject")?,
            payload_digest: Digest::of(&row.get::<Vec<u8>>("payload")?),
        }))
    }

    fn covered(&self) -> Covered<'_> {
        Covered {
            event_id: self.id,
            at_ms: self.at_ms,
            kind: &self.kind,
            version: self.version,
            subject: &self.subject,
            payload_digest: self.payload_digest,
        }
    }
}

/// One look at a PostgreSQL store: events without a place, and the transactions of that instant.
async fn look(tx: &mut Tx<'_>, head: &Head) -> Result<Vec<Row>, DbError> {
    if head.gaps.is_empty() {
        let params = params![head.last_event, SEAL_EVENTS_MAX];
        return tx.query(LOOK, params).await;
    }
    let list = |bound: fn(&crate::gaps::Gap) -> i64| {
        let numbers: Vec<String> = head
            .gaps
            .ranges()
            .iter()
            .map(|gap| bound(gap).to_string())
            .collect();
        Value::from(numbers.join(","))
    };
    let (firsts, lasts) = (list(|gap| gap.first), list(|gap| gap.last));
    let params = params![head.last_event, SEAL_EVENTS_MAX, firsts, lasts];
    tx.query(LOOK_WITH_GAPS, params).await
}

macro_rules! transactions {
    () => {
        "SELECT
            CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS TEXT) AS BIGINT) AS ended_below,
            CAST(CAST(pg_current_xact_id() AS TEXT) AS BIGINT) AS own"
    };
}

const TRANSACTIONS: &str = transactions!();

macro_rules! look {
    ($gaps:literal) => {
        concat!(
            "SELECT s.ended_below, s.own,
                e.id, e.at_ms, e.kind, e.version, e.subject, e.payload
            FROM (",
            transactions!(),
            ") s
            LEFT JOIN (
                (SELECT id, at_ms, kind, version, subject, payload FROM ledger_event
                    WHERE id > ?1 ORDER BY id LIMIT ?2)",
            $gaps,
            ") e ON 1 = 1 ORDER BY e.id"
        )
    };
}

const LOOK: &str = look!("");
const LOOK_WITH_GAPS: &str = look!(
    "UNION ALL
        SELECT g.id, g.at_ms, g.kind, g.version, g.subject, g.payload
        FROM unnest(CAST(string_to_array(?3, ',') AS BIGINT[]),
            CAST(string_to_array(?4, ',') AS BIGINT[])) AS gap (first, last)
        JOIN ledger_event g ON g.id BETWEEN gap.first AND gap.last"
);

const INSERT_SEGMENT: &str = "INSERT INTO ledger_chain
    (first_seq, last_seq, low_event, high_event, entries, hash) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";

/// Stores what one batch of the sealer made; the head's row is locked.
pub(crate) async fn store(
    tx: &mut Tx<'_>,
    old: &Head,
    head: &Head,
    segment: Segment,
    key: &LedgerKey,
) -> Result<(), LedgerError> {
    if head.seq > old.seq {
        tx.execute(INSERT_SEGMENT, &segment.into_row(head)).await?;
    }
    if head::replace(tx, old, head, key).await? {
        Ok(())
    } else {
        Err(LedgerError::ForeignHead { seq: old.seq })
    }
}

/// What the store knows about transactions at this instant, on PostgreSQL.
pub(crate) async fn transactions(tx: &mut Tx<'_>) -> Result<Transactions, DbError> {
    let row = tx.query_one(TRANSACTIONS, &[]).await?;
    Ok(Transactions {
        ended_below: row.get("ended_below")?,
        own: row.get("own")?,
    })
}

/// A head that names an earlier event than the chain's last would have it sealed twice.
async fn check_last_event(tx: &mut Tx<'_>, head: &Head) -> Result<(), LedgerError> {
    let sql = "SELECT high_event FROM ledger_chain ORDER BY first_seq DESC LIMIT 1";
    let row = tx.query_opt(sql, &[]).await?;
    let high: i64 = row.map_or(Ok(0), |row| row.get("high_event"))?;
    if high == head.last_event {
        Ok(())
    } else {
        Err(LedgerError::ForeignHead { seq: head.seq })
    }
}
