//! What one receive of a UDP socket leaves for the next: datagrams ahead, and how many to ask for.
//!
//! ```text
//!   after a wait:    1, 1, then 4, 8, 16, 32 at a time     (1: no batch, straight to the caller)
//!   burst before had been long: begins with as many
//! ```

use crate::sys::batch::{Batch, SLOTS};
use crate::sys::udp::Filled;

/// Datagrams received without a wait before one call takes several.
const PLAIN: usize = 2;
/// Batches of one sender's equal datagrams before the kernel is asked to hand them out together.
const TRAINS: u8 = 4;

/// What a receive leaves for the next.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    /// Set while datagrams are ahead.
    pub(super) batch: Option<Box<Batch>>,
    /// Datagrams since the last wait.
    pub(super) streak: usize,
    /// Datagrams between the last two waits.
    expected: usize,
    /// Whether a message may hold several datagrams; `None` while that was not asked for.
    pub(super) coalesced: Option<bool>,
    trains: u8,
    /// A datagram was lost, which is still to be told.
    pub(super) lost: bool,
}

impl Inbox {
    /// How many datagrams to ask for.
    pub(super) fn want(&self, plain: bool) -> usize {
        let few = self.streak < PLAIN && self.expected <= PLAIN;
        if few || plain {
            return 1;
        }
        (self.streak.max(self.expected) + 1)
            .next_power_of_two()
            .clamp(4, SLOTS)
    }

    /// Draws conclusions from what came. `true` if one sender's equal datagrams have come in long
    /// bursts: the kernel may hand them out together.
    pub(super) fn note(&mut self, batch: &Batch, filled: &Filled) -> bool {
        self.streak += filled.count;
        let looked = self.coalesced.is_none() && filled.count >= 8;
        if looked {
            self.trains = match batch.is_one_train() {
                true => self.trains.saturating_add(1),
                false => 0,
            };
        }
        if filled.drained {
            self.end_streak();
        }
        looked && self.trains == TRAINS
    }

    /// The queue is empty: the next receive will most likely wait.
    pub(super) fn end_streak(&mut self) {
        self.expected = std::mem::take(&mut self.streak);
    }
}
