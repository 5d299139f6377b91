//! What the engine found when it held a contract against the evidence.

use crate::text_enum::text_enum;
use serde::{Deserialize, Serialize};

text_enum! {
    /// The engine's word on a result.
    Verdict, "verdict" {
        /// Every claim agrees with the evidence and every check passed.
        Valid => "VALID",
        /// At least one claim contradicts the evidence, or a check failed.
        Invalid => "INVALID",
        /// There is no contract, or none that can be read.
        Missing => "MISSING",
    }
}

text_enum! {
    /// What became of one claim.
    FindingOutcome, "finding outcome" {
        /// The evidence agrees.
        Confirmed => "confirmed",
        /// The evidence disagrees.
        Contradicted => "contradicted",
        /// There is no evidence either way; it counts for nothing.
        Unproved => "unproved",
        /// The evidence disagrees and a waiver given at dispatch allows it.
        Waived => "waived",
    }
}

/// One claim held against its evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Which rule was applied, as in `files_changed` or `check`; the name a waiver uses.
    pub rule: String,
    /// What was claimed or demanded.
    pub claim: String,
    /// What was found, and where.
    pub evidence: String,
    /// What became of the claim.
    pub outcome: FindingOutcome,
}
