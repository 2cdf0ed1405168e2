//! The two parts of the memory of a port. Small requests, as most are, have their own, however much large ones take.

/// Maximum size of small bodies and answers in bytes.
pub(super) const SMALL: usize = 64 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pool {
    Small,
    Large,
}

impl Pool {
    pub(super) const ALL: [Self; 2] = [Self::Small, Self::Large];

    pub(super) fn of(bytes: usize) -> Self {
        if bytes > SMALL { Self::Large } else { Self::Small }
    }

    /// The pool's share of all memory.
    pub(super) fn part_of(self, memory: usize) -> usize {
        let large = memory / 4 * 3;
        match self {
            Self::Large => large,
            Self::Small => memory - large,
        }
    }
}
