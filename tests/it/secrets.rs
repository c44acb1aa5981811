//! `{:?}` of types that hold a stream's content does not show the content.

use soloio::{
    Buffered, ByteStream, Result, block_on, create_memory_byte_stream, create_memory_object_stream,
};

#[cfg(all(feature = "full", any(feature = "ring", feature = "aws-lc-rs")))]
use crate::tls_support::tls_over;

const SECRET: &[u8] = b"correct horse battery staple";

/// Expects neither the text nor the numbers of its bytes.
#[track_caller]
fn assert_hides(shown: &str) {
    let numbers = format!("{:?}", &SECRET[..3]);
    assert!(!shown.contains("horse"), "{shown}");
    assert!(!shown.contains(numbers.trim_matches(['[', ']'])), "{shown}");
}

/// The secret is in transit between the two, and partly received.
async fn watch<S: ByteStream + std::fmt::Debug>(ours: S, theirs: S) -> Result<()> {
    ours.send(SECRET).await?;
    assert_hides(&format!("{ours:?} {theirs:?} {ours:#?}"));
    assert_eq!(theirs.receive_max(1).await?, b"c");
    assert_hides(&format!("{ours:?} {theirs:?} {theirs:#?}"));
    let buffered = Buffered::new(theirs);
    assert_eq!(buffered.receive_exactly(1).await?, b"o");
    assert_hides(&format!("{buffered:?} {buffered:#?}"));
    Ok(())
}

#[test]
fn streams_show_no_content() -> Result<()> {
    block_on(async {
        let (ours, theirs) = create_memory_byte_stream(100);
        watch(ours, theirs).await?;
        let (sender, receiver) = create_memory_object_stream(2);
        sender
            .send(String::from_utf8_lossy(SECRET).into_owned())
            .await?;
        assert_hides(&format!("{sender:?} {receiver:?}"));
        let refused = sender
            .send_nowait("horse".to_owned())
            .and_then(|()| sender.send_nowait("horse".to_owned()));
        assert_hides(&format!("{refused:?}"));
        Ok(())
    })
}

#[cfg(feature = "full")]
#[test]
fn datagrams_show_no_content() -> Result<()> {
    use soloio::net::Parcel;
    use soloio::{create_udp_socket, unix_datagram_socket_pair};

    block_on(async {
        let socket = create_udp_socket().local_host("127.0.0.1").await?;
        let to = socket.local_addr();
        let parcel = Parcel::from((SECRET, to));
        socket.send_to(SECRET, to).await?;
        let mut room = [0; 100];
        let datagram = socket.receive_into(&mut room).await?;
        assert_hides(&format!("{parcel:?} {datagram:?} {datagram:#?}"));
        assert!(format!("{parcel:?} {datagram:?}").contains("len: 28"));
        let (ours, theirs) = unix_datagram_socket_pair()?;
        ours.send(SECRET).await?;
        let mut room = [0; 100];
        let datagram = theirs.receive_into(&mut room).await?;
        assert_hides(&format!("{datagram:?} {datagram:#?}"));
        Ok(())
    })
}

#[cfg(all(feature = "full", any(feature = "ring", feature = "aws-lc-rs")))]
#[test]
fn tls_streams_show_no_content() -> Result<()> {
    block_on(async {
        let (client, server) = tls_over(create_memory_byte_stream(100_000), true).await;
        watch(client, server).await
    })
}
