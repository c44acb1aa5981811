//! 1 server with a handler of its own: the difference to `three_servers` is the size of two more.

use soloio::{Result, TcpStream, block_on, create_tcp_listener, task_group};

async fn handler_0(client: TcpStream) -> Result<()> {
    let name = client.receive_max(1024).await?;
    client.send(&name).await
}

async fn serve_0(port: u16) -> Result<()> {
    let listener = create_tcp_listener().local_port(port).await?;
    listener.serve(handler_0).await
}

fn main() -> Result<()> {
    block_on(async {
        task_group(async |group| {
            group.spawn(serve_0(1234));
        })
        .await
    })
}
