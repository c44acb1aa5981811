//! Echo servers of several runtimes beside a bare epoll loop: CPU of the server for a message.

use std::io;

use crate::rounds::Spread;
use crate::rows::server_cpu;
use crate::side::Contestant;
use crate::work::Work;

/// The first is the floor: what the kernel takes.
const CONTESTANTS: &[Contestant] = &[
    Contestant::Bare,
    Contestant::Soloio,
    Contestant::TokioCurrent,
    Contestant::TokioLocal,
    #[cfg(feature = "peers")]
    Contestant::Smol,
    #[cfg(feature = "peers")]
    Contestant::Monoio,
];

const WORKS: [(&str, Work, u64); 5] = [
    ("tcp echo", Work::TcpEcho, 60_000),
    ("  one connection", Work::TcpEchoAlone, 15_000),
    ("  8,000 connections", Work::TcpEchoBusy, 80_000),
    ("unix echo", Work::UnixEcho, 60_000),
    ("udp echo", Work::UdpEcho, 60_000),
];

/// Prints a line for each work: nanoseconds of the bare loop, then the others as parts of it.
pub fn run(rounds: usize, quick: bool) -> io::Result<()> {
    print!("{:<20} {:>9}", "server CPU", "bare, ns");
    for contestant in &CONTESTANTS[1..] {
        print!(" {:>22}", contestant.argument());
    }
    println!();
    for (title, work, full) in WORKS {
        let values = measure(work, if quick { full / 20 } else { full }, rounds)?;
        print!("{title:<20} {:>9.0}", Spread::of(values[0].clone()).median);
        for theirs in &values[1..] {
            if theirs.is_empty() {
                print!(" {:>22}", "-");
                continue;
            }
            let ratios = theirs.iter().zip(&values[0]).map(|(own, bare)| own / bare);
            let ratio = Spread::of(ratios.collect());
            let ends = format!("{:.2}..{:.2}", ratio.least, ratio.most);
            print!(" {:>7.2} {ends:>14}", ratio.median);
        }
        println!();
    }
    Ok(())
}

/// Returns each contestant's values; each is the first one in as many rounds as the others.
fn measure(work: Work, count: u64, rounds: usize) -> io::Result<Vec<Vec<f64>>> {
    let mut values = vec![Vec::new(); CONTESTANTS.len()];
    for round in 0..rounds {
        for place in 0..CONTESTANTS.len() {
            let at = (round + place) % CONTESTANTS.len();
            if takes_part(CONTESTANTS[at], work) {
                values[at].push(server_cpu(work, CONTESTANTS[at], count)?);
            }
        }
    }
    Ok(values)
}

/// monoio 0.2 with its epoll driver stops answering in the middle of this work over UNIX streams.
fn takes_part(contestant: Contestant, work: Work) -> bool {
    !(contestant.argument() == "monoio" && matches!(work, Work::UnixEcho))
}
