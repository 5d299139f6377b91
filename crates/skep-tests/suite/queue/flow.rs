//! Taking turns: limits, shares, rates, pauses, names that are the only one, and starts put off.

use super::{Hive, succeeded};
use skep_db::Tx;
use skep_queue::flow::{Debounce, FlowKey, FlowLimit, ProjectShare, Rate};
use skep_queue::limits::CLAIM_LANES_MAX;
use skep_queue::{
    Claim, ClaimMemory, ClaimRequest, EnqueueError, Finish, Flow, FlowPolicy, NewJob, PauseError,
};
use skep_stdx::Clock as _;
use skep_testkit::{TestStore, on_both_engines};
use skep_types::{JobId, JobState};
use std::sync::Arc;
use std::time::Duration;

on_both_engines!(
    a_debounced_start_is_put_off_and_not_for_ever,
    a_debounced_start_is_never_brought_forward,
    a_request_that_comes_again_is_no_conflict,
    a_key_limits_its_jobs_over_all_nodes,
    a_limit_holds_however_many_claim,
    a_pause_is_heard_by_a_claim_that_remembers,
    a_paused_queue_starts_nothing,
    a_rate_holds_over_time,
    a_singleton_is_one_as_long_as_it_lives,
    a_wait_with_a_time_ends_by_itself,
    bad_flow_is_refused_with_its_field,
    every_lane_gets_its_turn,
    projects_share_the_slots,
);

impl Hive {
    fn with_policy(mut self, policy: FlowPolicy) -> Self {
        self.policy = Arc::new(policy);
        self
    }

    fn flowing(&self, flow: Flow) -> NewJob {
        NewJob {
            flow,
            ..self.new_job()
        }
    }

    async fn finish(&self, claim: &Claim) -> anyhow::Result<()> {
        let finish = Finish {
            lease: claim.lease(),
            to: JobState::Done,
            failure: None,
            attempt: succeeded(),
        };
        let ended = self
            .db
            .write("finish", async move |tx: &mut Tx<'_>| {
                skep_queue::finish_all(tx, std::slice::from_ref(&finish)).await
            })
            .await?;
        for job in ended {
            job?;
        }
        Ok(())
    }

    async fn pause(&self, queue: &'static str) -> Result<bool, PauseError> {
        self.db
            .write("pause", async move |tx: &mut Tx<'_>| {
                skep_queue::pause_queue(tx, queue).await
            })
            .await
    }

    async fn resume(&self, queue: &'static str) -> Result<bool, PauseError> {
        self.db
            .write("resume", async move |tx: &mut Tx<'_>| {
                skep_queue::resume_queue(tx, queue).await
            })
            .await
    }
}

fn in_queue(queue: &str) -> Flow {
    Flow {
        queue: queue.to_owned(),
        ..Flow::default()
    }
}

fn running_max(max: i64) -> FlowLimit {
    FlowLimit {
        running_max: Some(max),
        rate: None,
    }
}

/// Eight claimers at once, each for as many as it can get.
async fn a_limit_holds_however_many_claim(store: TestStore) -> anyhow::Result<()> {
    let mut policy = FlowPolicy {
        running_max: Some(9),
        ..FlowPolicy::default()
    };
    policy.backends.insert("claude".to_owned(), running_max(3));
    policy.queues.insert("nightly".to_owned(), running_max(4));
    let hive = Hive::open(&store).await?.with_policy(policy);
    for n in 0..40 {
        let flow = Flow {
            backend: (n % 2 == 0).then(|| "claude".to_owned()),
            ..in_queue(if n % 4 < 2 { "nightly" } else { "daily" })
        };
        hive.enqueue(hive.flowing(flow)).await?;
    }
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (hive, node) = (hive.clone(), hive.node());
            skep_stdx::spawn("claimer", async move { hive.claim(&node, 20).await })
        })
        .collect();
    let mut claims = Vec::new();
    for task in tasks {
        claims.extend(task.await??);
    }
    let count = |test: &dyn Fn(&Claim) -> bool| claims.iter().filter(|c| test(c)).count();
    assert_eq!(claims.len(), 9, "of all");
    assert_eq!(count(&|c| c.job.flow.backend.is_some()), 3, "of claude");
    assert!(count(&|c| c.job.flow.queue == "nightly") <= 4, "of nightly");
    // What ends makes room, for as many and no more.
    for claim in claims.iter().filter(|c| c.job.flow.backend.is_some()) {
        hive.finish(claim).await?;
    }
    let more = hive.claim(&hive.node(), 20).await?;
    assert_eq!(more.len(), 3);
    Ok(())
}

