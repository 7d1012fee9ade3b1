//! Lines on their way from Postgres to the compressor: blocks of about a megabyte.

/// A block ends with the first line that brings it to this size, in bytes.
const BLOCK_BYTES: usize = 1024 * 1024;

/// A sequence number is missing or out of order, which the way events are appended rules out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("event {expected} is missing; next comes {found:?}")]
pub struct Gap {
    expected: i64,
    found: Option<i64>,
}

/// Lines in a row, from one sequence number to another, as they are cut into blocks.
pub struct Lines {
    next_seq: i64,
    last_seq: i64,
    block: Vec<u8>,
    whole: Vec<Vec<u8>>,
    gap: Option<Gap>,
}

impl Lines {
    /// None yet.
    pub fn new(first_seq: i64, last_seq: i64) -> Self {
        Self {
            next_seq: first_seq,
            last_seq,
            block: Vec::new(),
            whole: Vec::new(),
            gap: None,
        }
    }

    /// Adds a line. One that does not follow the one before it is noted: see [`Self::take_blocks`].
    pub fn push(&mut self, seq: i64, line: &[u8]) {
        if seq != self.next_seq {
            self.note_gap(Some(seq));
        }
        self.next_seq = seq + 1;
        self.block.extend_from_slice(line);
        self.block.push(b'\n');
        if self.block.len() >= BLOCK_BYTES {
            self.end_block();
        }
    }

    /// Notes that there is no other line.
    pub fn none_left(&mut self) {
        self.note_gap(None);
    }

    fn note_gap(&mut self, found: Option<i64>) {
        let expected = self.next_seq;
        self.gap.get_or_insert(Gap { expected, found });
    }

    fn end_block(&mut self) {
        // Where there was one, there will be others.
        let next = Vec::with_capacity(BLOCK_BYTES + BLOCK_BYTES / 16);
        self.whole.push(std::mem::replace(&mut self.block, next));
    }

    /// The next sequence number that is expected; `None` after the last one.
    pub fn next_seq(&self) -> Option<i64> {
        (self.next_seq <= self.last_seq).then_some(self.next_seq)
    }

    /// The whole blocks that there are by now; after the last line, what is left, too.
    ///
    /// # Errors
    /// A line was missing.
    pub fn take_blocks(&mut self) -> Result<Vec<Vec<u8>>, Gap> {
        if let Some(gap) = self.gap {
            return Err(gap);
        }
        if self.next_seq().is_none() && !self.block.is_empty() {
            self.end_block();
        }
        Ok(std::mem::take(&mut self.whole))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gap(seqs: &[i64]) -> Option<(i64, Option<i64>)> {
        let mut lines = Lines::new(5, 9);
        for seq in seqs {
            lines.push(*seq, b"{}");
        }
        let gap = lines.take_blocks().err()?;
        Some((gap.expected, gap.found))
    }

    #[test]
    fn what_is_missing_doubled_or_out_of_order_is_noticed() {
        assert_eq!(gap(&[5, 6, 7]), None);
        assert_eq!(gap(&[6, 7]), Some((5, Some(6))));
        assert_eq!(gap(&[5, 5, 6]), Some((6, Some(5))));
        assert_eq!(gap(&[5, 7, 6]), Some((6, Some(7))));
        let mut lines = Lines::new(5, 9);
        lines.none_left();
        assert!(lines.take_blocks().is_err());
    }

    #[test]
    fn blocks_are_cut_by_size_alone_and_hold_whole_lines() {
        let line = vec![b'x'; 300_000];
        let mut lines = Lines::new(1, 9);
        let mut in_turn = Vec::new();
        for seq in 1..=9 {
            lines.push(seq, &line);
            in_turn.extend(lines.take_blocks().unwrap());
        }
        let mut at_once = Lines::new(1, 9);
        (1..=9).for_each(|seq| at_once.push(seq, &line));
        assert_eq!(in_turn, at_once.take_blocks().unwrap());
        let sizes: Vec<_> = in_turn.iter().map(Vec::len).collect();
        assert_eq!(sizes, [1_200_004, 1_200_004, 300_001]);
        assert!(in_turn.iter().all(|block| block.ends_with(b"x\n")));
    }
}
