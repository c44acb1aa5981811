//! Listening sockets that one process passes to another: inherited by number, and handed over under
//! load.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::pin::pin;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use futures_util::future::{Either, select};
use soloio::net::{adopt_listeners, inherited_sockets};
use soloio::{Result, TcpListener, task_group};

use crate::support::{Gate, deadline};

const ROLE: &str = "SOLOIO_TEST_ROLE";

/// Starts this test binary again as `role`, with `listener` as descriptor 3 and the descriptors
/// after it closed. (cargo-mutants and others leave some open.)
fn start(test: &str, role: &str, listener: OwnedFd, environment: &str) -> Child {
    let others = "4</dev/null 5<&4 4<&- 5<&- 6<&- 7<&- 8<&- 9<&-";
    let script = format!("exec 3<&0 0</dev/null {others}; {environment} exec \"$0\" \"$@\"");
    Command::new("sh")
        .args(["-c", &script])
        .arg(std::env::current_exe().expect("the path of the test binary"))
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(ROLE, role)
        .stdin(listener)
        .stdout(Stdio::piped())
        .spawn()
        .expect("a shell")
}

fn role() -> Option<String> {
    std::env::var(ROLE).ok()
}

fn ended_well(child: Child) {
    let output = child.wait_with_output().expect("it was started");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
}

const ALL: &str = "LISTEN_PID=$$ LISTEN_FDS=1";

#[test]
fn a_socket_is_inherited_once() {
    let test = "passed_on::a_socket_is_inherited_once";
    let _guard = deadline();
    match role().as_deref() {
        None => {
            assert!(inherited_sockets().expect("no variables").is_empty());
            let listener = || StdListener::bind("127.0.0.1:0").expect("a port").into();
            let named = format!("{ALL} LISTEN_FDNAMES=web");
            ended_well(start(test, "named", listener(), &named));
            ended_well(start(
                test,
                "for another",
                listener(),
                "LISTEN_PID=1 LISTEN_FDS=1",
            ));
            // Closes descriptors that the parent of this process may have left open.
            let two = "exec 4<&- 5<&- 6<&- 7<&-; LISTEN_PID=$$ LISTEN_FDS=5";
            ended_well(start(test, "closed", listener(), two));
            let first = format!("exec 3<&-; {ALL}");
            ended_well(start(test, "opened first", listener(), &first));
            let file = std::fs::File::open("/dev/null").expect("a file").into();
            ended_well(start(test, "file", file, ALL));
            let bytes = "LISTEN_PID=$$ LISTEN_FDS=$(printf '\\377')";
            ended_well(start(test, "no text", listener(), bytes));
        }
        Some("named") => {
            let mut all = inherited_sockets().expect("one");
            let socket = all.pop().expect("one");
            assert!(all.is_empty() && socket.name.as_deref() == Some("web"));
            let listener = TcpListener::try_from(socket.fd).expect("a listener");
            assert!(listener.local_addr().ip().is_loopback());
            let info = std::fs::read_to_string("/proc/self/fdinfo/3").expect("procfs");
            let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
            let flags = u32::from_str_radix(flags.expect("a line").trim(), 8);
            assert_ne!(
                flags.expect("a number") & 0o2_000_000,
                0,
                "children do not have it"
            );
            assert!(inherited_sockets().expect("none").is_empty(), "taken once");
        }
        Some("opened first") => {
            let own = StdListener::bind("127.0.0.1:0").expect("a port");
            assert_eq!(own.as_raw_fd(), 3);
            // The environment still names descriptor 3, but the program's own socket stays open.
            drop(inherited_sockets().expect("there is a socket"));
            assert!(own.local_addr().is_ok());
        }
        Some("for another") => assert!(inherited_sockets().expect("none").is_empty()),
        Some(bad) => {
            let error = inherited_sockets().expect_err("refused");
            let part = match bad {
                "file" => "ocket",
                "no text" => "instead of a number",
                _ => "descriptor",
            };
            assert!(error.to_string().contains(part), "{error}");
        }
    }
}

/// Serves until a client sends `stop` with this server's name, then ends after its connections.
async fn serve_until_stopped(name: &str) -> Result<()> {
    let sockets = inherited_sockets()?.into_iter().map(|socket| socket.fd);
    let listener = adopt_listeners(sockets)?;
    let stop = Gate::default();
    task_group(async |group| {
        loop {
            let accepted = {
                let (accept, stopped) = (pin!(listener.accept()), pin!(stop.wait()));
                match select(accept, stopped).await {
                    Either::Left((accepted, _)) => accepted?,
                    Either::Right(_) => return Ok(()),
                }
            };
            let stop = &stop;
            group.spawn(async move {
                let said = accepted.receive().await?;
                accepted.send(name.as_bytes()).await?;
                accepted.close().await?;
                if said == format!("stop {name}").as_bytes() {
                    stop.open();
                }
                Ok(())
            });
        }
    })
    .await
}

/// Sends one request, and returns the name of the server that answered.
fn ask(address: SocketAddr, what: &str) -> std::io::Result<String> {
    let mut stream = StdStream::connect(address)?;
    stream.write_all(what.as_bytes())?;
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[test]
fn a_listener_is_handed_over_under_load_and_nobody_is_refused() {
    let test = "passed_on::a_listener_is_handed_over_under_load_and_nobody_is_refused";
    let _guard = deadline();
    if let Some(name) = role() {
        let served = soloio::block_on(serve_until_stopped(&name));
        return served.expect("served until stopped");
    }
    let listener = StdListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let passed =
        |listener: &StdListener| OwnedFd::from(listener.try_clone().expect("a descriptor"));
    let old = start(test, "old", passed(&listener), ALL);
    let ended = Arc::new(AtomicBool::new(false));
    let answers: Arc<[AtomicUsize; 2]> = Arc::default();
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (ended, answers) = (Arc::clone(&ended), Arc::clone(&answers));
            std::thread::spawn(move || {
                while !ended.load(SeqCst) {
                    let who = ask(address, "who").expect("no connection is refused");
                    let who = ["old", "new"].iter().position(|name| *name == who);
                    answers[who.expect("one of the two")].fetch_add(1, SeqCst);
                }
            })
        })
        .collect();
    let count = |who: usize| answers[who].load(SeqCst);
    let until = |condition: &dyn Fn() -> bool| {
        while !condition() {
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    until(&|| count(0) >= 100);
    let new = start(test, "new", passed(&listener), ALL);
    drop(listener);
    until(&|| count(1) >= 100);
    until(&|| ask(address, "stop old").expect("no connection is refused") == "old");
    ended_well(old);
    let before = count(1);
    until(&|| count(1) >= before + 100);
    ended.store(true, SeqCst);
    for client in clients {
        client.join().expect("no connection was refused");
    }
    println!(
        "handed over: {} answers of the old process, {} of the new",
        count(0),
        count(1)
    );
    assert_eq!(ask(address, "stop new").expect("still there"), "new");
    ended_well(new);
}