async fn a_key_limits_its_jobs_over_all_nodes(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    let keyed = |name: &str| Flow {
        key: Some(FlowKey {
            name: name.to_owned(),
            running_max: 2,
        }),
        ..Flow::default()
    };
    for _ in 0..4 {
        hive.enqueue(hive.flowing(keyed("ada"))).await?;
    }
    let other = hive.enqueue(hive.flowing(keyed("bob"))).await?;
    let mut claims = hive.claim(&hive.node(), 1).await?;
    claims.extend(hive.claim(&hive.node(), 9).await?);
    assert_eq!(claims.len(), 3, "two of ada's and bob's");
    assert!(claims.iter().any(|claim| claim.job.id == other.id));
    assert!(hive.claim(&hive.node(), 9).await?.is_empty());
    // A job that waits holds no place.
    let ada = claims.iter().find(|claim| claim.job.id != other.id);
    let ada = ada.ok_or_else(|| anyhow::anyhow!("ada has two"))?;
    hive.advance(&ada.lease(), JobState::WaitingHuman).await?;
    assert_eq!(hive.claim(&hive.node(), 9).await?.len(), 1);
    Ok(())
}

async fn projects_share_the_slots(store: TestStore) -> anyhow::Result<()> {
    let mut policy = FlowPolicy::default();
    let share = ProjectShare {
        weight: 2,
        running_max: None,
    };
    policy.projects.insert("heavy".to_owned(), share);
    let hive = Hive::open(&store).await?.with_policy(policy);
    for (project, jobs) in [("big", 30), ("heavy", 10), ("small", 10)] {
        for _ in 0..jobs {
            let new = NewJob {
                project: project.to_owned(),
                ..hive.new_job()
            };
            hive.enqueue(new).await?;
        }
    }
    let mut claims = Vec::new();
    for slots in [1, 3, 4] {
        claims.extend(hive.claim(&hive.node(), slots).await?);
    }
    let of = |project| claims.iter().filter(|c| c.job.project == project).count();
    assert_eq!((of("big"), of("heavy"), of("small")), (2, 4, 2));
    Ok(())
}

/// More lanes than one claim looks at, and those that it looks at first are full.
async fn every_lane_gets_its_turn(store: TestStore) -> anyhow::Result<()> {
    let mut policy = FlowPolicy::default();
    for n in 0..CLAIM_LANES_MAX {
        let share = ProjectShare {
            weight: 1,
            running_max: Some(1),
        };
        policy.projects.insert(format!("project-{n:03}"), share);
    }
    let hive = Hive::open(&store).await?.with_policy(policy);
    for n in 0..CLAIM_LANES_MAX + 5 {
        for _ in 0..2 {
            let new = NewJob {
                project: format!("project-{n:03}"),
                ..hive.new_job()
            };
            hive.enqueue(new).await?;
        }
    }
    let mut claimed = Vec::new();
    for _ in 0..4 {
        claimed.push(hive.claim(&hive.node(), 200).await?.len());
    }
    assert_eq!(claimed, [CLAIM_LANES_MAX, 10, 0, 0]);
    Ok(())
}

