//! The words of topics, effects and alarms. Where a message stands is a
//! [`DeliveryState`](crate::DeliveryState).

use crate::text_enum::text_enum;

text_enum! {
    /// Why a message is a dead letter.
    DeadReason, "reason of a dead letter" {
        /// The reader refused it as often as its group allows.
        Poison => "poison",
        /// Readers died over it as often as is allowed.
        Lost => "lost",
    }
}

text_enum! {
    /// Where an effect on the world outside stands.
    EffectState, "effect state" {
        /// Written down; nothing was done.
        Planned => "planned",
        /// Under way, or its doer has died over it.
        Started => "started",
        /// It was read back.
        Done => "done",
        /// It may or may not have happened.
        Unknown => "unknown",
        /// It certainly did not happen.
        Failed => "failed",
    }
}

text_enum! {
    /// What an alarm is about.
    AlarmKind, "alarm kind" {
        /// A stage has input and gave nothing out for its declared time.
        StageSilent => "stage_silent",
        /// A group has not finished what retention would remove.
        GroupBehind => "group_behind",
        /// A message was larger than its topic allows and was refused.
        MessageOversize => "message_oversize",
        /// A child was started again too often within an hour.
        RestartsTooMany => "restarts_too_many",
    }
}
