//~ a stream of any kind is an `AnyByteStream`
use soloio::{ByteStream, Result, block_on, connect_tcp};

async fn talk(stream: impl ByteStream) -> Result<()> {
    stream.send(b"hello").await
}

fn main() -> Result<()> {
    block_on(async {
        let client: Box<dyn ByteStream> = Box::new(connect_tcp("localhost", 80).await?);
        talk(client).await
    })
}
