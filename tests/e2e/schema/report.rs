//! What schemathesis did, by its own report: NDJSON, an event a line.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use serde_json::Value;

/// All phases that there are.
const PHASES: [&str; 4] = ["examples", "coverage", "fuzzing", "stateful"];

/// What was done with one operation.
#[derive(Default)]
struct Operation {
    good: usize,
    bad: usize,
    /// How often it answered with each status.
    statuses: BTreeMap<u64, usize>,
    checks: BTreeSet<String>,
}

/// What was done with each operation, by method and path.
#[derive(Default)]
pub(super) struct Report {
    operations: BTreeMap<String, Operation>,
    phases: BTreeSet<String>,
}

impl Report {
    pub(super) fn read(lines: &str) -> Self {
        let mut report = Self::default();
        for line in lines.lines() {
            let event: Value = serde_json::from_str(line).unwrap();
            let scenario = &event["ScenarioFinished"];
            if let Some(cases) = scenario["recorder"]["cases"].as_object() {
                let phase = scenario["phase"].as_str().unwrap();
                report.phases.insert(phase.to_owned());
                for (id, case) in cases {
                    report.add(id, &case["value"], &scenario["recorder"]);
                }
            }
        }
        report
    }

    fn add(&mut self, id: &str, case: &Value, recorder: &Value) {
        let name = |name: &str| case[name].as_str().unwrap_or_default();
        let label = format!("{} {}", name("method"), name("path"));
        let operation = self.operations.entry(label).or_default();
        match case["meta"]["generation"]["mode"].as_str() {
            Some("positive") => operation.good += 1,
            Some("negative") => operation.bad += 1,
            _ => {}
        }
        if let Some(status) = recorder["interactions"][id]["response"]["status_code"].as_u64() {
            *operation.statuses.entry(status).or_default() += 1;
        }
        for check in recorder["checks"][id].as_array().into_iter().flatten() {
            let check = check["name"].as_str().unwrap();
            operation.checks.insert(check.to_owned());
        }
    }

    /// Checks that every operation of the document was asked well and badly, did what it is for at
    /// least once, refused something, and was looked at by every check. A document that cannot be
    /// carried out would pass otherwise, and so would an API that answers 404 to everything.
    #[track_caller]
    pub(super) fn must_cover(&self, document: &Value) {
        assert_eq!(self.phases, PHASES.map(str::to_owned).into());
        for label in labels(document) {
            let operation = self.operations.get(&label);
            let operation = operation.unwrap_or_else(|| panic!("{label} was never asked"));
            let Operation {
                good,
                bad,
                statuses,
                checks,
            } = operation;
            assert!(*good > 2 && *bad > 2, "{label}: {good} good, {bad} bad");
            let some = |range: std::ops::Range<u64>| statuses.range(range).next().is_some();
            assert!(some(200..300), "{label} never did anything: {statuses:?}");
            assert!(some(400..500), "{label} refused nothing: {statuses:?}");
            assert!(!some(500..600), "{label}: {statuses:?}");
            assert!(
                statuses.contains_key(&401),
                "{label} without a token: {statuses:?}"
            );
            assert!(checks.len() >= 14, "{label}: {checks:?}");
        }
    }

    /// The good and the bad ones.
    pub(super) fn cases(&self) -> (usize, usize) {
        let each = self.operations.values();
        let (good, bad) = each
            .map(|operation| (operation.good, operation.bad))
            .unzip::<_, _, Vec<_>, Vec<_>>();
        (good.iter().sum(), bad.iter().sum())
    }

    /// A line for each operation of the document.
    pub(super) fn figures(&self, document: &Value) -> String {
        let mut text =
            "schemathesis: good and bad requests, and the answers by status\n".to_owned();
        for label in labels(document) {
            let Operation {
                good,
                bad,
                statuses,
                ..
            } = &self.operations[&label];
            let statuses: Vec<_> = statuses
                .iter()
                .map(|(status, n)| format!("{status}: {n}"))
                .collect();
            let _ = writeln!(
                text,
                "  {label:55} {good:4} {bad:4}   {}",
                statuses.join(", ")
            );
        }
        text
    }
}

fn labels(document: &Value) -> Vec<String> {
    let paths = document["paths"].as_object().unwrap();
    let operations = paths.iter().flat_map(|(path, item)| {
        let methods = item.as_object().unwrap().keys();
        methods.map(move |method| format!("{} {path}", method.to_uppercase()))
    });
    operations.collect()
}