async fn a_rate_holds_over_time(store: TestStore) -> anyhow::Result<()> {
    let mut policy = FlowPolicy::default();
    let limit = FlowLimit {
        running_max: None,
        rate: Some(Rate {
            starts: 3,
            per_ms: 30_000,
        }),
    };
    policy.queues.insert("default".to_owned(), limit);
    let hive = Hive::open(&store).await?.with_policy(policy);
    for _ in 0..20 {
        hive.enqueue_any().await?;
    }
    let mut started = Vec::new();
    for wait_ms in [0, 0, 9_999, 1, 10_000, 90_000] {
        store.clock.advance_ms(wait_ms);
        started.push(hive.claim(&hive.node(), 9).await?.len());
    }
    assert_eq!(started, [3, 0, 0, 1, 1, 3]);
    // A clock that was set back by an hour does not close the queue for an hour.
    store.clock.set_ms(store.clock.now_ms() - 3_600_000);
    assert!(hive.claim(&hive.node(), 9).await?.is_empty());
    store.clock.advance_ms(30_000);
    assert_eq!(hive.claim(&hive.node(), 9).await?.len(), 3);
    Ok(())
}

async fn a_paused_queue_starts_nothing(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    let slow = hive.enqueue(hive.flowing(in_queue("slow"))).await?.id;
    let fast = hive.enqueue(hive.flowing(in_queue("fast"))).await?.id;
    let claimed = async |hive: &Hive| -> anyhow::Result<Vec<JobId>> {
        let claims = hive.claim(&hive.node(), 9).await?;
        Ok(claims.into_iter().map(|claim| claim.job.id).collect())
    };
    assert!(hive.pause("slow").await?);
    assert!(!hive.pause("slow").await?, "it is paused already");
    assert_eq!(claimed(&hive).await?, [fast]);
    assert!(hive.pause("*").await?);
    assert!(hive.resume("slow").await?);
    assert!(claimed(&hive).await?.is_empty(), "all are paused");
    assert!(hive.resume("*").await?);
    assert!(!hive.resume("*").await?);
    assert_eq!(claimed(&hive).await?, [slow]);
    for name in ["", "Slow", "a b", "**"] {
        assert!(
            matches!(hive.pause(name).await, Err(PauseError::Name)),
            "{name}"
        );
    }
    let kinds: Vec<String> = hive
        .ledger
        .events()
        .await?
        .into_iter()
        .map(|e| e.kind)
        .collect();
    let of = |kind: &str| kinds.iter().filter(|found| *found == kind).count();
    assert_eq!((of("queue_paused"), of("queue_resumed")), (2, 2));
    Ok(())
}

async fn a_pause_is_heard_by_a_claim_that_remembers(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    for _ in 0..4 {
        hive.enqueue(hive.new_job()).await?;
    }
    let memory = Arc::new(ClaimMemory::simulated(Duration::from_secs(60)));
    let claim = async || {
        let request = ClaimRequest {
            memory: Arc::clone(&memory),
            ..hive.request(&hive.node(), 1)
        };
        hive.db
            .write("claim", async move |tx: &mut Tx<'_>| {
                skep_queue::claim(tx, &request).await
            })
            .await
    };
    assert_eq!(claim().await?.len(), 1);
    assert_eq!(claim().await?.len(), 1, "from where the last one ended");
    assert!(hive.pause("default").await?);
    assert!(claim().await?.is_empty());
    assert!(hive.resume("default").await?);
    assert_eq!(claim().await?.len(), 1);
    Ok(())
}

async fn a_singleton_is_one_as_long_as_it_lives(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    let only = |owner: &str, key: Option<&str>| NewJob {
        owner: owner.to_owned(),
        idempotency_key: key.map(str::to_owned),
        flow: Flow {
            singleton: Some("sync".to_owned()),
            ..Flow::default()
        },
        ..hive.new_job()
    };
    let tasks: Vec<_> = (0..12)
        .map(|_| {
            let (hive, new) = (hive.clone(), only("ada", None));
            skep_stdx::spawn("enqueue", async move { hive.enqueue(new).await })
        })
        .collect();
    let mut made = Vec::new();
    for task in tasks {
        made.push(task.await??);
    }
    assert_eq!(made.iter().filter(|m| m.created).count(), 1, "{made:?}");
    assert!(made.iter().all(|m| m.id == made[0].id));
    assert!(
        hive.enqueue(only("bob", None)).await?.created,
        "another owner's"
    );
    // A key that met the singleton stands for it from then on.
    let keyed = hive.enqueue(only("ada", Some("k"))).await?;
    assert_eq!((&keyed.id, keyed.created), (&made[0].id, false));
    assert_eq!(hive.enqueue(only("ada", Some("k"))).await?.id, made[0].id);
    hive.cancel(&made[0].id).await?;
    let next = hive.enqueue(only("ada", None)).await?;
    assert!(next.created && next.id != made[0].id);
    // Brought back, the old one runs beside it, without the name.
    let back = hive.retry(&made[0].id, 0).await?;
    assert_eq!((back.state, back.flow.singleton), (JobState::Queued, None));
    Ok(())
}

