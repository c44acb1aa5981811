//! How often the threads of a server on two cores sleep for an echo, which decides what it takes.

use std::io;
use std::time::Instant;

use crate::load::Load;
use crate::rounds::Spread;
use crate::server::Child;
use crate::side::Side;
use crate::sys::affinity;
use crate::work::Work;

const SIDES: [Side; 2] = [Side::Soloio, Side::TokioLocal];

/// The load, and whether the server may only use the load's core.
const PLACES: [(&str, Work, bool); 3] = [
    ("tcp echo, two cores", Work::CoresEcho, false),
    ("  a load on each core", Work::CoresEchoFull, false),
    ("  all on one core", Work::CoresEcho, true),
];

/// What an echo takes: the server's CPU, the time from one to the next, both in nanoseconds, and
/// how often one of its threads sleeps.
type Echo = [f64; 3];

/// Prints a line for each place, with each side's values and the ratio of its CPU.
pub fn run(rounds: usize, quick: bool) -> io::Result<()> {
    print!("{:<22}", "");
    for side in ["soloio", "tokio"] {
        print!(" {side:>8}: CPU   time sleeps");
    }
    println!("  CPU's ratio");
    for (title, work, shared) in PLACES {
        let count = if quick { 3_000 } else { 60_000 };
        let mut values = [const { Vec::<Echo>::new() }; 2];
        for round in 0..rounds {
            for place in 0..SIDES.len() {
                let at = (round + place) % SIDES.len();
                values[at].push(measure(SIDES[at], work, shared, count)?);
            }
        }
        print!("{title:<22}");
        for side in &values {
            let median = |of: usize| Spread::of(side.iter().map(|echo| echo[of]).collect()).median;
            print!(" {:>13.0} {:>6.0} {:>6.2}", median(0), median(1), median(2));
        }
        let both = values[0].iter().zip(&values[1]);
        let ratio = Spread::of(both.map(|(ours, theirs)| ours[0] / theirs[0]).collect());
        let Spread {
            median,
            least,
            most,
        } = ratio;
        println!("  {median:.2} {least:.2}..{most:.2}");
    }
    Ok(())
}

fn measure(side: Side, work: Work, shared: bool, count: u64) -> io::Result<Echo> {
    if shared {
        affinity::pin(affinity::helper_core())?;
    } else {
        affinity::free()?;
    }
    let server = Child::start(side, work.kind(), None)?;
    affinity::pin(affinity::helper_core())?;
    let mut load = Load::open(work, server.address())?;
    load.run(count / 10)?;
    let (cpu, sleeps, start) = (server.cpu()?, server.sleeps()?, Instant::now());
    load.run(count)?;
    let time = start.elapsed();
    let (cpu, sleeps) = (server.cpu()? - cpu, server.sleeps()? - sleeps);
    server.finish()?;
    let each = |total: u128| total as f64 / count as f64;
    Ok([cpu.as_nanos(), time.as_nanos(), sleeps.into()].map(each))
}
