//! The route table: every route of the server except the gateway's, which belong to the model
//! vendors. The server mounts from it, `openapi` describes from it, the access tests walk it.

use crate::dead::{DeadClasses, DeadLetter, DeadView, DrainRequest, Drained};
use crate::describe::Document;
use crate::document::{
    DiffView, DispatchRequest, EventView, JobSubmitted, JobSummary, JobView, LedgerView, LogView,
    Page, RetryRequest,
};
use crate::installation::{HealthView, LedgerEntries, LedgerHeadView};
use crate::kind::{CallRequest, ShellRequest};
use crate::node::NodeView;
use crate::plan::{CancelRequest, PlanRequest, PlanView};
use crate::queue::QueueView;
use crate::schedule::{
    FiringView, PauseRequest, PreviewView, ScheduleRequest, ScheduleSummary, ScheduleView,
};
use serde_json::Value;

/// The verb of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Reads.
    Get,
    /// Changes.
    Post,
}

impl Verb {
    /// The verb as HTTP spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
        }
    }
}

/// What a route does. One operation, one route, one handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// The process answers.
    Health,
    /// The store answers.
    Readiness,
    /// Numbers for Prometheus.
    Metrics,
    /// One instruction becomes a job.
    DispatchJob,
    /// One question becomes a job.
    DispatchCall,
    /// One command becomes a job.
    DispatchShell,
    /// Jobs, newest first.
    ListJobs,
    /// One job with everything known about it.
    ShowJob,
    /// What a worker wrote.
    JobLog,
    /// What a job changed.
    JobDiff,
    /// Ends a job.
    CancelJob,
    /// Starts an ended job again.
    RetryJob,
    /// How the queues stand.
    ListQueues,
    /// Nothing more of a queue starts.
    PauseQueue,
    /// A paused queue goes on.
    ResumeQueue,
    /// The nodes of the store.
    ListNodes,
    /// A node takes no more work.
    DrainNode,
    /// A drained node works again.
    ResumeNode,
    /// Work becomes a schedule.
    AddSchedule,
    /// Schedules by name.
    ListSchedules,
    /// One schedule with everything known about it.
    ShowSchedule,
    /// The next times of a schedule.
    PreviewSchedule,
    /// What became of a schedule's times.
    ListFirings,
    /// Stops a schedule from firing.
    PauseSchedule,
    /// Lets a schedule fire again.
    ResumeSchedule,
    /// Begins a run now.
    RunSchedule,
    /// Takes a schedule away.
    RemoveSchedule,
    /// Several jobs in order, asked for at once.
    RunPlan,
    /// What a plan would be.
    CheckPlan,
    /// A plan and where its nodes stand.
    ShowPlan,
    /// Jobs that ended without success.
    ListDead,
    /// How many of them there are of each class.
    DeadClasses,
    /// One of them with its evidence.
    ShowDead,
    /// Starts one again.
    ReplayDead,
    /// Starts many again, in order.
    DrainDead,
    /// Says that nobody needs to look at one.
    DismissDead,
    /// The ledger as it grows.
    Events,
    /// The ledger with everything that its hashes cover.
    LedgerEntries,
    /// The signed end of the ledger's chain.
    LedgerHead,
    /// Recomputes the ledger's chain.
    VerifyLedger,
    /// This description.
    OpenApi,
    /// The schema of the result contract.
    ContractSchema,
}

