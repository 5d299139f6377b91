//! Every route: its path, what it does, what it takes and answers.

use super::parameter::{
    AFTER, AFTER_OFFSET, ALARM, ALL, ANCHOR, ATTEMPT, CLASS, CURSOR, GROUP, JOB, LAST_EVENT_ID,
    LIMIT, MESSAGE, NEWEST, NODE, PARTITION, PLAN, PROJECT, QUEUE, READER_GROUP, SCHEDULE, STATE,
    SUBJECT, TOPIC,
};
use super::{Answer, Operation, Route};
use crate::dead::{DeadClasses, DeadLetter, DeadView, DrainRequest, Drained};
use crate::describe::Document;
use crate::document::{
    DiffView, DispatchRequest, EventView, JobSummary, JobView, LedgerView, LogView, Page,
    RetryRequest,
};
use crate::installation::{HealthView, LedgerEntries, LedgerHeadView};
use crate::kind::{CallRequest, ShellRequest};
use crate::node::NodeView;
use crate::plan::{CancelRequest, PlanRequest, PlanView};
use crate::queue::QueueView;
use crate::schedule::{
    FiringView, PauseRequest, PreviewView, ScheduleRequest, ScheduleSummary, ScheduleView,
};
use crate::topic::{
    AlarmView, DeadMessageView, FetchMessages, FinishMessage, MessageView, MessagesChanged,
    ProduceMessage, ProducedMessage, TopicView,
};
use serde_json::Value;

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
        Operation::ListTopics,
        "/api/v1/topics",
        "Every topic with its groups, by name.",
        json::<Page<TopicView>>(),
    ),
    Route::get(
        Operation::ShowTopic,
        "/api/v1/topics/{topic}",
        "One topic with its groups.",
        json::<TopicView>(),
    )
    .with(&[TOPIC]),
    Route::get(
        Operation::ListMessages,
        "/api/v1/topics/{topic}/messages",
        "Messages of one partition after an offset, oldest first; the newest without one.",
        json::<Page<MessageView>>(),
    )
    .with(&[TOPIC, PARTITION, AFTER_OFFSET, LIMIT]),
    Route::post(
        Operation::ProduceMessage,
        "/api/v1/topics/{topic}/messages",
        "Produces one message; it is durable when the answer comes.",
        Some(Document::of::<ProduceMessage>()),
    )
    .answering(json::<ProducedMessage>())
    .with(&[TOPIC]),
    Route::get(
        Operation::ListDeadMessages,
        "/api/v1/topics/{topic}/dead",
        "What the groups of a topic have given up on.",
        json::<Page<DeadMessageView>>(),
    )
    .with(&[TOPIC, GROUP, LIMIT]),
    Route::post(
        Operation::DrainDeadMessages,
        "/api/v1/topics/{topic}/drain",
        "Delivers the dead letters of a group once more, in order.",
        None,
    )
    .answering(json::<MessagesChanged>())
    .with(&[TOPIC, GROUP, LIMIT]),
    Route::post(
        Operation::FetchMessages,
        "/api/v1/topics/{topic}/groups/{group}/fetch",
        "Hands messages to a reader, for as long as it asks.",
        Some(Document::of::<FetchMessages>()),
    )
    .answering(json::<Page<MessageView>>())
    .with(&[TOPIC, READER_GROUP]),
    Route::post(
        Operation::FinishMessage,
        "/api/v1/topics/{topic}/groups/{group}/finish",
        "Takes what came of a message; 409 when it was handed to somebody else meanwhile.",
        Some(Document::of::<FinishMessage>()),
    )
    .answering(json::<MessagesChanged>())
    .with(&[TOPIC, READER_GROUP]),
    Route::post(
        Operation::ReplayMessage,
        "/api/v1/messages/{message}/replay",
        "Delivers a dead letter once more.",
        None,
    )
    .answering(json::<MessagesChanged>())
    .with(&[MESSAGE, GROUP]),
    Route::post(
        Operation::DismissMessage,
        "/api/v1/messages/{message}/dismiss",
        "Says that nobody needs a dead letter, or a message that waits to be tried again.",
        None,
    )
    .answering(json::<MessagesChanged>())
    .with(&[MESSAGE, GROUP]),
    Route::get(
        Operation::ListAlarms,
        "/api/v1/alarms",
        "What must be looked at, newest first.",
        json::<Page<AlarmView>>(),
    )
    .with(&[ALL, LIMIT]),
    Route::post(
        Operation::AckAlarm,
        "/api/v1/alarms/{number}/ack",
        "Says that an alarm was seen; one that cannot clear itself is cleared.",
        None,
    )
    .answering(json::<AlarmView>())
    .with(&[ALARM]),
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
