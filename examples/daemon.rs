//! A service as its operator wants it: socket activation, readiness and a watchdog by systemd's
//! rules; counters to scrape; a dump of what every task waits for; a restart that loses no client.
//!
//! ```text
//! cargo run --example daemon [HOST:PORT]
//! curl http://127.0.0.1:1234/metrics
//! ```
//!
//! | signal | effect |
//! |---|---|
//! | SIGUSR1 | prints what every task waits for |
//! | SIGUSR2 | starts the program anew on the same socket, which ends this process when ready |
//! | SIGTERM, ctrl-c | accepts no more; open connections have 10 seconds |
//!
//! Each process prints its address and its number when it listens.

use std::cell::OnceCell;
use std::env;
use std::process::{self, Command, Stdio};
use std::thread;
use std::time::Duration;

use soloio::net::inherited_sockets;
use soloio::{
    Buffered, Event, Host, Result, ServeCounters, Signal, SignalReceiver, TcpListener, TcpStream,
    block_on, create_connected_unix_datagram_socket, create_tcp_listener, dump, fail_after,
    interval, open_signal_receiver, task_group,
};

const DRAIN: Duration = Duration::from_secs(10);
const REQUEST: Duration = Duration::from_secs(10);
const HEAD_LIMIT: usize = 8192;

/// Set for a process that an older one has started: the number of the latter.
const OLDER: &str = "SOLOIO_DAEMON_OLDER";

fn main() -> Result<()> {
    // Before everything else, so that no early signal is lost.
    let signals = open_signal_receiver(&[
        Signal::Terminate,
        Signal::Interrupt,
        Signal::User1,
        Signal::User2,
    ])?;
    block_on(run(signals))
}

async fn run(signals: SignalReceiver) -> Result<()> {
    let listener = listen().await?;
    println!("tcp {} {}", listener.local_addr(), process::id());
    let (stop, counters) = (Event::new(), OnceCell::new());
    let serve = listener.serve(async |client| answer(client, counters.get()).await);
    counters.get_or_init(|| serve.counters());
    task_group(async |group| {
        let control = group.spawn(async {
            task_group(async |group| {
                group.spawn(watchdog());
                begin().await?;
                control(&signals, &listener, &stop).await
            })
            .await
        });
        let served = serve.shutdown(stop.wait()).drain(DRAIN).await;
        control.cancel();
        served
    })
    .await
}

/// The socket that systemd or the older process has passed on, or else one of its own.
async fn listen() -> Result<TcpListener> {
    if let Some(passed) = inherited_sockets()?.pop() {
        return TcpListener::try_from(passed.fd);
    }
    let address = env::args().nth(1);
    let (host, port) = Host::with_port(address.as_deref().unwrap_or("127.0.0.1:1234"))?;
    create_tcp_listener()
        .local_host(host)
        .local_port(port)
        .await
}

async fn control(signals: &SignalReceiver, listener: &TcpListener, stop: &Event) -> Result<()> {
    loop {
        match signals.receive().await? {
            Signal::User1 => eprintln!("{}", dump()?),
            Signal::User2 => {
                if let Err(error) = restart(listener) {
                    eprintln!("no new process: {error}");
                }
            }
            _ => {
                notify("STOPPING=1").await;
                stop.set();
            }
        }
    }
}

/// Starts this program's file with the listener as descriptor 3, by the rules of sd_listen_fds(3).
fn restart(listener: &TcpListener) -> Result<()> {
    let socket = listener.as_fds().next().expect("it has a socket");
    let script = "exec 3<&0 0</dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" \"$@\"";
    let mut newer = Command::new("sh")
        .args(["-c", script])
        .arg(env::current_exe()?)
        .args(env::args_os().skip(1))
        .env(OLDER, process::id().to_string())
        .stdin(Stdio::from(socket.try_clone_to_owned()?))
        .spawn()?;
    // If it fails, this process continues; a job of the runtime would have to end before it.
    thread::spawn(move || match newer.wait() {
        Ok(status) => eprintln!("the new process has ended: {status}"),
        Err(error) => eprintln!("the new process: {error}"),
    });
    Ok(())
}

/// Reports that the socket is served, and ends the older process. Clients that have connected
/// meanwhile are in the backlog of both.
async fn begin() -> Result<()> {
    notify(&format!("READY=1\nMAINPID={}", process::id())).await;
    if let Ok(older) = env::var(OLDER) {
        let ended = Command::new("kill").args(["-TERM", &older]).status()?;
        if !ended.success() {
            eprintln!("the older process {older} cannot be ended");
        }
    }
    Ok(())
}

/// Tells the service manager, if there is one: sd_notify(3). One that is not there ends nothing.
async fn notify(state: &str) {
    if let Ok(path) = env::var("NOTIFY_SOCKET") {
        if let Err(error) = send(path, state).await {
            eprintln!("{state:?} was not sent: {error}");
        }
    }
}

async fn send(path: String, state: &str) -> Result<()> {
    // `@` stands for the NUL of an abstract name.
    let name = match path.strip_prefix('@') {
        Some(name) => format!("\0{name}"),
        None => path,
    };
    let manager = create_connected_unix_datagram_socket(name).await?;
    manager.send(state.as_bytes()).await
}

/// Reports twice in each period that the loop runs: a loop that is blocked is restarted.
async fn watchdog() -> Result<()> {
    let Some(period) = env::var("WATCHDOG_USEC")
        .ok()
        .and_then(|text| text.parse().ok())
    else {
        return Ok(());
    };
    let mut ticks = interval(Duration::from_micros(period) / 2);
    loop {
        ticks.tick().await?;
        notify("WATCHDOG=1").await;
    }
}

/// One request, and its answer. `http_server` is a whole server.
async fn answer(client: TcpStream, counters: Option<&ServeCounters>) -> Result<()> {
    let client = Buffered::new(client);
    let head = fail_after(REQUEST, client.receive_until(b"\r\n\r\n", HEAD_LIMIT)).await?;
    let body = match (head.starts_with(b"GET /metrics "), counters) {
        (true, Some(counters)) => metrics(counters),
        _ => format!("hello from {}\n", process::id()),
    };
    let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/plain";
    let answer = format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    client.send(answer.as_bytes()).await
}

fn metrics(counters: &ServeCounters) -> String {
    [
        ("accepted_total", counters.accepted()),
        ("active", counters.active()),
        ("failed_total", counters.failed()),
        ("shed_total", counters.shed()),
        ("accept_errors_total", counters.accept_errors()),
    ]
    .map(|(name, count)| format!("daemon_connections_{name} {count}\n"))
    .concat()
}
