//! An export proves itself, and whatever is changed in it is found with its line.

use super::tamper::with_ten;
use super::{Ledgered, count_bees, ledger};
use skep_db::Tx;
use skep_ledger::{
    Anchor, ExportEntry, ExportReport, Exporter, Fault, LedgerPublicKey, SealedEvent, head, purge,
    verify_export,
};
use skep_testkit::{TestStore, on_both_engines};

on_both_engines!(
    a_change_of_any_line_is_found,
    a_changed_byte_is_found_wherever_it_is,
    an_anchor_has_to_be_there,
    an_export_holds_after_a_purge,
    an_export_is_signed_by_the_key_that_is_asked_for,
    two_exports_of_one_head_are_the_same,
);

/// The export of everything that is sealed.
pub(super) async fn export(ledger: &Ledgered) -> anyhow::Result<Vec<u8>> {
    let events = ledger.events().await?;
    let end = ledger.db.read("head", head).await?;
    let end = end.ok_or_else(|| anyhow::anyhow!("no head"))?;
    let mut out = Exporter::begin(Vec::new(), ledger.key.public(), end)?;
    for event in events {
        out.entry(&entry(event)?)?;
    }
    Ok(out.end()?)
}

fn entry(event: SealedEvent) -> anyhow::Result<ExportEntry> {
    let purged = event.payload.is_empty();
    Ok(ExportEntry {
        seq: event.seq,
        event_id: event.event_id,
        at: event.at_ms,
        kind: event.kind,
        version: event.version,
        subject: event.subject,
        payload_digest: purged.then_some(event.payload_digest),
        payload: if purged {
            None
        } else {
            Some(String::from_utf8(event.payload)?)
        },
        hash: event.hash,
    })
}

pub(super) fn verified(
    export: &[u8],
    key: Option<LedgerPublicKey>,
    anchors: &[Anchor],
) -> std::io::Result<ExportReport> {
    verify_export(export, key, anchors.to_vec(), |_| {})
}

async fn two_exports_of_one_head_are_the_same(store: TestStore) -> anyhow::Result<()> {
    let ledger = ledger(&store).await?;
    let empty = export(&ledger).await?;
    let report = verified(&empty, None, &[])?;
    assert_eq!((report.events, report.first_bad), (0, None));
    for bees in 1..=3 {
        count_bees(&ledger.db, "hive", bees).await?;
    }
    let (first, second) = (export(&ledger).await?, export(&ledger).await?);
    assert_eq!(first, second);
    let report = verified(&first, Some(ledger.key.public()), &[])?;
    assert_eq!((report.events, report.first_bad), (3, None));
    assert_eq!(report.end.hash, ledger.verify().await?.head_hash);
    Ok(())
}

