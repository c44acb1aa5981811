//! Lines, and bodies of known length: a store with the requests `GET key` and `PUT key length`.
//!
//! ```text
//! cargo run --example lines
//! ```
//!
//! Server and client are in one process. A line may have 100 bytes, however it arrives; a body has
//! the length that its line gives. A connection may end between two requests; an end inside a
//! request is an error.

use std::cell::RefCell;
use std::collections::HashMap;
use std::error;

use soloio::{
    Buffered, ByteStream, Error, Result, block_on, connect_tcp, create_tcp_listener, task_group,
};

/// Any error of a request; `?` converts every error to it.
type AnyError = Box<dyn error::Error + Send + Sync>;

type Store = RefCell<HashMap<String, Vec<u8>>>;

fn main() -> Result<()> {
    block_on(async {
        let store = Store::default(); // all connections borrow it
        let listener = create_tcp_listener().local_host("127.0.0.1").await?;
        let port = listener.local_addr().port();
        task_group(async |group| {
            let served =
                listener.serve_with(async |client| serve(Buffered::new(client), &store).await);
            let server = group.spawn(served.on_error(|error, _| println!("server: {error}")));
            let client = Buffered::new(connect_tcp("127.0.0.1", port).await?);
            client
                .send(b"PUT greeting 11\nhello\nworldGET greeting\nGET nothing\n")
                .await?;
            for _ in 0..3 {
                println!("{}", answer(&client).await?);
            }
            client.send(b"PUT half 10\n12345").await?;
            client.send_eof().await?;
            assert_eq!(client.next().await?, None);
            server.cancel();
            Ok(())
        })
        .await
    })
}

async fn serve(client: Buffered<impl ByteStream>, store: &Store) -> Result<(), AnyError> {
    loop {
        let line = match client.receive_until(b"\n", 100).await {
            Err(Error::EndOfStream) => return Ok(()),
            line => String::from_utf8_lossy(&line?).into_owned(),
        };
        let answer = match *line.split(' ').collect::<Vec<_>>() {
            ["GET", key] => store.borrow().get(key).cloned().unwrap_or_default(),
            ["PUT", key, length] => {
                let length = length.parse()?;
                let body = client.receive_exactly(length).await?;
                store.borrow_mut().insert(key.to_owned(), body);
                b"stored".to_vec()
            }
            _ => return Err(format!("{line:?} is no request").into()),
        };
        let head = format!("{}\n", answer.len());
        client.send(&[head.as_bytes(), &answer].concat()).await?;
    }
}

/// Receives an answer: a line with its length, and that many bytes.
async fn answer(client: &Buffered<impl ByteStream>) -> Result<String, AnyError> {
    let length = client.receive_until(b"\n", 20).await?;
    let length = String::from_utf8_lossy(&length).parse()?;
    let body = client.receive_exactly(length).await?;
    Ok(format!("{:?}", String::from_utf8_lossy(&body)))
}
