//! `skep data query`: a question in SQL, answered by the engine's read-only means.

use crate::cli::DataQuery;
use crate::commands::Session;
use crate::config::Database;
use crate::failure::{Exit, Failure, failed_to};
use crate::output::{quantity, table_columns};
use crate::table::{Align, Cell, Table};
use serde_json::{Map, Value as Json};
use skep_db::{Answer, Location, QueryError, QueryLimits, Value, ask};

/// Asks the home's store.
pub(crate) async fn query(session: &Session, arguments: &DataQuery) -> Result<Exit, Failure> {
    let home = session.home()?;
    let config = session.config(&home)?;
    let location = match config.database()? {
        Database::Postgres(address) => Location::Postgres(address),
        Database::Sqlite if home.database().is_file() => Location::Sqlite(home.database()),
        Database::Sqlite => {
            return Err(Failure::not_found(
                "store_not_found",
                format!("{} holds no data yet", home.root().display()),
                "`skep run` and `skep up` make it; `--home` chooses another home",
            ));
        }
    };
    let limits = QueryLimits {
        rows: arguments.limit,
        time_ms: arguments.timeout.saturating_mul(1_000),
    };
    let answer = ask(&location, &arguments.sql, limits)
        .await
        .map_err(|error| failure(&error))?;
    print(session, &answer)?;
    if answer.cut {
        session.printer.warning(&format!(
            "only the first {}; `--limit` allows more",
            quantity(answer.rows.len() as u64, "row")
        ));
    }
    Ok(Exit::Done)
}

fn failure(error: &QueryError) -> Failure {
    let message = failed_to(error);
    if matches!(error, QueryError::Db(_)) {
        return Failure::unreachable(error.code(), message, error.hint());
    }
    Failure::usage(error.code(), message, error.hint())
}

fn print(session: &Session, answer: &Answer) -> Result<(), Failure> {
    let printer = &session.printer;
    if printer.json() {
        for row in &answer.rows {
            printer.document(&as_object(&answer.columns, row))?;
        }
        return Ok(());
    }
    let columns: Vec<(&str, Align)> = answer
        .columns
        .iter()
        .enumerate()
        .map(|(place, name)| {
            let mut values = answer.rows.iter().filter_map(|row| row.get(place));
            let numbers = values.all(|v| matches!(v, Value::Int(_) | Value::Real(_) | Value::Null));
            (
                name.as_str(),
                if numbers { Align::Right } else { Align::Left },
            )
        })
        .collect();
    let mut table = Table::new(&columns);
    for row in &answer.rows {
        table.row(row.iter().map(cell).collect());
    }
    let (lines, hidden) = table.fitted(printer, table_columns());
    for line in lines {
        printer.line(&line)?;
    }
    if hidden > 0 {
        printer.warning(&format!(
            "{} not shown: name fewer, or ask with `--json`",
            quantity(hidden as u64, "column")
        ));
    }
    Ok(())
}

/// Cells lose what could move the cursor when they are made.
fn cell(value: &Value) -> Cell {
    match value {
        Value::Null => Cell::toned("null", crate::output::Tone::Quiet),
        Value::Int(int) => int.to_string().into(),
        Value::Real(real) => real.to_string().into(),
        Value::Text(text) => text.as_str().into(),
        Value::Bytes(bytes) => hexadecimal(bytes).into(),
    }
}

fn as_object(columns: &[String], row: &[Value]) -> Map<String, Json> {
    let values = row.iter().map(|value| match value {
        Value::Null => Json::Null,
        Value::Int(int) => Json::from(*int),
        Value::Real(real) => Json::from(*real),
        Value::Text(text) => Json::from(text.as_str()),
        Value::Bytes(bytes) => Json::from(hexadecimal(bytes)),
    });
    columns.iter().cloned().zip(values).collect()
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_value_has_a_form_for_programs() {
        let columns = ["a", "b", "c", "d", "e"].map(str::to_owned);
        let row = [
            Value::Null,
            Value::Int(i64::MIN),
            Value::Real(0.5),
            Value::Text("\u{1b}[2J".to_owned()),
            Value::Bytes(vec![0, 255]),
        ];
        assert_eq!(
            serde_json::to_string(&as_object(&columns, &row)).unwrap(),
            r#"{"a":null,"b":-9223372036854775808,"c":0.5,"d":"\u001b[2J","e":"00ff"}"#
        );
    }
}
