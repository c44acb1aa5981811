//! The work of a server, and the server program for it.

use clap::ValueEnum;

/// An operation that a server and a load generator carry out together.
#[derive(Clone, Copy, Debug)]
pub enum Work {
    TcpEcho,
    /// `TcpEcho` on one connection: a turn of the loop for each message.
    TcpEchoAlone,
    /// `TcpEcho` on 8,000 connections.
    TcpEchoBusy,
    TcpEchoTimeout,
    TcpRequest,
    UnixEcho,
    /// Lines there and back, many in a message.
    Lines,
    /// The same, with one call for all lines of a message where the side has such a call.
    LinesTogether,
    UdpEcho,
    UdpEchoMany,
    UdpSink,
    UdpBulk,
    CoresEcho,
    /// `CoresEcho` with a load on each core.
    CoresEchoFull,
    CoresRequest,
    TcpRelay,
    TcpRelayCopied,
    /// 1 KiB there and back over TLS.
    TlsEcho,
    /// A connection with a full handshake, and one message.
    TlsFull,
    /// A connection with a resumed session, and one message.
    TlsResumed,
    /// A KiB that the server receives, of many.
    TlsReceive,
    /// The same in small buffers.
    TlsReceiveSmall,
    /// A KiB that the server sends, of many.
    TlsSend,
}

impl Work {
    pub fn kind(self) -> Kind {
        match self {
            // A request on a connection of its own is an echo that ends early.
            Self::TcpEcho | Self::TcpEchoAlone | Self::TcpEchoBusy | Self::TcpRequest => {
                Kind::TcpEcho
            }
            Self::TcpEchoTimeout => Kind::TcpEchoTimeout,
            Self::UnixEcho => Kind::UnixEcho,
            Self::Lines => Kind::Lines,
            Self::LinesTogether => Kind::LinesTogether,
            Self::UdpEcho => Kind::UdpEcho,
            Self::UdpEchoMany => Kind::UdpEchoMany,
            Self::UdpSink => Kind::UdpSink,
            Self::UdpBulk => Kind::UdpBulk,
            Self::CoresEcho | Self::CoresEchoFull | Self::CoresRequest => Kind::CoresEcho,
            Self::TcpRelay => Kind::TcpRelay,
            Self::TcpRelayCopied => Kind::TcpRelayCopied,
            Self::TlsEcho | Self::TlsFull | Self::TlsResumed => Kind::TlsEcho,
            Self::TlsReceive => Kind::TlsSink,
            Self::TlsReceiveSmall => Kind::TlsSinkSmall,
            Self::TlsSend => Kind::TlsSource,
        }
    }
}

/// A server program.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Kind {
    /// Echo with a buffer of its own per connection.
    TcpEcho,
    /// Like `TcpEcho`, each receive inside a timeout of 30 s.
    TcpEchoTimeout,
    /// Echo that holds no buffer while it waits.
    TcpIdle,
    /// With a buffer of a message in each handler.
    TcpIdleBuffer,
    /// `TcpEcho` over UNIX streams.
    UnixEcho,
    /// Echo of lines, read one by one through a buffer, and answered a message at a time.
    Lines,
    /// The same, with one call for all lines of a message where the side has such a call.
    LinesTogether,
    UdpEcho,
    /// With batches where the side supports them.
    UdpEchoMany,
    /// Receives, and acknowledges each burst.
    UdpSink,
    /// Sends a burst on request.
    UdpBulk,
    /// `TcpEcho` on two cores: a loop on each, or a multi-threaded runtime.
    CoresEcho,
    /// Joins each two connections that it accepts, in both directions.
    TcpRelay,
    /// Like `TcpRelay`, with the bytes passing through the process.
    TcpRelayCopied,
    /// Echo over TLS.
    TlsEcho,
    /// Like `TlsEcho`, with a buffer of one message, so that the buffer is not measured.
    TlsIdle,
    /// Receives a length and that many bytes, then answers with a byte.
    TlsSink,
    /// Like `TlsSink`, with a buffer of 1 KiB.
    TlsSinkSmall,
    /// Receives a length, then sends that many bytes.
    TlsSource,
}

impl Kind {
    pub fn is_tls(self) -> bool {
        matches!(
            self,
            Self::TlsEcho | Self::TlsIdle | Self::TlsSink | Self::TlsSinkSmall | Self::TlsSource
        )
    }

    /// Returns the name on the command line of a server process.
    pub fn argument(self) -> &'static str {
        match self {
            Self::TcpEcho => "tcp-echo",
            Self::TcpEchoTimeout => "tcp-echo-timeout",
            Self::TcpIdle => "tcp-idle",
            Self::TcpIdleBuffer => "tcp-idle-buffer",
            Self::UnixEcho => "unix-echo",
            Self::Lines => "lines",
            Self::LinesTogether => "lines-together",
            Self::UdpEcho => "udp-echo",
            Self::UdpEchoMany => "udp-echo-many",
            Self::UdpSink => "udp-sink",
            Self::UdpBulk => "udp-bulk",
            Self::CoresEcho => "cores-echo",
            Self::TcpRelay => "tcp-relay",
            Self::TcpRelayCopied => "tcp-relay-copied",
            Self::TlsEcho => "tls-echo",
            Self::TlsIdle => "tls-idle",
            Self::TlsSink => "tls-sink",
            Self::TlsSinkSmall => "tls-sink-small",
            Self::TlsSource => "tls-source",
        }
    }
}
