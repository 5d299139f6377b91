//! Export and import: everything of a store in one file, from either engine to either.

mod archive;
mod moved;
mod question;
mod refusal;

use skep_db::{
    Archive, ArchiveError, Db, Imported, Origin, Progress, SchemaPart, TableShape, Tx, Value,
    Written,
};
use skep_testkit::{Backend, TestStore};
use std::fs::File;
use std::path::{Path, PathBuf};

/// Runs each test in every direction: from either engine to either engine.
macro_rules! in_every_direction {
    ($($name:ident),+ $(,)?) => {
        mod from_sqlite { crate::data::in_every_direction!(@to Sqlite: $($name),+); }
        mod from_postgres { crate::data::in_every_direction!(@to Postgres: $($name),+); }
    };
    (@to $from:ident: $($name:ident),+) => {
        mod to_sqlite { crate::data::in_every_direction!(@test $from Sqlite: $($name),+); }
        mod to_postgres { crate::data::in_every_direction!(@test $from Postgres: $($name),+); }
    };
    (@test $from:ident $to:ident: $($name:ident),+) => {
        $(#[test]
        fn $name() {
            skep_testkit::run_on(skep_testkit::Backend::$from, async |from| {
                let to = skep_testkit::TestStore::new(skep_testkit::Backend::$to).await?;
                super::super::$name(from, to).await
            });
        })+
    };
}
pub(crate) use in_every_direction;

/// Writes `db` to `path` as one archive.
async fn export(db: &Db, parts: &[SchemaPart], path: &Path) -> anyhow::Result<Written> {
    let origin = Origin {
        product: "0.0.0".to_owned(),
        exported_at_ms: 7,
        home: None,
    };
    let file = File::create(path)?;
    let writer = db.export(parts, origin, Progress::default(), file).await?;
    Ok(writer.finish()?.1)
}

/// Takes the archive at `path` into `store`, with nothing done on arrival.
async fn import(
    store: &TestStore,
    parts: &[SchemaPart],
    path: &Path,
) -> Result<(Db, Imported<()>), ArchiveError> {
    let archive = Archive::open(open(path)?)?;
    Db::import(
        store.options(parts, None),
        archive,
        false,
        Progress::default(),
        async |_: &mut Tx<'_>| Ok::<(), ArchiveError>(()),
    )
    .await
}

fn open(path: &Path) -> Result<File, ArchiveError> {
    File::open(path).map_err(|source| ArchiveError::Io {
        action: "read",
        source,
    })
}

/// The archive's lines between the first, which says where and when, and the last.
fn body(path: &Path) -> anyhow::Result<Vec<String>> {
    let text = std::fs::read_to_string(path)?;
    let mut lines: Vec<String> = text.lines().skip(1).map(str::to_owned).collect();
    lines.pop();
    Ok(lines)
}
