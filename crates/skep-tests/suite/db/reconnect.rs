//! PostgreSQL connections that die under way: nothing is lost, nothing is done twice, and a caller
//! sees success or that the outcome is not known.

use super::{SCHEMA, insert, sums};
use skep_db::{Db, DbError, Tx, params};
use skep_testkit::{Backend, TestStore, run_on};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use tokio::sync::mpsc;

const WRITERS: i64 = 8;
const WRITES: i64 = 60;
/// So many writes end between two kills.
const WRITES_A_KILL: i64 = 12;

const KILL: &str = "SELECT COUNT(pg_terminate_backend(pid)) AS killed FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()";

#[test]
fn killed_backends_lose_and_double_nothing() {
    run_on(Backend::Postgres, async |store| {
        let db = store.open(SCHEMA, None).await?;
        let (wrote, writes) = mpsc::unbounded_channel();
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (db, wrote) = (db.clone(), wrote.clone());
                skep_stdx::spawn("writer", async move {
                    let mut ends = Vec::new();
                    for n in 0..WRITES {
                        let name = format!("{writer}-{n}");
                        ends.push((name.clone(), write(&db, name).await));
                        wrote.send(())?;
                    }
                    anyhow::Ok(ends)
                })
            })
            .collect();
        drop(wrote);
        let killed = kill_now_and_then(&store, writes).await?;
        let (mut known, mut unknown) = (BTreeSet::new(), BTreeSet::new());
        for writer in writers {
            for (name, end) in writer.await?? {
                match end {
                    Ok(()) => assert!(known.insert(name)),
                    Err(DbError::CommitUnknown { .. }) => assert!(unknown.insert(name)),
                    Err(error) => anyhow::bail!("{name}: {error:?}"),
                }
            }
        }
        assert!(killed > 0, "nothing was killed, so nothing was tested");
        let sums = sums(&db).await?;
        assert!(sums.iter().all(|(_, sum)| *sum == 1), "{sums:?}");
        let found: BTreeSet<String> = sums.into_iter().map(|(name, _)| name).collect();
        let lost: Vec<_> = known.difference(&found).collect();
        assert_eq!(lost, Vec::<&String>::new(), "acknowledged and not there");
        let known: BTreeSet<String> = known.union(&unknown).cloned().collect();
        let strange: Vec<_> = found.difference(&known).collect();
        assert_eq!(strange, Vec::<&String>::new(), "there and refused");
        Ok(())
    });
}

/// Two statements, so that a connection can die between them; the second goes with the COMMIT. A
/// second run of one that was committed would meet its own row.
async fn write(db: &Db, name: String) -> Result<(), DbError> {
    db.write("write", async move |tx: &mut Tx<'_>| {
        insert(tx, &name, 0).await?;
        let sql = "UPDATE account SET sum = sum + 1 WHERE name = ?1";
        tx.execute_later(sql, params![&name]).await
    })
    .await
}

async fn kill(killer: &Db) -> Result<i64, DbError> {
    let kill = async |tx: &mut Tx<'_>| tx.query_one(KILL, &[]).await?.get("killed");
    killer.write("kill", kill).await
}

/// Kills every other connection of the database, again and again while there are writes.
async fn kill_now_and_then(
    store: &TestStore,
    mut writes: mpsc::UnboundedReceiver<()>,
) -> anyhow::Result<i64> {
    let killer = store.open(SCHEMA, None).await?;
    let (mut killed, mut ended) = (0, 0);
    while writes.recv().await.is_some() {
        ended += 1;
        if ended % WRITES_A_KILL == 0 {
            killed += kill(&killer).await?;
        }
    }
    Ok(killed)
}

/// A transaction whose connection dies between two statements is run again from its start.
#[test]
fn a_connection_that_dies_in_a_transaction_is_not_the_callers_to_know() {
    run_on(Backend::Postgres, async |store| {
        let db = store.open(SCHEMA, None).await?;
        let killer = store.open(SCHEMA, None).await?;
        let runs = Arc::new(AtomicI64::new(0));
        let run = db
            .write("dies", async move |tx: &mut Tx<'_>| {
                let run = runs.fetch_add(1, Ordering::SeqCst);
                insert(tx, "a", run).await?;
                if run == 0 {
                    kill(&killer).await?;
                }
                insert(tx, "b", run).await?;
                Ok::<i64, DbError>(run)
            })
            .await?;
        assert_eq!(run, 1, "the second run is the one that counts");
        let expected = [("a".to_owned(), 1), ("b".to_owned(), 1)];
        assert_eq!(sums(&db).await?, expected);
        Ok(())
    });
}

/// Who is cut off in the middle of a transaction cannot let go of what it locks: the server does.
#[test]
fn the_locks_of_who_is_cut_off_are_let_go() {
    run_on(Backend::Postgres, async |store| {
        let db = store.open(SCHEMA, None).await?;
        let ask = async |tx: &mut Tx<'_>| {
            let sql = "SELECT setting FROM pg_settings
                WHERE name = 'idle_in_transaction_session_timeout'";
            tx.query_one(sql, &[]).await?.get::<String>("setting")
        };
        let limit = skep_db::limits::POSTGRES_IDLE_TRANSACTION_MS.to_string();
        assert_eq!(db.write("ask", ask).await?, limit);
        // Behind a pooler the session is somebody else's afterwards.
        assert_eq!(db.read("ask", ask).await?, "0");
        Ok(())
    });
}
