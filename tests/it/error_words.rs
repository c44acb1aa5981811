//! The messages of errors, the kinds of `io::Error` they become, and the causes they keep.

use std::error::Error as StdError;
use std::io::{self, ErrorKind};
use std::time::Duration;

use soloio::{
    Error, TrySendError, connect_tcp, create_memory_byte_stream, create_memory_object_stream,
    create_tcp_listener, fail_after, run_in_thread, sleep,
};

use crate::net_support::run;
use crate::support::quiet_panic;

/// Every error without a cause: its text, and its kind.
#[test]
fn each_word_has_its_text_and_its_kind() {
    let words = [
        (
            Error::EndOfStream,
            "finished sending",
            ErrorKind::UnexpectedEof,
        ),
        (
            Error::IncompleteRead(5),
            "inside an item, after 5 bytes",
            ErrorKind::UnexpectedEof,
        ),
        (
            Error::Closed,
            "already been closed",
            ErrorKind::NotConnected,
        ),
        (Error::Busy, "already using", ErrorKind::ResourceBusy),
        (
            Error::timed_out(Duration::from_secs(5), "busy"),
            "timed out after 5 s, while busy",
            ErrorKind::TimedOut,
        ),
        (
            Error::DelimiterNotFound(100),
            "within 100 bytes",
            ErrorKind::InvalidData,
        ),
        // std's loops would retry for ever on `ErrorKind::WouldBlock`.
        (Error::WouldBlock, "have to wait", ErrorKind::Other),
        (Error::Cancelled, "was cancelled", ErrorKind::Other),
        (Error::NoRuntime, "`soloio::block_on`", ErrorKind::Other),
        (Error::OtherLoop, "another runtime", ErrorKind::Other),
        (
            Error::other("a word of ours"),
            "a word of ours",
            ErrorKind::Other,
        ),
    ];
    for (error, text, kind) in words {
        assert_eq!(
            error.is_end_of_stream(),
            matches!(error, Error::EndOfStream)
        );
        assert!(error.to_string().contains(text), "{error}");
        assert!(error.source().is_none(), "{error:?}");
        let name = format!("{error:?}");
        let travels = io::Error::from(error);
        assert_eq!(
            (travels.kind(), travels.to_string().contains(text)),
            (kind, true)
        );
        assert_eq!(
            format!("{:?}", Error::from(travels)),
            name,
            "it comes back as it was"
        );
    }
}

#[test]
fn what_the_system_said_is_kept() {
    let interrupted = Error::from(io::Error::from(ErrorKind::Interrupted));
    assert_eq!(io::Error::from(interrupted).kind(), ErrorKind::Other);
    let missing = Error::from(io::Error::from(ErrorKind::NotFound));
    let Error::Io(cause) = &missing else {
        panic!("{missing:?}")
    };
    assert_eq!(
        (cause.operation(), cause.address(), cause.kind()),
        ("", None, ErrorKind::NotFound)
    );
    assert_eq!(missing.to_string(), cause.to_string());
    assert!(missing.source().is_some());
    assert_eq!(io::Error::from(missing).kind(), ErrorKind::NotFound);

    let (ours, theirs) = create_memory_byte_stream(8);
    drop(theirs);
    let broken = run(async move { ours.send(b"x").await.expect_err("the other end is gone") });
    assert!(
        broken
            .to_string()
            .starts_with("the connection is broken: send to"),
        "{broken}"
    );
    let Error::Broken(cause) = &broken else {
        panic!("{broken:?}")
    };
    assert_eq!(cause.operation(), "send to");
    assert_eq!(cause.address(), Some("the other end of a memory stream"));
    assert_eq!(format!("{cause:?}"), cause.to_string());
    assert_eq!(io::Error::from(broken).kind(), ErrorKind::BrokenPipe);
}

#[test]
fn a_boxed_error_comes_back_as_it_was() {
    type Boxed = Box<dyn StdError + Send + Sync>;
    let own = Error::from(Boxed::from(Error::Closed));
    assert!(matches!(own, Error::Closed), "{own:?}");
    let number = "many".parse::<u16>().expect_err("no number");
    let other = Error::from(Boxed::from(number.clone()));
    assert_eq!(
        (
            other.to_string(),
            format!("{other:?}").contains("ParseIntError")
        ),
        (number.to_string(), true)
    );
}

