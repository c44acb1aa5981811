//! A server without free descriptors: it neither ends nor busy-loops, and continues when there are
//! some again. C1 and C2 of the list of failures seen elsewhere.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::TcpStream as StdStream;
use std::rc::Rc;
use std::time::{Duration, Instant};

use soloio::{Result, Runtime, ServeCounters, TaskHandle, TcpListener, TcpStream};

use crate::kernel;
use crate::net_support::tcp_listener;
use crate::support::{alone, deadline};

async fn echo(client: TcpStream) -> Result<()> {
    while let Some(data) = client.next().await? {
        client.send(&data).await?;
    }
    Ok(())
}

/// Turns the loop until `end`; returns the number of turns.
fn turn_until(runtime: &mut Runtime, end: Instant) -> usize {
    let mut turns = 0;
    while Instant::now() < end {
        let left = end.saturating_duration_since(Instant::now());
        runtime.turn(Some(left)).expect("a turn");
        turns += 1;
    }
    turns
}

/// Turns the loop until the client has an answer; returns the number of turns.
fn echoed(runtime: &mut Runtime, client: &mut StdStream) -> io::Result<usize> {
    client.write_all(b"x")?;
    client.set_nonblocking(true)?;
    for turns in 0.. {
        match client.read(&mut [0; 1]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => return Ok(turns),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        runtime
            .turn(Some(Duration::from_millis(100)))
            .expect("a turn");
    }
    unreachable!("it ends with an answer or an error");
}

/// Starts an echo server that counts the reports to its hook.
fn spawn_server(
    runtime: &mut Runtime,
    listener: &Rc<TcpListener>,
    told: &Rc<Cell<usize>>,
) -> (ServeCounters, TaskHandle<'static, ()>) {
    let (listener, told) = (Rc::clone(listener), Rc::clone(told));
    let slot = Rc::new(Cell::new(None));
    let place = Rc::clone(&slot);
    let server = runtime.spawn(async move {
        let serve = listener.serve(echo).on_error(|error, _| {
            assert!(error.to_string().contains("accept on 127.0.0.1"), "{error}");
            told.set(told.get() + 1);
        });
        place.set(Some(serve.counters()));
        drop(serve.await);
    });
    runtime.turn(Some(Duration::ZERO)).expect("a turn");
    (slot.take().expect("it has begun"), server)
}

const CLIENTS: usize = 200;
const LIMIT: u64 = 64;

/// 200 clients of a server with 64 descriptors.
#[test]
fn c1_running_out_of_descriptors_neither_ends_the_server_nor_spins() {
    // tokio#3529, tokio#4782, asyncio#78, deno#10148: full use of a processor, or the server's end.
    let test = "serve_exhausted::c1_running_out_of_descriptors_neither_ends_the_server_nor_spins";
    alone(test, || {
        let _guard = deadline();
        // The clients get numbers beyond the later limit; the fillers keep those below free for the
        // server.
        let fillers: Vec<_> = (0..LIMIT)
            .map(|_| File::open("/dev/null").expect("a descriptor"))
            .collect();
        let mut runtime = Runtime::new().expect("a runtime");
        let listener = runtime.block_on(tcp_listener());
        let address = listener.local_addr();
        let mut clients: Vec<_> = (0..CLIENTS)
            .map(|_| StdStream::connect(address).expect("connects"))
            .collect();
        drop(fillers);
        kernel::limit_descriptors(LIMIT);
        // Other code of the process takes some descriptors too, and gives them back below.
        let others: Vec<_> = (0..10)
            .map(|_| File::open("/dev/null").expect("one"))
            .collect();

        let told = Rc::new(Cell::new(0));
        let (counters, server) = spawn_server(&mut runtime, &Rc::new(listener), &told);
        let start = Instant::now();
        while counters.accept_errors() == 0 {
            runtime
                .turn(Some(Duration::from_millis(100)))
                .expect("a turn");
        }
        let served = counters.accepted();
        assert!((30..60).contains(&served), "{served} are served");

        // The server waits, and reports once a second.
        let before = kernel::thread_time();
        let idle = turn_until(&mut runtime, Instant::now() + Duration::from_secs(1));
        let used = kernel::thread_time() - before;
        assert!(idle <= 60, "{idle} turns in a second while exhausted");
        assert!(
            used < Duration::from_millis(50),
            "{used:?} in a second while exhausted"
        );
        let seconds = start.elapsed().as_secs() as usize;
        assert!(
            (1..=1 + seconds).contains(&told.get()),
            "told {} times",
            told.get()
        );
        let most = 1 + 10 * (1 + seconds as u64);
        assert!((1..=most).contains(&counters.shed()), "{counters:?}");
        assert_eq!(counters.accepted(), served);

        // The connections it serves are not affected.
        for client in &mut clients[..10] {
            let turns = echoed(&mut runtime, client).expect("served all the time");
            assert!(turns <= 10, "{turns} turns for an echo");
        }

        goes_on_when_some_are_freed(&mut runtime, &counters, others, clients);
        assert!(!server.is_finished());
    });
}

/// Frees descriptors elsewhere, then by the end of connections; then serves all that are left.
fn goes_on_when_some_are_freed(
    runtime: &mut Runtime,
    counters: &ServeCounters,
    others: Vec<File>,
    mut clients: Vec<StdStream>,
) {
    let served = counters.accepted();
    // Descriptors are freed elsewhere: the server continues within one pause.
    drop(others);
    let pause = runtime.next_timeout().expect("it looks again by itself");
    assert!(pause <= Duration::from_millis(100), "{pause:?}");
    while counters.accepted() < served + 9 {
        runtime.turn(Some(pause)).expect("a turn");
    }

    // Its own connections end: the server continues immediately, without a timer.
    let (gone, shed) = (20, counters.shed());
    let accepted = counters.accepted();
    clients.drain(..gone);
    let mut turns = 0;
    while counters.accepted() < accepted + gone as u64 {
        runtime
            .turn(Some(Duration::from_millis(100)))
            .expect("a turn");
        turns += 1;
    }
    assert!(turns <= 5 * gone, "{turns} turns to accept {gone}");
    assert!(counters.shed() <= shed + turns as u64);

    // In the end every client was served, or its connection was closed.
    let (mut answered, mut let_know) = (0, 0);
    while !clients.is_empty() {
        match echoed(runtime, &mut clients.remove(0)) {
            Ok(_) => answered += 1,
            Err(_) => let_know += 1,
        }
    }
    assert_eq!(answered + let_know, CLIENTS - gone);
    assert_eq!(let_know as u64, counters.shed());
}

/// C2: another task takes the reserve descriptor while it is free, which made the accept loop busy.
#[test]
fn c2_a_reserve_that_is_taken_does_not_make_it_spin() {
    let test = "serve_exhausted::c2_a_reserve_that_is_taken_does_not_make_it_spin";
    alone(test, || {
        let _guard = deadline();
        let mut runtime = Runtime::new().expect("a runtime");
        let listener = Rc::new(runtime.block_on(tcp_listener()));
        let (counters, server) = spawn_server(&mut runtime, &listener, &Rc::default());
        let clients = [(); 8].map(|()| StdStream::connect(listener.local_addr()).expect("one"));
        let mut fillers = kernel::use_up_descriptors();
        let mut turns = 0;
        let end = Instant::now() + Duration::from_millis(500);
        while Instant::now() < end {
            runtime
                .turn(Some(Duration::from_millis(50)))
                .expect("a turn");
            // Takes each descriptor that is free between two turns.
            fillers.extend(std::iter::from_fn(|| File::open("/dev/null").ok()));
            turns += 1;
        }
        assert!(turns <= 60, "{turns} turns in half a second");
        assert_eq!(counters.accepted(), 0);
        drop(fillers);
        let rest = 8 - counters.shed();
        while counters.accepted() < rest {
            runtime
                .turn(Some(Duration::from_millis(100)))
                .expect("a turn");
        }
        drop((clients, server));
    });
}

/// A shortage of some milliseconds loses no client (as in nginx and Go).
#[test]
fn a_shortage_of_a_moment_costs_no_client_its_connection() {
    let test = "serve_exhausted::a_shortage_of_a_moment_costs_no_client_its_connection";
    alone(test, || {
        let _guard = deadline();
        let mut runtime = Runtime::new().expect("a runtime");
        let listener = Rc::new(runtime.block_on(tcp_listener()));
        let (counters, server) = spawn_server(&mut runtime, &listener, &Rc::default());
        let mut clients = Vec::new();
        for round in 1..=3 {
            let mut client = StdStream::connect(listener.local_addr()).expect("one");
            let fillers = kernel::use_up_descriptors();
            while counters.accept_errors() < round {
                runtime.turn(None).expect("a turn");
            }
            drop(fillers);
            echoed(&mut runtime, &mut client).expect("served");
            clients.push(client);
        }
        assert_eq!(counters.shed(), 0);
        drop(server);
    });
}
