//~ a builder of a stream has to be awaited
use soloio::{Buffered, ByteStream, Result, block_on, connect_tcp};

async fn talk(stream: impl ByteStream) -> Result<()> {
    Buffered::new(stream).receive_exactly(4).await.map(drop)
}

fn main() -> Result<()> {
    block_on(async { talk(connect_tcp("localhost", 80)).await })
}
