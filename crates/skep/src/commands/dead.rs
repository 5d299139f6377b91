//! `skep dead`: jobs that ended without success: look at them, replay them, dismiss them.

use super::Session;
use super::job::{age, print_changed};
use crate::account;
use crate::cli::{Dead, DeadDrain, DeadList, Grouping};
use crate::failure::{Exit, Failure};
use crate::output::{one_line, table_columns};
use crate::table::{Align, Cell, Table};
use skep_api::{DeadClasses, DeadLetter, DeadListQuery, DeadView, DrainRequest};
use skep_stdx::{Clock as _, SystemClock};

/// Runs one of the commands.
pub(crate) async fn dead(session: &Session, command: &Dead) -> Result<Exit, Failure> {
    match command {
        Dead::List(arguments) if arguments.by == Some(Grouping::Class) => {
            let classes = session.reach().await?.dead_classes().await?;
            print_classes(session, &classes)?;
        }
        Dead::List(arguments) => list(session, arguments).await?,
        Dead::Show(arguments) => {
            let view = session.reach().await?.dead_letter(&arguments.job).await?;
            show(session, &view)?;
        }
        Dead::Replay(arguments) => {
            let reach = session.reach().await?;
            let job = reach.replay(&arguments.job).await?;
            print_changed(session, &reach, &job)?;
        }
        Dead::Drain(arguments) => drain(session, arguments).await?,
        Dead::Dismiss(arguments) => {
            let job = session.reach().await?.dismiss(&arguments.job).await?;
            if session.printer.json() {
                session.printer.document(&job)?;
            } else {
                session
                    .printer
                    .line(&format!("job {} is dismissed", job.number))?;
            }
        }
    }
    Ok(Exit::Done)
}

async fn list(session: &Session, arguments: &DeadList) -> Result<(), Failure> {
    let query = DeadListQuery {
        class: arguments.class,
        cursor: arguments.page.cursor.clone(),
        limit: arguments.page.limit,
    };
    let page = session.reach().await?.dead(query).await?;
    let printer = &session.printer;
    if printer.json() {
        return printer.document(&page);
    }
    if page.items.is_empty() {
        printer.note("no dead jobs");
        return Ok(());
    }
    let table = table(&page.items, SystemClock.now_ms());
    for line in table.lines(printer, table_columns()) {
        printer.line(&line)?;
    }
    if let Some(cursor) = &page.next_cursor {
        printer.note(&format!("more with `--cursor {cursor}`"));
    }
    Ok(())
}

fn table(letters: &[DeadLetter], now_ms: i64) -> Table<'static> {
    let mut table = Table::new(&[
        ("JOB", Align::Right),
        ("STATE", Align::Left),
        ("CLASS", Align::Left),
        ("DIED", Align::Right),
        ("AGE", Align::Right),
        ("WHY", Align::Flexible),
    ]);
    for letter in letters {
        let why = letter.reason.as_deref().unwrap_or(&letter.title);
        table.row(vec![
            letter.number.to_string().into(),
            Cell::toned(letter.state.as_str(), account::tone_of(letter.state)),
            letter.class.as_str().into(),
            format!("{}x", letter.deaths).into(),
            age(now_ms - letter.died_at).into(),
            one_line(why).as_str().into(),
        ]);
    }
    table
}

fn print_classes(session: &Session, classes: &DeadClasses) -> Result<(), Failure> {
    let printer = &session.printer;
    if printer.json() {
        return printer.document(classes);
    }
    let mut table = Table::new(&[("CLASS", Align::Left), ("JOBS", Align::Right)]);
    for count in &classes.classes {
        table.row(vec![
            count.class.as_str().into(),
            count.letters.to_string().into(),
        ]);
    }
    for line in table.lines(printer, table_columns()) {
        printer.line(&line)?;
    }
    printer.line(&format!(
        "{} of {} are not understood ({} %)",
        classes.unknown, classes.letters, classes.unknown_percent
    ))
}

fn show(session: &Session, view: &DeadView) -> Result<(), Failure> {
    let printer = &session.printer;
    if printer.json() {
        return printer.document(view);
    }
    let letter = &view.letter;
    printer.line(&format!(
        "Dead letter: {}, ended {}, the last {} as {}, replayed {}",
        letter.state,
        times(letter.deaths),
        times(letter.in_a_row),
        letter.class,
        times(letter.replays),
    ))?;
    printer.line("")?;
    account::print(printer, &view.job)?;
    printer.line("")?;
    for event in &view.events {
        printer.line(&format!("  {:>8}  {}", event.seq, one_line(&event.kind)))?;
    }
    Ok(())
}

fn times(count: i64) -> String {
    match count {
        1 => "once".to_owned(),
        count => format!("{count} times"),
    }
}

async fn drain(session: &Session, arguments: &DeadDrain) -> Result<(), Failure> {
    let request = DrainRequest {
        limit: arguments.limit,
        class: arguments.class,
    };
    let reach = session.reach().await?;
    let drained = reach.drain(request).await?;
    let printer = &session.printer;
    if printer.json() {
        return printer.document(&drained);
    }
    for job in &drained.replayed {
        printer.line(&format!("job {} is {}", job.number, job.state))?;
    }
    if drained.replayed.is_empty() {
        printer.note("nothing was replayed");
    }
    if !drained.passed_over.is_empty() {
        let numbers: Vec<String> = drained.passed_over.iter().map(i64::to_string).collect();
        printer.note(&format!(
            "passed over: {}; `skep dead show JOB` says why",
            numbers.join(", ")
        ));
    }
    if !reach.has_holder() && !drained.replayed.is_empty() {
        printer.note("nobody runs this home: they wait for the next `skep up` or `skep run`");
    }
    Ok(())
}
