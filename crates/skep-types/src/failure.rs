//! The one list of failure classes: every failure has exactly one.

use crate::text_enum::text_enum;

text_enum! {
    /// Why an attempt or a job did not succeed.
    FailureClass, "failure class" {
        /// The provider asked to slow down.
        RateLimit => "rate_limit",
        /// The conversation no longer fits the model's window.
        ContextOverflow => "context_overflow",
        /// The harness lost the session it was to resume.
        SessionLost => "session_lost",
        /// A memory that was out of date was acted on.
        StaleRecall => "stale_recall",
        /// The worker stopped before the work was done.
        PrematureCompletion => "premature_completion",
        /// Nothing happened for longer than the limit.
        Stalled => "stalled",
        /// The work took longer than its own limit.
        WallClock => "wall_clock",
        /// More was written to the output than the limit allows.
        OutputLimit => "output_limit",
        /// A tool or the command itself failed.
        ToolFailure => "tool_failure",
        /// The model provider did not answer.
        ProviderOutage => "provider_outage",
        /// The model provider refused the content.
        ProviderPolicy => "provider_policy",
        /// A credential was refused.
        Auth => "auth",
        /// Another model than the one asked for answered.
        SilentSubstitution => "silent_substitution",
        /// The result contradicts the evidence or cannot be read.
        InvalidOutput => "invalid_output",
        /// The worker reported success and did nothing.
        EmptySuccess => "empty_success",
        /// A job this one needs has failed.
        DependencyFailed => "dependency_failed",
        /// A budget would have been passed.
        BudgetExceeded => "budget_exceeded",
        /// The change reaches outside the declared scope.
        ScopeViolation => "scope_violation",
        /// The fence that was asked for cannot be had here.
        IsolationUnavailable => "isolation_unavailable",
        /// The engine's claim on the job ran out or was taken over.
        LeaseLost => "lease_lost",
        /// The worker's process died.
        WorkerCrash => "worker_crash",
        /// Not yet understood; the share of these is reported.
        Unknown => "unknown",
    }
}

impl FailureClass {
    /// Whether a later try of the same work may succeed without a change by anybody.
    pub const fn is_transient(self) -> bool {
        match self {
            Self::RateLimit
            | Self::SessionLost
            | Self::Stalled
            | Self::WallClock
            | Self::ProviderOutage
            | Self::LeaseLost
            | Self::WorkerCrash => true,
            Self::ContextOverflow
            | Self::StaleRecall
            | Self::PrematureCompletion
            | Self::ToolFailure
            | Self::OutputLimit
            | Self::ProviderPolicy
            | Self::Auth
            | Self::SilentSubstitution
            | Self::InvalidOutput
            | Self::EmptySuccess
            | Self::DependencyFailed
            | Self::BudgetExceeded
            | Self::ScopeViolation
            | Self::IsolationUnavailable
            | Self::Unknown => false,
        }
    }
}
