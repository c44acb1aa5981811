//! A server with 64 descriptors and 200 clients: its CPU time while it is exhausted, the latency of
//! the connections it serves, and the time until it serves others. Prints; Linux only, needs
//! prlimit(1).

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const CLIENTS: usize = 200;
const FREED: usize = 20;

fn main() -> io::Result<()> {
    if std::env::args().nth(1).as_deref() == Some("serve") {
        serve().map_err(io::Error::other)
    } else {
        measure()
    }
}

fn serve() -> soloio::Result<()> {
    soloio::block_on(async {
        let listener = soloio::create_tcp_listener()
            .local_host("127.0.0.1")
            .await?;
        println!("{}", listener.local_addr().port());
        listener
            .serve(async |client: soloio::TcpStream| {
                while let Some(data) = client.next().await? {
                    client.send(&data).await?;
                }
                soloio::Result::Ok(())
            })
            .await
    })
}

/// CPU time of the process, in clock ticks of 10 ms.
fn ticks(of: &Child) -> io::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", of.id()))?;
    let behind = stat.rsplit(')').next().unwrap_or_default();
    let numbers = behind.split_whitespace().skip(11).take(2);
    Ok(numbers
        .filter_map(|number| number.parse::<u64>().ok())
        .sum())
}

fn echo(client: &mut TcpStream) -> io::Result<Duration> {
    let start = Instant::now();
    client.write_all(b"x")?;
    client.read_exact(&mut [0])?;
    Ok(start.elapsed())
}

/// Returns the median and the 99th percentile of many echoes.
fn latency(client: &mut TcpStream) -> io::Result<(Duration, Duration)> {
    let mut all = Vec::new();
    let end = Instant::now() + Duration::from_secs(2);
    while Instant::now() < end {
        all.push(echo(client)?);
        std::thread::sleep(Duration::from_micros(500));
    }
    all.sort();
    Ok((all[all.len() / 2], all[all.len() * 99 / 100]))
}

fn measure() -> io::Result<()> {
    let own = std::env::current_exe()?;
    let mut server = Command::new("prlimit")
        .arg("--nofile=64")
        .arg(own)
        .arg("serve")
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    let stdout = server.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
    BufReader::new(stdout).read_line(&mut line)?;
    let address = format!("127.0.0.1:{}", line.trim());
    let measured = with_clients(&address, &server);
    server.kill()?;
    server.wait()?;
    measured
}

fn with_clients(address: &str, server: &Child) -> io::Result<()> {
    let mut first = TcpStream::connect(address)?;
    first.set_nodelay(true)?;
    echo(&mut first)?;
    let alone = latency(&mut first)?;
    let mut clients = Vec::new();
    for _ in 1..CLIENTS {
        let mut client = TcpStream::connect(address)?;
        client.write_all(b"x")?;
        client.set_nonblocking(true)?;
        clients.push(client);
    }
    std::thread::sleep(Duration::from_millis(500));
    let served = |client: &TcpStream| matches!((&*client).read(&mut [0]), Ok(1));
    let (mut running, mut waiting): (Vec<_>, Vec<_>) = clients.into_iter().partition(served);
    println!("{} of {CLIENTS} clients are served", running.len() + 1);

    let (before, start) = (ticks(server)?, Instant::now());
    std::thread::sleep(Duration::from_secs(3));
    let used = Duration::from_millis(10 * (ticks(server)? - before));
    let share = 100.0 * used.as_secs_f64() / start.elapsed().as_secs_f64();
    println!("exhausted: {share:.2} % of a processor");
    let meanwhile = latency(&mut first)?;
    println!(
        "an echo of one that is served: median {:?}, p99 {:?}",
        meanwhile.0, meanwhile.1
    );
    println!("  before: median {:?}, p99 {:?}", alone.0, alone.1);

    // Some connections end: as many others are served then.
    let start = Instant::now();
    running.drain(..FREED);
    let (mut all, mut first_after) = (Vec::new(), None);
    while all.len() < FREED && start.elapsed() < Duration::from_secs(5) {
        let (answered, others): (Vec<_>, Vec<_>) = waiting.into_iter().partition(served);
        waiting = others;
        all.extend(answered);
        if !all.is_empty() {
            first_after.get_or_insert_with(|| start.elapsed());
        }
    }
    println!(
        "{FREED} ended: the first of the others is served after {:?}, {} after {:?}",
        first_after.unwrap_or_default(),
        all.len(),
        start.elapsed()
    );
    Ok(())
}
