//! An HTTP/1.1 client on `httparse` alone, to copy from, together with `http_wire.rs`.
//!
//! ```text
//! cargo run --example http_client [--ca CA.pem] [--post FILE] URL...
//! cargo run --example http_client http://127.0.0.1:8080/ http://127.0.0.1:8080/nothing
//! ```
//!
//! Bodies go to standard output, a line about each answer to standard error; the exit code is 0 if
//! all were successful. `--post` sends the file to each URL, in chunks. Consecutive URLs of one
//! origin share a connection. Sizes and times are limited.

#[path = "http_wire.rs"]
mod wire;

use std::fs::File;
use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use std::{env, error};

use httparse::{EMPTY_HEADER, Response, Status};
use soloio::tls::{client_config, rustls::ClientConfig};
use soloio::{AnyByteStream, Error, Failure, block_on, connect_tcp, fail_after};
use wire::{Body, Failed, HEAD_MAX, HEADERS_MAX, Wire, lists, values};

const BODY_MAX: usize = 1 << 30; // bytes
const EXCHANGE: Duration = Duration::from_secs(300); // for a request and its answer
const CONNECT: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    match run(env::args().skip(1)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("http_client: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut args: impl Iterator<Item = String>) -> Result<bool, Box<dyn error::Error>> {
    let (mut urls, mut post, mut config) = (Vec::new(), None, client_config());
    while let Some(arg) = args.next() {
        match &*arg {
            "--ca" => config = config.ca_file(args.next().ok_or("--ca needs a file")?),
            "--post" => post = Some(args.next().ok_or("--post needs a file")?),
            _ => urls.push(Url::parse(&arg).ok_or("a URL is http[s]://host[:port][/path]")?),
        }
    }
    let mut client = Client {
        config: config.alpn(["http/1.1"]).build()?,
        kept: None,
    };
    block_on(async {
        let (mut successful, mut output) = (!urls.is_empty(), io::stdout());
        for url in &urls {
            let file = post.as_ref().map(File::open).transpose()?;
            let answered = fail_after(EXCHANGE, client.exchange(url, file, &mut output));
            let (status, length) = answered.await?;
            eprintln!("{status}, {length} bytes");
            successful &= (200..300).contains(&status);
        }
        if let Some((_, connection)) = client.kept {
            connection.stream.close().await?;
        }
        Ok(successful)
    })
}

#[derive(Clone, PartialEq)]
struct Origin {
    secure: bool,
    host: String,
    port: u16,
}

struct Url {
    origin: Origin,
    target: String,
}

impl Url {
    fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let secure = match scheme {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let rest = rest.split('#').next()?;
        let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let port = if secure { 443 } else { 80 };
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
            _ => (authority, port),
        };
        let host = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let wrong = |byte: u8| byte <= b' ' || byte == b'@' || byte == 0x7f;
        let slash = if target.starts_with('/') { "" } else { "/" };
        let target = format!("{slash}{target}");
        let valid =
            !host.is_empty() && !host.bytes().any(wrong) && !target.bytes().any(|b| b <= b' ');
        valid.then_some(Self {
            origin: Origin { secure, host, port },
            target,
        })
    }
}

type Connection = Wire<AnyByteStream<'static>>;

struct Client {
    config: Arc<ClientConfig>,
    /// A connection that may be used again.
    kept: Option<(Origin, Connection)>,
}

