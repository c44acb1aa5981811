//! `Lines`: ends, limits, bad lines, cuts.

use std::error::Error as _;
use std::string::FromUtf8Error;

use proptest::prelude::*;
use soloio::{Error, create_memory_byte_stream, join};
use soloio_streams::{LineError, Lines};

use crate::support::{cuts, run, send_in_pieces};

#[test]
fn lines_come_without_their_ends() {
    run(async || {
        let (ours, theirs) = create_memory_byte_stream(64);
        let ours = Lines::new(ours, 10);
        theirs.send(b"one\r\n\ntw\ro\nrest").await?;
        theirs.send_eof().await?;
        for expected in ["one", "", "tw\ro"] {
            assert_eq!(ours.receive().await?, expected);
        }
        assert!(matches!(ours.next().await, Err(Error::IncompleteRead(4))));
        assert_eq!(ours.inner().buffer(), b"rest");
        assert_eq!(ours.received(), 3);
        Ok(())
    });
}

#[test]
fn a_line_that_is_no_text_names_its_place_and_the_next_one_follows() {
    run(async || {
        let (ours, theirs) = create_memory_byte_stream(64);
        let ours = Lines::new(ours, 10);
        theirs.send(b"one\nab\xFFc\nthree\n").await?;
        assert_eq!(ours.receive().await?, "one");
        let Error::Other(error) = ours.receive().await.expect_err("no text") else {
            panic!("another kind");
        };
        assert_eq!(error.to_string(), "line 2, column 3: the text is not UTF-8");
        let error = error.downcast_ref::<LineError>().expect("of this kind");
        assert_eq!((error.line, error.column), (2, 3));
        let cause = error.source().and_then(|cause| cause.downcast_ref());
        assert_eq!(cause.map(FromUtf8Error::as_bytes), Some(&b"ab\xFFc"[..]));
        assert_eq!(ours.receive().await?, "three");
        Ok(())
    });
}

#[test]
fn a_line_that_is_too_long_stays() {
    run(async || {
        let (ours, theirs) = create_memory_byte_stream(64);
        let ours = Lines::new(ours, 3);
        theirs.send(b"abc\nabcd\n").await?;
        assert_eq!(ours.receive().await?, "abc");
        for _ in 0..2 {
            assert!(matches!(
                ours.receive().await,
                Err(Error::DelimiterNotFound(3))
            ));
        }
        assert_eq!(ours.inner().buffer(), b"abcd");
        Ok(())
    });
}

#[test]
fn what_would_be_two_lines_is_not_sent() {
    run(async || {
        let (ours, theirs) = create_memory_byte_stream(64);
        let ours = Lines::new(ours, 3).crlf();
        for bad in ["a\nb", "\n", "a\r"] {
            let error = ours.send(bad).await.expect_err("two lines");
            assert!(error.to_string().contains("newline"), "{error}");
        }
        ours.send("a\rb").await?;
        assert_eq!(theirs.receive().await?, b"a\rb\r\n");
        Ok(())
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The same as `str::lines`, however the bytes arrive and whatever is cut.
    #[test]
    fn they_are_those_of_std(
        text in "([a-c\u{e4}\u{20ac}]{0,6}\r?\n){0,8}",
        capacity in 1..12_usize,
        size in 1..12_usize,
        mut of_receiver in cuts(),
    ) {
        run(async || {
            let (ours, theirs) = create_memory_byte_stream(capacity);
            let ours = Lines::new(ours, 100);
            let send = async {
                send_in_pieces(&theirs, text.as_bytes(), size).await?;
                theirs.send_eof().await
            };
            let receive = async {
                let mut got = Vec::new();
                while let Some(line) = of_receiver.until_done(async || ours.next().await).await? {
                    got.push(line);
                }
                Ok::<_, Error>(got)
            };
            let (sent, got) = join((send, receive)).await;
            sent?;
            assert_eq!(got?, text.lines().collect::<Vec<_>>());
            Ok(())
        });
    }
}
