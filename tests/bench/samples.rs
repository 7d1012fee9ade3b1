//! What repeated measurements come to.

/// The middle one of some figures.
pub fn median(figures: impl IntoIterator<Item = f64>) -> f64 {
    percentile(figures, 50.0)
}

/// The figure below which so many percent of them lie.
pub fn percentile(figures: impl IntoIterator<Item = f64>, percent: f64) -> f64 {
    let mut figures: Vec<f64> = figures.into_iter().collect();
    assert!(!figures.is_empty(), "nothing was measured");
    figures.sort_by(f64::total_cmp);
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "an index into what lies in memory"
    )]
    let at = ((figures.len() - 1) as f64 * percent / 100.0).round() as usize;
    figures[at]
}

/// A figure of ours and one of theirs, which were measured in turn: the machine's moods meet both.
#[derive(Debug, Default)]
pub struct Pairs {
    pairs: Vec<(f64, f64)>,
}

impl Pairs {
    /// Adds a pair.
    pub fn push(&mut self, ours: f64, theirs: f64) {
        self.pairs.push((ours, theirs));
    }

    /// Ours by theirs: the median over the pairs.
    pub fn ours_by_theirs(&self) -> f64 {
        median(self.pairs.iter().map(|(ours, theirs)| ours / theirs))
    }

    /// Theirs by ours, which of times is how many times as fast ours is.
    pub fn theirs_by_ours(&self) -> f64 {
        median(self.pairs.iter().map(|(ours, theirs)| theirs / ours))
    }

    /// The medians.
    pub fn detail(&self, unit: &str) -> String {
        let ours = median(self.pairs.iter().map(|pair| pair.0));
        let theirs = median(self.pairs.iter().map(|pair| pair.1));
        // What is counted in hundreds needs no fractions.
        let digits = if ours < 100.0 { 2 } else { 0 };
        let pairs = self.pairs.len();
        format!("{ours:.digits$} against {theirs:.digits$} {unit}, {pairs} pairs")
    }
}
