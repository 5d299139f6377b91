//! A store that dies in the commit of a step, so that nobody knows whether it took place: the step
//! is done again, and the job has not failed.

use super::stand::{Engine, FIX, Setup, project, request};
use skep_db::Tx;
use skep_testkit::{Backend, run_on};
use skep_types::{AttemptState, JobState};

/// The commit of the first change of such a row ends its own session.
fn trap(event: &str, table: &str) -> String {
    format!(
        "CREATE SEQUENCE trap;
        CREATE FUNCTION spring() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF nextval('trap') = 1 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;
            RETURN NULL;
        END $$;
        CREATE CONSTRAINT TRIGGER spring AFTER {event} ON {table}
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION spring()"
    )
}

fn check(event: &'static str, table: &'static str) {
    run_on(Backend::Postgres, async |store| {
        let project = project()?;
        let engine = Engine::start(&store, &Setup::with_fixer(FIX)).await?;
        let set = async move |tx: &mut Tx<'_>| tx.batch(&trap(event, table)).await;
        engine.db.write("trap", set).await?;
        let view = engine.run(request(&project)).await?;
        assert_eq!(view.state, JobState::Done, "{view:#?}");
        let states: Vec<_> = view.attempts.iter().map(|attempt| attempt.state).collect();
        let expected = [AttemptState::Lost, AttemptState::Succeeded];
        assert_eq!(states, expected, "{event} on {table}");
        let events = engine.events(&view.id).await?;
        let counted = events
            .iter()
            .filter(|event| event.kind == "attempt_ended" && event.payload["counted"] == true);
        assert_eq!(counted.count(), 1, "{events:#?}");
        engine.stop().await
    });
}

#[test]
fn a_start_that_may_not_be_on_record() {
    check("UPDATE", "attempt");
}

#[test]
fn a_result_that_may_not_be_on_record() {
    check("INSERT", "result");
}
