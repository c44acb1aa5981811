//! `TextStream` against std's decoding of all the bytes at once, under cuts.

use proptest::prelude::*;
use soloio::{Error, Result, create_memory_byte_stream, join};
use soloio_streams::{NotUtf8, TextStream};

use crate::support::{Cuts, cut, cuts, inside, run, send_in_pieces};

/// Receives all; returns the text, and the error that it ended with.
async fn all<S: soloio::ByteReceiveStream>(
    ours: &TextStream<S>,
    cuts: &mut Cuts,
) -> (String, Option<Error>) {
    let mut text = String::new();
    loop {
        match cuts.until_done(async || ours.next().await).await {
            Ok(Some(some)) => {
                assert!(!some.is_empty());
                text.push_str(&some);
            }
            Ok(None) => return (text, None),
            Err(error) => return (text, Some(error)),
        }
    }
}

async fn send<S: soloio::ByteStream>(theirs: &S, data: &[u8], size: usize) -> Result<()> {
    send_in_pieces(theirs, data, size).await?;
    theirs.send_eof().await
}

#[test]
fn an_incomplete_tail_is_an_error_that_keeps_it() {
    run(async || {
        let (ours, theirs) = create_memory_byte_stream(64);
        let ours = TextStream::new(ours);
        send(&theirs, b"abc\xE2\x82", 1).await?;
        let mut got = String::new();
        while got.len() < 3 {
            got += &ours.receive().await?;
        }
        assert_eq!(got, "abc");
        for _ in 0..2 {
            assert!(matches!(ours.next().await, Err(Error::IncompleteRead(2))));
            assert_eq!(ours.inner().buffer(), b"\xE2\x82");
        }
        assert_eq!(ours.receive_lossy().await?, "\u{FFFD}");
        assert!(matches!(
            ours.receive_lossy().await,
            Err(Error::EndOfStream)
        ));
        Ok(())
    });
}

#[test]
fn bytes_that_are_no_text_say_where_and_stay() {
    run(async || {
        let (ours, theirs) = create_memory_byte_stream(64);
        let ours = TextStream::new(ours);
        theirs.send(b"a\xC3\xB6\xFFb").await?;
        assert_eq!(ours.receive().await?, "aö");
        for _ in 0..2 {
            let error = ours.receive().await.expect_err("no text");
            let NotUtf8 { at, length, .. } = inside(&error);
            assert_eq!((at, length), (3, 1));
        }
        assert_eq!(ours.inner().buffer(), b"\xFFb");
        assert_eq!(ours.receive_lossy().await?, "\u{FFFD}");
        assert_eq!(ours.receive().await?, "b");
        Ok(())
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn it_is_what_std_decodes(
        mut data in "[a\u{e4}\u{20ac}\u{1F600}]{0,20}".prop_map(String::into_bytes),
        broken in proptest::option::of((any::<prop::sample::Index>(), any::<u8>())),
        cut_off in 0..3_usize,
        (capacity, size) in (1..9_usize, 1..9_usize),
        mut of_receiver in cuts(),
    ) {
        if let (Some((at, byte)), false) = (broken, data.is_empty()) {
            let at = at.index(data.len());
            data[at] = byte;
        }
        data.truncate(data.len().saturating_sub(cut_off));
        run(async || {
            let (ours, theirs) = create_memory_byte_stream(capacity);
            let ours = TextStream::new(ours);
            let received = async {
                let received = all(&ours, &mut of_receiver).await;
                ours.abort(); // the peer may still be sending
                received
            };
            let (sent, (text, error)) = join((send(&theirs, &data, size), received)).await;
            let twin = std::str::from_utf8(&data);
            let valid = twin.map_or_else(|error| error.valid_up_to(), str::len);
            assert_eq!(text.as_bytes(), &data[..valid]);
            match twin.map_err(|error| error.error_len()) {
                Ok(_) => assert!(error.is_none()),
                Err(None) => {
                    let left = data.len() - valid;
                    assert!(matches!(error, Some(Error::IncompleteRead(n)) if n == left));
                }
                Err(Some(length)) => {
                    let error = inside::<NotUtf8>(&error.expect("no text"));
                    assert_eq!((error.at, error.length), (valid as u64, length));
                }
            }
            if twin.is_ok() {
                sent?;
            }
            Ok(())
        });
    }

    #[test]
    fn lossy_is_what_std_replaces(
        data in proptest::collection::vec(
            prop_oneof![any::<u8>(), prop::sample::select(&b"\xE2\x82\xAC\xF0\x9F\x98\x80a"[..])],
            0..40,
        ),
        (capacity, size) in (1..9_usize, 1..9_usize),
    ) {
        run(async || {
            let (ours, theirs) = create_memory_byte_stream(capacity);
            let ours = TextStream::new(ours);
            let receive = async {
                let mut text = String::new();
                loop {
                    match ours.receive_lossy().await {
                        Ok(some) => text.push_str(&some),
                        Err(Error::EndOfStream) => return Ok(text),
                        Err(error) => return Err(error),
                    }
                }
            };
            let (sent, text) = join((send(&theirs, &data, size), receive)).await;
            sent?;
            assert_eq!(text?, String::from_utf8_lossy(&data));
            Ok(())
        });
    }

    /// What `rest` has no longer arrives, whole characters of it; what it has goes with the next.
    #[test]
    fn a_cut_send_tears_no_character(
        text in "[a\u{e4}\u{20ac}\u{1F600}]{0,20}",
        capacity in 1..6_usize,
        of_sender in proptest::collection::vec(0..3_u8, 0..30),
    ) {
        run(async || {
            let (ours, theirs) = create_memory_byte_stream(capacity);
            let (ours, theirs) = (TextStream::new(ours), TextStream::new(theirs));
            let send = async {
                let mut rest = &text[..];
                for polls in of_sender {
                    if cut(polls, ours.send_from(&mut rest)).await.is_some() {
                        break;
                    }
                    soloio::yield_now().await?;
                }
                ours.send_from(&mut rest).await?;
                assert_eq!((rest, ours.unsent()), ("", 0));
                ours.send_eof().await
            };
            let receive = async {
                let mut got = String::new();
                while let Some(some) = theirs.next().await? {
                    got += &some;
                }
                Ok::<_, Error>(got)
            };
            let (sent, got) = join((send, receive)).await;
            sent?;
            assert_eq!(got?, text);
            Ok(())
        });
    }
}
