//! A TLS stream beside its twin: a connection of rustls' own with buffers. Both get the same bytes
//! from one peer, cut in different places or spoilt, and do the same; with a cryptography that
//! leaves nothing to chance they must say the same bytes, receive the same data and end alike.

use std::collections::BTreeMap;
use std::future::{Future, pending};
use std::pin::{Pin, pin};

use futures_util::future::{Either, select};
use soloio::tls::TlsStream;
use soloio::tls::rustls::version::{TLS12, TLS13};
use soloio::{Error, MemoryStream, Result, create_memory_byte_stream};

use crate::net_support::{polled, refused, run};
use crate::support::{Random, asked_rounds, rounds};
use crate::tls_buffered::{Buffered, client, server};
use crate::tls_support::NAME;

type Shaking = Pin<Box<dyn Future<Output = Result<TlsStream<MemoryStream>>>>>;

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    /// With an error in the handshake.
    Refused,
    CutInHandshake,
    /// With an error after it.
    Failed,
    Cut,
    /// With a close_notify.
    Regular,
}

/// Our side of the connection.
enum Ours {
    Shaking(Shaking),
    Stream(TlsStream<MemoryStream>),
    Refused(Error),
}

/// One connection of three: ours and its twin with one peer.
struct Case {
    random: Random,
    ours: Ours,
    /// The peer's end of our stream.
    far: MemoryStream,
    said: Vec<u8>,
    got: Vec<u8>,
    /// The first error of a receive.
    end: Option<Error>,
    twin: Buffered,
    peer: Buffered,
    /// What the peer has said and is on its way; the number of bytes taken for it so far.
    wire: Vec<u8>,
    taken: usize,
    peer_ended: bool,
    our_end: bool,
    spoilt: bool,
    capacity: usize,
}

