//! Stapled streams: both directions, ends, and errors of one part.

use soloio::{
    ByteReceiveStream, ByteSendStream, ByteStream, Error, create_memory_byte_stream,
    create_memory_object_stream, join,
};
use soloio_streams::{
    ObjectReceiveStream, ObjectSendStream, StapledByteStream, StapledObjectStream,
};

use crate::support::{cut, run};

#[test]
fn each_direction_has_its_stream() {
    run(async || {
        let (to, there) = create_memory_byte_stream(4);
        let (from, back) = create_memory_byte_stream(4);
        let both = StapledByteStream::new(to, from);
        assert!(cut(0, both.receive()).await.is_none());
        let mut rest = &b"longer"[..];
        assert!(cut(0, both.send_from(&mut rest)).await.is_none());
        assert_eq!(rest, b"er");
        back.send(b"back").await?;
        assert_eq!(both.receive().await?, b"back");
        assert_eq!(there.receive().await?, b"long");
        both.send_eof().await?;
        assert!(there.next().await?.is_none());
        back.send(b"more").await?; // receiving goes on
        assert_eq!(both.next().await?.as_deref(), Some(&b"more"[..]));
        both.close().await?;
        assert!(matches!(back.send(b"x").await, Err(Error::Broken(_))));
        Ok(())
    });
}

#[test]
fn an_abort_ends_both_and_a_failed_close_too() {
    run(async || {
        let (to, there) = create_memory_byte_stream(4);
        let (from, back) = create_memory_byte_stream(4);
        let both = StapledByteStream::new(to, from);
        both.abort();
        assert!(matches!(both.receive().await, Err(Error::Closed)));
        assert!(matches!(both.send(b"x").await, Err(Error::Closed)));
        assert!(both.close().await.is_err());
        assert!(there.next().await?.is_none());
        assert!(matches!(back.send(b"x").await, Err(Error::Broken(_))));

        let (to, there) = create_memory_byte_stream(4);
        let (from, back) = create_memory_byte_stream(4);
        StapledByteStream::new(to, from).reset().await?;
        assert!(matches!(there.receive().await, Err(Error::Broken(_))));
        assert!(matches!(back.send(b"x").await, Err(Error::Broken(_))));
        Ok(())
    });
}

#[test]
fn objects_go_and_come() {
    run(async || {
        let (sender, there) = create_memory_object_stream(0);
        let (back, receiver) = create_memory_object_stream(0);
        let both = StapledObjectStream::new(sender, receiver);
        let mut item = Some(1);
        assert!(cut(0, both.send_from(&mut item)).await.is_none());
        assert_eq!(item, Some(1));
        let (sent, got) = join((both.send_from(&mut item), there.receive())).await;
        sent?;
        assert_eq!((item, got?), (None, 1));
        let (sent, got) = join((back.send("x"), both.next())).await;
        sent?;
        assert_eq!(got?, Some("x"));
        let (sender, receiver) = both.into_parts();
        drop(receiver);
        sender.send_eof().await?;
        assert!(matches!(there.receive().await, Err(Error::EndOfStream)));
        Ok(())
    });
}