async fn an_export_holds_after_a_purge(store: TestStore) -> anyhow::Result<()> {
    let ledger = with_ten(&store).await?.opened_to_write(&store).await?;
    for (first, last) in [(2, 2), (4, 6)] {
        let purge_them = async move |tx: &mut Tx<'_>| purge(tx, first, last).await;
        ledger.db.write("purge", purge_them).await?;
    }
    let text = export(&ledger).await?;
    let report = verified(&text, None, &[])?;
    assert_eq!(
        (report.events, report.purged, report.first_bad),
        (12, 4, None)
    );
    // One more payload taken out, with its digest in its place, is not on record.
    let text = String::from_utf8(text)?;
    let digest = ledger.events().await?[6].payload_digest;
    let gone = format!(r#""payload_digest":"{digest}""#);
    let text = text.replace(r#""payload":"{\"bees\":7}""#, &gone);
    let bad = verified(text.as_bytes(), None, &[])?.first_bad;
    let bad = bad.map(|bad| (bad.seq, bad.fault));
    assert_eq!(bad, Some((7, Fault::Unrecorded)));
    Ok(())
}

/// What is done to the lines of an export of ten entries (line 1 opens it, entry n stands on line
/// n + 1, line 12 is the head), and the line, entry and fault that are to be found.
type Case = (&'static str, fn(&mut Vec<String>), (i64, i64, Fault));

const CASES: &[Case] = &[
    (
        "the opening gone",
        |l| drop(l.remove(0)),
        (1, 0, Fault::Form),
    ),
    (
        "an entry gone",
        |l| drop(l.remove(4)),
        (5, 4, Fault::Missing),
    ),
    (
        "the first entry gone",
        |l| drop(l.remove(1)),
        (2, 1, Fault::Missing),
    ),
    (
        "the last entry gone",
        |l| drop(l.remove(10)),
        (11, 10, Fault::Missing),
    ),
    ("the head gone", |l| drop(l.pop()), (12, 11, Fault::Missing)),
    ("the end gone", |l| l.truncate(8), (9, 8, Fault::Missing)),
    ("all gone", Vec::clear, (1, 1, Fault::Missing)),
    ("two swapped", |l| l.swap(4, 5), (5, 4, Fault::Missing)),
    (
        "an entry twice",
        |l| l.insert(5, l[4].clone()),
        (6, 5, Fault::Missing),
    ),
    (
        "a line behind the head",
        |l| l.push(l[11].clone()),
        (13, 11, Fault::Extra),
    ),
    (
        "an empty line",
        |l| l.insert(5, "\n".to_owned()),
        (6, 5, Fault::Form),
    ),
    (
        "one entry renumbered",
        |l| l[4] = l[4].replace(r#""seq":4"#, r#""seq":5"#),
        (5, 4, Fault::Missing),
    ),
    (
        "another time",
        |l| l[4] = l[4].replace(r#""version":3"#, r#""version":4"#),
        (5, 4, Fault::Hash),
    ),
    (
        "a payload and nothing else",
        |l| l[4] = l[4].replace(r#"{\"bees\":4}"#, r#"{\"bees\":5}"#),
        (5, 4, Fault::Hash),
    ),
    (
        "the same said in another way",
        |l| l[4] = l[4].replace("hive", "h\\u0069ve"),
        (5, 4, Fault::Form),
    ),
    (
        "one field more",
        |l| l[4] = l[4].replace(r#""seq":4"#, r#""seq":4,"note":1"#),
        (5, 4, Fault::Form),
    ),
    (
        "a line of another end",
        |l| l[4] = l[4].replace('\n', "\r\n"),
        (5, 4, Fault::Form),
    ),
    (
        "no end of the last line",
        |l| l[11] = l[11].trim_end().to_owned(),
        (12, 10, Fault::Form),
    ),
    (
        "an earlier head",
        |l| l[11] = l[11].replace(r#""seq":10"#, r#""seq":9"#),
        (12, 10, Fault::Extra),
    ),
    (
        "another version",
        |l| l[0] = l[0].replace(r#""version":2"#, r#""version":3"#),
        (1, 0, Fault::Form),
    ),
];

async fn a_change_of_any_line_is_found(store: TestStore) -> anyhow::Result<()> {
    let ledger = with_ten(&store).await?;
    let text = String::from_utf8(export(&ledger).await?)?;
    let lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
    for (what, change, expected) in CASES {
        let mut changed = lines.clone();
        change(&mut changed);
        let bad = verified(changed.concat().as_bytes(), None, &[])?.first_bad;
        let found = bad.as_ref().map(|bad| (bad.line, bad.seq, bad.fault));
        assert_eq!(found, Some(*expected), "{what}: {bad:?}");
    }
    Ok(())
}

/// Every single byte: what stands before its line still holds, and nothing passes.
async fn a_changed_byte_is_found_wherever_it_is(store: TestStore) -> anyhow::Result<()> {
    let ledger = with_ten(&store).await?;
    let text = export(&ledger).await?;
    let mut line = 1;
    for place in 0..text.len() {
        let mut changed = text.clone();
        changed[place] ^= 1 << (place % 8);
        let report = verified(&changed, Some(ledger.key.public()), &[])?;
        let found = report.first_bad.as_ref().map(|bad| bad.line);
        // A new line break in a line makes two of it, and one less makes one of two.
        let fits = found.is_some_and(|found| (line..=line + 1).contains(&found));
        assert!(fits, "byte {place} of line {line}: {report:?}");
        if text[place] == b'\n' {
            line += 1;
        }
    }
    Ok(())
}

async fn an_export_is_signed_by_the_key_that_is_asked_for(store: TestStore) -> anyhow::Result<()> {
    let parts = [skep_ledger::SCHEMA];
    let forger = Ledgered::open_with_key(&store, &parts, "forger.key").await?;
    count_bees(&forger.db, "hive", 1).await?;
    let text = export(&forger).await?;
    assert_eq!(
        verified(&text, None, &[])?.first_bad,
        None,
        "it agrees with itself"
    );
    let owner = Ledgered::open(&store, &parts).await?;
    let bad = verified(&text, Some(owner.key.public()), &[])?.first_bad;
    let bad = bad.map(|bad| (bad.line, bad.fault));
    assert_eq!(
        bad,
        Some((1, Fault::Signature)),
        "it names the key of another"
    );
    let (theirs, ours) = (
        forger.key.public().to_string(),
        owner.key.public().to_string(),
    );
    let renamed = String::from_utf8(text)?.replace(&theirs, &ours);
    let bad = verified(renamed.as_bytes(), None, &[])?.first_bad;
    let bad = bad.map(|bad| (bad.line, bad.seq, bad.fault));
    assert_eq!(
        bad,
        Some((3, 1, Fault::Signature)),
        "it names a key that did not sign"
    );
    Ok(())
}

async fn an_anchor_has_to_be_there(store: TestStore) -> anyhow::Result<()> {
    let ledger = with_ten(&store).await?;
    let text = export(&ledger).await?;
    let events = ledger.events().await?;
    let anchor = |seq: i64, of: usize| Anchor {
        seq,
        hash: events[of].hash,
    };
    for (anchors, expected) in [
        (vec![anchor(4, 3), anchor(1, 0), anchor(10, 9)], None),
        (vec![anchor(4, 3), anchor(4, 4)], Some(4)),
        (vec![anchor(1, 0), anchor(5, 3)], Some(5)),
        (vec![anchor(11, 9)], Some(11)),
        (vec![anchor(0, 0)], None),
    ] {
        let zero = Anchor {
            seq: 0,
            hash: skep_ledger::Digest::ZERO,
        };
        let anchors: Vec<Anchor> = anchors
            .into_iter()
            .map(|anchor| if anchor.seq == 0 { zero } else { anchor })
            .collect();
        let in_file = verified(&text, None, &anchors)?.first_bad;
        let in_store =
            skep_ledger::verify_with(&ledger.db, ledger.key.public(), anchors.clone()).await?;
        let expected = expected.map(|seq| (seq, Fault::Anchor));
        assert_eq!(
            in_file.map(|bad| (bad.seq, bad.fault)),
            expected,
            "{anchors:?}"
        );
        let in_store = in_store.first_bad.map(|bad| (bad.seq, bad.fault));
        assert_eq!(in_store, expected, "{anchors:?}");
    }
    Ok(())
}
