//! Figures with their spread, grouped as rows that answer one promise.

use crate::report::{Row, number};
use serde_json::Value;

/// One contender's figure: the median of its repetitions.
#[derive(Debug, Clone)]
pub(super) struct Figure {
    /// Whose it is, with what sets it apart.
    pub(super) who: String,
    /// One value for each repetition that ended.
    pub(super) samples: Vec<f64>,
    /// What it has to reach.
    pub(super) target: Option<Target>,
    /// What else the reader has to know.
    pub(super) note: String,
}

/// A bound and how it is said.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) value: f64,
    pub(super) text: String,
}

/// Ours and theirs for one promise.
#[derive(Debug)]
pub(super) struct Group {
    /// Its heading.
    pub(super) title: String,
    pub(super) unit: &'static str,
    pub(super) more_is_better: bool,
    pub(super) ours: Vec<Figure>,
    pub(super) theirs: Vec<Figure>,
    /// Sentences made from this run's figures, below the table.
    pub(super) remarks: Vec<String>,
}

/// The documents of one contender's repetitions.
#[derive(Debug)]
pub(super) struct Runs {
    pub(super) who: String,
    pub(super) ours: bool,
    pub(super) documents: Vec<Value>,
    /// Why the last one that failed did.
    pub(super) failure: Option<String>,
}

impl Runs {
    /// The numbers at a place of every document.
    pub(super) fn numbers(&self, pointer: &str) -> Vec<f64> {
        let at = |document: &Value| document.pointer(pointer)?.as_f64();
        self.documents.iter().filter_map(at).collect()
    }

    /// The figure at a place of the documents.
    pub(super) fn figure(&self, pointer: &str) -> Figure {
        Figure {
            who: self.who.clone(),
            samples: self.numbers(pointer),
            target: None,
            note: self.failure.clone().unwrap_or_default(),
        }
    }

    /// The lists at a place of every document, one after the other.
    pub(super) fn series(&self, pointer: &str) -> Vec<f64> {
        let lists = self.documents.iter().filter_map(|d| d.pointer(pointer));
        lists
            .filter_map(Value::as_array)
            .flatten()
            .filter_map(Value::as_f64)
            .collect()
    }
}

impl Figure {
    /// A figure that was measured once.
    pub(super) fn once(who: &str, value: f64) -> Self {
        Self {
            who: who.to_owned(),
            samples: vec![value],
            target: None,
            note: String::new(),
        }
    }

    /// The same figure with a bound.
    pub(super) fn target(self, value: f64, text: impl Into<String>) -> Self {
        let target = Some(Target {
            value,
            text: text.into(),
        });
        Self { target, ..self }
    }

    /// The same figure with a note.
    pub(super) fn noted(mut self, note: &str) -> Self {
        if !self.note.is_empty() && !note.is_empty() {
            self.note.push_str("; ");
        }
        self.note.push_str(note);
        self
    }

    /// The middle of the samples; `None` when no repetition ended.
    pub(super) fn median(&self) -> Option<f64> {
        median(&self.samples)
    }

    /// Whether the target is met; `None` without a target.
    pub(super) fn met(&self, more_is_better: bool) -> Option<bool> {
        let target = self.target.as_ref()?;
        let Some(value) = self.median() else {
            return Some(false);
        };
        Some(if more_is_better {
            value >= target.value
        } else {
            value <= target.value
        })
    }
}

impl Group {
    /// A group of the same number of every contender's documents.
    pub(super) fn of(
        title: impl Into<String>,
        unit: &'static str,
        more_is_better: bool,
        all: &[Runs],
        pointer: &str,
    ) -> Self {
        let side = |ours: bool| -> Vec<Figure> {
            all.iter()
                .filter(|runs| runs.ours == ours)
                .map(|runs| runs.figure(pointer))
                .collect()
        };
        Self {
            title: title.into(),
            unit,
            more_is_better,
            ours: side(true),
            theirs: side(false),
            remarks: Vec::new(),
        }
    }

    /// Ours divided by theirs; `None` where one of them has no figure.
    pub(super) fn ratio(&self, theirs: &Figure) -> Option<f64> {
        let ratio = self.ours.first()?.median()? / theirs.median()?;
        ratio.is_finite().then_some(ratio)
    }

