//! Enters the runtime and leaves it.

fn main() {
    soloio::block_on(async {});
}
