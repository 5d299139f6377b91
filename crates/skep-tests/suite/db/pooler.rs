//! Behind a pooler that gives each transaction another server process: a real PgBouncer in
//! transaction mode, and an address that says `statement_cache=off`.

use super::{SCHEMA, insert, sums};
use crate::crash::site::Site;
use serde::Serialize;
use skep_db::{Db, SchemaPart, Tx};
use skep_ledger::{LedgerError, LedgerKey, Payload, SealerService, append, sealer, verify};
use skep_testkit::{Backend, Pooler, TestStore, run_on};

const NODES: i64 = 2;
const WRITERS: i64 = 6;
const WRITES: i64 = 15;

#[derive(Serialize)]
struct BeeCounted {
    bees: i64,
}

impl Payload for BeeCounted {
    const KIND: &'static str = "bee_counted";
    const VERSION: i64 = 1;
}

async fn open(store: &TestStore, key: &LedgerKey) -> anyhow::Result<Db> {
    let schema: Vec<SchemaPart> = [&[skep_ledger::SCHEMA][..], SCHEMA].concat();
    Ok(store
        .open_on_real_clock(&schema, Some(sealer(key.clone())))
        .await?)
}

async fn write(db: &Db, name: String, bees: i64) -> Result<(), LedgerError> {
    db.write("write", async move |tx: &mut Tx<'_>| {
        insert(tx, &name, bees).await?;
        append(tx, "hive", &BeeCounted { bees }).await
    })
    .await
}

#[test]
fn transactions_hop_between_server_processes() {
    run_on(Backend::Postgres, async |direct| {
        let pooler = Pooler::start(&direct)?;
        let store = TestStore::at(pooler.address())?;
        let key = LedgerKey::open_or_create(&store.folder().join("ledger.key"))?;
        let mut tasks = Vec::new();
        for node in 0..NODES {
            let db = open(&store, &key).await?;
            for writer in 0..WRITERS {
                let db = db.clone();
                tasks.push(skep_stdx::spawn("writer", async move {
                    for n in 0..WRITES {
                        write(&db, format!("{node}-{writer}-{n}"), n).await?;
                    }
                    anyhow::Ok(())
                }));
            }
            let sealing = SealerService::new(db, key.clone());
            tasks.push(skep_stdx::spawn("sealer", async move {
                for _ in 0..WRITES {
                    sealing.seal_pending().await?;
                }
                anyhow::Ok(())
            }));
        }
        for task in tasks {
            task.await??;
        }
        let db = open(&store, &key).await?;
        SealerService::new(db.clone(), key.clone())
            .seal_pending()
            .await?;
        let written = NODES * WRITERS * WRITES;
        assert_eq!(i64::try_from(sums(&db).await?.len())?, written);
        let report = verify(&db, key.public()).await?;
        assert_eq!((report.events, report.unsealed), (written, 0));
        assert_eq!(report.first_bad, None);
        Ok(())
    });
}

#[test]
fn an_engine_does_every_kind_of_work() {
    run_on(Backend::Postgres, async |direct| {
        let pooler = Pooler::start(&direct)?;
        let store = TestStore::at(pooler.address())?;
        let site = Site::new(&store)?;
        let mut jobs = Vec::new();
        for (number, worker) in (1..).zip(["loop", "noter", "call", "shell"]) {
            jobs.push(site.submit(worker, number).await?);
        }
        site.finish(&jobs).await?;
        Ok(())
    });
}
