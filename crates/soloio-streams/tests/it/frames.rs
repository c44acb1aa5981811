//! `LengthPrefixed`: every form of prefix, limits, ends, and cuts at each wait.

use std::cell::RefCell;
use std::time::Duration;

use proptest::prelude::*;
use soloio::{Error, create_memory_byte_stream, join, move_on_after};
use soloio_streams::{FrameTooLong, LengthPrefixed, ObjectReceiveStream, ObjectSendStream, Prefix};

use crate::support::{cut, cuts, inside, run, send_in_pieces};

const PREFIXES: [Prefix; 7] = [
    Prefix::U8,
    Prefix::U16Be,
    Prefix::U16Le,
    Prefix::U32Be,
    Prefix::U32Le,
    Prefix::U64Be,
    Prefix::U64Le,
];

#[test]
fn each_prefix_stands_in_its_order() {
    run(async || {
        let heads: [&[u8]; 7] = [
            &[3],
            &[0, 3],
            &[3, 0],
            &[0, 0, 0, 3],
            &[3, 0, 0, 0],
            &[0, 0, 0, 0, 0, 0, 0, 3],
            &[3, 0, 0, 0, 0, 0, 0, 0],
        ];
        for (prefix, head) in PREFIXES.into_iter().zip(heads) {
            let (ours, theirs) = create_memory_byte_stream(64);
            let ours = LengthPrefixed::new(ours, prefix, 100);
            ours.send("abc").await?;
            assert_eq!(theirs.receive().await?, [head, b"abc"].concat());
            theirs.send(&[head, b"xyz", head].concat()).await?;
            assert_eq!(ours.receive().await?, b"xyz");
            theirs.send_eof().await?;
            let late = ours.next().await;
            assert!(matches!(late, Err(Error::IncompleteRead(n)) if n == head.len()));
            assert_eq!(ours.inner().buffer(), head);
        }
        Ok(())
    });
}

#[test]
fn a_frame_that_is_too_long_names_limit_and_length() {
    run(async || {
        let (ours, theirs) = create_memory_byte_stream(64);
        let ours = LengthPrefixed::new(ours, Prefix::U64Be, 10);
        theirs.send(&u64::MAX.to_be_bytes()).await?;
        for _ in 0..2 {
            let error = ours.receive().await.expect_err("too long");
            let FrameTooLong { limit, length, .. } = inside(&error);
            assert_eq!((limit, length), (10, u64::MAX));
            let text = "a frame of 18446744073709551615 bytes, more than 10";
            assert_eq!(error.to_string(), text);
        }
        let mut frame = Some([0; 11]);
        let error = ours.send_from(&mut frame).await.expect_err("too long");
        assert_eq!(inside::<FrameTooLong>(&error).length, 11);
        assert!(frame.is_some());
        assert_eq!(ours.into_inner().into_parts().1, u64::MAX.to_be_bytes());

        // The prefix is a limit, too.
        let (ours, _theirs) = create_memory_byte_stream(64);
        let ours = LengthPrefixed::new(ours, Prefix::U8, usize::MAX);
        let error = ours.send([0; 256]).await.expect_err("too long");
        assert_eq!(inside::<FrameTooLong>(&error).limit, 255);
        Ok(())
    });
}

/// A length that never comes takes no memory.
#[test]
fn an_announced_length_takes_no_memory() {
    run(async || {
        let (ours, theirs) = create_memory_byte_stream(64);
        let ours = LengthPrefixed::new(ours, Prefix::U64Le, usize::MAX);
        theirs.send(&(1_u64 << 62).to_le_bytes()).await?;
        assert!(cut(0, ours.receive()).await.is_none());
        theirs.send(b"abc").await?;
        assert!(
            move_on_after(Duration::ZERO, ours.receive())
                .await?
                .is_none()
        );
        theirs.send_eof().await?;
        assert!(matches!(
            ours.receive().await,
            Err(Error::IncompleteRead(11))
        ));
        Ok(())
    });
}

#[test]
fn a_second_sender_or_receiver_gets_busy() {
    run(async || {
        let (ours, theirs) = create_memory_byte_stream(2);
        let ours = LengthPrefixed::new(ours, Prefix::U8, 9);
        let mut first = Box::pin(ours.send("long"));
        assert!(cut(0, first.as_mut()).await.is_none());
        assert!(matches!(ours.send("no").await, Err(Error::Busy)));
        drop(first);
        let mut first = Box::pin(ours.receive());
        assert!(cut(0, first.as_mut()).await.is_none());
        assert!(matches!(ours.receive().await, Err(Error::Busy)));
        drop(first);
        assert_eq!(ours.unsent(), 3);
        let theirs = LengthPrefixed::new(theirs, Prefix::U8, 9);
        let (sent, got) = join((ours.send("next"), async {
            Ok::<_, Error>([theirs.receive().await?, theirs.receive().await?])
        }))
        .await;
        sent?;
        assert_eq!(got?, [&b"long"[..], b"next"]);
        Ok(())
    });
}

/// As long as its first byte was not handed over, a frame is its owner's.
#[test]
fn a_cut_send_gives_back_what_was_not_begun() {
    run(async || {
        let (ours, theirs) = create_memory_byte_stream(2);
        let ours = LengthPrefixed::new(ours, Prefix::U8, 9);
        let (mut first, mut second) = (Some("a"), Some("bc"));
        ours.send_from(&mut first).await?; // the pipe is full
        assert!(cut(3, ours.send_from(&mut second)).await.is_none());
        assert_eq!((first, second, ours.unsent()), (None, Some("bc"), 0));
        assert_eq!(theirs.receive().await?, b"\x01a");
        assert!(cut(3, ours.send_from(&mut second)).await.is_none());
        assert_eq!((second, ours.unsent()), (None, 1));
        let (closed, rest) = join((ours.close(), async {
            let mut all = Vec::new();
            while let Some(data) = theirs.next().await? {
                all.extend(data);
            }
            Ok::<_, Error>(all)
        }))
        .await;
        closed?;
        assert_eq!(rest?, b"\x02bc");
        Ok(())
    });
}