impl Operation {
    /// The operation's stable name in the description.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Health => "health",
            Self::Readiness => "readiness",
            Self::Metrics => "metrics",
            Self::DispatchJob => "dispatch_job",
            Self::DispatchCall => "dispatch_call",
            Self::DispatchShell => "dispatch_shell",
            Self::ListJobs => "list_jobs",
            Self::ShowJob => "show_job",
            Self::JobLog => "job_log",
            Self::JobDiff => "job_diff",
            Self::CancelJob => "cancel_job",
            Self::RetryJob => "retry_job",
            Self::ListQueues => "list_queues",
            Self::PauseQueue => "pause_queue",
            Self::ResumeQueue => "resume_queue",
            Self::ListNodes => "list_nodes",
            Self::DrainNode => "drain_node",
            Self::ResumeNode => "resume_node",
            Self::AddSchedule => "add_schedule",
            Self::ListSchedules => "list_schedules",
            Self::ShowSchedule => "show_schedule",
            Self::PreviewSchedule => "preview_schedule",
            Self::ListFirings => "list_firings",
            Self::PauseSchedule => "pause_schedule",
            Self::ResumeSchedule => "resume_schedule",
            Self::RunSchedule => "run_schedule",
            Self::RemoveSchedule => "remove_schedule",
            Self::RunPlan => "run_plan",
            Self::CheckPlan => "check_plan",
            Self::ShowPlan => "show_plan",
            Self::ListDead => "list_dead",
            Self::DeadClasses => "dead_classes",
            Self::ShowDead => "show_dead",
            Self::ReplayDead => "replay_dead",
            Self::DrainDead => "drain_dead",
            Self::DismissDead => "dismiss_dead",
            Self::Events => "events",
            Self::LedgerEntries => "ledger_entries",
            Self::LedgerHead => "ledger_head",
            Self::VerifyLedger => "verify_ledger",
            Self::OpenApi => "openapi",
            Self::ContractSchema => "contract_schema",
        }
    }
}

/// Who may call a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anybody who reaches the server under one of its own names.
    Open,
    /// Holders of the local token, and the home's owner over its socket.
    Token,
}

/// Where a parameter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the path.
    Path,
    /// In the query.
    Query,
    /// In a header.
    Header,
}

/// One parameter.
#[derive(Debug, Clone, Copy)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// Where it stands.
    pub place: Place,
    /// The shape of its value.
    pub shape: Document,
    /// What it does.
    pub about: &'static str,
}

/// What a route answers with status 200.
#[derive(Debug, Clone, Copy)]
pub enum Answer {
    /// One JSON document.
    Json(Document),
    /// A JSON page of documents, or the same documents as server-sent events.
    JsonOrEvents(Document),
    /// Text of this media type.
    Text(&'static str),
}

/// One route.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// The verb.
    pub verb: Verb,
    /// The path, with parameters in braces.
    pub path: &'static str,
    /// What it does.
    pub operation: Operation,
    /// What it does, in one line.
    pub summary: &'static str,
    /// Who may call it.
    pub access: Access,
    /// What it takes besides a body.
    pub parameters: &'static [Parameter],
    /// The body it takes.
    pub request: Option<Document>,
    /// What it answers.
    pub answer: Answer,
}

impl Route {
    const fn get(
        operation: Operation,
        path: &'static str,
        summary: &'static str,
        answer: Answer,
    ) -> Self {
        Self {
            verb: Verb::Get,
            path,
            operation,
            summary,
            access: Access::Token,
            parameters: &[],
            request: None,
            answer,
        }
    }

    const fn post(
        operation: Operation,
        path: &'static str,
        summary: &'static str,
        request: Option<Document>,
    ) -> Self {
        Self {
            verb: Verb::Post,
            request,
            ..Self::get(operation, path, summary, json::<JobSubmitted>())
        }
    }

    const fn answering(self, answer: Answer) -> Self {
        Self { answer, ..self }
    }

    const fn open(self) -> Self {
        Self {
            access: Access::Open,
            ..self
        }
    }

    const fn with(self, parameters: &'static [Parameter]) -> Self {
        Self { parameters, ..self }
    }
}

