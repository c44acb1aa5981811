//~ nothing is connected unless awaited
#![deny(unused_must_use)]
use soloio::{Result, block_on, connect_tcp};

fn main() -> Result<()> {
    block_on(async {
        connect_tcp("localhost", 80);
        Ok(())
    })
}
