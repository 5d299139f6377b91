//! What the routes do, by name.

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
    /// Every topic with its groups.
    ListTopics,
    /// One topic with its groups.
    ShowTopic,
    /// Messages of one partition.
    ListMessages,
    /// Produces one message.
    ProduceMessage,
    /// What groups have given up on.
    ListDeadMessages,
    /// Delivers dead letters once more, in order.
    DrainDeadMessages,
    /// Delivers one dead letter once more.
    ReplayMessage,
    /// Nobody needs a message.
    DismissMessage,
    /// Hands messages to a reader.
    FetchMessages,
    /// Takes a reader's answer.
    FinishMessage,
    /// What must be looked at.
    ListAlarms,
    /// An alarm was seen.
    AckAlarm,
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
            Self::ListTopics => "list_topics",
            Self::ShowTopic => "show_topic",
            Self::ListMessages => "list_messages",
            Self::ProduceMessage => "produce_message",
            Self::ListDeadMessages => "list_dead_messages",
            Self::DrainDeadMessages => "drain_dead_messages",
            Self::ReplayMessage => "replay_message",
            Self::DismissMessage => "dismiss_message",
            Self::FetchMessages => "fetch_messages",
            Self::FinishMessage => "finish_message",
            Self::ListAlarms => "list_alarms",
            Self::AckAlarm => "ack_alarm",
            Self::OpenApi => "openapi",
            Self::ContractSchema => "contract_schema",
        }
    }
}
