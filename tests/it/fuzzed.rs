//! Runs the bodies of the fuzz targets with inputs of a small generator, which takes meaningful
//! pieces, changes them, cuts them and joins them. `SOLOIO_FUZZ_SECONDS` sets the time to run;
//! without it a few thousand inputs are tried.

use std::time::{Duration, Instant};

use crate::support::Random;

#[path = "fuzzed/buffered.rs"]
mod buffered;
#[cfg(all(feature = "full", any(feature = "ring", feature = "aws-lc-rs")))]
#[path = "fuzzed/pem.rs"]
mod pem;
#[path = "fuzzed/scopes.rs"]
pub(crate) mod scopes;
#[cfg(all(feature = "full", any(feature = "ring", feature = "aws-lc-rs")))]
#[path = "fuzzed/tls_chunks.rs"]
mod tls_chunks;

/// Runs a body on `most` inputs made of these pieces.
fn drive(seed: u64, most: u64, pieces: &[&[u8]], body: impl Fn(&[u8])) {
    let seconds = std::env::var("SOLOIO_FUZZ_SECONDS").ok();
    let seconds = seconds.map(|text| text.parse().expect("a number of seconds"));
    let end = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut random = Random::new(seed);
    let mut count = 0_u64;
    while end.map_or(count < most, |end| Instant::now() < end) {
        let mut input = Vec::new();
        for _ in 0..random.below(12) {
            match random.below(3) {
                0 => input.extend((0..random.below(40)).map(|_| random.below(256) as u8)),
                _ => input.extend(pieces[random.below(pieces.len())]),
            }
        }
        for _ in 0..random.below(4) {
            let at = random.below(input.len().max(1)).min(input.len());
            match random.below(3) {
                0 => input.truncate(input.len() - at / 4),
                1 => input.insert(at, random.below(256) as u8),
                _ => input
                    .iter_mut()
                    .skip(at)
                    .take(1)
                    .for_each(|byte| *byte ^= 1),
            }
        }
        body(&input);
        count += 1;
    }
    if seconds.is_some() {
        println!("{count} inputs");
    }
}

#[cfg(all(feature = "full", any(feature = "ring", feature = "aws-lc-rs")))]
#[test]
fn pem_shows_nothing() {
    let issued = crate::certs::Ca::new("a CA").server(&["localhost"]);
    let folded = issued.key_pem.replace('\n', " ");
    let pieces: [&[u8]; 12] = [
        issued.key_pem.as_bytes(),
        issued.chain_pem.as_bytes(),
        folded.as_bytes(),
        b"-----BEGIN ",
        b"-----END ",
        b"-----\n",
        b"-----",
        b"PRIVATE KEY",
        b"CERTIFICATE",
        b"s3cret/p4ss+w0rd",
        b"\n",
        b"Proc-Type: 4,ENCRYPTED\n",
    ];
    // The end of a message and the bracket of its form for debugging, found by libFuzzer.
    pem::run(b".-----`)D \n");
    drive(1, 3_000, &pieces, pem::run);
}

#[test]
fn buffered_is_its_twin() {
    drive(
        2,
        3_000,
        &[b"\x00\x05", b"\x01\x0a", b"\x02\x25\x03\x41", b"\x04\x04"],
        buffered::run,
    );
}

#[test]
fn scopes_are_their_twin() {
    // Bytes that end nodes and steps, and bytes that make a deep tree.
    drive(
        3,
        3_000,
        &[
            b"\x00\x00\x01\x02",
            b"\x03\x04\x06\x07\x08",
            b"\x08\x09\x0a",
            b"\x03\x00\x03",
        ],
        scopes::run,
    );
}

/// What is only cut into pieces arrives; of the rest, nothing hangs.
#[cfg(all(feature = "full", any(feature = "ring", feature = "aws-lc-rs")))]
#[test]
fn tls_chunks_never_hang() {
    use std::sync::{Arc, LazyLock};

    use soloio::tls::rustls::version::{TLS12, TLS13};

    use crate::tls_support::{client_of, server_of};

    let _guard = crate::support::deadline();
    let both = LazyLock::new(|| {
        [&TLS13, &TLS12].map(|version| {
            let (client, server) = (client_of(&[version]), server_of(&[version]));
            (Arc::new(client), Arc::new(server))
        })
    });
    let configs = |old| both[usize::from(old)].clone();
    for head in 0..16 {
        // Pieces of many sizes, and an end at once.
        let mut pieces = vec![head, 128];
        pieces.extend((0..200_u8).flat_map(|size| [size.wrapping_mul(41), 64 + size % 2]));
        tls_chunks::run(&pieces, configs);
        tls_chunks::run(&[head, 255, 0, 24], configs);
    }
    drive(
        4,
        200,
        &[
            b"\x06\x80",
            b"\x04\x80\xff\x41",
            b"\xff\x40\x10\x41",
            b"\x20\x19",
            b"\x07\x30",
            b"\x00\x0d",
            b"\x00\x18",
        ],
        |input| tls_chunks::run(input, configs),
    );
}
