//! UNIX connections that carry messages, as object streams.

use soloio::{Error, Result, net::unix_seqpacket_pair};
use soloio_streams::{ObjectByteStream, ObjectReceiveStream, ObjectSendStream};

use crate::support::{cut, run};

/// Only through the contracts.
async fn echo<S>(stream: &S) -> Result<()>
where
    S: ObjectReceiveStream<Item = Vec<u8>> + ObjectSendStream<Item = Vec<u8>>,
{
    while let Some(message) = stream.next().await? {
        stream.send(message).await?;
    }
    stream.send_eof().await
}

#[test]
fn messages_go_and_come() {
    run(async || {
        let (ours, theirs) = unix_seqpacket_pair()?;
        assert!(cut(0, ObjectReceiveStream::receive(&ours)).await.is_none());
        let mut item = Some(b"one".to_vec());
        ObjectSendStream::send_from(&ours, &mut item).await?;
        assert!(item.is_none(), "it was sent");
        let mut empty = Some(Vec::new());
        let refused = ObjectSendStream::send_from(&ours, &mut empty).await;
        assert!(refused.is_err() && empty.is_some(), "it was not sent");
        ours.send(b"two").await?;
        ObjectSendStream::send_eof(&ours).await?;
        echo(&theirs).await?;
        assert_eq!(ours.receive().await?, b"one");
        assert_eq!(ours.receive().await?, b"two");
        assert!(ours.next().await?.is_none());
        Ok(())
    });
}

#[test]
fn they_carry_bytes() {
    run(async || {
        let (ours, theirs) = unix_seqpacket_pair()?;
        let bytes = ObjectByteStream::new(ours);
        soloio::ByteSendStream::send(&bytes, b"hello").await?;
        assert_eq!(theirs.receive().await?, b"hello");
        drop(theirs);
        let ended = soloio::ByteReceiveStream::receive(&bytes).await;
        assert!(matches!(ended, Err(Error::EndOfStream)));
        Ok(())
    });
}
