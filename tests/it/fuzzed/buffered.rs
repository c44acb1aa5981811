//! The body of the fuzz target `buffered`: a `Buffered` stream beside a twin that has all bytes at
//! once. The sizes in which they arrive, and the receives that are cut, make no difference.

use std::pin::pin;
use std::task::Poll;

use soloio::{
    Buffered, Error, MemoryStream, Result, block_on, create_memory_byte_stream, join, yield_now,
};

/// The first byte is the capacity; of the rest one half is the data, the other half says how it is
/// received.
pub(crate) fn run(input: &[u8]) {
    let Some((head, rest)) = input.split_first() else {
        return;
    };
    let (raw, script) = rest.split_at(rest.len() / 2);
    // Few different values, so that delimiters are found.
    let data: Vec<u8> = raw.iter().map(|byte| byte % 3).collect();
    let (ours, theirs) = create_memory_byte_stream(1 + usize::from(*head));
    let receiving = async {
        receive(Buffered::new(ours), data.clone(), script).await;
    };
    let sending = async {
        // The receiver may be gone before.
        drop(send(&theirs, &data, raw).await);
    };
    block_on(join((receiving, sending)));
}

async fn send(stream: &MemoryStream, mut data: &[u8], raw: &[u8]) -> Result<()> {
    for size in raw {
        let (piece, rest) = data.split_at(data.len().min(1 + usize::from(size / 16)));
        stream.send(piece).await?;
        data = rest;
        if size & 4 == 0 {
            yield_now().await?;
        }
    }
    stream.send_eof().await
}

async fn receive(mut stream: Buffered<MemoryStream>, mut twin: Vec<u8>, script: &[u8]) {
    for step in script.chunks_exact(2) {
        let (what, count) = (step[0], usize::from(step[1] % 32));
        let delimiter = &[what / 16 % 3, what / 64 % 3][..1 + usize::from(what / 8 % 2)];
        let polls = usize::from(step[1] / 32);
        match what % 7 {
            0 => {
                let received = cut(polls, stream.receive_exactly(count)).await;
                let missing = missing(&twin, count);
                same(received, &mut twin, missing.map_or(Ok((count, 0)), Err));
            }
            1 => {
                let received = cut(polls, stream.receive_until(delimiter, count)).await;
                let expected = until(&twin, delimiter, count);
                same(received, &mut twin, expected);
            }
            2 | 3 => {
                let max = count + 1;
                let mut room = [0; 32];
                let received = if what % 7 == 2 {
                    cut(polls, stream.receive_max(max)).await
                } else {
                    let received = cut(polls, stream.receive_into(&mut room[..max])).await;
                    received.map(|received| received.map(|bytes| bytes.to_vec()))
                };
                // The twin does not know how many bytes arrive at once: at least one.
                let got = received.as_ref().and_then(|got| got.as_ref().ok());
                let got = got.map_or(0, Vec::len);
                assert!(got <= max);
                let expected = missing(&twin, 1).map_or(Ok((got, 0)), Err);
                same(received, &mut twin, expected);
            }
            4 => {
                let at = stream.buffer().len();
                assert_eq!(stream.buffer(), twin[..at]);
                stream.feed_data(delimiter);
                twin.splice(at..at, delimiter.iter().copied());
            }
            what => in_place(&stream, &mut twin, what, delimiter, count, polls).await,
        }
    }
}

/// The receives that copy nothing, or not into memory of their own.
async fn in_place(
    stream: &Buffered<MemoryStream>,
    twin: &mut Vec<u8>,
    what: u8,
    delimiter: &[u8],
    count: usize,
    polls: usize,
) {
    match what {
        5 => {
            // A byte with a length, and that many bytes; the byte is a part of the item.
            let parse = |bytes: &[u8]| {
                assert!(!bytes.is_empty() && bytes.len() <= count || count == 0);
                let item = bytes.get(..1 + usize::from(*bytes.first()?))?;
                Some((item.len(), item.to_vec()))
            };
            let received = cut(polls, stream.receive_with(count, parse)).await;
            let length = twin.first().map_or(1, |first| 1 + usize::from(*first));
            let expected = match length <= count {
                true => missing(twin, length).map_or(Ok((length, 0)), Err),
                false => Err(missing(twin, count).unwrap_or(Ended::TooLong(count))),
            };
            same(received, twin, expected);
        }
        _ => {
            let mut items = Vec::new();
            let each = |item: &[u8]| items.push(item.to_vec());
            let received = cut(polls, stream.receive_each(delimiter, count, each)).await;
            if let Some(Ok(number)) = received {
                assert!(number > 0 && number == items.len());
                for item in items {
                    let expected = until(twin, delimiter, item.len());
                    same(Some(Ok(item)), twin, expected);
                }
            } else {
                let expected = until(twin, delimiter, count);
                let received = received.map(|received| received.map(|_| Vec::new()));
                same(received, twin, expected);
            }
        }
    }
}

/// The reason why a receive gave nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ended {
    AtOnce,
    /// With this number of bytes.
    Within(usize),
    /// With this limit.
    TooLong(usize),
}

/// What a receive of at most `max` bytes before a delimiter gives.
fn until(twin: &[u8], delimiter: &[u8], max: usize) -> std::result::Result<(usize, usize), Ended> {
    let limit = max + delimiter.len();
    let seen = &twin[..twin.len().min(limit)];
    let found = seen
        .windows(delimiter.len())
        .position(|run| run == delimiter);
    match found {
        Some(at) => Ok((at, delimiter.len())),
        None => Err(missing(twin, limit).unwrap_or(Ended::TooLong(max))),
    }
}

fn missing(twin: &[u8], count: usize) -> Option<Ended> {
    match twin.len() {
        left if left >= count => None,
        0 => Some(Ended::AtOnce),
        left => Some(Ended::Within(left)),
    }
}

/// Compares with the twin: `count` bytes of data, and `more` that are skipped.
fn same(
    received: Option<Result<Vec<u8>>>,
    twin: &mut Vec<u8>,
    expected: std::result::Result<(usize, usize), Ended>,
) {
    let Some(received) = received else {
        return;
    };
    match (received, expected) {
        (Ok(got), Ok((count, over))) => {
            assert_eq!(got, twin[..count]);
            twin.drain(..count + over);
        }
        (Err(error), Err(ended)) => {
            let told = match error {
                Error::EndOfStream => Ended::AtOnce,
                Error::IncompleteRead(received) => Ended::Within(received),
                Error::DelimiterNotFound(limit) => Ended::TooLong(limit),
                other => panic!("{other}"),
            };
            assert_eq!(told, ended);
        }
        (received, expected) => panic!("{received:?} and not {expected:?}"),
    }
}

/// Polls `polls` times and drops it; with 0, runs it to its end.
async fn cut<T>(polls: usize, receive: impl Future<Output = T>) -> Option<T> {
    let mut receive = pin!(receive);
    if polls == 0 {
        return Some(receive.await);
    }
    for _ in 0..polls {
        let polled = std::future::poll_fn(|cx| Poll::Ready(receive.as_mut().poll(cx))).await;
        if let Poll::Ready(received) = polled {
            return Some(received);
        }
    }
    None
}
