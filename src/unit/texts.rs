//! The texts of one unit, its file and its drop-ins, laid end to end.
//!
//! A place in any of them is one offset, so that a value knows where it stands without knowing how many files there
//! are. [`Texts::locate`] goes back from the offset to file, line and column.

use super::problem::{Code, Problem, line_column};
use std::ops::Range;

/// One text of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnitText<'t> {
    /// The file, as problems name it.
    pub file: &'t str,
    /// Its content.
    pub text: &'t str,
}

/// File (its number), line and column, both from 1: what stays of a place when the text is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct At {
    pub file: u16,
    pub line: u32,
    pub column: u32,
}

/// All texts of a unit with their offsets.
pub(super) struct Texts<'t> {
    all: Vec<(usize, UnitText<'t>)>,
}

impl<'t> Texts<'t> {
    /// The file first, the drop-ins in their order. There is at least one.
    pub(super) fn new(texts: &[UnitText<'t>]) -> Texts<'t> {
        let mut base = 0;
        let mut all = Vec::with_capacity(texts.len());
        for text in texts {
            all.push((base, *text));
            // One apart, so that the end of a text is not the beginning of the next.
            base += text.text.len() + 1;
        }
        Texts { all }
    }

    /// How many.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Text `n` and the offset where it begins.
    pub(super) fn get(&self, n: usize) -> (usize, UnitText<'t>) {
        self.all[n]
    }

    /// The number of the text that an offset is in.
    pub(super) fn number_of(&self, offset: usize) -> usize {
        self.all.partition_point(|(base, _)| *base <= offset).saturating_sub(1)
    }

    /// Where an offset is, for people.
    pub(super) fn locate(&self, offset: usize) -> At {
        let number = self.number_of(offset);
        let (base, text) = self.all[number];
        let (line, column) = line_column(text.text, offset - base);
        At { file: u16::try_from(number).unwrap_or(u16::MAX), line, column }
    }

    /// A problem at a span of offsets.
    pub(super) fn problem(&self, code: Code, span: Range<usize>, message: impl Into<String>) -> Problem {
        let (base, text) = self.all[self.number_of(span.start)];
        Problem::at(code, text.file, text.text, span.start - base..span.end.saturating_sub(base), message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_lead_back_to_their_text_at_both_ends() {
        let texts = [("a", "one\n"), ("b", ""), ("c", "x\ny")].map(|(file, text)| UnitText { file, text });
        let texts = Texts::new(&texts);
        let at = |offset| {
            let at = texts.locate(offset);
            (at.file, at.line, at.column)
        };
        assert_eq!([at(0), at(3), at(4)], [(0, 1, 1), (0, 1, 4), (0, 2, 1)]);
        assert_eq!(at(5), (1, 1, 1));
        assert_eq!([at(6), at(8), at(9), at(1000)], [(2, 1, 1), (2, 2, 1), (2, 2, 2), (2, 2, 2)]);
        let problem = texts.problem(Code::UnknownKey, 8..9, "m");
        assert_eq!((problem.file.as_str(), problem.span, problem.line), ("c", Some(2..3), 2));
    }
}
