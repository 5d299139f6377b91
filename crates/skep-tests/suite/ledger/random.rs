//! Any byte of any column that the chain covers, changed at random places.

use super::Ledgered;
use super::tamper::{unguard, with_ten};
use skep_db::{DbError, Row, Tx, Value, params};
use skep_stdx::{Entropy as _, OsEntropy};
use skep_testkit::{TestStore, on_both_engines};

on_both_engines!(a_changed_value_is_found_wherever_it_is);

const CHANGES: usize = 120;

/// Every column that is covered, with the column that its rows are found by.
const COLUMNS: &[(&str, &str, &[&str])] = &[
    (
        "ledger_event",
        "id",
        &["at_ms", "kind", "version", "subject", "payload"],
    ),
    (
        "ledger_chain",
        "first_seq",
        // The entries are most of the chain.
        &[
            "entries",
            "entries",
            "entries",
            "entries",
            "hash",
            "last_seq",
            "low_event",
            "high_event",
        ],
    ),
    ("ledger_head", "seq", &["hash", "signature", "last_event"]),
];

/// A small generator of its own, so that a printed seed gives the same changes again.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % (bound as u64)).unwrap_or_default()
    }

    fn flip(&mut self, bytes: &mut [u8]) {
        let place = self.below(bytes.len());
        bytes[place] ^= 1 << self.below(8);
    }

    fn changed(&mut self, value: &Value) -> Value {
        match value {
            // Any bit but the sign: PostgreSQL itself refuses a segment that is as wide as all numbers.
            Value::Int(int) => Value::Int(int ^ (1 << self.below(63))),
            Value::Text(text) => {
                let mut bytes = text.clone().into_bytes();
                let place = self.below(bytes.len());
                // Another letter, so that it stays text.
                bytes[place] = if bytes[place] == b'x' { b'y' } else { b'x' };
                Value::Text(String::from_utf8_lossy(&bytes).into_owned())
            }
            Value::Bytes(bytes) => {
                let mut bytes = bytes.clone();
                self.flip(&mut bytes);
                Value::Bytes(bytes)
            }
            Value::Real(_) | Value::Null => Value::Int(1),
        }
    }
}

async fn rows(ledger: &Ledgered, sql: String) -> Result<Vec<Row>, DbError> {
    let read = async move |tx: &mut Tx<'_>| tx.query(&sql, &[]).await;
    ledger.db.read("rows", read).await
}

async fn put(ledger: &Ledgered, sql: String, value: Value, key: i64) -> Result<u64, DbError> {
    let write = async move |tx: &mut Tx<'_>| {
        let mut params = params![0, key].to_vec();
        params[0] = value.clone();
        tx.execute(&sql, &params).await
    };
    ledger.db.write("put", write).await
}

/// The entries that a fault in this row may be found at: the event's, or one of the segment's.
fn places(table: &str, row: &Row) -> anyhow::Result<std::ops::RangeInclusive<i64>> {
    Ok(match table {
        "ledger_event" => row.get("id")?..=row.get("id")?,
        "ledger_chain" => row.get("first_seq")?..=row.get::<i64>("last_seq")? + 1,
        _ => 10..=11,
    })
}

async fn a_changed_value_is_found_wherever_it_is(store: TestStore) -> anyhow::Result<()> {
    let ledger = with_ten(&store).await?;
    unguard(&ledger, &store).await?;
    let mut seed = [0; 8];
    OsEntropy.fill(&mut seed);
    let seed = u64::from_le_bytes(seed);
    let mut random = Random(seed);
    for change in 0..CHANGES {
        let (table, key, columns) = COLUMNS[random.below(COLUMNS.len())];
        let column = columns[random.below(columns.len())];
        let all = rows(&ledger, format!("SELECT * FROM {table}")).await?;
        let row = &all[random.below(all.len())];
        let place = row.columns().iter().position(|name| name == column);
        let old = &row.values()[place.unwrap_or_default()];
        let new = random.changed(old);
        let id: i64 = row.get(key)?;
        let what = format!("seed {seed}, change {change}: {table}.{column} of {id} to {new:?}");
        let sql = format!("UPDATE {table} SET {column} = ?1 WHERE {key} = ?2");
        put(&ledger, sql.clone(), new, id).await?;
        let bad = ledger.verify().await?.first_bad;
        let expected = places(table, row)?;
        let fits = bad.as_ref().is_some_and(|bad| expected.contains(&bad.seq));
        assert!(fits, "{what} is to be found at {expected:?}: {bad:?}");
        put(&ledger, sql, old.clone(), id).await?;
        assert_eq!(ledger.verify().await?.first_bad, None, "after {what}");
    }
    Ok(())
}
