//! What repeated measurements come to.

use std::time::Duration;

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

/// Two things that were measured in turn, in seconds: the machine's moods meet both.
#[derive(Debug, Default)]
pub struct Pairs {
    pairs: Vec<(f64, f64)>,
}

impl Pairs {
    /// Adds a pair.
    pub fn push(&mut self, ours: Duration, theirs: Duration) {
        self.pairs.push((ours.as_secs_f64(), theirs.as_secs_f64()));
    }

    /// How many times as fast ours is: the median over the pairs.
    pub fn times_as_fast(&self) -> f64 {
        median(self.pairs.iter().map(|(ours, theirs)| theirs / ours))
    }

    /// The medians.
    pub fn detail(&self) -> String {
        let ours = median(self.pairs.iter().map(|pair| pair.0));
        let theirs = median(self.pairs.iter().map(|pair| pair.1));
        format!(
            "{ours:.3} s against {theirs:.3} s, {} pairs",
            self.pairs.len()
        )
    }
}
