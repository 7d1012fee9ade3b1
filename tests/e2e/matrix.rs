//! Every fault of every operation: S3 and STS fail in all the ways they have, once or until the fault
//! is lifted, and each export must end as the table says, with nothing lost and nothing doubled.

mod clock;
mod connection;
mod export;
mod lab;
mod made;
mod rows;
mod table;
mod turns;

use std::{any::Any, collections::HashMap, sync::Arc};

use harness::{faults::http::Operation, report};
use tokio::{sync::Semaphore, task::JoinSet};

use connection::{Deletion, Test};
use export::Cell;
use lab::Lab;
use rows::Row;
use table::{KINDS, LeftOut, Mode};

/// Cells under way at once, each with an organisation of its own.
const AT_ONCE: usize = 12;
/// Likewise, where they send megabytes.
const LARGE_AT_ONCE: usize = 6;

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_of_assume_role_ends_as_promised() {
    run(Operation::AssumeRole).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_of_put_object_ends_as_promised() {
    run(Operation::PutObject).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_of_create_multipart_upload_ends_as_promised() {
    run(Operation::CreateMultipartUpload).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_of_upload_part_ends_as_promised() {
    run(Operation::UploadPart).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_of_complete_multipart_upload_ends_as_promised() {
    run(Operation::CompleteMultipartUpload).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_of_delete_object_ends_as_promised() {
    run(Operation::DeleteObject).await;
}

/// A cell of any sort.
#[derive(Debug, Clone, Copy)]
enum Case {
    Export(Cell),
    Deletion(Deletion),
    Test(Test),
}

impl Case {
    async fn run(self, lab: &Lab, number: usize) -> Row {
        match self {
            Self::Export(cell) => cell.run(lab, number).await,
            Self::Deletion(deletion) => deletion.run(lab, number).await,
            Self::Test(test) => test.run(lab, number).await,
        }
    }

    /// Its fault and its mode.
    fn name(self) -> (String, String) {
        match self {
            Self::Export(cell) => (format!("{:?}", cell.kind), format!("{:?}", cell.mode)),
            Self::Deletion(cell) => (format!("{:?}", cell.kind), format!("{:?}", cell.mode)),
            Self::Test(test) => (format!("{:?}", test.kind), "test".into()),
        }
    }
}

/// The cells of an operation, and those that are left out.
fn cells(operation: Operation) -> (Vec<Case>, Vec<(String, LeftOut)>) {
    let (mut cells, mut left_out) = (Vec::new(), Vec::new());
    // Connection tests have few slots.
    if operation != Operation::DeleteObject {
        let tests = table::of_test(operation).map(|(kind, says)| {
            Case::Test(Test {
                operation,
                kind,
                says,
            })
        });
        cells.extend(tests);
    }
    for kind in KINDS {
        for mode in [Mode::UntilLifted, Mode::Once] {
            let cell = if operation == Operation::DeleteObject {
                table::of_deletion(kind, mode)
                    .map(|ending| Case::Deletion(Deletion { kind, mode, ending }))
            } else {
                table::of_export(operation, kind, mode).map(|ending| {
                    Case::Export(Cell {
                        operation,
                        kind,
                        mode,
                        ending,
                    })
                })
            };
            match cell {
                Ok(cell) => cells.push(cell),
                Err(reason) => left_out.push((format!("{kind:?} {mode:?}"), reason)),
            }
        }
    }
    (cells, left_out)
}

/// Runs the cells of an operation beside each other and tells of all that did not end as they must.
async fn run(operation: Operation) {
    let in_parts = matches!(
        operation,
        Operation::CreateMultipartUpload
            | Operation::UploadPart
            | Operation::CompleteMultipartUpload
    );
    let lab = Arc::new(Lab::start(in_parts).await);
    let slots = Arc::new(Semaphore::new(if in_parts {
        LARGE_AT_ONCE
    } else {
        AT_ONCE
    }));
    let (cells, left_out) = cells(operation);
    let mut tasks = JoinSet::new();
    let mut names = HashMap::new();
    for (number, cell) in cells.into_iter().enumerate() {
        let (lab, slots) = (lab.clone(), slots.clone());
        let task = tasks.spawn(async move {
            let _slot = slots.acquire().await.unwrap();
            cell.run(&lab, number + 1).await
        });
        names.insert(task.id(), cell.name());
    }
    let (mut rows, mut failures) = (Vec::new(), Vec::new());
    while let Some(ended) = tasks.join_next().await {
        let error = match ended {
            Ok(row) => {
                rows.push(row);
                continue;
            }
            Err(error) => error,
        };
        let (fault, mode) = names[&error.id()].clone();
        failures.push(format!(
            "{operation:?} {fault} {mode}: {}",
            said(error.into_panic())
        ));
        rows.push(Row {
            fault,
            mode,
            ending: "NOT AS IT MUST".into(),
            calls: 0,
            faults: 0,
            milliseconds: 0,
            sent: 0,
            delivered: 0,
        });
    }
    match lab::dead_letters(&lab.world).await {
        0 => {}
        count => failures.push(format!("{count} dead letters")),
    }
    rows.sort_by(|a, b| (&a.fault, &a.mode).cmp(&(&b.fault, &b.mode)));
    let name = format!("{operation:?}");
    let calls = lab.proxy.seen().len();
    report::write(
        &format!("matrix-{name}"),
        &rows::table(&name, &rows, &left_out, calls),
    );
    assert!(
        failures.is_empty(),
        "{} things did not end as they must:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

/// What a panic said.
fn said(panic: Box<dyn Any + Send>) -> String {
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => panic
            .downcast_ref::<&str>()
            .map_or_else(|| "panicked".into(), ToString::to_string),
    }
}
