//! What a job is, what its worker may do, what its data is, and how deep its gate goes.

use crate::text_enum::text_enum;

text_enum! {
    /// What kind of work a job is; the engine runs each kind in its own way.
    JobKind, "job kind" {
        /// A coding agent in a repository of its own.
        Agent => "agent",
        /// One model call.
        Call => "call",
        /// One shell command.
        Shell => "shell",
        /// Several jobs in order.
        Pipeline => "pipeline",
    }
}

text_enum! {
    /// Which end of another job a job waits for.
    EdgeWhen, "condition of an edge" {
        /// It is done.
        Success => "success",
        /// It has ended, however.
        AnyEnd => "any_end",
        /// It is done and left an artifact of a name.
        Artifact => "artifact",
    }
}

text_enum! {
    /// Why the work is done, for the account of what autonomy costs.
    Purpose, "purpose" {
        /// A person asked for it.
        Requested => "requested",
        /// Upkeep of the system itself.
        Maintenance => "maintenance",
        /// A review of another job's result.
        Review => "review",
        /// An agent thought of it.
        SelfGenerated => "self_generated",
        /// A second try of something that failed.
        Retry => "retry",
    }
}

text_enum! {
    /// What one node of a store does.
    NodeRole, "node role" {
        /// Seals the ledger, delivers reports, puts in order what others left.
        Engine => "engine",
        /// Serves model calls to whoever has a virtual key.
        Gateway => "gateway",
        /// Serves the API.
        Web => "web",
        /// Claims jobs and runs them.
        Worker => "worker",
    }
}

text_enum! {
    /// What a worker may do. Held by the fence, not by the prompt.
    Role, "role" {
        /// Reads everything in its repository, writes inside its scope, commits.
        Builder => "builder",
        /// Reads; writes and commits nothing.
        Observer => "observer",
        /// Plans and dispatches; has no write tool on product code.
        Director => "director",
    }
}

text_enum! {
    /// What data is. It travels with the text; the greater one wins when two meet.
    Tier, "tier" {
        /// May go to any model.
        Convenience => "convenience",
        /// May go to a remote model with recorded consent. Data without a label is this.
        Sensitive => "sensitive",
        /// Never leaves for a model that is not local.
        Sacred => "sacred",
    }
}

text_enum! {
    /// How deep a result is checked before it may land.
    Gate, "gate" {
        /// The contract's shape and exit codes.
        G0 => "G0",
        /// The engine's own checks, and every claim against evidence.
        G1 => "G1",
        /// G1 and a review by a model of another family.
        G2 => "G2",
        /// G2 and a person.
        G3 => "G3",
    }
}
