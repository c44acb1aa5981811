//! The body of the fuzz target `pem`: no error of the functions that read PEM quotes its input.

use std::error::Error;

use soloio::tls::{certificates_from_pem, private_key_from_pem};

/// The files with the texts of errors: bytes that stand here too are no sign of a quote.
const OURS: [&str; 2] = [
    include_str!("../../../src/tls/pem.rs"),
    include_str!("../../../src/tls/failure.rs"),
];

/// The shortest run of bytes that counts as a quote.
const RUN: usize = 8;

pub(crate) fn run(input: &[u8]) {
    let certificates = certificates_from_pem(input).err();
    let key = private_key_from_pem(input).err();
    for error in certificates.iter().chain(&key) {
        let mut texts = vec![error.to_string(), debug(error)];
        let mut cause = error.source();
        while let Some(error) = cause {
            texts.extend([error.to_string(), debug(error)]);
            cause = error.source();
        }
        for text in texts {
            let shown = shown(text.as_bytes(), input).map(String::from_utf8_lossy);
            assert!(shown.is_none(), "{text:?} shows {shown:?}");
        }
    }
}

/// The form for debugging, without what closes its brackets: a text of ours, and the bracket behind
/// it, may stand in the input by chance.
fn debug(error: &dyn Error) -> String {
    format!("{error:?}")
        .trim_end_matches([')', '}', '"', ' '])
        .to_owned()
}

fn shown<'t>(text: &'t [u8], input: &[u8]) -> Option<&'t [u8]> {
    let has = |all: &[u8], run: &[u8]| all.windows(RUN).any(|other| other == run);
    // A space may stand where two texts of ours meet.
    text.windows(RUN).find(|run| {
        !run.contains(&b' ')
            && has(input, run)
            && !OURS.iter().any(|source| has(source.as_bytes(), run))
    })
}