async fn echo<S>(stream: S) -> soloio::Result<usize>
where
    S: ObjectReceiveStream<Item = Vec<u8>> + ObjectSendStream<Item = Vec<u8>>,
{
    let mut count = 0;
    while let Some(object) = stream.next().await? {
        stream.send(object).await?;
        count += 1;
    }
    stream.send_eof().await?;
    Ok(count)
}

#[test]
fn generic_code_takes_it() {
    run(async || {
        let (ours, theirs) = create_memory_byte_stream(64);
        let ours = LengthPrefixed::new(ours, Prefix::U8, 9);
        let theirs = LengthPrefixed::new(theirs, Prefix::U8, 9);
        ours.send("one").await?;
        ours.send_eof().await?;
        assert_eq!(echo(&theirs).await?, 1);
        assert_eq!(ours.next().await?.as_deref(), Some(&b"one"[..]));
        assert_eq!(ours.next().await?, None);
        Ok(())
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Whatever is cut where, and however the bytes arrive: each frame arrives once, in order.
    #[test]
    fn no_cut_loses_a_byte(
        frames in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..30), 0..12),
        prefix in 0..7_usize,
        capacity in 1..20_usize,
        mut of_sender in cuts(),
        mut of_receiver in cuts(),
    ) {
        run(async || {
            let (ours, theirs) = create_memory_byte_stream(capacity);
            let ours = LengthPrefixed::new(ours, PREFIXES[prefix], 30);
            let theirs = LengthPrefixed::new(theirs, PREFIXES[prefix], 30);
            let send = async {
                for frame in &frames {
                    let frame = RefCell::new(Some(frame));
                    let attempt = async || {
                        // Outside of the future, as a caller has it.
                        let mut left = frame.take();
                        let home = Home(&frame, &mut left);
                        ours.send_from(home.1).await?;
                        home.1.take();
                        Ok(())
                    };
                    of_sender.until_done(attempt).await?;
                }
                of_sender.until_done(async || ours.send_eof().await).await
            };
            let receive = async {
                let mut got = Vec::new();
                let next = async || theirs.next().await;
                while let Some(frame) = of_receiver.until_done(next).await? {
                    got.push(frame);
                }
                Ok::<_, Error>(got)
            };
            let (sent, got) = join((send, receive)).await;
            sent?;
            assert_eq!(got?, frames);
            Ok(())
        });
    }
}

/// What hostile bytes are as frames: the frames, and whether the last of them is too long.
fn twin(mut data: &[u8], head: usize, max: u64) -> (Vec<Vec<u8>>, bool, usize) {
    let mut frames = Vec::new();
    while data.len() >= head {
        let length = data[..head]
            .iter()
            .fold(0, |length, byte| length << 8 | u64::from(*byte));
        if length > max {
            return (frames, true, data.len());
        }
        let Some(frame) = data.get(head..head + length as usize) else {
            break;
        };
        frames.push(frame.to_vec());
        data = &data[head + frame.len()..];
    }
    (frames, false, data.len())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Against a twin that has all bytes at once: the same frames, the same end, the same rest.
    #[test]
    fn hostile_bytes_are_frames_or_errors_that_keep_them(
        data in proptest::collection::vec(prop_oneof![0..6_u8, any::<u8>()], 0..60),
        (prefix, head) in prop::sample::select(
            &[(Prefix::U8, 1), (Prefix::U16Be, 2), (Prefix::U32Be, 4), (Prefix::U64Be, 8)][..],
        ),
        max in 0..9_usize,
        (capacity, size) in (1..9_usize, 1..9_usize),
        mut of_receiver in cuts(),
    ) {
        run(async || {
            let (ours, theirs) = create_memory_byte_stream(capacity);
            let ours = LengthPrefixed::new(ours, prefix, max);
            let (expected, too_long, left) = twin(&data, head, max as u64);
            let receive = async {
                let mut got = Vec::new();
                loop {
                    match of_receiver.until_done(async || ours.next().await).await {
                        Ok(Some(frame)) => got.push(frame),
                        ended => {
                            // More may be on its way.
                            let buffer = ours.inner().buffer();
                            ours.abort();
                            return (got, ended, buffer);
                        }
                    }
                }
            };
            let send = async {
                send_in_pieces(&theirs, &data, size).await?;
                theirs.send_eof().await
            };
            let (sent, (got, ended, buffer)) = join((send, receive)).await;
            assert_eq!(got, expected);
            assert!(data[data.len() - left..].starts_with(&buffer));
            match ended {
                Ok(None) => assert!(!too_long && left == 0),
                Err(Error::IncompleteRead(n)) => {
                    assert!(!too_long && left == n && buffer.len() == n);
                }
                Err(error) => {
                    assert_eq!(inside::<FrameTooLong>(&error).limit, max);
                    assert!(too_long);
                    return Ok(());
                }
                Ok(Some(_)) => unreachable!("it was pushed"),
            }
            sent
        });
    }
}

/// Puts what was not sent back into the cell when an attempt is cut.
struct Home<'a, 'b, T>(&'a RefCell<Option<T>>, &'b mut Option<T>);

impl<T> Drop for Home<'_, '_, T> {
    fn drop(&mut self) {
        self.0.replace(self.1.take());
    }
}
