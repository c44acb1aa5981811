//! One way of a relay between any two byte streams, by their contracts.

use std::cell::Cell;
use std::io::IoSlice;

use super::super::futures::{Data, receive_max, send_all};
use super::super::{ByteReceiveStream, ByteStream, RECEIVE_MAX};
use super::{Counts, Ended, Held, RelaySide, Way};

/// Passes bytes on from `from`, the `side` of the relay, until its end.
pub(super) async fn copy<R: ByteReceiveStream, S: ByteStream>(
    from: &R,
    to: &S,
    way: &mut Way,
    counts: &Counts,
    side: RelaySide,
) -> Ended {
    while !way.done {
        if !way.held.data.is_empty() {
            let sent = send_all(to, (&mut way.held, &counts.moved[side as usize]));
            sent.await
                .map_err(|error| counts.failed(side.other(), error))?;
            way.held = Held::default();
        } else if way.ended {
            let ended = to.send_eof().await;
            ended.map_err(|error| counts.failed(side.other(), error))?;
            way.done = true;
        } else {
            // Exactly sized, and no buffer is kept during the wait.
            match receive_max(from, RECEIVE_MAX).await {
                Ok(data) => {
                    (way.held.at, way.held.end) = (0, data.len());
                    way.held.data = data.into_boxed_slice();
                }
                Err(error) => match counts.failed(side, error) {
                    failed if failed.error.is_end_of_stream() => way.ended = true,
                    failed => return Err(failed),
                },
            }
        }
    }
    Ok(())
}

/// The held bytes, and the number of those that have moved: exact also in the middle of a send.
impl Data for (&mut Held, &Cell<u64>) {
    fn parts(&self) -> impl AsRef<[IoSlice<'_>]> {
        [IoSlice::new(&self.0.data[self.0.at..self.0.end])]
    }

    fn advance(&mut self, sent: usize) -> Option<()> {
        self.0.at = Some(self.0.at + sent).filter(|at| *at <= self.0.end)?;
        self.1.set(self.1.get() + sent as u64);
        Some(())
    }
}

impl RelaySide {
    pub(super) fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}
