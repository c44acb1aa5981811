//~ `Broken` does not report which of its values is a cancel's
//~ `soloio::Failure` is missing
//~ needs one line: `impl soloio::Failure for Broken
use soloio::{block_on, fail_after};
use std::time::Duration;

#[derive(Debug)]
enum Broken {
    Net(soloio::Error),
}

impl From<soloio::Error> for Broken {
    fn from(error: soloio::Error) -> Self {
        Self::Net(error)
    }
}

fn main() {
    let ended = block_on(fail_after(Duration::from_secs(1), async { Ok::<_, Broken>(()) }));
    ended.unwrap();
}
