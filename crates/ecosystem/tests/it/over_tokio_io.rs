//! Crates over tokio's traits: the companion `soloio-tokio-io`, `TokioIo::new(stream)`.

use futures_util::{SinkExt, TryStreamExt, future};
use h2::{client, server};
use hyper::body::Bytes;
use hyper::{Request, Response};
use soloio::task_group_with;
use soloio_tokio_io::TokioIo;
use tokio_util::codec::{Framed, LinesCodec};

use crate::support::{Outcome, noise, pair, run};

/// Bodies both ways, larger than the first window of a stream.
#[test]
fn h2() {
    run(async {
        let (ours, theirs) = pair().await?;
        let server = async {
            let mut connection = server::handshake(TokioIo::new(theirs)).await?;
            task_group_with(async |group| -> Outcome {
                while let Some(accepted) = connection.accept().await {
                    group.spawn(echo(accepted?));
                }
                Ok(())
            })
            .await
        };
        let client = async {
            let (sender, connection) = client::handshake(TokioIo::new(ours)).await?;
            let asked = Box::pin(ask(sender));
            // The connection ends when nothing holds its sender.
            let (asked, ended) = future::join(asked, connection).await;
            ended?;
            asked
        };
        future::try_join(server, client).await?;
        Ok(())
    });
}

async fn echo(accepted: (Request<h2::RecvStream>, server::SendResponse<Bytes>)) -> Outcome {
    let (request, mut respond) = accepted;
    let mut sender = respond.send_response(Response::new(()), false)?;
    pass_on(request.into_body(), |bytes| {
        Ok(sender.send_data(bytes, false)?)
    })
    .await?;
    sender.send_data(Bytes::new(), true)?;
    Ok(())
}

/// Hands over the data of a body as it comes; its peer may send as much again.
async fn pass_on(mut body: h2::RecvStream, mut take: impl FnMut(Bytes) -> Outcome) -> Outcome {
    while let Some(bytes) = body.data().await {
        let bytes = bytes?;
        body.flow_control().release_capacity(bytes.len())?;
        take(bytes)?;
    }
    Ok(())
}

async fn ask(sender: client::SendRequest<Bytes>) -> Outcome {
    let mut sender = sender.ready().await?;
    for length in [0, 5, 1_000_000] {
        let bytes = Bytes::from(noise(length));
        let request = Request::post("http://localhost/").body(())?;
        let (answer, mut body) = sender.send_request(request, false)?;
        body.send_data(bytes.clone(), true)?;
        let mut got = Vec::new();
        pass_on(answer.await?.into_body(), |bytes| {
            got.extend(bytes);
            Ok(())
        })
        .await?;
        assert!(got == bytes);
        sender = sender.ready().await?;
    }
    Ok(())
}

#[test]
fn tokio_util() {
    run(async {
        let (ours, theirs) = pair().await?;
        let mut ours = Framed::new(TokioIo::new(ours), LinesCodec::new());
        let theirs = Framed::new(TokioIo::new(theirs), LinesCodec::new());
        ours.send("one").await?;
        ours.send("two").await?;
        SinkExt::<&str>::close(&mut ours).await?;
        let lines: Vec<String> = theirs.try_collect().await?;
        assert_eq!(lines, ["one", "two"]);
        Ok(())
    });
}