async fn a_debounced_start_is_put_off_and_not_for_ever(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    let push = || NewJob {
        flow: Flow {
            debounce: Some(Debounce {
                name: "push".to_owned(),
                quiet_ms: 1_000,
                wait_max_ms: 2_500,
            }),
            ..Flow::default()
        },
        ..hive.new_job()
    };
    let begun = store.clock.now_ms();
    let first = hive.enqueue(push()).await?;
    // (milliseconds later, when it starts then)
    for (wait_ms, due_ms) in [(600, 1_600), (600, 2_200), (600, 2_500), (600, 2_500)] {
        store.clock.advance_ms(wait_ms);
        assert!(hive.claim(&hive.node(), 1).await?.is_empty());
        let again = hive.enqueue(push()).await?;
        assert_eq!((&again.id, again.created), (&first.id, false));
        assert_eq!(hive.job(&first.id).await?.run_at_ms, begun + due_ms);
    }
    store.clock.advance_ms(100);
    let claim = hive.claim_one(&hive.node()).await?;
    assert_eq!(claim.job.id, first.id);
    // What comes while it runs asks for another run.
    let second = hive.enqueue(push()).await?;
    assert!(second.created && second.id != first.id);
    assert_eq!(
        hive.kinds_of(&first.id).await?[..2],
        ["job_queued", "job_put_off"]
    );
    Ok(())
}

/// What an earlier request asked for holds, and who has waited longest keeps its place in the line.
async fn a_debounced_start_is_never_brought_forward(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    let begun = store.clock.now_ms();
    let push = |case: usize, asked_ms: Option<i64>, quiet_ms| NewJob {
        run_at_ms: asked_ms.map(|asked_ms| begun + asked_ms),
        flow: Flow {
            debounce: Some(Debounce {
                name: format!("push-{case}"),
                quiet_ms,
                wait_max_ms: 2_500,
            }),
            ..Flow::default()
        },
        ..hive.new_job()
    };
    // (what the first request asks for: a time, a quiet; when the job is due after another one half
    // a second later and one after ten, each with a quiet second)
    let cases = [
        (None, 1_000, [1_500, 2_500]),
        (None, 2_000, [2_000, 2_500]),
        (Some(2_200), 1_000, [2_200, 2_500]),
        (Some(9_000), 1_000, [9_000, 9_000]),
    ];
    for (case, (asked_ms, quiet_ms, due)) in cases.into_iter().enumerate() {
        store.clock.set_ms(begun);
        let first = hive.enqueue(push(case, asked_ms, quiet_ms)).await?.id;
        for (now_ms, due_ms) in [500, 10_000].into_iter().zip(due) {
            store.clock.set_ms(begun + now_ms);
            assert_eq!(hive.enqueue(push(case, None, 1_000)).await?.id, first);
            let run_at_ms = hive.job(&first).await?.run_at_ms;
            assert_eq!(run_at_ms, begun + due_ms, "{case} at {now_ms}");
        }
        let told = hive.kinds_of(&first).await?;
        store.clock.advance_ms(1);
        assert_eq!(hive.enqueue(push(case, None, 1_000)).await?.id, first);
        assert_eq!(
            hive.kinds_of(&first).await?,
            told,
            "{case}: nothing changed"
        );
    }
    Ok(())
}

