//~ the item is gated behind the `threads` feature
use soloio::{Result, block_on, run_in_thread};

fn main() -> Result<()> {
    block_on(async { run_in_thread(|| ()).await })
}
