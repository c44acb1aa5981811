//! Connects through a SOCKS5 proxy (RFC 1928, and RFC 1929 for a password): a connectable over
//! another one.
//!
//! `cargo run -p soloio-streams --example socks5 -- PROXY:PORT HOST PORT`
//! sends a request to the host, and prints what comes back.

use std::error::Error as StdError;
use std::net::IpAddr;
use std::time::Duration;

use soloio::{Buffered, Error, Result, block_on, fail_after};
use soloio_streams::{Connectable, as_connectable};

/// A port of a host behind a SOCKS5 proxy.
#[derive(Debug)]
pub(crate) struct ThroughSocks5<C> {
    proxy: C,
    host: String,
    port: u16,
    login: Option<(String, String)>,
}

impl<C> ThroughSocks5<C> {
    /// The proxy looks the host up.
    pub(crate) fn new(proxy: C, host: impl Into<String>, port: u16) -> Self {
        Self {
            proxy,
            host: host.into(),
            port,
            login: None,
        }
    }

    /// A name and a password, if the proxy wants them.
    #[allow(dead_code, reason = "a program of its own has no login")]
    pub(crate) fn login(mut self, name: impl Into<String>, password: impl Into<String>) -> Self {
        self.login = Some((name.into(), password.into()));
        self
    }

    fn request(&self) -> Result<Vec<u8>> {
        let mut request = vec![5, 1, 0];
        match self.host.parse() {
            Ok(IpAddr::V4(address)) => {
                request.push(1);
                request.extend(address.octets());
            }
            Ok(IpAddr::V6(address)) => {
                request.push(4);
                request.extend(address.octets());
            }
            Err(_) => {
                request.push(3);
                request.extend(text("the host", &self.host)?);
            }
        }
        request.extend(self.port.to_be_bytes());
        Ok(request)
    }
}

/// Text behind its length, which is a byte.
fn text(what: &str, text: &str) -> Result<Vec<u8>> {
    match u8::try_from(text.len()) {
        Ok(length @ 1..) => Ok([&[length], text.as_bytes()].concat()),
        _ => Err(Error::other(format!("{what} has 1 to 255 bytes"))),
    }
}

impl<C: Connectable> Connectable for ThroughSocks5<C> {
    type Stream = C::Stream;

    async fn connect(&self) -> Result<Self::Stream> {
        let request = self.request()?;
        // Nothing is received that was not requested: the stream is returned without its buffer.
        let stream = Buffered::new(self.proxy.connect().await?);
        let methods: &[u8] = match self.login {
            Some(_) => &[5, 2, 0, 2],
            None => &[5, 1, 0],
        };
        stream.send(methods).await?;
        match (stream.receive_array().await?, &self.login) {
            ([5, 0], _) => {}
            ([5, 2], Some((name, password))) => {
                let (name, password) = (text("a name", name)?, text("a password", password)?);
                stream.send(&[&[1], &name[..], &password].concat()).await?;
                if stream.receive_array::<2>().await?[1] != 0 {
                    return Err(Error::other("the proxy refuses the password"));
                }
            }
            ([5, _], _) => return Err(Error::other("the proxy wants a login")),
            _ => return Err(Error::other("the proxy does not speak SOCKS5")),
        }
        stream.send(&request).await?;
        let [version, reply, _, kind] = stream.receive_array().await?;
        if version != 5 || reply != 0 {
            return Err(Error::other(format!("the proxy {}", refusal(reply))));
        }
        // The address of the proxy's own side.
        let length = match kind {
            1 => 4,
            4 => 16,
            _ => usize::from(stream.receive_array::<1>().await?[0]),
        };
        stream.receive_exactly(length + 2).await?;
        Ok(stream.into_parts().0)
    }
}

fn refusal(reply: u8) -> &'static str {
    match reply {
        2 => "does not allow it",
        3 => "has no way to the network",
        4 => "has no way to the host",
        5 => "was refused",
        6 => "had no answer in time",
        7 | 8 => "does not support it",
        _ => "failed",
    }
}

fn main() -> Result<(), Box<dyn StdError + Send + Sync>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(proxy), Some(host), Some(port)) =
        (arguments.next(), arguments.next(), arguments.next())
    else {
        return Err("usage: socks5 PROXY:PORT HOST PORT".into());
    };
    block_on(async {
        let target = ThroughSocks5::new(as_connectable(&proxy)?, host, port.parse()?);
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
