//! The peers: how each is set, where that is documented, and what its contract is.
//!
//! Prose only, no figures. A setting that stands here is made in the peer's driver.

/// Another queue.
#[derive(Debug)]
pub(super) struct Peer {
    /// One word, for names of databases.
    pub(super) key: &'static str,
    pub(super) name: &'static str,
    /// Its driver in `bench/peers`.
    pub(super) driver: &'static str,
    /// The settings it runs with.
    pub(super) settings: &'static str,
    /// Where they are documented.
    pub(super) source: &'static str,
    pub(super) contract: Contract,
}

/// What a queue promises and keeps. Figures of two queues compare only as far as these do.
#[derive(Debug)]
pub(super) struct Contract {
    /// What its word on an enqueue means.
    pub(super) enqueue: &'static str,
    /// What makes a job one worker's.
    pub(super) claim: &'static str,
    /// What its word on a completion means, and what becomes of the result.
    pub(super) complete: &'static str,
    /// What is left of a finished job.
    pub(super) history: &'static str,
}

/// Ours, as it is measured.
pub(super) const SKEP: Contract = Contract {
    enqueue: "committed and synchronized: the job, its payload and its ledger event in one \
        transaction",
    claim: "a lease with a fence that only grows, an attempt row and a ledger event, committed \
        before the work starts",
    complete: "committed and synchronized, refused without the current fence: attempt, job, \
        result and ledger events in one transaction",
    history: "the job, its attempts, its result and its hash-chained events, all kept",
};

pub(super) const BULLMQ: Peer = Peer {
    key: "bullmq",
    name: "BullMQ",
    driver: "bullmq.mjs",
    settings: "one producer process and one worker process, concurrency 128, addBulk for batches, \
        removeOnComplete keeps 1000, Redis with AOF and noeviction",
    source: "docs.bullmq.io/guide/going-to-production, /guide/workers/concurrency, \
        /guide/workers/auto-removal-of-jobs, /guide/queues/adding-bulks",
    contract: Contract {
        enqueue: "in the log of Redis: synchronized with appendfsync always; with everysec, which \
            its documentation recommends, up to a second of jobs may be lost",
        claim: "a lock with a token in Redis, renewed; the next job is fetched by the same script \
            that finishes the last",
        complete: "as the enqueue; the result is kept with the job",
        history: "the last 1000 jobs and a bounded event stream; nothing that proves it whole",
    },
};

pub(super) const CELERY: Peer = Peer {
    key: "celery",
    name: "Celery",
    driver: "celery_driver.py",
    settings: "Redis broker and result backend, 16 publishing threads, 4 prefork workers of one \
        process, no gossip, mingle, heartbeat; \"tuned\": worker_prefetch_multiplier 128 and \
        task_ignore_result; \"safe\": worker_prefetch_multiplier 1 and task_acks_late",
    source: "docs.celeryq.dev/en/stable/userguide/optimizing.html (prefetch limits, reserve one \
        task at a time), /userguide/tasks.html (ignore results you don't want)",
    contract: Contract {
        enqueue: "in the log of Redis, as for BullMQ",
        claim: "taken from the list; early acknowledgement, the default and \"tuned\", loses a job \
            whose worker dies; \"safe\" does not",
        complete: "the result is a Redis key that expires; \"tuned\" stores none",
        history: "none",
    },
};

pub(super) const PROCRASTINATE: Peer = Peer {
    key: "procrastinate",
    name: "Procrastinate",
    driver: "procrastinate_driver.py",
    settings: "one producer process, 2 worker processes with concurrency 24 each, \
        batch_defer_async for batches, delete_jobs always, LISTEN/NOTIFY on",
    source: "procrastinate.readthedocs.io/en/stable: howto/production/delete_finished_jobs, \
        howto/basics/batch_defer, howto/advanced/concurrency",
    contract: Contract {
        enqueue: "committed and synchronized, with a NOTIFY in the transaction",
        claim: "status and worker in the row by SKIP LOCKED, with an event row by trigger",
        complete: "the row is deleted, committed; the result is not stored",
        history: "none as set here; by default rows and an event for each change",
    },
};

pub(super) const GRAPHILE: Peer = Peer {
    key: "graphile",
    name: "graphile-worker",
    driver: "graphile.mjs",
    settings: "one producer process and one worker process, concurrentJobs 24, maxPoolSize 25, \
        localQueue size 500, completeJobBatchDelay 0, failJobBatchDelay 0, addJobs for batches; \
        \"unbatched\": no local queue and no batched completion",
    source: "worker.graphile.org/docs/performance: the configuration of its own figures",
    contract: Contract {
        enqueue: "committed and synchronized, with a NOTIFY in the transaction",
        claim: "up to 500 jobs locked to the process by one statement; after a crash they stay \
            locked for four hours",
        complete: "a deleted row; batched, it follows the end of the job's code and may be lost \
            with the process, so the job runs again; no result is stored",
        history: "none",
    },
};

pub(super) const PGBOSS: Peer = Peer {
    key: "pgboss",
    name: "pg-boss",
    driver: "pgboss.mjs",
    settings: "one producer process and one worker process, batchSize 100, localConcurrency 4, \
        burstWhenBatchFull, pollingIntervalSeconds 0.5, perJobResults, insert for batches",
    source: "timgit.github.io/pg-boss: api/workers (work), api/jobs (insert)",
    contract: Contract {
        enqueue: "committed and synchronized",
        claim: "state and start time in the rows of a batch, by SKIP LOCKED",
        complete: "committed and synchronized, with each job's result, for a batch at once",
        history: "finished rows for seven days",
    },
};

/// All of them, for the page.
pub(super) const PEERS: [&Peer; 5] = [&BULLMQ, &CELERY, &PROCRASTINATE, &GRAPHILE, &PGBOSS];
