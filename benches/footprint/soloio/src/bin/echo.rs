//! An echo server: a task for each connection.

use std::net::Ipv4Addr;

use soloio::{Result, TcpStream, block_on, create_tcp_listener, task_group};

async fn echo(client: TcpStream) -> Result<()> {
    let mut buffer = [0; 1024];
    loop {
        let received = client.receive_into(&mut buffer).await?;
        client.send(received).await?;
    }
}

fn main() -> Result<()> {
    block_on(async {
        let listener = create_tcp_listener()
            .local_host(Ipv4Addr::LOCALHOST)
            .local_port(1234)
            .await?;
        task_group(async |group| -> Result<()> {
            loop {
                let client = listener.accept().await?;
                group.spawn(async move {
                    // An error ends this connection only.
                    drop(echo(client).await);
                    Ok(())
                });
            }
        })
        .await
    })
}