    /// The best of theirs.
    fn best_peer(&self) -> Option<&Figure> {
        let measured = self
            .theirs
            .iter()
            .filter(|figure| figure.median().is_some());
        let order = |figure: &&Figure| figure.median().unwrap_or_default();
        if self.more_is_better {
            measured.max_by(|a, b| order(a).total_cmp(&order(b)))
        } else {
            measured.min_by(|a, b| order(a).total_cmp(&order(b)))
        }
    }

    /// The rows of the report: ours beside the best of theirs, then theirs.
    pub(super) fn rows(&self) -> Vec<Row> {
        let best = self.best_peer().and_then(Figure::median);
        let row = |figure: &Figure| {
            let name = format!("{}: {}", self.title, figure.who);
            let (value, bound) = (figure.median(), figure.target.as_ref().map(|t| t.value));
            let row = if self.more_is_better {
                Row::at_least(&name, value.unwrap_or_default(), self.unit, bound)
            } else {
                Row::at_most(&name, value.unwrap_or_default(), self.unit, bound)
            };
            let spread = spread(&figure.samples);
            let note = if figure.note.is_empty() {
                spread
            } else {
                format!("{spread}; {}", figure.note)
            };
            Row {
                ok: row.ok && value.is_some(),
                value,
                ..row.noted(note)
            }
        };
        let ours = self.ours.iter().map(|figure| {
            let row = row(figure);
            let ratio = figure.median().zip(best).map(|(ours, best)| ours / best);
            Row {
                peer: best,
                ratio: ratio.filter(|ratio| ratio.is_finite()),
                ..row
            }
        });
        ours.chain(self.theirs.iter().map(row)).collect()
    }
}

/// The middle of some values.
pub(super) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        length if length % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

/// The least of some values.
pub(super) fn least(values: &[f64]) -> Option<f64> {
    values.iter().copied().min_by(f64::total_cmp)
}

/// The greatest of some values.
pub(super) fn greatest(values: &[f64]) -> Option<f64> {
    values.iter().copied().max_by(f64::total_cmp)
}

/// The spread of some repetitions, for people.
fn spread(samples: &[f64]) -> String {
    match (least(samples), greatest(samples)) {
        (Some(low), Some(high)) if samples.len() > 1 => {
            format!(
                "{} to {}, {} runs",
                number(low),
                number(high),
                samples.len()
            )
        }
        (Some(_), _) => "1 run".to_owned(),
        _ => "no run ended".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn runs(who: &str, ours: bool, values: &[f64]) -> Runs {
        Runs {
            who: who.to_owned(),
            ours,
            documents: values.iter().map(|v| json!({ "rate": v })).collect(),
            failure: None,
        }
    }

    fn group(more_is_better: bool) -> Group {
        let all = [
            runs("us", true, &[30.0, 10.0, 20.0]),
            runs("slow", false, &[5.0, 5.0]),
            runs("quick", false, &[40.0]),
            runs("broken", false, &[]),
        ];
        Group::of("rows", "1/s", more_is_better, &all, "/rate")
    }

    #[test]
    fn ours_is_held_against_the_best_of_theirs() {
        for (more_is_better, peer, ratio) in [(true, 40.0, 0.5), (false, 5.0, 4.0)] {
            let rows = group(more_is_better).rows();
            assert_eq!(rows[0].value, Some(20.0));
            assert_eq!((rows[0].peer, rows[0].ratio), (Some(peer), Some(ratio)));
            assert_eq!(rows[0].note, "10 to 30, 3 runs");
        }
    }

    #[test]
    fn a_contender_that_never_ended_is_not_well() {
        let rows = group(true).rows();
        let broken = rows.iter().find(|row| row.name == "rows: broken").unwrap();
        assert!(!broken.ok && broken.value.is_none());
        assert_eq!(broken.note, "no run ended");
    }

    #[test]
    fn a_target_is_met_from_the_side_that_is_better() {
        let figure = Figure::once("us", 10.0).target(10.0, "ten");
        assert_eq!(figure.met(true), Some(true));
        assert_eq!(figure.clone().target(11.0, "").met(true), Some(false));
        assert_eq!(figure.target(11.0, "").met(false), Some(true));
        assert_eq!(Figure::once("us", 1.0).met(true), None);
    }
}