impl Client {
    /// Sends a request, and writes the answer's body to `output`. Returns its status and length.
    async fn exchange(
        &mut self,
        url: &Url,
        mut upload: Option<File>,
        output: &mut impl Write,
    ) -> Result<(u16, usize), Failed> {
        let kept = self.kept.take().filter(|kept| kept.0 == url.origin);
        let again = kept.is_some() && upload.is_none();
        let mut connection = match kept {
            Some((_, connection)) => connection,
            None => self.connect(&url.origin).await?,
        };
        match begin(&mut connection, url, upload.as_mut()).await {
            // The server may have closed a kept connection at any time.
            Err(error) if again && !error.is_cancelled() => {
                connection = self.connect(&url.origin).await?;
                begin(&mut connection, url, None).await?;
            }
            begun => begun?,
        }
        let mut answer = loop {
            match parse(connection.input())? {
                Some((length, answer)) => {
                    connection.consume(length);
                    if !(100..200).contains(&answer.status) {
                        break answer;
                    }
                }
                None => connection.more().await?,
            }
        };
        let mut part = Vec::new();
        while connection.part(&mut answer.body, &mut part).await? {
            output.write_all(&part).map_err(Error::from)?;
        }
        if answer.keep_alive {
            self.kept = Some((url.origin.clone(), connection));
        }
        Ok((answer.status, answer.body.total))
    }

    async fn connect(&self, origin: &Origin) -> Result<Connection, Error> {
        let connected = fail_after(CONNECT, async {
            let connect = connect_tcp(&*origin.host, origin.port);
            Ok::<_, Error>(if origin.secure {
                AnyByteStream::new(connect.tls_config(self.config.clone()).await?)
            } else {
                AnyByteStream::new(connect.await?)
            })
        });
        Ok(Wire::new(connected.await?))
    }
}

/// Sends a request, and waits for the first bytes of the answer. A server that refuses a body may
/// answer and close before it has received all of it.
async fn begin(to: &mut Connection, url: &Url, upload: Option<&mut File>) -> Result<(), Failed> {
    let sent = send(to, url, upload).await;
    match to.fill().await {
        Ok(true) => Ok(()),
        Ok(false) => Err(sent.err().unwrap_or(Error::IncompleteRead(0)).into()),
        Err(error) => Err(sent.err().unwrap_or(error).into()),
    }
}

async fn send(to: &mut Connection, url: &Url, upload: Option<&mut File>) -> Result<(), Error> {
    let Origin { host, port, .. } = &url.origin;
    let host = if host.contains(':') {
        format!("[{host}]")
    } else {
        host.clone()
    };
    let method = if upload.is_some() { "POST" } else { "GET" };
    let target = &url.target;
    to.output
        .extend(format!("{method} {target} HTTP/1.1\r\nhost: {host}:{port}\r\n").bytes());
    let Some(file) = upload else {
        to.output.extend(b"\r\n");
        return to.flush().await;
    };
    to.output.extend(b"transfer-encoding: chunked\r\n\r\n");
    let mut buffer = [0; 16 * 1024];
    loop {
        // Reading a file does not block the loop for long; reads that may block belong in
        // `run_in_thread`.
        let length = file.read(&mut buffer)?;
        to.send_part(&buffer[..length], true).await?; // an empty chunk is the last one
        if length == 0 {
            return to.flush().await;
        }
    }
}

struct Answer {
    status: u16,
    keep_alive: bool,
    body: Body,
}

/// Returns an answer's head and its length, or `None` if the head is not complete.
fn parse(input: &[u8]) -> Result<Option<(usize, Answer)>, Failed> {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut head = Response::new(&mut headers);
    let length = match head.parse(input)? {
        Status::Complete(length) if length <= HEAD_MAX => length,
        Status::Partial if input.len() <= HEAD_MAX => return Ok(None),
        _ => return Err(Failed::TooLarge),
    };
    let (headers, status) = (&*head.headers, head.code.unwrap_or_default());
    let framed = ["content-length", "transfer-encoding"];
    let framed = framed
        .iter()
        .any(|name| values(headers, name).next().is_some());
    let keep_alive = head.version == Some(1) && !lists(headers, "connection", "close");
    let (body, keep_alive) = match status {
        100..200 | 204 | 304 => (Body::of(&[], 0, false)?, keep_alive),
        _ => (Body::of(headers, BODY_MAX, true)?, keep_alive && framed),
    };
    Ok(Some((
        length,
        Answer {
            status,
            keep_alive,
            body,
        },
    )))
}
