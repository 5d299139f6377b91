//! One statement as the server is to get it: by the name under which it was prepared, or as text.

use crate::DbError;
use crate::given::Piece;
use crate::sql::Known;
use crate::value::{ColumnNames, Row, Value};
use deadpool_postgres::ClientWrapper;
use std::sync::Arc;
use tokio_postgres::Statement;
use tokio_postgres::types::{ToSql, Type};

/// A statement that can be sent without asking the server anything before.
pub(super) struct Prepared {
    pub(super) known: Arc<Known>,
    /// `None`: it is parsed anew, and never named.
    pub(super) named: Option<Statement>,
}

impl Prepared {
    pub(super) async fn execute(
        &self,
        client: &ClientWrapper,
        piece: &Piece<'_>,
    ) -> Result<u64, tokio_postgres::Error> {
        let params = piece.typed();
        match &self.named {
            Some(statement) => client.execute(statement, &untyped(&params)).await,
            None => client.execute_typed(&self.known.text, &params).await,
        }
    }

    pub(super) async fn query(
        &self,
        client: &ClientWrapper,
        piece: &Piece<'_>,
    ) -> Result<Vec<tokio_postgres::Row>, tokio_postgres::Error> {
        let params = piece.typed();
        match &self.named {
            Some(statement) => client.query(statement, &untyped(&params)).await,
            None => client.query_typed(&self.known.text, &params).await,
        }
    }

    /// The rows as both engines give them.
    pub(super) fn read(&self, rows: &[tokio_postgres::Row]) -> Result<Vec<Row>, DbError> {
        let Some(first) = rows.first() else {
            return Ok(Vec::new());
        };
        let names = first.columns().iter().map(|column| column.name());
        let columns = self.known.columns(&names);
        let value = |row: &tokio_postgres::Row, place| {
            row.try_get::<_, Value>(place)
                .map_err(|error| DbError::statement(&self.known.text, error))
        };
        rows.iter()
            .map(|row| {
                let values = (0..columns.len()).map(|place| value(row, place));
                Ok(Row {
                    columns: ColumnNames::clone(&columns),
                    values: values.collect::<Result<_, _>>()?,
                })
            })
            .collect()
    }
}

/// A parameter with the type that stands for it where the statement does not say.
type Typed<'p> = (&'p (dyn ToSql + Sync), Type);

impl Piece<'_> {
    fn typed(&self) -> Vec<Typed<'_>> {
        let values = self.values.iter().chain(self.few);
        let values = values.map(|value| (value as &(dyn ToSql + Sync), value.postgres_type()));
        let arrays = self.arrays.iter();
        let arrays =
            arrays.map(|column| (column as &(dyn ToSql + Sync), column.kind.postgres_array()));
        values.chain(arrays).collect()
    }
}

fn untyped<'p>(params: &[Typed<'p>]) -> Vec<&'p (dyn ToSql + Sync)> {
    params.iter().map(|(value, _)| *value).collect()
}
