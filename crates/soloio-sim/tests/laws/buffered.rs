//! A `Buffered` gives each byte once, in whatever portions it is received.

use soloio::{Buffered, ByteStream, Error, create_memory_byte_stream, join, unix_socket_pair};
use soloio_sim::{Rng, check, conformance, run};

use super::tcp;

const LOT: usize = 30_000;

/// No two stretches are equal, and one byte in seven or so ends a line.
fn data(rng: &mut Rng) -> Vec<u8> {
    let byte = |_| match rng.below(7) {
        0 => b'\n',
        _ => u8::try_from(u64::from(b'a') + rng.below(26)).expect("a letter"),
    };
    (0..LOT).map(byte).collect()
}

/// Receives everything in random portions, by any of the ways.
async fn receive_all<S: ByteStream>(mut rng: Rng, stream: Buffered<S>) -> Vec<u8> {
    let (mut got, mut line) = (Vec::new(), Vec::new());
    loop {
        let count = usize::try_from(rng.between(1, 9)).expect("small");
        let received = match rng.below(6) {
            0 => stream.receive().await,
            1 => stream.receive_max(count).await,
            2 => stream.receive_exactly(count).await,
            3 => stream.receive_array::<3>().await.map(Vec::from),
            4 => stream.receive_until(b"\n", 100).await.map(|mut line| {
                line.push(b'\n');
                line
            }),
            _ => stream.next_line(&mut line, 100).await.and_then(|is_there| {
                let ended = Err(Error::EndOfStream);
                is_there
                    .then(|| [&line[..], b"\n"].concat())
                    .map_or(ended, Ok)
            }),
        };
        match received {
            Ok(bytes) => got.extend(bytes),
            // The rest is still there.
            Err(Error::IncompleteRead(_)) => got.extend(stream.receive().await.expect("the rest")),
            Err(Error::EndOfStream) => return got,
            Err(error) => panic!("{error}"),
        }
    }
}

async fn each_once<S: ByteStream>(seed: u64, (ours, theirs): (S, S)) {
    let mut rng = Rng::new(seed);
    // The last line has an end: `next_line` would return it without one.
    let sent = [&data(&mut rng)[..], b"\n"].concat();
    let send = async {
        for piece in sent.chunks(1 + usize::try_from(seed % 5000).expect("small")) {
            theirs.send(piece).await.expect("sent");
        }
        theirs.send_eof().await.expect("ended");
    };
    let (got, ()) = join((receive_all(rng.clone(), Buffered::new(ours)), send)).await;
    let first = got.iter().zip(&sent).position(|(a, b)| a != b);
    assert!(got == sent, "another byte: {first:?} of {}", got.len());
}

#[test]
fn each_byte_comes_once_in_portions_of_any_kind() {
    check(20, |seed| {
        run(async {
            each_once(seed * 37, create_memory_byte_stream(1000)).await;
            each_once(seed, tcp().await).await;
            each_once(seed * 7, unix_socket_pair().expect("a pair")).await;
        });
    });
}

#[test]
fn it_is_a_byte_stream() {
    run(async {
        conformance::byte_streams(async || {
            let (a, b) = create_memory_byte_stream(100);
            (Buffered::new(a), Buffered::new(b))
        })
        .await;
        conformance::byte_streams(async || {
            let (a, b) = tcp().await;
            (Buffered::new(a), Buffered::new(b))
        })
        .await;
    });
}
