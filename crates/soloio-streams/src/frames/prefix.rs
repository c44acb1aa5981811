//! The form of the number in front of a frame: [`Prefix`].

/// The number of a frame's bytes as it stands in front of them: its size and byte order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Prefix {
    /// One byte.
    U8,
    /// Two bytes, big endian.
    U16Be,
    /// Two bytes, little endian.
    U16Le,
    /// Four bytes, big endian: the usual one.
    U32Be,
    /// Four bytes, little endian.
    U32Le,
    /// Eight bytes, big endian.
    U64Be,
    /// Eight bytes, little endian.
    U64Le,
}

impl Prefix {
    /// The number of its bytes.
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::U16Be | Self::U16Le => 2,
            Self::U32Be | Self::U32Le => 4,
            Self::U64Be | Self::U64Le => 8,
        }
    }

    /// The largest number that it can have.
    #[must_use]
    pub const fn max(self) -> u64 {
        u64::MAX >> (64 - 8 * self.size())
    }

    const fn is_little(self) -> bool {
        matches!(self, Self::U16Le | Self::U32Le | Self::U64Le)
    }

    /// Reads the number at the front of `bytes`; `None` if they are too few.
    pub(super) fn decode(self, bytes: &[u8]) -> Option<u64> {
        let bytes = bytes.get(..self.size())?;
        let add = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        Some(match self.is_little() {
            true => bytes.iter().rev().fold(0, add),
            false => bytes.iter().fold(0, add),
        })
    }

    /// Appends the number, which must not be more than [`max`](Self::max).
    pub(super) fn encode(self, number: u64, to: &mut Vec<u8>) {
        match self.is_little() {
            true => to.extend_from_slice(&number.to_le_bytes()[..self.size()]),
            false => to.extend_from_slice(&number.to_be_bytes()[8 - self.size()..]),
        }
    }
}
