//! The columns that hold paths inside the home.

use skep_db::{DbError, Tx, params};
use std::path::Path;

/// Makes every path below `earlier` one below `here`; the answer is how many.
pub(crate) async fn move_home(
    tx: &mut Tx<'_>,
    earlier: &Path,
    here: &Path,
) -> Result<u64, DbError> {
    let (earlier, here) = (earlier.to_string_lossy(), here.to_string_lossy());
    let folder = format!("{}/", earlier.trim_end_matches('/'));
    let here = format!("{}/", here.trim_end_matches('/'));
    let mut moved = 0;
    for (table, column) in [
        ("dispatch", "vault"),
        ("shell_request", "vault"),
        ("delivery", "place"),
        ("leftover", "place"),
    ] {
        let sql = format!(
            "UPDATE {table} SET {column} = ?2 || substr({column}, CAST(?3 AS INTEGER) + 1)
            WHERE substr({column}, 1, CAST(?3 AS INTEGER)) = ?1"
        );
        let length = i64::try_from(folder.chars().count()).unwrap_or(i64::MAX);
        moved += tx.execute(&sql, params![&folder, &here, length]).await?;
    }
    Ok(moved)
}