/// A request that arrives again when its job no longer has the name is refused like any other.
async fn a_request_that_comes_again_is_no_conflict(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    let push = NewJob {
        flow: Flow {
            debounce: Some(Debounce {
                name: "push".to_owned(),
                quiet_ms: 1,
                wait_max_ms: 1,
            }),
            ..Flow::default()
        },
        ..hive.new_job()
    };
    hive.enqueue(push.clone()).await?;
    store.clock.advance_ms(1);
    hive.claim_one(&hive.node()).await?;
    let sync = NewJob {
        flow: Flow {
            singleton: Some("sync".to_owned()),
            ..Flow::default()
        },
        ..hive.new_job()
    };
    hive.enqueue(sync.clone()).await?;
    hive.cancel(&sync.id).await?;
    hive.retry(&sync.id, 0).await?;
    for again in [push, sync] {
        let refused = hive.enqueue(again).await;
        let taken = matches!(&refused, Err(EnqueueError::Db(error)) if error.is_constraint());
        assert!(taken, "{refused:?}");
    }
    Ok(())
}

/// Quota and budget waits hold no slot, and go on at the reset without anybody's help.
async fn a_wait_with_a_time_ends_by_itself(store: TestStore) -> anyhow::Result<()> {
    for (state, timed) in [
        (JobState::WaitingQuota, true),
        (JobState::WaitingBudget, true),
        (JobState::WaitingQuota, false),
        (JobState::WaitingCallback, true),
    ] {
        let hive = Hive::open(&store).await?;
        let id = hive.enqueue_any().await?;
        let claim = hive.claim_one(&hive.node()).await?;
        let reset = store.clock.now_ms() + 86_400_000;
        let how = skep_queue::Advance {
            run_at_ms: timed.then_some(reset),
            ..skep_queue::Advance::default()
        };
        hive.advance_as(&claim.lease(), state, how).await?;
        store.clock.set_ms(reset - 1);
        assert!(hive.claim(&hive.node(), 1).await?.is_empty(), "{state}");
        store.clock.set_ms(reset);
        let ends = timed && state != JobState::WaitingCallback;
        let claims = hive.claim(&hive.node(), 1).await?;
        assert_eq!(claims.len(), usize::from(ends), "{state}, {timed}");
        assert_eq!(hive.job(&id).await?.attempts_used, 0, "{state}");
        if !ends {
            hive.cancel(&id).await?;
        }
        for claim in claims {
            hive.finish(&claim).await?;
        }
    }
    Ok(())
}

async fn bad_flow_is_refused_with_its_field(store: TestStore) -> anyhow::Result<()> {
    let hive = Hive::open(&store).await?;
    let key = |running_max| Flow {
        key: Some(FlowKey {
            name: "k".to_owned(),
            running_max,
        }),
        ..Flow::default()
    };
    let debounce = |quiet_ms, wait_max_ms, singleton: Option<&str>| Flow {
        debounce: Some(Debounce {
            name: "d".to_owned(),
            quiet_ms,
            wait_max_ms,
        }),
        singleton: singleton.map(str::to_owned),
        ..Flow::default()
    };
    let backend = |name: &str| Flow {
        backend: Some(name.to_owned()),
        ..Flow::default()
    };
    for (field, flow) in [
        ("queue", in_queue("")),
        ("queue", in_queue("Night shift")),
        ("queue", in_queue(&"q".repeat(41))),
        ("backend", backend("")),
        ("backend", backend("a\u{1f}b")),
        ("flow_key_max", key(0)),
        ("debounce", debounce(0, 10, None)),
        ("debounce", debounce(10, 9, None)),
        ("debounce", debounce(10, 10, Some("s"))),
    ] {
        match hive.enqueue(hive.flowing(flow.clone())).await {
            Err(EnqueueError::Invalid { field: found, .. }) => assert_eq!(found, field),
            other => anyhow::bail!("{flow:?}: {other:?}"),
        }
    }
    for priority in [-10_001, 10_001, i64::MIN] {
        let new = NewJob {
            priority,
            ..hive.new_job()
        };
        let refused = hive.enqueue(new).await;
        assert!(matches!(
            refused,
            Err(EnqueueError::Invalid {
                field: "priority",
                ..
            })
        ));
    }
    Ok(())
}
