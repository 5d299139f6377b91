//! The review report: what an observer says about somebody else's result.
//!
//! Owns nothing. Invariant: like a contract it is a claim, read strictly or not at all.

use crate::limits::REVIEW_BYTES_MAX;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The reviewer's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReviewVerdict {
    /// Nothing stands against it.
    Pass,
    /// It is right once the defects are repaired.
    Fix,
    /// It is the wrong work.
    Reject,
}

impl ReviewVerdict {
    /// The one spelling.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fix => "fix",
            Self::Reject => "reject",
        }
    }
}

/// How much a defect matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// A matter of taste or tidiness.
    Low,
    /// It should be repaired, and harms nobody until then.
    Medium,
    /// It must not land.
    High,
}

impl Severity {
    /// The one spelling.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

impl fmt::Display for ReviewVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The review report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReviewReport {
    /// The reviewer's word on the whole.
    pub verdict: ReviewVerdict,
    /// Every criterion of the review.
    pub criteria: Vec<Criterion>,
    /// What is wrong.
    pub defects: Vec<Defect>,
}

/// One criterion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Criterion {
    /// What was asked for.
    pub criterion: String,
    /// Whether the result has it.
    pub met: bool,
    /// What the reviewer saw: a place, a command and its outcome.
    pub evidence: String,
}

/// One defect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Defect {
    /// Where, as `path:line` where there is one.
    pub place: String,
    /// How much it matters.
    pub severity: Severity,
    /// What is wrong.
    pub what: String,
    /// What the reviewer saw.
    pub evidence: String,
}

/// Why there is no review report.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    /// The file does not exist.
    #[error("review report is missing")]
    Missing,
    /// The file is larger than a report can be.
    #[error("review report has {bytes} bytes; the limit is {max}")]
    TooLarge {
        /// The file's size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// Not JSON, or not of the shape.
    #[error("review report is malformed")]
    Malformed(#[source] serde_json::Error),
}

impl ReviewReport {
    /// Reads a report; `bytes` is the file's content, none if there is no file.
    ///
    /// # Errors
    /// Anything but a complete report and nothing else.
    pub fn read(bytes: Option<&[u8]>) -> Result<Self, ReviewError> {
        let bytes = bytes.ok_or(ReviewError::Missing)?;
        if bytes.len() > REVIEW_BYTES_MAX {
            return Err(ReviewError::TooLarge {
                bytes: bytes.len(),
                max: REVIEW_BYTES_MAX,
            });
        }
        serde_json::from_slice(bytes).map_err(ReviewError::Malformed)
    }

    /// The JSON Schema of the report (draft 2020-12).
    pub fn json_schema() -> serde_json::Value {
        use serde_json::json;
        let text = json!({"type": "string"});
        json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": "Skep review report",
            "type": "object",
            "properties": {
                "verdict": {"enum": ["pass", "fix", "reject"]},
                "criteria": {"type": "array", "items": {
                    "type": "object",
                    "properties": {"criterion": text, "met": {"type": "boolean"}, "evidence": text},
                    "required": ["criterion", "met", "evidence"],
                    "additionalProperties": false,
                }},
                "defects": {"type": "array", "items": {
                    "type": "object",
                    "properties": {
                        "place": text,
                        "severity": {"enum": ["low", "medium", "high"]},
                        "what": text,
                        "evidence": text,
                    },
                    "required": ["place", "severity", "what", "evidence"],
                    "additionalProperties": false,
                }},
            },
            "required": ["verdict", "criteria", "defects"],
            "additionalProperties": false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = r#"{"verdict":"fix","criteria":[{"criterion":"tests pass","met":true,"evidence":"cargo test: 3 passed"}],"defects":[{"place":"src/lib.rs:3","severity":"high","what":"off by one","evidence":"add(1,1) = 3"}]}"#;

    #[test]
    fn a_whole_report_reads_and_the_schema_agrees() {
        let report = ReviewReport::read(Some(WHOLE.as_bytes())).unwrap();
        assert_eq!(report.verdict, ReviewVerdict::Fix);
        assert_eq!(report.defects[0].severity, Severity::High);
        for word in [report.verdict.to_string(), Severity::High.to_string()] {
            assert!(WHOLE.contains(&format!("\"{word}\"")), "{word}");
        }
        let schema = jsonschema::validator_for(&ReviewReport::json_schema()).unwrap();
        assert!(schema.is_valid(&serde_json::from_str(WHOLE).unwrap()));
    }

    #[test]
    fn anything_less_is_refused_by_reader_and_schema_alike() {
        let schema = jsonschema::validator_for(&ReviewReport::json_schema()).unwrap();
        for (from, to) in [
            ("\"fix\"", "\"maybe\""),
            ("\"verdict\":\"fix\",", ""),
            ("\"defects\":[", "\"other\":[],\"defects\":["),
            ("\"met\":true", "\"met\":\"yes\""),
            ("\"met\":true,", ""),
            ("\"high\"", "\"HIGH\""),
            ("\"off by one\"", "null"),
        ] {
            let bad = WHOLE.replacen(from, to, 1);
            assert_ne!(bad, WHOLE);
            assert!(ReviewReport::read(Some(bad.as_bytes())).is_err(), "{bad}");
            assert!(
                !schema.is_valid(&serde_json::from_str(&bad).unwrap()),
                "{bad}"
            );
        }
        assert!(matches!(
            ReviewReport::read(None),
            Err(ReviewError::Missing)
        ));
        let large = vec![b' '; REVIEW_BYTES_MAX + 1];
        assert!(matches!(
            ReviewReport::read(Some(&large)),
            Err(ReviewError::TooLarge { .. })
        ));
    }
}