#[test]
fn a_host_that_nothing_can_be_had_from_names_each_attempt() {
    run(async {
        let listener = create_tcp_listener().local_host("127.0.0.1").await;
        let port = listener.expect("a listener").local_addr().port();
        let failed = connect_tcp("127.0.0.1", port)
            .await
            .expect_err("it is closed");
        let Error::ConnectFailed(attempts) = &failed else {
            panic!("{failed:?}")
        };
        let [attempt] = &attempts.attempts[..] else {
            panic!("{attempts:?}")
        };
        assert_eq!((attempt.address.port(), attempts.port), (port, port));
        assert!(attempt.elapsed < Duration::from_secs(60));
        let text = failed.to_string();
        assert!(
            text.starts_with(&format!("connect to 127.0.0.1 port {port} failed: ")),
            "{text}"
        );
        assert_eq!(format!("{attempts:?}"), text);
        assert!(failed.source().is_some() && attempts.source().is_some());
        assert_eq!(io::Error::from(failed).kind(), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn a_name_that_is_none_is_told() {
    run(async {
        // Refused before any lookup: labels have at most 63 letters.
        let name = "x".repeat(300);
        let failed = connect_tcp(name.as_str(), 1).await.expect_err("no name");
        if let Error::Resolve(error) = &failed {
            assert_eq!(
                (&error.host, format!("{error:?}")),
                (&name, error.to_string())
            );
            assert!(failed.to_string().starts_with("look up"), "{failed}");
            assert!(failed.source().is_some());
        }
        assert!(failed.to_string().contains("xxx"), "{failed}");
    });
}

#[test]
fn a_panic_that_was_waited_for_says_what_it_said() {
    run(async {
        let panicked = run_in_thread(|| quiet_panic("too much")).await;
        let error = panicked.expect_err("it panicked");
        assert_eq!(error.to_string(), "it panicked: too much");
        let Error::Panicked(panicked) = error else {
            panic!("{error:?}")
        };
        assert_eq!(
            (panicked.message(), format!("{panicked:?}")),
            (Some("too much"), panicked.to_string())
        );
        assert_eq!(panicked.into_payload().downcast_ref(), Some(&"too much"));
        let odd = run_in_thread(|| std::panic::resume_unwind(Box::new(7_u8))).await;
        let odd: Result<(), _> = odd;
        assert!(
            odd.expect_err("it panicked")
                .to_string()
                .contains("(no text)")
        );
    });
}

#[test]
fn an_item_that_could_not_be_sent_comes_back_with_the_reason() {
    run(async {
        let (sender, receiver) = create_memory_object_stream(0);
        let full = sender.send_nowait("item").expect_err("no receive waits");
        assert_eq!(full, TrySendError::WouldBlock("item"));
        // The item may be anything, so it is not shown.
        assert_eq!(
            (full.to_string(), format!("{full:?}")),
            ("it would have to wait".into(), "WouldBlock(..)".into())
        );
        assert!(full.source().is_none());
        assert_eq!(full.into_inner(), "item");
        let closed = sender.clone();
        closed.close();
        let closed = closed.send_nowait("item").expect_err("closed");
        assert_eq!(
            (format!("{closed:?}"), closed.into_inner()),
            ("Closed(..)".into(), "item")
        );
        assert!(matches!(Error::from(closed), Error::Closed));
        drop(receiver);
        let broken = sender.send_nowait("item").expect_err("no receiver");
        assert_eq!(
            (format!("{broken:?}"), broken.into_inner()),
            ("Broken(..)".into(), "item")
        );
        assert!(matches!(Error::from(broken), Error::Broken(_)));
    });
}

#[test]
fn a_limit_says_that_it_was_reached() {
    run(async {
        let limited = fail_after(Duration::ZERO, sleep(Duration::from_secs(60))).await;
        let late: io::Error = limited.expect_err("it is over").into();
        assert_eq!(late.kind(), ErrorKind::TimedOut);
        assert!(matches!(Error::from(late), Error::TimedOut(_)));
    });
}
