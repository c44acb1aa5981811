//! TLS clients: rustls over plain blocking sockets.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, StreamOwned,
};

use super::{IN_FLIGHT, MESSAGE, PATIENCE, message, wrong_answer};

/// Bytes of an echoed message.
const ECHO: usize = 1024;
/// KiB that are requested, or sent, at once.
const LOT: u64 = 4096;

type Stream = StreamOwned<ClientConnection, TcpStream>;

/// A TLS client of one kind.
pub struct Tls {
    server: SocketAddr,
    config: Arc<ClientConfig>,
    kind: Kind,
    connections: Vec<Stream>,
    sent: u64,
}

#[derive(Clone, Copy, Eq, PartialEq)]
pub enum Kind {
    Echo,
    /// A connection for each message.
    Handshakes,
    /// The server receives.
    Sink,
    /// The server sends.
    Source,
    /// Connections that stay.
    Idle,
}

impl Tls {
    pub fn open(server: SocketAddr, kind: Kind, resumed: bool) -> io::Result<Self> {
        let mut tls = Self {
            server,
            config: config(resumed),
            kind,
            connections: Vec::new(),
            sent: 0,
        };
        let connections = match kind {
            Kind::Echo => IN_FLIGHT,
            Kind::Sink | Kind::Source => 1,
            Kind::Handshakes | Kind::Idle => 0,
        };
        for _ in 0..connections {
            let stream = tls.connect()?;
            tls.connections.push(stream);
        }
        Ok(tls)
    }

    fn connect(&self) -> io::Result<Stream> {
        let socket = TcpStream::connect(self.server)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
        let session = ClientConnection::new(Arc::clone(&self.config), name);
        Ok(StreamOwned::new(session.map_err(io::Error::other)?, socket))
    }

    pub fn run(&mut self, count: u64) -> io::Result<()> {
        match self.kind {
            Kind::Echo => self.echo(count),
            Kind::Handshakes => (0..count).try_for_each(|_| self.exchange().map(drop)),
            Kind::Sink => self.fill(count),
            Kind::Source => self.drain(count),
            Kind::Idle => (0..count).try_for_each(|_| {
                let stream = self.exchange()?;
                self.connections.push(stream);
                Ok(())
            }),
        }
    }

    /// Sends a message on every connection, then receives all answers.
    fn echo(&mut self, count: u64) -> io::Result<()> {
        let mut answer = [0; ECHO];
        let mut left = count;
        while left > 0 {
            let now = self
                .connections
                .len()
                .min(usize::try_from(left).unwrap_or(usize::MAX));
            let mut sent = [3; ECHO];
            sent[..MESSAGE].copy_from_slice(&message(left));
            for stream in &mut self.connections[..now] {
                stream.write_all(&sent)?;
            }
            for stream in &mut self.connections[..now] {
                stream.read_exact(&mut answer)?;
                if answer != sent {
                    return Err(wrong_answer());
                }
            }
            left -= now as u64;
        }
        Ok(())
    }

    /// Makes a new connection, and sends one message on it.
    fn exchange(&mut self) -> io::Result<Stream> {
        let mut stream = self.connect()?;
        let sent = message(self.sent);
        self.sent += 1;
        stream.write_all(&sent)?;
        let mut answer = [0; MESSAGE];
        stream.read_exact(&mut answer)?;
        if answer == sent {
            Ok(stream)
        } else {
            Err(wrong_answer())
        }
    }

    fn fill(&mut self, kib: u64) -> io::Result<()> {
        let lot = vec![5; 65_536];
        let stream = &mut self.connections[0];
        let mut left = kib;
        while left > 0 {
            let now = left.min(LOT);
            stream.write_all(&(now * 1024).to_le_bytes())?;
            let mut bytes = now * 1024;
            while bytes > 0 {
                let part = bytes.min(lot.len() as u64);
                stream.write_all(&lot[..usize::try_from(part).map_err(io::Error::other)?])?;
                bytes -= part;
            }
            stream.read_exact(&mut [0; 1])?;
            left -= now;
        }
        Ok(())
    }

    fn drain(&mut self, kib: u64) -> io::Result<()> {
        let mut buffer = vec![0; 65_536];
        let stream = &mut self.connections[0];
        let mut left = kib;
        while left > 0 {
            let now = left.min(LOT);
            stream.write_all(&(now * 1024).to_le_bytes())?;
            let mut bytes = now * 1024;
            while bytes > 0 {
                let count = stream.read(&mut buffer)? as u64;
                if count == 0 || count > bytes {
                    return Err(wrong_answer());
                }
                bytes -= count;
            }
            left -= now;
        }
        Ok(())
    }
}

fn config(resumed: bool) -> Arc<ClientConfig> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("known versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone(ring::default_provider())))
        .with_no_client_auth();
    if !resumed {
        config.resumption = Resumption::disabled();
    }
    Arc::new(config)
}

/// Accepts every certificate: the server makes one when it starts.
#[derive(Debug)]
struct Anyone(CryptoProvider);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
