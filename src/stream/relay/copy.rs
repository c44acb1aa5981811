//! One way of a relay between any two byte streams, by their contracts.

use std::cell::Cell;

use super::super::{ByteReceiveStream, ByteStream, RECEIVE_MAX};
use super::{Counts, Failed, Held, RelaySide, Way};
use crate::error::{Error, Result};

/// Passes bytes on from `from`, the `side` of the relay, until its end.
pub(super) async fn copy<R: ByteReceiveStream, S: ByteStream>(
    from: &R,
    to: &S,
    way: &mut Way,
    counts: &Counts,
    side: RelaySide,
) -> std::result::Result<(), Failed> {
    while !way.done {
        if !way.held.data.is_empty() {
            let sent = hand_over(to, &mut way.held, &counts.moved[side as usize]).await;
            sent.map_err(|error| {
                counts.failed(side.other(), &error);
                Failed::of(side.other())(error)
            })?;
            way.held = Held::default();
        } else if way.ended {
            to.send_eof().await.map_err(Failed::of(side.other()))?;
            way.done = true;
        } else {
            // Exactly sized, and no buffer is kept during the wait.
            match from.receive_max(RECEIVE_MAX).await {
                Ok(data) => {
                    (way.held.at, way.held.end) = (0, data.len());
                    way.held.data = data.into_boxed_slice();
                }
                Err(error) => {
                    counts.failed(side, &error);
                    match error {
                        Error::EndOfStream => way.ended = true,
                        error => return Err(Failed::of(side)(error)),
                    }
                }
            }
        }
    }
    Ok(())
}

/// Sends what is held, and advances it, also when dropped midway.
async fn hand_over<S: ByteStream>(to: &S, held: &mut Held, moved: &Cell<u64>) -> Result<()> {
    let mut progress = Progress {
        rest: &held.data[held.at..held.end],
        end: held.end,
        at: &mut held.at,
        moved,
    };
    to.send_from(&mut progress.rest).await
}

/// Records on drop how much of `rest` was sent.
struct Progress<'a> {
    rest: &'a [u8],
    end: usize,
    at: &'a mut usize,
    moved: &'a Cell<u64>,
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        let now = self.end - self.rest.len();
        self.moved.set(self.moved.get() + (now - *self.at) as u64);
        *self.at = now;
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
