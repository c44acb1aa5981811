//! A TLS peer that sends any record a test needs: rustls makes the handshake, and then its keys are
//! extracted, so that each record is made by hand and encrypted correctly.

use std::sync::Arc;

use futures_util::future::join;
use soloio::tls::TlsStream;
use soloio::tls::rustls::crypto::CryptoProvider;
use soloio::tls::rustls::crypto::cipher::{
    AeadKey, InboundOpaqueMessage, Iv, MessageDecrypter, MessageEncrypter, OutboundChunks,
    OutboundPlainMessage,
};
use soloio::tls::rustls::{
    ClientConnection, Connection, ConnectionTrafficSecrets, ContentType, ProtocolVersion,
    ServerConnection, SupportedCipherSuite, SupportedProtocolVersion,
};
use soloio::{ByteStream, MemoryStream, create_memory_byte_stream};

use crate::tls_support::{NAME, client_of, client_with, provider, server_of, server_with};

/// The peer after its handshake.
pub(crate) struct Forger<S = MemoryStream> {
    pub(crate) stream: S,
    encrypter: Box<dyn MessageEncrypter>,
    decrypter: Box<dyn MessageDecrypter>,
    sent: u64,
    received: u64,
    /// Received bytes that are not a whole record yet.
    incoming: Vec<u8>,
}

/// A decrypted record.
pub(crate) type Record = (ContentType, Vec<u8>);

impl<S: ByteStream> Forger<S> {
    fn new(session: Connection, stream: S) -> Self {
        let suite = session
            .negotiated_cipher_suite()
            .expect("after a handshake");
        let secrets = session
            .dangerous_extract_secrets()
            .expect("the configuration allows it");
        let (sent, received) = (secrets.tx.0, secrets.rx.0);
        let (tx, rx) = (parts(secrets.tx.1), parts(secrets.rx.1));
        let (encrypter, decrypter) = match suite {
            SupportedCipherSuite::Tls13(suite) => (
                suite.aead_alg.encrypter(tx.0, tx.1),
                suite.aead_alg.decrypter(rx.0, rx.1),
            ),
            SupportedCipherSuite::Tls12(suite) => {
                let fixed = suite.aead_alg.key_block_shape().fixed_iv_len;
                let (salt, explicit) = tx.1.as_ref().split_at(fixed);
                (
                    suite.aead_alg.encrypter(tx.0, salt, explicit),
                    suite.aead_alg.decrypter(rx.0, &rx.1.as_ref()[..fixed]),
                )
            }
        };
        Self {
            stream,
            encrypter,
            decrypter,
            sent,
            received,
            incoming: Vec::new(),
        }
    }

    /// Encrypts one record; records have to be sent in the order they are made.
    pub(crate) fn record(&mut self, typ: ContentType, payload: &[u8]) -> Vec<u8> {
        let plain = OutboundPlainMessage {
            typ,
            version: ProtocolVersion::TLSv1_2,
            payload: OutboundChunks::Single(payload),
        };
        let record = self.encrypter.encrypt(plain, self.sent);
        self.sent += 1;
        record.expect("encrypted").encode()
    }

    pub(crate) async fn send(&mut self, typ: ContentType, payload: &[u8]) {
        let record = self.record(typ, payload);
        self.stream.send(&record).await.expect("sent");
    }

    pub(crate) async fn data(&mut self, data: &[u8]) {
        self.send(ContentType::ApplicationData, data).await;
    }

    /// Waits for one record.
    pub(crate) async fn receive(&mut self) -> Record {
        loop {
            if let Some(length) = self.incoming.get(3..5) {
                let end = 5 + usize::from(u16::from_be_bytes([length[0], length[1]]));
                if self.incoming.len() >= end {
                    let mut record: Vec<u8> = self.incoming.drain(..end).collect();
                    let typ = ContentType::from(record[0]);
                    let version = ProtocolVersion::TLSv1_2;
                    let message = InboundOpaqueMessage::new(typ, version, &mut record[5..]);
                    let plain = self.decrypter.decrypt(message, self.received);
                    let plain = plain.expect("a good record");
                    self.received += 1;
                    return (plain.typ, plain.payload.to_vec());
                }
            }
            let bytes = self.stream.receive().await.expect("a record");
            self.incoming.extend(bytes);
        }
    }
}

fn parts(secrets: ConnectionTrafficSecrets) -> (AeadKey, Iv) {
    use ConnectionTrafficSecrets::{Aes128Gcm, Aes256Gcm, Chacha20Poly1305};
    match secrets {
        Aes128Gcm { key, iv } | Aes256Gcm { key, iv } | Chacha20Poly1305 { key, iv } => (key, iv),
        _ => panic!("a cipher that is not known here"),
    }
}

/// One kind of cipher only: AWS-LC's keys for the other kind cannot start after the first record.
fn chacha() -> Arc<CryptoProvider> {
    let mut provider: CryptoProvider = (*provider()).clone();
    provider.cipher_suites.retain(|suite| {
        let name = suite.suite().as_str();
        name.is_some_and(|name| name.contains("CHACHA20"))
    });
    Arc::new(provider)
}

async fn shake<S: ByteStream>(mut session: Connection, stream: S) -> Forger<S> {
    loop {
        while session.wants_write() {
            let mut out = Vec::new();
            session.write_tls(&mut out).expect("into memory");
            stream.send(&out).await.expect("sent");
        }
        if !session.is_handshaking() {
            return Forger::new(session, stream);
        }
        let bytes = stream.receive().await.expect("a handshake");
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            session.read_tls(&mut rest).expect("from memory");
            session.process_new_packets().expect("good records");
        }
    }
}

/// Returns our client, and a forged server.
pub(crate) async fn forged_server<S: ByteStream>(
    (a, b): (S, S),
    version: &'static SupportedProtocolVersion,
) -> (TlsStream<S>, Forger<S>) {
    let mut config = server_with(chacha(), &[version]);
    config.enable_secret_extraction = true;
    let session = ServerConnection::new(Arc::new(config)).expect("a good configuration");
    let client = TlsStream::client(a, NAME, Arc::new(client_of(&[version]))).into_future();
    let (client, forger) = join(client, shake(session.into(), b)).await;
    (client.expect("a handshake"), forger)
}

/// Returns our server, and a forged client.
pub(crate) async fn forged_client<S: ByteStream>(
    (a, b): (S, S),
    version: &'static SupportedProtocolVersion,
) -> (TlsStream<S>, Forger<S>) {
    let mut config = client_with(chacha(), &[version]);
    config.enable_secret_extraction = true;
    let name = NAME.try_into().expect("a name");
    let session = ClientConnection::new(Arc::new(config), name).expect("a good configuration");
    let server = TlsStream::server(a, Arc::new(server_of(&[version]))).into_future();
    let (server, forger) = join(server, shake(session.into(), b)).await;
    (server.expect("a handshake"), forger)
}

pub(crate) fn memory() -> (MemoryStream, MemoryStream) {
    create_memory_byte_stream(100_000)
}
