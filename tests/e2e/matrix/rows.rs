//! The table that people read.

/// What became of a cell.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) fault: String,
    pub(super) mode: String,
    pub(super) ending: String,
    /// Calls of the operation.
    pub(super) calls: usize,
    /// Faults that met a call.
    pub(super) faults: usize,
    /// Until it had settled: from the beginning, or from when the fault was lifted.
    pub(super) milliseconds: u128,
    pub(super) sent: usize,
    pub(super) delivered: usize,
}

/// The table of an operation: its cells, those that were left out with the reason, and the totals.
pub(super) fn table(
    operation: &str,
    rows: &[Row],
    left_out: &[(String, &str)],
    calls: usize,
) -> String {
    let head = ["fault", "mode", "ending", "calls", "faults", "ms"].map(str::to_owned);
    let cells = rows.iter().map(|row| {
        let Row {
            fault,
            mode,
            ending,
            ..
        } = row.clone();
        let [calls, faults] = [row.calls, row.faults].map(|n| n.to_string());
        [
            fault,
            mode,
            ending,
            calls,
            faults,
            row.milliseconds.to_string(),
        ]
    });
    let lines: Vec<[String; 6]> = std::iter::once(head).chain(cells).collect();
    let width = |column: usize| {
        lines
            .iter()
            .map(|line| line[column].len())
            .max()
            .unwrap_or(0)
    };
    let widths: [usize; 6] = std::array::from_fn(width);
    let mut text = format!("{operation}\n");
    for line in &lines {
        let [fault, mode, ending, calls, faults, ms] = line;
        let [a, b, c, d, e, f] = widths;
        text += &format!(
            "  {fault:<a$}  {mode:<b$}  {ending:<c$}  {calls:>d$}  {faults:>e$}  {ms:>f$}\n"
        );
    }
    for (cell, reason) in left_out {
        text += &format!("  left out: {cell}: {reason}\n");
    }
    let sum = |of: fn(&Row) -> usize| rows.iter().map(of).sum::<usize>();
    let (sent, delivered) = (sum(|row| row.sent), sum(|row| row.delivered));
    let longest = rows.iter().map(|row| row.milliseconds).max().unwrap_or(0);
    text += &format!(
        "  cells {}, faults {}, calls {calls}, events sent {sent}, delivered {delivered}, lost {}, \
         doubled {}, longest {longest} ms\n",
        rows.len(),
        sum(|row| row.faults),
        sum(|row| row.sent.saturating_sub(row.delivered)),
        sum(|row| row.delivered.saturating_sub(row.sent)),
    );
    text
}
