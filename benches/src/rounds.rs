//! Rounds: all sides in turn, so that other load of the machine affects them alike.

use std::io;

use crate::rows::{OURS, Row, Target};
use crate::side::Side;

/// The result of a row.
pub struct Verdict {
    pub soloio: f64,
    /// The better of tokio's runtimes; in the rows of `OURS`, soloio without the feature.
    pub tokio: f64,
    pub better: Side,
    /// soloio's value divided by tokio's, round by round.
    pub ratio: Spread,
    pub reached: bool,
}

/// Median and ends of some values.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

impl Spread {
    /// Returns the median and the ends of at least one value.
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Self {
            median,
            least: values[0],
            most: values[values.len() - 1],
        }
    }
}

/// Measures a row in this many rounds.
pub fn run(row: &Row, rounds: usize, quick: bool) -> io::Result<Verdict> {
    let mut values = [const { Vec::new() }; 3];
    for round in 0..rounds {
        for place in 0..Side::ALL.len() {
            // Each side comes first, and last, equally often.
            let side = (round + place) % Side::ALL.len();
            values[side].push(row.measure(Side::ALL[side], quick)?);
        }
    }
    let verdict = judge(row.target, values);
    Ok(match OURS.contains(&row.key) {
        true => Verdict {
            better: Side::Soloio,
            ..verdict
        },
        false => verdict,
    })
}

/// Compares measurements of the three sides, in the order of `Side::ALL`.
pub fn judge(target: Target, [soloio, current, local]: [Vec<f64>; 3]) -> Verdict {
    let (current_median, local_median) = (
        Spread::of(current.clone()).median,
        Spread::of(local.clone()).median,
    );
    let (better, tokio) = if local_median < current_median {
        (Side::TokioLocal, local)
    } else {
        (Side::TokioCurrent, current)
    };
    let ratio = Spread::of(
        soloio
            .iter()
            .zip(&tokio)
            .map(|(ours, theirs)| ours / theirs)
            .collect(),
    );
    let soloio = Spread::of(soloio);
    let reached = match target {
        Target::Ratio(most) => ratio.median <= most,
        Target::Value(most) => soloio.most <= most,
    };
    let tokio = Spread::of(tokio).median;
    Verdict {
        soloio: soloio.median,
        tokio,
        better,
        ratio,
        reached,
    }
}
