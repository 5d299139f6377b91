//! Lists: live and ended jobs alike, the newest first, in pieces.

use super::Hive;
use skep_db::{DbError, Tx};
use skep_queue::{Job, JobFilter, NewJob, Page, limits};
use skep_testkit::{TestStore, on_both_engines};
use skep_types::JobState;

on_both_engines!(
    a_filter_lets_through_what_it_names,
    a_list_in_pieces_is_the_whole_list,
    a_piece_is_bounded,
);

async fn list(
    hive: &Hive,
    filter: &JobFilter,
    cursor: Option<i64>,
    limit: i64,
) -> Result<Page<Job>, DbError> {
    let filter = filter.clone();
    hive.db
        .read("jobs", async move |tx: &mut Tx<'_>| {
            skep_queue::jobs(tx, &filter, cursor, limit).await
        })
        .await
}

/// Twelve jobs, every third one cancelled; the numbers, the oldest first.
async fn twelve(hive: &Hive) -> anyhow::Result<Vec<i64>> {
    let mut numbers = Vec::new();
    for n in 0..12 {
        let job = hive.enqueue(hive.new_job()).await?;
        if n % 3 == 0 {
            hive.cancel(&job.id).await?;
        }
        numbers.push(job.number);
    }
    Ok(numbers)
}

async fn a_list_in_pieces_is_the_whole_list(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    let mut expected = twelve(&hive).await?;
    expected.reverse();
    for limit in [1, 5, 6, 11, 12, 13] {
        let (mut found, mut cursor) = (Vec::new(), None);
        loop {
            let page = list(&hive, &JobFilter::default(), cursor, limit).await?;
            assert!(i64::try_from(page.items.len())? <= limit);
            found.extend(page.items.iter().map(|job| job.number));
            assert!(found.len() <= 13, "in pieces of {limit}: {found:?}");
            // A job that comes in while one reads does not move the pieces.
            if limit == 5 && cursor.is_none() {
                hive.enqueue_any().await?;
            }
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        if limit > 5 {
            found.remove(0);
        }
        assert_eq!(found, expected, "in pieces of {limit}");
    }
    Ok(())
}

async fn a_filter_lets_through_what_it_names(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    let numbers = twelve(&hive).await?;
    let parent = hive.enqueue_any().await?;
    for (project, parent) in [
        ("other", None),
        ("other", Some(&parent)),
        ("hive", Some(&parent)),
    ] {
        let new = NewJob {
            project: project.to_owned(),
            parent: parent.cloned(),
            ..hive.new_job()
        };
        hive.enqueue(new).await?;
    }
    let states = |states: &[JobState]| JobFilter {
        states: states.to_vec(),
        ..JobFilter::default()
    };
    let both = JobFilter {
        parent: Some(parent.clone()),
        project: Some("other".to_owned()),
        states: vec![JobState::Queued],
    };
    for (filter, expected) in [
        (states(&[JobState::Cancelled]), 4),
        (states(&[JobState::Queued]), 12),
        (
            states(&[JobState::Queued, JobState::Cancelled, JobState::Queued]),
            16,
        ),
        (states(&[JobState::Done]), 0),
        (
            JobFilter {
                parent: Some(parent),
                ..JobFilter::default()
            },
            2,
        ),
        (
            JobFilter {
                project: Some("other".to_owned()),
                ..JobFilter::default()
            },
            2,
        ),
        (
            JobFilter {
                project: Some("' OR 1 = 1".to_owned()),
                ..JobFilter::default()
            },
            0,
        ),
        (both, 1),
    ] {
        let page = list(&hive, &filter, None, 100).await?;
        assert_eq!(
            (page.items.len(), page.next_cursor),
            (expected, None),
            "{filter:?}"
        );
    }
    let ended = list(&hive, &states(&[JobState::Cancelled]), None, 3).await?;
    let found: Vec<i64> = ended.items.iter().map(|job| job.number).collect();
    assert_eq!(found, [numbers[9], numbers[6], numbers[3]]);
    assert_eq!(ended.next_cursor, Some(numbers[3]));
    Ok(())
}

async fn a_piece_is_bounded(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    twelve(&hive).await?;
    for (limit, expected) in [(0, 1), (-5, 1), (i64::MAX, 12), (limits::LIST_JOBS_MAX, 12)] {
        let page = list(&hive, &JobFilter::default(), None, limit).await?;
        assert_eq!(page.items.len(), expected, "limit {limit}");
    }
    Ok(())
}
