//! The figures and their goals.

use std::{
    fmt::{self, Display, Formatter},
    fs,
    path::Path,
};

use serde::Serialize;

/// What a figure should be.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Goal {
    /// This or more.
    AtLeast(f64),
    /// This or less.
    AtMost(f64),
}

impl Goal {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
        }
    }
}

impl Display for Goal {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(least) => write!(f, ">= {least}"),
            Self::AtMost(most) => write!(f, "<= {most}"),
        }
    }
}

/// A figure.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    subject: &'static str,
    what: String,
    value: f64,
    /// `x` for ratios, otherwise a unit such as `ms`, `MiB` or `runs/s`.
    unit: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    goal: Option<Goal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    met: Option<bool>,
    /// What it was computed from.
    detail: String,
}

/// All figures of a run of the benchmark.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<Row>,
}

impl Table {
    /// Adds a figure that has a goal.
    pub fn goal(
        &mut self,
        subject: &'static str,
        what: impl Into<String>,
        (value, unit): (f64, &'static str),
        goal: Goal,
        detail: impl Into<String>,
    ) {
        self.add(
            subject,
            what.into(),
            (value, unit),
            Some(goal),
            detail.into(),
        );
    }

    /// Adds a figure for information.
    pub fn figure(
        &mut self,
        subject: &'static str,
        what: impl Into<String>,
        (value, unit): (f64, &'static str),
        detail: impl Into<String>,
    ) {
        self.add(subject, what.into(), (value, unit), None, detail.into());
    }

    fn add(
        &mut self,
        subject: &'static str,
        what: String,
        (value, unit): (f64, &'static str),
        goal: Option<Goal>,
        detail: String,
    ) {
        let row = Row {
            subject,
            what,
            value,
            unit,
            goal,
            met: goal.map(|goal| goal.is_met(value)),
            detail,
        };
        println!("{row}");
        self.rows.push(row);
    }

    /// How many goals are missed.
    pub fn misses(&self) -> usize {
        self.rows
            .iter()
            .filter(|row| row.met == Some(false))
            .count()
    }

    /// Leaves the figures in a file.
    pub fn write_json(&self, path: &Path) {
        let text = serde_json::to_string_pretty(&self.rows).unwrap();
        fs::write(path, text + "\n").unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

/// Three digits, as far as they tell something.
fn digits(value: f64) -> String {
    match value.abs() {
        0.0..10.0 => format!("{value:.2}"),
        10.0..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

impl Display for Row {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self {
            subject,
            what,
            value,
            unit,
            goal,
            met,
            detail,
        } = self;
        let goal = goal.map_or(String::new(), |goal| goal.to_string());
        let met = match met {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "",
        };
        let value = format!("{} {unit}", digits(*value));
        write!(
            f,
            "{subject:10} | {what:58} | {value:>14} | {goal:>8} | {met:6} | {detail}"
        )
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:10} | {:58} | {:>14} | {:>8} | {:6} | from",
            "subject", "figure", "value", "goal", ""
        )?;
        for row in &self.rows {
            writeln!(f, "{row}")?;
        }
        write!(
            f,
            "{} goals, {} missed",
            self.rows.iter().filter(|row| row.goal.is_some()).count(),
            self.misses()
        )
    }
}
