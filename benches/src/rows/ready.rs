//! A timeout around a ready operation: a ready future, and a receive with its bytes already there
//! (an in-memory stream, so that no system call hides the difference). Nanoseconds each.

use std::future::ready;
use std::hint::black_box;
use std::io;
use std::time::{Duration, Instant};

use soloio::{CancelScope, Error, block_on, create_memory_byte_stream, fail_after, move_on_after};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::time::timeout;

use super::nanos_each;
use crate::flavour::{CurrentThread, Flavour, Local};
use crate::side::Side;
use crate::sys::cpu_clock::Stopwatch;

const LIMIT: Duration = Duration::from_secs(30);
const MESSAGE: usize = 64;
/// Messages that are put into the stream at once.
const FILL: usize = 512;

/// A message's buffer, a cache line of its own. Elsewhere the stack decides how it lies, and then
/// the same instructions take up to a fifth longer on one side than on the other.
#[repr(align(64))]
struct Line([u8; MESSAGE]);

pub fn future(side: Side, count: u64) -> io::Result<f64> {
    let elapsed = match side {
        Side::Soloio => soloio_future(count)?,
        Side::TokioCurrent => CurrentThread::run(tokio_future(count))?,
        Side::TokioLocal => Local::run(tokio_future(count))?,
    };
    Ok(nanos_each(elapsed, count))
}

/// Receives `count` fillings of the stream.
pub fn receive(side: Side, count: u64) -> io::Result<f64> {
    let elapsed = match side {
        Side::Soloio => soloio_receive(count)?,
        Side::TokioCurrent => CurrentThread::run(tokio_receive(count))?,
        Side::TokioLocal => Local::run(tokio_receive(count))?,
    };
    Ok(nanos_each(elapsed, count * FILL as u64))
}

fn soloio_future(count: u64) -> soloio::Result<Duration> {
    block_on(async {
        // A timeout that cannot expire would make the comparison worthless.
        let short = Duration::from_millis(1);
        assert!(move_on_after(short, soloio::sleep(LIMIT)).await?.is_none());
        let watch = Stopwatch::start();
        for number in 0..count {
            let value = fail_after(LIMIT, ready(Ok::<_, Error>(black_box(number)))).await?;
            assert_eq!(value, number);
        }
        Ok(watch.read())
    })
}

async fn tokio_future(count: u64) -> io::Result<Duration> {
    let short = Duration::from_millis(1);
    assert!(timeout(short, tokio::time::sleep(LIMIT)).await.is_err());
    let watch = Stopwatch::start();
    for number in 0..count {
        let value = timeout(LIMIT, ready(io::Result::Ok(black_box(number)))).await??;
        assert_eq!(value, number);
    }
    Ok(watch.read())
}

/// Receives `count` fillings inside a scope that is not cancelled; the other sides, soloio as well,
/// have no scope.
pub fn in_scope(side: Side, count: u64) -> io::Result<f64> {
    let elapsed = block_on(async {
        match side {
            Side::Soloio => {
                let scope = CancelScope::with_deadline(Instant::now() + 100 * LIMIT);
                let ended = scope.run(bare_receives(count)).await;
                ended.ok_or(Error::Cancelled)?
            }
            _ => bare_receives(count).await,
        }
    })?;
    Ok(nanos_each(elapsed, count * FILL as u64))
}

fn soloio_receive(count: u64) -> soloio::Result<Duration> {
    block_on(async {
        let (near, far) = create_memory_byte_stream(FILL * MESSAGE);
        let mut buffer = Line([0; MESSAGE]);
        let mut elapsed = Duration::ZERO;
        for _ in 0..count {
            near.send(&[7; FILL * MESSAGE]).await?;
            let watch = Stopwatch::start();
            for _ in 0..FILL {
                let data = fail_after(LIMIT, far.receive_into(&mut buffer.0)).await?;
                assert_eq!(data, [7; MESSAGE]);
            }
            elapsed += watch.read();
        }
        Ok(elapsed)
    })
}

async fn bare_receives(count: u64) -> soloio::Result<Duration> {
    let (near, far) = create_memory_byte_stream(FILL * MESSAGE);
    let mut buffer = Line([0; MESSAGE]);
    let mut elapsed = Duration::ZERO;
    for _ in 0..count {
        near.send(&[7; FILL * MESSAGE]).await?;
        let watch = Stopwatch::start();
        for _ in 0..FILL {
            let data = far.receive_into(&mut buffer.0).await?;
            assert_eq!(data, [7; MESSAGE]);
        }
        elapsed += watch.read();
    }
    Ok(elapsed)
}

async fn tokio_receive(count: u64) -> io::Result<Duration> {
    let (mut near, mut far) = duplex(FILL * MESSAGE);
    let mut buffer = Line([0; MESSAGE]);
    let mut elapsed = Duration::ZERO;
    for _ in 0..count {
        near.write_all(&[7; FILL * MESSAGE]).await?;
        let watch = Stopwatch::start();
        for _ in 0..FILL {
            let size = timeout(LIMIT, far.read(&mut buffer.0)).await??;
            assert_eq!(buffer.0[..size], [7; MESSAGE]);
        }
        elapsed += watch.read();
    }
    Ok(elapsed)
}