/// The routes, in the order in which they are read and described.
pub const ROUTES: &[Route] = &[
    Route::get(
        Operation::Health,
        "/healthz",
        "The process answers.",
        json::<HealthView>(),
    )
    .open(),
    Route::get(
        Operation::Readiness,
        "/readyz",
        "The store answers and work can be taken; 503 otherwise.",
        json::<HealthView>(),
    )
    .open(),
    Route::get(
        Operation::Metrics,
        "/metrics",
        "Numbers in the Prometheus text format.",
        Answer::Text("text/plain; version=0.0.4"),
    ),
    Route::post(
        Operation::DispatchJob,
        "/api/v1/jobs",
        "One instruction becomes a job.",
        Some(Document::of::<DispatchRequest>()),
    ),
    Route::post(
        Operation::DispatchCall,
        "/api/v1/calls",
        "One model call becomes a job.",
        Some(Document::of::<CallRequest>()),
    ),
    Route::post(
        Operation::DispatchShell,
        "/api/v1/shells",
        "One command becomes a job.",
        Some(Document::of::<ShellRequest>()),
    ),
    Route::get(
        Operation::ListJobs,
        "/api/v1/jobs",
        "Jobs, newest first, ended ones included.",
        json::<Page<JobSummary>>(),
    )
    .with(&[STATE, PROJECT, CURSOR, LIMIT]),
    Route::get(
        Operation::ShowJob,
        "/api/v1/jobs/{id}",
        "One job with everything known about it.",
        json::<JobView>(),
    )
    .with(&[JOB]),
    Route::get(
        Operation::JobLog,
        "/api/v1/jobs/{id}/log",
        "What a worker wrote, cut to the newest part; untrusted text.",
        json::<LogView>(),
    )
    .with(&[JOB, ATTEMPT]),
    Route::get(
        Operation::JobDiff,
        "/api/v1/jobs/{id}/diff",
        "What a job changed, as a unified diff.",
        json::<DiffView>(),
    )
    .with(&[JOB]),
    Route::post(
        Operation::CancelJob,
        "/api/v1/jobs/{id}/cancel",
        "Ends a job and the worker that is at it; with `tree` its parts and what waits for it too.",
        Some(Document::of::<CancelRequest>()),
    )
    .with(&[JOB]),
    Route::post(
        Operation::RetryJob,
        "/api/v1/jobs/{id}/retry",
        "Starts an ended job again, with a new limit if one is given.",
        Some(Document::of::<RetryRequest>()),
    )
    .with(&[JOB]),
    Route::post(
        Operation::AddSchedule,
        "/api/v1/schedules",
        "Work becomes a schedule; a request that could not be dispatched now is refused.",
        Some(Document::of::<ScheduleRequest>()),
    )
    .answering(json::<ScheduleView>()),
    Route::get(
        Operation::ListSchedules,
        "/api/v1/schedules",
        "Schedules by name, removed ones not included.",
        json::<Page<ScheduleSummary>>(),
    ),
    Route::get(
        Operation::ShowSchedule,
        "/api/v1/schedules/{name}",
        "One schedule with everything known about it.",
        json::<ScheduleView>(),
    )
    .with(&[SCHEDULE]),
    Route::get(
        Operation::PreviewSchedule,
        "/api/v1/schedules/{name}/next",
        "The next times of a schedule; nothing is changed.",
        json::<PreviewView>(),
    )
    .with(&[SCHEDULE, LIMIT]),
    Route::get(
        Operation::ListFirings,
        "/api/v1/schedules/{name}/firings",
        "What became of a schedule's times, newest first.",
        json::<Page<FiringView>>(),
    )
    .with(&[SCHEDULE, CURSOR, LIMIT]),
    Route::post(
        Operation::PauseSchedule,
        "/api/v1/schedules/{name}/pause",
        "Stops a schedule from firing; what is under way goes on.",
        Some(Document::of::<PauseRequest>()),
    )
    .with(&[SCHEDULE])
    .answering(json::<ScheduleView>()),
    Route::post(
        Operation::ResumeSchedule,
        "/api/v1/schedules/{name}/resume",
        "Lets a schedule fire again, from now on.",
        None,
    )
    .with(&[SCHEDULE])
    .answering(json::<ScheduleView>()),
    Route::post(
        Operation::RunSchedule,
        "/api/v1/schedules/{name}/run",
        "Begins a run now, whether the schedule is paused or not.",
        None,
    )
    .with(&[SCHEDULE])
    .answering(json::<FiringView>()),
    Route::post(
        Operation::RemoveSchedule,
        "/api/v1/schedules/{name}/remove",
        "Takes a schedule away; its jobs go on and its history stays.",
        None,
    )
    .with(&[SCHEDULE])
    .answering(json::<ScheduleView>()),
    Route::post(
        Operation::RunPlan,
        "/api/v1/plans",
        "Several jobs in order, asked for at once: all of them are queued, or none.",
        Some(Document::of::<PlanRequest>()),
    )
    .answering(json::<PlanView>()),
    Route::post(
        Operation::CheckPlan,
        "/api/v1/plans/check",
        "Checks a plan and shows what it would be; queues nothing.",
        Some(Document::of::<PlanRequest>()),
    )
    .answering(json::<PlanView>()),
    Route::get(
        Operation::ShowPlan,
        "/api/v1/plans/{id}",
        "A plan and where its nodes stand.",
        json::<PlanView>(),
    )
    .with(&[PLAN]),
    Route::get(
        Operation::ListQueues,
        "/api/v1/queues",
        "How the queues stand, by name.",
        json::<Page<QueueView>>(),
    ),
    Route {
        answer: json::<QueueView>(),
        ..Route::post(
            Operation::PauseQueue,
            "/api/v1/queues/{queue}/pause",
            "Nothing more of a queue starts; what runs goes on.",
            None,
        )
        .with(&[QUEUE])
    },
    Route {
        answer: json::<QueueView>(),
        ..Route::post(
            Operation::ResumeQueue,
            "/api/v1/queues/{queue}/resume",
            "A paused queue goes on.",
            None,
        )
        .with(&[QUEUE])
    },
    Route::get(
        Operation::ListNodes,
        "/api/v1/nodes",
        "The nodes of the store, the newest start first.",
        json::<Page<NodeView>>(),
    ),
    Route {
        answer: json::<NodeView>(),
        ..Route::post(
            Operation::DrainNode,
            "/api/v1/nodes/{node}/drain",
            "A node finishes what it runs and takes no more work.",
            None,
        )
        .with(&[NODE])
    },
    Route {
        answer: json::<NodeView>(),
        ..Route::post(
            Operation::ResumeNode,
            "/api/v1/nodes/{node}/resume",
            "A drained node works again.",
            None,
        )
        .with(&[NODE])
    },
    Route::get(
        Operation::ListDead,
        "/api/v1/dead",
        "Jobs that ended without success and that nobody has dismissed, newest first.",
        json::<Page<DeadLetter>>(),
    )
    .with(&[CLASS, CURSOR, LIMIT]),
    Route::get(
        Operation::DeadClasses,
        "/api/v1/dead-classes",
        "How many dead letters there are of each failure class, and the share of the unknown.",
        json::<DeadClasses>(),
    ),
    Route::get(
        Operation::ShowDead,
        "/api/v1/dead/{id}",
        "One dead letter with its evidence.",
        json::<DeadView>(),
    )
    .with(&[JOB]),
    Route::post(
        Operation::ReplayDead,
        "/api/v1/dead/{id}/replay",
        "Starts one dead job again; one that fails the same way again and again is refused.",
        None,
    )
    .with(&[JOB]),
    Route::post(
        Operation::DismissDead,
        "/api/v1/dead/{id}/dismiss",
        "Says that nobody needs to look at a dead job any more.",
        None,
    )
    .with(&[JOB]),
    Route {
        answer: json::<Drained>(),
        ..Route::post(
            Operation::DrainDead,
            "/api/v1/dead-drain",
            "Starts dead jobs again in the order in which they were asked for, up to a limit.",
            Some(Document::of::<DrainRequest>()),
        )
    },
    Route::get(
        Operation::Events,
        "/api/v1/events",
        "The ledger: server-sent events as it grows, or with `limit` one page as JSON.",
        Answer::JsonOrEvents(Document::of::<EventView>()),
    )
    .with(&[AFTER, SUBJECT, LIMIT, NEWEST, LAST_EVENT_ID]),
    Route::get(
        Operation::LedgerEntries,
        "/api/v1/ledger/entries",
        "The ledger with everything that its hashes cover, for a verifier of its own.",
        json::<LedgerEntries>(),
    )
    .with(&[AFTER, LIMIT]),
    Route::get(
        Operation::LedgerHead,
        "/api/v1/ledger/head",
        "The signed end of the ledger's chain, to be kept elsewhere.",
        json::<LedgerHeadView>(),
    ),
    Route::get(
        Operation::VerifyLedger,
        "/api/v1/ledger/verify",
        "Recomputes the whole chain of the ledger.",
        json::<LedgerView>(),
    )
    .with(&[ANCHOR]),
    Route::get(
        Operation::OpenApi,
        "/api/v1/openapi.json",
        "This description, OpenAPI 3.1.",
        json::<Value>(),
    ),
    Route::get(
        Operation::ContractSchema,
        "/api/v1/contract.schema.json",
        "The JSON Schema of the result contract.",
        json::<Value>(),
    ),
];

