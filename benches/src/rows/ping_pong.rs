//! Two tasks that wake each other in turn. Nanoseconds per round (two wakes, two polls).

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use soloio::{block_on, task_group};

use super::nanos_each;
use crate::flavour::{CurrentThread, Flavour, Local};
use crate::side::Side;
use crate::sys::cpu_clock::Stopwatch;

pub fn measure(side: Side, count: u64) -> io::Result<f64> {
    match side {
        Side::Soloio => soloio(count),
        Side::TokioCurrent => tokio::<CurrentThread>(count),
        Side::TokioLocal => tokio::<Local>(count),
    }
}

/// The state that both share: the player to move, the number of turns left, and both wakers.
struct Game {
    turn: Cell<usize>,
    left: Cell<u64>,
    wakers: [RefCell<Option<Waker>>; 2],
}

/// One of the two; its result is its number of turns.
struct Player {
    game: Rc<Game>,
    seat: usize,
    turns: u64,
}

/// Returns both players of a game of `rounds`.
fn players(rounds: u64) -> (Player, Player) {
    let wakers = [RefCell::new(None), RefCell::new(None)];
    let game = Rc::new(Game {
        turn: Cell::new(0),
        left: Cell::new(rounds * 2),
        wakers,
    });
    let first = Player {
        game: Rc::clone(&game),
        seat: 0,
        turns: 0,
    };
    (
        first,
        Player {
            game,
            seat: 1,
            turns: 0,
        },
    )
}

impl Future for Player {
    type Output = u64;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<u64> {
        let player = &mut *self;
        let (game, seat) = (&player.game, player.seat);
        if game.turn.get() == seat && game.left.get() > 0 {
            player.turns += 1;
            game.left.set(game.left.get() - 1);
            game.turn.set(1 - seat);
            if let Some(waker) = &*game.wakers[1 - seat].borrow() {
                waker.wake_by_ref();
            }
        }
        if game.left.get() == 0 {
            return Poll::Ready(player.turns);
        }
        let mut own = game.wakers[seat].borrow_mut();
        if !own
            .as_ref()
            .is_some_and(|waker| waker.will_wake(cx.waker()))
        {
            *own = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

fn soloio(count: u64) -> io::Result<f64> {
    let elapsed = block_on(task_group(async |group| {
        let play = async |rounds| {
            let (first, second) = players(rounds);
            let first = group.spawn(async { Ok(first.await) });
            let second = group.spawn(async { Ok(second.await) });
            soloio::Result::<_>::Ok((first.await?, second.await?))
        };
        assert_eq!(play(100).await?, (100, 100));
        let watch = Stopwatch::start();
        play(count).await?;
        Ok(watch.read())
    }))?;
    Ok(nanos_each(elapsed, count))
}

fn tokio<F: Flavour>(count: u64) -> io::Result<f64> {
    let elapsed = F::run(async move {
        let play = async |rounds| {
            let (first, second) = players(rounds);
            let (first, second) = (F::spawn(first), F::spawn(second));
            io::Result::Ok((first.await?, second.await?))
        };
        assert_eq!(play(100).await?, (100, 100));
        let watch = Stopwatch::start();
        play(count).await?;
        io::Result::Ok(watch.read())
    })?;
    Ok(nanos_each(elapsed, count))
}
