//! The table on standard output: a line per row, printed as soon as it is known.

use crate::rounds::Verdict;
use crate::rows::Target;
use crate::side::Side;

/// Prints the titles of the columns.
pub fn head() {
    println!(
        "{:<32} {:>4} {:>9} {:>9} {:<7}  {:>6} {:>13} {:>8}",
        "", "", "soloio", "tokio", "", "ratio", "min..max", "at most"
    );
}

/// Prints one row.
pub fn line(title: &str, unit: &str, target: Target, verdict: &Verdict) {
    let better = match verdict.better {
        Side::TokioLocal => "local",
        Side::TokioCurrent => "current",
        Side::Soloio => "itself",
    };
    let (ratio, spread) = match verdict.ratio.median.is_finite() {
        true => (
            format!("{:.2}", verdict.ratio.median),
            format!("{:.2}..{:.2}", verdict.ratio.least, verdict.ratio.most),
        ),
        // tokio's value is 0, so there is no ratio.
        false => ("-".to_owned(), "-".to_owned()),
    };
    let most = match target {
        Target::Ratio(most) => format!("{most:.2}"),
        Target::Value(most) => format!("{most} {unit}").trim_end().to_owned() + " abs",
    };
    println!(
        "{title:<32} {unit:>4} {:>9} {:>9} {better:<7}  {ratio:>6} {spread:>13} {most:>8}  {}",
        number(verdict.soloio),
        number(verdict.tokio),
        if verdict.reached { "ok" } else { "MISS" }
    );
}

/// Returns soloio's value, and its ratio to tokio's, in the line with this title of a table of
/// before.
pub fn before(table: &str, title: &str) -> Option<(f64, f64)> {
    let line = table.lines().find_map(|line| line.strip_prefix(title))?;
    let fields: Vec<&str> = line.split_whitespace().collect();
    Some((fields.get(1)?.parse().ok()?, fields.get(4)?.parse().ok()?))
}

/// Formats about three digits: more would be noise.
fn number(value: f64) -> String {
    if value == 0.0 || value >= 100.0 {
        format!("{value:.0}")
    } else if value >= 1.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.4}")
    }
}