const fn json<T: crate::describe::Describe>() -> Answer {
    Answer::Json(Document::of::<T>())
}

const fn parameter(name: &'static str, place: Place, about: &'static str) -> Parameter {
    let shape = Document::of::<String>();
    Parameter {
        name,
        place,
        shape,
        about,
    }
}

const fn number(name: &'static str, place: Place, about: &'static str) -> Parameter {
    let shape = Document::of::<i64>();
    Parameter {
        name,
        place,
        shape,
        about,
    }
}

const JOB: Parameter = parameter("id", Place::Path, "The job's id or number.");
const QUEUE: Parameter = parameter(
    "queue",
    Place::Path,
    "The queue's name; `*` for every queue.",
);
const NODE: Parameter = parameter(
    "node",
    Place::Path,
    "The node's id, its host's name, or `here` for the one that answers.",
);
const SCHEDULE: Parameter = parameter("name", Place::Path, "The schedule's name or id.");
const PLAN: Parameter = parameter("id", Place::Path, "The plan's id or number.");
const ATTEMPT: Parameter = parameter(
    "attempt",
    Place::Query,
    "The attempt's id; the newest one when absent.",
);
const STATE: Parameter = parameter(
    "state",
    Place::Query,
    "Job states, separated by commas; all when absent.",
);
const CLASS: Parameter = parameter("class", Place::Query, "Only jobs that failed as this.");
const PROJECT: Parameter = parameter("project", Place::Query, "Only jobs of this project.");
const CURSOR: Parameter = parameter("cursor", Place::Query, "`next_cursor` of the page before.");
const LIMIT: Parameter = number("limit", Place::Query, "The most items to answer.");
const AFTER: Parameter = number(
    "after",
    Place::Query,
    "Only events after this sequence number.",
);
const SUBJECT: Parameter = parameter(
    "subject",
    Place::Query,
    "Only events of this subject, as of one job by its id.",
);
const NEWEST: Parameter = parameter(
    "newest",
    Place::Query,
    "`true`: the newest `limit` events instead of those after `after`.",
);
const ANCHOR: Parameter = parameter(
    "anchor",
    Place::Query,
    "Heads that were noted down, as `SEQ:HASH` separated by commas; each has to be in the chain.",
);
const LAST_EVENT_ID: Parameter = number(
    "Last-Event-ID",
    Place::Header,
    "Resumes a stream; goes before `after`.",
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_stands_once_and_names_its_parameters() {
        for (place, route) in ROUTES.iter().enumerate() {
            for other in &ROUTES[place + 1..] {
                assert_ne!(route.operation, other.operation);
                assert_ne!(
                    (route.verb.as_str(), route.path),
                    (other.verb.as_str(), other.path)
                );
            }
            let named = route.path.matches('{').count();
            let listed = route
                .parameters
                .iter()
                .filter(|p| p.place == Place::Path)
                .count();
            assert_eq!(named, listed, "{}", route.path);
            for parameter in route.parameters.iter().filter(|p| p.place == Place::Path) {
                assert!(
                    route.path.contains(&format!("{{{}}}", parameter.name)),
                    "{}",
                    route.path
                );
            }
        }
    }

    #[test]
    fn only_the_two_health_routes_are_open() {
        let open: Vec<_> = ROUTES
            .iter()
            .filter(|r| r.access == Access::Open)
            .map(|r| r.path)
            .collect();
        assert_eq!(open, ["/healthz", "/readyz"]);
    }
}
