//! `JsonLines`: values, bad lines, cuts.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::Value;
use soloio::{Error, create_memory_byte_stream, join};
use soloio_streams::{JsonLines, LineError, ObjectReceiveStream, ObjectSendStream};

use crate::support::{cut, cuts, run, send_in_pieces};

type Request = BTreeMap<String, Vec<u32>>;

#[test]
fn values_go_both_ways() {
    run(async || {
        let (ours, theirs) = create_memory_byte_stream(5);
        let client = JsonLines::<_, u64, Request>::new(ours, 1_000);
        let server = JsonLines::<_, Request, u64>::new(theirs, 1_000);
        let ask = async {
            let request = Request::from([("sum".to_owned(), vec![1, 2, 3])]);
            client.send(&request).await?;
            client.send(request).await?;
            client.send_eof().await?;
            Ok::<_, Error>([client.receive().await?, client.receive().await?])
        };
        let answer = async {
            while let Some(request) = server.next().await? {
                server
                    .send(u64::from(request["sum"].iter().sum::<u32>()))
                    .await?;
            }
            server.send_eof().await
        };
        let (asked, answered) = join((ask, answer)).await;
        answered?;
        assert_eq!(asked?, [6, 6]);
        assert_eq!(client.next().await?, None);
        Ok(())
    });
}

#[test]
fn a_bad_line_has_its_number_and_the_next_one_is_received() {
    run(async || {
        let (ours, theirs) = create_memory_byte_stream(200);
        let ours = JsonLines::<_, u32>::new(ours, 20);
        theirs.send(b"1\n\n \r\n{\"a\":\n2\n\xFF\n-1\r\n3").await?;
        theirs.send_eof().await?;
        let bad = async || {
            let Err(Error::Other(error)) = ours.receive().await else {
                panic!("a bad line");
            };
            let line = error
                .downcast_ref::<LineError>()
                .expect("of this kind")
                .line;
            (line, error.to_string())
        };
        assert_eq!(ours.receive().await?, 1);
        let (line, text) = bad().await;
        assert_eq!((line, &text[..15]), (4, "line 4, column "));
        assert!(!text.contains("line 1"), "{text}");
        assert_eq!(ours.receive().await?, 2);
        assert_eq!(bad().await.0, 6);
        let (line, text) = bad().await;
        assert!(
            line == 7 && text.contains("invalid value: integer `-1`"),
            "{text}"
        );
        assert!(matches!(
            ours.receive().await,
            Err(Error::IncompleteRead(1))
        ));
        assert_eq!(ours.inner().buffer(), b"3");
        Ok(())
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Each line is a value or an error with its number, as the parser has it alone.
    #[test]
    fn hostile_lines_are_values_or_errors(
        lines in proptest::collection::vec("[-0-9\\[\\]{}\",: \u{e4}]{0,6}", 0..9),
        (capacity, size) in (1..9_usize, 1..9_usize),
        mut of_receiver in cuts(),
    ) {
        run(async || {
            let (ours, theirs) = create_memory_byte_stream(capacity);
            let ours = JsonLines::<_, Value>::new(ours, 40);
            let data: String = lines.iter().map(|line| format!("{line}\n")).collect();
            let send = async {
                send_in_pieces(&theirs, data.as_bytes(), size).await?;
                theirs.send_eof().await
            };
            let receive = async {
                let mut got = Vec::new();
                loop {
                    match of_receiver.until_done(async || ours.next().await).await {
                        Ok(Some(value)) => got.push(Ok(value)),
                        Ok(None) => return Ok(got),
                        Err(Error::Other(error)) => {
                            let error = error.downcast_ref::<LineError>().expect("of this kind");
                            got.push(Err(error.line));
                        }
                        Err(error) => return Err(error),
                    }
                }
            };
            let (sent, got) = join((send, receive)).await;
            sent?;
            let numbered = lines.iter().zip(1..).filter(|(line, _)| !line.trim().is_empty());
            let parse = |(line, number): (&String, u64)| match serde_json::from_str::<Value>(line) {
                Ok(value) => Ok(value),
                Err(_) => Err(number),
            };
            assert_eq!(got?, numbered.map(parse).collect::<Vec<_>>());
            Ok(())
        });
    }
}

#[test]
fn a_cut_send_is_ended_by_the_next_one() {
    run(async || {
        let (ours, theirs) = create_memory_byte_stream(3);
        let ours = JsonLines::<_, String>::new(ours, 20);
        let mut value = Some("long".to_owned());
        assert!(cut(5, ours.send_from(&mut value)).await.is_none());
        assert_eq!((value, ours.unsent()), (None, 4));
        let theirs = JsonLines::<_, String>::new(theirs, 20);
        let (sent, got) = join((ours.send("next".to_owned()), async {
            Ok::<_, Error>([theirs.receive().await?, theirs.receive().await?])
        }))
        .await;
        sent?;
        assert_eq!(got?, ["long", "next"]);
        Ok(())
    });
}

#[test]
fn what_json_cannot_have_is_an_error() {
    run(async || {
        let (ours, _theirs) = create_memory_byte_stream(30);
        let ours = JsonLines::<_, u8, BTreeMap<(u8, u8), u8>>::new(ours, 20);
        let mut map = Some(BTreeMap::from([((1, 2), 3)]));
        let error = ObjectSendStream::send_from(&ours, &mut map)
            .await
            .expect_err("no text");
        assert_eq!(error.to_string(), "key must be a string");
        assert!(map.is_some());
        assert!(cut(1, ObjectReceiveStream::receive(&ours)).await.is_none());
        Ok(())
    });
}
