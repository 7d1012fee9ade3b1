//! Whether the rows of an organisation agree with each other.

use std::collections::BTreeSet;

use super::{
    problems::{Kind, Problems},
    rows::{ObjectRow, Rows, StateRow},
    tally::SentIndex,
};

/// Looks at the events' numbers, the stored ranges, the cursor and the runs.
pub(super) fn judge(rows: &Rows, sent: &SentIndex<'_>, problems: &mut Problems) {
    sequence(rows, sent, problems);
    ranges(rows, problems);
    cursor(rows, problems);
    runs(rows, problems);
}

/// The numbers have no gap, time goes forward, and what was acknowledged is there once.
fn sequence(rows: &Rows, sent: &SentIndex<'_>, problems: &mut Problems) {
    let (mut next, mut before) = (1, "");
    let mut ids = BTreeSet::new();
    for event in &rows.events {
        let (seq, id, at) = (event.seq, &event.id, event.recorded_at.as_str());
        if seq != next {
            let text = format!("audit_events has seq {seq} where {next} is due");
            problems.add(Kind::Sequence, text);
        }
        if !ids.insert(id.as_str()) {
            let text = format!("seq {seq} is event {id}, which audit_events has already");
            problems.add(Kind::Sequence, text);
        }
        if at < before {
            let text = format!("seq {seq} was recorded at {at}, after one of {before}");
            problems.add(Kind::Sequence, text);
        }
        (next, before) = (seq + 1, at);
    }
    if rows.next_seq != Some(next) {
        let text = format!("next_seq is {:?} where {next} is due", rows.next_seq);
        problems.add(Kind::Sequence, text);
    }
    for id in sent.keys().filter(|id| !ids.contains(*id)) {
        let text = format!("event {id} was acknowledged and is not in audit_events");
        problems.add(Kind::Sequence, text);
    }
}

/// The stored ranges follow one another from 1 on, over all destinations. Within each destination they
/// do so too, since its version never falls along the sequence.
fn ranges(rows: &Rows, problems: &mut Problems) {
    let mut next = 1;
    let mut before: Option<&ObjectRow> = None;
    for row in rows.stored() {
        let ObjectRow {
            first_seq,
            last_seq,
            key,
            ..
        } = row;
        if *first_seq > next {
            let text = format!("a gap of seq {next} to {} before {key}", first_seq - 1);
            problems.add(Kind::Range, text);
        }
        if *first_seq < next || last_seq < first_seq {
            let text = format!("seq {first_seq} overlaps what ends at {}: {key}", next - 1);
            problems.add(Kind::Range, text);
        }
        if let Some(before) = before {
            if row.destination_version < before.destination_version {
                let text = format!("the destination's version falls at seq {first_seq}: {key}");
                problems.add(Kind::Range, text);
            }
            if row.stored_at < before.stored_at {
                let text = format!("seq {first_seq} was stored before the range before it: {key}");
                problems.add(Kind::Range, text);
            }
        }
        next = next.max(last_seq + 1);
        before = Some(row);
    }
    let end = next - 1;
    if let Some(StateRow { cursor_seq, .. }) = rows.state
        && cursor_seq != end
    {
        let text = format!("it stands at {cursor_seq}, the stored objects end at seq {end}");
        problems.add(Kind::Cursor, text);
    }
    for row in rows.objects.iter().filter(|row| row.state == "planned") {
        let text = format!("seq {} to {}: {}", row.first_seq, row.last_seq, row.key);
        problems.add(Kind::Plan, text);
    }
}

/// All is delivered, and no version is newer than the newest.
fn cursor(rows: &Rows, problems: &mut Problems) {
    let Some(state) = rows.state else {
        problems.add(Kind::Cursor, "the organisation has no export_state");
        return;
    };
    let last = rows.events.last().map_or(0, |event| event.seq);
    if state.cursor_seq != last {
        let text = format!(
            "it stands at {}, the last event is seq {last}",
            state.cursor_seq
        );
        problems.add(Kind::Cursor, text);
    }
    let mut versions: Vec<i64> = rows.objects.iter().map(|o| o.destination_version).collect();
    if let Some((version, tested)) = rows.config {
        versions.push(version);
        versions.extend(tested);
        if tested > Some(version) {
            let text = format!("version {tested:?} is tested, {version} is the config's");
            problems.add(Kind::Cursor, text);
        }
    }
    if versions.iter().any(|version| *version > state.last_version) {
        let text = format!("a version is above the last one, {}", state.last_version);
        problems.add(Kind::Cursor, text);
    }
}

fn runs(rows: &Rows, problems: &mut Problems) {
    for run in &rows.runs {
        let active = ["queued", "running"].contains(&run.state.as_str());
        if run.state == "running" || (active && run.lease_expired) {
            let lease = if run.lease_expired {
                "expired"
            } else {
                "not expired"
            };
            let text = format!("{} is {}, its lease {lease}", run.id, run.state);
            problems.add(Kind::Run, text);
        }
    }
    let queued = rows.runs.iter().filter(|run| run.state == "queued").count();
    if queued > 1 {
        problems.add(Kind::Run, format!("{queued} are queued at once"));
    }
}
