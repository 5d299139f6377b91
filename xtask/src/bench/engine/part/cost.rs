//! What a job costs while they pile up, and what a server costs that has none.

use super::super::figure::{Figure, Group};
use super::super::gate::Bytes;
use super::super::idle;
use super::super::stand::{Contender, Stand, Work};
use super::SIXTEEN;
use anyhow::{Context as _, Result};
use serde_json::Value;

/// How much more a job may cost at the last size than at the first and still be called flat.
const FLAT: f64 = 1.25;
const IDLE_PERCENT: f64 = 1.0;

pub(super) fn growth(stand: &mut Stand) -> Result<Vec<Group>> {
    let sizes: Vec<String> = stand.plan.growth_sizes.iter().map(u64::to_string).collect();
    let (window, (clients, claim)) = (stand.plan.growth_window, SIXTEEN);
    let contenders = ["sqlite", "postgres"].into_iter().map(|engine| Contender {
        who: format!("skep on {engine}"),
        work: Work::Ours(
            format!(
                "growth --engine {engine} --sizes {} --window {window} --clients {clients} \
                 --claim {claim}",
                sizes.join(",")
            ),
            None,
        ),
    });
    let contenders: Vec<Contender> = contenders.collect();
    let all = stand.measure(1, &contenders)?;
    let mut groups = Vec::new();
    for (what, unit, pointer) in [
        ("time", "us", "us_per_job"),
        ("bytes written", "B", "written_per_job"),
        ("bytes on disk", "B", "disk_per_job"),
    ] {
        let mut group = Group {
            title: format!("{what} of a job at {} finished jobs", sizes.join(", ")),
            unit,
            more_is_better: false,
            ours: Vec::new(),
            theirs: Vec::new(),
            remarks: Vec::new(),
        };
        for runs in &all {
            let at = |index: usize| runs.numbers(&format!("/rows/{index}/{pointer}"));
            let values: Vec<f64> = (0..sizes.len()).flat_map(at).collect();
            for (size, value) in sizes.iter().zip(&values) {
                let who = format!("{}, {size} finished", runs.who);
                group.ours.push(Figure::once(&who, *value));
            }
            if let (Some(first), Some(last), "us_per_job") =
                (values.first(), values.last(), pointer)
            {
                let who = format!("{}, last size divided by first", runs.who);
                let figure = Figure::once(&who, last / first);
                group.ours.push(
                    figure
                        .target(FLAT, format!("at most {FLAT}"))
                        .noted("a factor"),
                );
            }
        }
        groups.push(group);
    }
    Ok(groups)
}

pub(super) fn bytes(stand: &mut Stand) -> Result<Vec<Group>> {
    let mut written = gate_group("bytes written for a finished job, one client, 16 jobs each");
    let mut disk = gate_group("bytes on disk for a finished job, one client, 16 jobs each");
    for engine in ["sqlite", "postgres"] {
        let jobs = stand.plan.gate_jobs;
        let words = format!("bytes --engine {engine} --claim 16 --jobs {jobs}");
        let document = stand.ours(&words, None)?;
        stand.postgres.sweep()?;
        let number = |name: &str| {
            document
                .get(name)
                .and_then(Value::as_f64)
                .context("no bytes")
        };
        let bytes = Bytes {
            written_per_job: number("written_per_job")?,
            disk_per_job: number("disk_per_job")?,
        };
        if stand.plan.accept {
            stand.gate.accept(engine, bytes)?;
        }
        let limit = stand.gate.limit(engine);
        let who = format!("skep on {engine}");
        for (group, value, limit) in [
            (
                &mut written,
                bytes.written_per_job,
                limit.map(|l| l.written_per_job),
            ),
            (&mut disk, bytes.disk_per_job, limit.map(|l| l.disk_per_job)),
        ] {
            let figure = Figure::once(&who, value);
            group.ours.push(match limit {
                Some(limit) => figure.target(limit, format!("gate: at most {limit:.0}")),
                None => figure.noted("nothing is accepted yet: --accept does"),
            });
        }
    }
    Ok(vec![written, disk])
}

fn gate_group(title: &str) -> Group {
    Group {
        title: title.to_owned(),
        unit: "B",
        more_is_better: false,
        ours: Vec::new(),
        theirs: Vec::new(),
        remarks: Vec::new(),
    }
}

pub(super) fn idle(stand: &mut Stand) -> Result<Vec<Group>> {
    let seconds = stand.plan.idle_s;
    let group = |title: String, unit| Group {
        unit,
        title,
        ..gate_group("")
    };
    let mut processor = group(
        format!("idle for {seconds} s: processor time"),
        "% of a core",
    );
    let mut written = group(format!("idle for {seconds} s: bytes sent to the disk"), "B");
    for (engine, postgres) in [("sqlite", None), ("postgres", Some(&stand.postgres))] {
        let idle = idle::watch(&stand.programs.product, postgres, seconds)?;
        let who = format!("skep up on {engine}");
        let percent = Figure::once(&who, idle.processor_percent);
        processor
            .ours
            .push(percent.target(IDLE_PERCENT, format!("under {IDLE_PERCENT}")));
        let changed = if idle.changed_files.is_empty() {
            "no file of the home changed".to_owned()
        } else {
            format!("changed: {}", idle.changed_files.join(", "))
        };
        let bytes = Figure::once(&who, idle.written_bytes).target(0.0, "none");
        written.ours.push(bytes.noted(&changed));
        if let Some([alone, beside]) = idle.wal_bytes {
            let figure = Figure::once("PostgreSQL's log beside skep up", beside);
            let note = format!("{alone} with nobody there");
            written.ours.push(
                figure
                    .target(alone, "what the server writes alone")
                    .noted(&note),
            );
        }
    }
    stand.postgres.sweep()?;
    Ok(vec![processor, written])
}