impl Case {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        for _ in 0..8 {
            random.next();
        }
        let version = [&TLS12, &TLS13][random.below(2)];
        let ours_is_client = random.below(2) == 0;
        let sizes = [None, None, Some(64), Some(1_000), Some(16_384 + 5)];
        let (our_size, peer_size) = (sizes[random.below(5)], sizes[random.below(5)]);
        let capacity = [600, 5_000, 1_000_000][random.below(3)];
        let (near, far) = create_memory_byte_stream(capacity);
        let shaking: Shaking = if ours_is_client {
            TlsStream::client(near, NAME, client(version, our_size)).into_future()
        } else {
            TlsStream::server(near, server(version, our_size)).into_future()
        };
        Self {
            random,
            ours: Ours::Shaking(shaking),
            far,
            said: Vec::new(),
            got: Vec::new(),
            end: None,
            twin: Buffered::new(ours_is_client, version, our_size),
            peer: Buffered::new(!ours_is_client, version, peer_size),
            wire: Vec::new(),
            taken: 0,
            peer_ended: false,
            our_end: false,
            spoilt: false,
            capacity,
        }
    }

    async fn run(mut self) -> End {
        let steps = self.random.below(60);
        for _ in 0..steps {
            self.step().await;
            self.settle().await;
        }
        self.deliver(usize::MAX).await;
        self.finish().await
    }

    async fn step(&mut self) {
        let sizes = [0, 1, 100, 16_384, 16_385, 40_000];
        let size = sizes[self.random.below(6)];
        let mark = self.random.next();
        let data: Vec<u8> = (0..size).map(|n| (n as u64 ^ mark) as u8).collect();
        let open = !self.peer_ended && self.peer.failed.is_none();
        let shaken = !self.peer.rustls.is_handshaking();
        match self.random.below(12) {
            // Before the end of the handshake it is said as soon as possible: a server says data
            // behind its part of the handshake.
            0 | 1 if open => self.peer.send(&data),
            2 if open && shaken => {
                // Not with TLS 1.2.
                drop(self.peer.rustls.refresh_traffic_keys());
                self.peer.say();
            }
            3 if open && shaken && self.random.below(4) == 0 => {
                self.peer_ended = true;
                self.peer.rustls.send_close_notify();
                self.peer.say();
            }
            4 | 5 => self.send(&data).await,
            6 if !self.spoilt && self.random.below(4) == 0 => self.send_eof().await,
            7 if !self.our_end && self.random.below(4) == 0 => self.spoil(),
            _ => {
                let most = [1, 6, 500, 20_000, 100_000][self.random.below(5)];
                self.deliver(most).await;
            }
        }
    }

    /// Sends, and cancels that if it waits: what was accepted is what counts.
    async fn send(&mut self, data: &[u8]) {
        let Ours::Stream(stream) = &self.ours else {
            return;
        };
        let mut rest = data;
        let sent = if self.random.below(2) == 0 {
            polled(1, stream.send_from(&mut rest)).await
        } else {
            // Beside a receive, which has nothing to receive but an end.
            let mut none = [0];
            let receive = async {
                let received = stream.receive_into(&mut none).await;
                refused!(
                    received.map(|got| got.len()),
                    Error::EndOfStream | Error::Tls(_)
                );
                pending().await
            };
            let send = pin!(stream.send_from(&mut rest));
            polled(2, select(send, pin!(receive)))
                .await
                .map(|done| match done {
                    Either::Left((sent, _)) => sent,
                    Either::Right(((), _)) => unreachable!("it never ends"),
                })
        };
        let accepted = &data[..data.len() - rest.len()];
        match sent {
            None | Some(Ok(())) => self.twin.send(accepted),
            Some(Err(Error::Closed)) => assert!(self.our_end),
            Some(Err(Error::Tls(_))) => assert!(self.twin.failed.is_some()),
            Some(Err(Error::Broken(_))) => assert!(self.twin.failed.is_some()),
            Some(other) => panic!("{other:?}"),
        }
    }

    async fn send_eof(&mut self) {
        if let Ours::Stream(stream) = &self.ours {
            let ended = polled(1, stream.send_eof()).await;
            if !self.our_end && self.twin.failed.is_none() {
                assert!(matches!(ended, None | Some(Ok(()))), "{ended:?}");
                self.twin.rustls.send_close_notify();
                self.twin.say();
            }
            self.our_end = true;
        }
    }

    /// Changes what is on its way.
    fn spoil(&mut self) {
        self.take_wire();
        let left = self.wire.len();
        if left > 0 {
            self.spoilt = true;
            let at = self.random.below(left);
            match self.random.below(4) {
                0 => self.wire[at] ^= 1 << self.random.below(8),
                1 => drop(
                    self.wire
                        .drain(at..(at + 1 + self.random.below(40)).min(left)),
                ),
                2 => self.wire.splice(at..at, [0; 30]).for_each(drop),
                _ => {
                    let again = self.wire[at..(at + 100).min(left)].to_vec();
                    self.wire.splice(at..at, again).for_each(drop);
                }
            }
        }
    }

    /// Passes what the peer has said on to both, each in pieces of its own.
    async fn deliver(&mut self, most: usize) {
        self.take_wire();
        let count = self.wire.len().min(most);
        let bytes: Vec<u8> = self.wire.drain(..count).collect();
        let mut twins = &bytes[..];
        while !twins.is_empty() {
            let (now, later) = twins.split_at(1 + self.random.below(twins.len()));
            self.twin.hear(now);
            twins = later;
        }
        let mut ours = &bytes[..];
        while !ours.is_empty() {
            let most = ours.len().min(self.capacity);
            let (now, later) = ours.split_at(1 + self.random.below(most));
            // It takes nothing after an end.
            let sent = polled(1, self.far.send(now)).await;
            let ended = self.end.is_some() || matches!(self.ours, Ours::Refused(_));
            assert!(ended || matches!(sent, Some(Ok(()))), "{sent:?}");
            self.settle().await;
            ours = later;
        }
        let shaken = matches!(self.ours, Ours::Stream(_));
        assert!(!shaken || self.got == self.twin.got, "not all data");
    }

    fn take_wire(&mut self) {
        self.wire.extend(&self.peer.said[self.taken..]);
        self.taken = self.peer.said.len();
    }

    /// Lets ours do all it can, and passes on what it says.
    async fn settle(&mut self) {
        loop {
            let before = (self.said.len(), self.got.len());
            self.shake().await;
            self.receive().await;
            while let Some(Ok(bytes)) = polled(1, self.far.receive()).await {
                if self.peer.failed.is_none() {
                    self.peer.hear(&bytes);
                }
                self.said.extend(bytes);
            }
            if before == (self.said.len(), self.got.len()) {
                break;
            }
        }
        let alike = self.twin.said.starts_with(&self.said);
        assert!(alike, "{} bytes, not as the twin's", self.said.len());
        assert!(self.twin.got.starts_with(&self.got), "other data");
    }

    async fn shake(&mut self) {
        if let Ours::Shaking(shaking) = &mut self.ours {
            match polled(3, shaking).await {
                Some(Ok(stream)) => self.ours = Ours::Stream(stream),
                Some(Err(error)) => self.ours = Ours::Refused(error),
                None => {}
            }
        }
    }

    async fn receive(&mut self) {
        let Ours::Stream(stream) = &self.ours else {
            return;
        };
        loop {
            let size = [1, 50, 1_000, 16_384, 40_000][self.random.below(5)];
            let mut bytes = vec![0; size];
            match polled(3, stream.receive_into(&mut bytes)).await {
                None => break,
                Some(Ok(got)) => self.got.extend_from_slice(got),
                Some(Err(error)) => {
                    let text = error.to_string();
                    let first = self.end.get_or_insert(error);
                    assert_eq!(first.to_string(), text, "for good");
                    break;
                }
            }
        }
    }

    /// Ends the stream below, and compares.
    async fn finish(mut self) -> End {
        // What waits for data is said now.
        if let Ours::Stream(stream) = &self.ours {
            for _ in 0..10_000 {
                let flushed = match self.our_end {
                    true => polled(1, stream.send_eof()).await,
                    false => polled(1, stream.send(b"")).await,
                };
                while let Some(Ok(bytes)) = polled(1, self.far.receive()).await {
                    self.said.extend(bytes);
                }
                if flushed.is_some() {
                    break;
                }
            }
        }
        self.far.send_eof().await.expect("an end");
        self.settle().await;
        let ends = (self.ours, self.end);
        let ((Ours::Refused(error), _) | (Ours::Stream(_), Some(error))) = ends else {
            panic!("no end");
        };
        assert!(self.said == self.twin.said, "all was said");
        assert!(self.got == self.twin.got, "all was received");
        let shaking = self.twin.rustls.is_handshaking();
        drop(self.twin.rustls.read_tls(&mut &[][..]));
        if let Some(failed) = &self.twin.failed {
            let Error::Tls(ours) = &error else {
                panic!("{error} in place of {failed}");
            };
            let cause = std::error::Error::source(&**ours).expect("a cause");
            assert_eq!(cause.downcast_ref(), Some(failed));
            assert!(self.spoilt, "{failed}");
            return if shaking { End::Refused } else { End::Failed };
        }
        if !shaking && self.twin.read().is_none() {
            assert!(matches!(error, Error::EndOfStream), "{error}");
            return End::Regular;
        }
        assert!(matches!(error, Error::Broken(_)), "{error}");
        if shaking {
            End::CutInHandshake
        } else {
            End::Cut
        }
    }
}

#[test]
fn a_stream_is_as_its_twin() {
    let cases = asked_rounds().map_or_else(|| rounds(2_000), |all| all / 10);
    let mut ends = BTreeMap::new();
    for seed in 0..cases {
        // Shown only if the test fails.
        println!("seed {seed}");
        let end = run(Case::new(seed as u64).run());
        *ends.entry(end).or_insert(0) += 1;
    }
    println!("{ends:?}");
    let seen: Vec<&End> = ends.keys().collect();
    assert_eq!(
        seen,
        [
            &End::Refused,
            &End::CutInHandshake,
            &End::Failed,
            &End::Cut,
            &End::Regular
        ]
    );
}
