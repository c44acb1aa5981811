//! What the tests share: servers on threads of their own, raw clients, curl.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::channel;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use soloio::{ServeCounters, TcpListener, ThreadEvent, block_on, create_tcp_listener};

use crate::running;

/// Everything below is done long before; what is not, hangs.
pub(crate) const GUARD: Duration = Duration::from_secs(60);

/// A server on a thread of its own.
pub(crate) struct Server {
    pub(crate) port: u16,
    pub(crate) counters: ServeCounters,
    pub(crate) stop: ThreadEvent,
    thread: JoinHandle<soloio::Result<()>>,
}

impl Server {
    /// Runs what `serve` makes of a listener and of the event that stops it; it sends its counters.
    pub(crate) fn start<F>(serve: F) -> Self
    where
        F: AsyncFnOnce(TcpListener, ThreadEvent, &dyn Fn(ServeCounters)) -> soloio::Result<()>
            + Send
            + 'static,
    {
        let stop = ThreadEvent::new();
        let (begun, begins) = channel();
        let its = stop.clone();
        let thread = thread::spawn(move || {
            block_on(async {
                let listener = create_tcp_listener().local_host("127.0.0.1").await?;
                let port = listener.local_addr().port();
                let tell = |counters| begun.send((port, counters)).expect("it is waited for");
                serve(listener, its, &tell).await
            })
        });
        let (port, counters) = begins.recv_timeout(GUARD).expect("it begins");
        Self {
            port,
            counters,
            stop,
            thread,
        }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).expect("it listens");
        stream.set_read_timeout(Some(GUARD)).expect("a limit");
        stream
    }

    /// Stops it, and expects that it ends well; tells how long that took.
    pub(crate) fn stopped(self) -> Duration {
        let start = Instant::now();
        self.stop.set();
        self.ended();
        start.elapsed()
    }

    /// Expects that it ends by itself.
    pub(crate) fn ended(self) {
        let limit = Instant::now() + GUARD;
        while !self.thread.is_finished() {
            assert!(Instant::now() < limit, "the server does not end");
            thread::sleep(Duration::from_millis(1));
        }
        let ended = self.thread.join().expect("no panic");
        ended.expect("it ends as it was told");
        assert_eq!(self.counters.active(), 0);
    }

    /// Waits until its counters say so.
    pub(crate) fn until(&self, done: impl Fn(&ServeCounters) -> bool) {
        let limit = Instant::now() + GUARD;
        while !done(&self.counters) {
            assert!(Instant::now() < limit, "{:?}", self.counters);
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Sends a request and reads one answer of known length.
pub(crate) fn exchange(stream: &mut TcpStream, request: &str) -> String {
    stream.write_all(request.as_bytes()).expect("sent");
    answer(stream)
}

/// Reads one answer that has a `content-length`.
pub(crate) fn answer(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&all);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let lines = head.lines();
            let length = lines
                .filter_map(|line| line.strip_prefix("content-length: "))
                .next();
            let length: usize = length.map_or(0, |length| length.parse().expect("a number"));
            if body.len() >= length {
                assert_eq!(body.len(), length, "{text}");
                return text.into_owned();
            }
        }
        let mut some = [0; 4096];
        let got = stream.read(&mut some).expect("an answer");
        assert!(got > 0, "an end in the middle of {text:?}");
        all.extend(&some[..got]);
    }
}

/// Everything up to the end, be it a reset.
pub(crate) fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    match stream.read_to_end(&mut all) {
        Ok(_) => all,
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => all,
        Err(error) => panic!("{error}"),
    }
}

/// Runs curl, for which an answer that is no success is an error; `None` if there is none.
pub(crate) fn curl(args: &[&str]) -> Option<String> {
    running::curl(&[&["--fail"], args].concat())
}
