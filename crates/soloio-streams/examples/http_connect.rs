//! Connects through an HTTP proxy (CONNECT, RFC 9110, 9.3.6): a connectable over another one.
//!
//! `cargo run -p soloio-streams --example http_connect -- PROXY:PORT HOST:PORT`
//! sends a request to the host, and prints what comes back.

use std::error::Error as StdError;
use std::time::Duration;

use soloio::{Buffered, Error, Result, block_on, fail_after};
use soloio_streams::{Connectable, as_connectable};

/// The most bytes of a proxy's answer.
const HEAD: usize = 8 << 10;

/// A `host:port` behind an HTTP proxy.
#[derive(Debug)]
pub(crate) struct ThroughHttp<C> {
    proxy: C,
    target: String,
}

impl<C> ThroughHttp<C> {
    /// `target` is `host:port`; the proxy looks the host up.
    pub(crate) fn new(proxy: C, target: impl Into<String>) -> Self {
        let target = target.into();
        Self { proxy, target }
    }
}

impl<C: Connectable> Connectable for ThroughHttp<C> {
    /// The head of the answer may come together with the first bytes of the target.
    type Stream = Buffered<C::Stream>;

    async fn connect(&self) -> Result<Self::Stream> {
        let target = &self.target;
        if target.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(Error::other("a target is host:port"));
        }
        let stream = Buffered::new(self.proxy.connect().await?);
        let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
        stream.send(request.as_bytes()).await?;
        let head = stream.receive_until(b"\r\n\r\n", HEAD).await?;
        let mut words = head.split(|byte| byte.is_ascii_whitespace());
        let (version, status) = (words.next(), words.next());
        let is_http = version.is_some_and(|version| version.starts_with(b"HTTP/1."));
        match status {
            Some([b'2', b'0'..=b'9', b'0'..=b'9']) if is_http => Ok(stream),
            Some([a, b, c]) if is_http && [a, b, c].iter().all(|digit| digit.is_ascii_digit()) => {
                let status = [a, b, c].map(|digit| char::from(*digit));
                let status = String::from_iter(status);
                let text = format!("the proxy does not connect to {target}: status {status}");
                Err(Error::other(text))
            }
            _ => Err(Error::other("the proxy does not speak HTTP/1")),
        }
    }
}

fn main() -> Result<(), Box<dyn StdError + Send + Sync>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(proxy), Some(target)) = (arguments.next(), arguments.next()) else {
        return Err("usage: http_connect PROXY:PORT HOST:PORT".into());
    };
    block_on(async {
        let target = ThroughHttp::new(as_connectable(&proxy)?, target);
        let stream = fail_after(Duration::from_secs(10), target.connect()).await?;
        stream.send(b"GET / HTTP/1.0\r\n\r\n").await?;
        stream.send_eof().await?;
        while let Some(data) = stream.next().await? {
            print!("{}", String::from_utf8_lossy(&data));
        }
        stream.close().await?;
        Ok(())
    })
}
