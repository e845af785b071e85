//! What targets reached before this benchmark: rates that are shares of it need no run of their own.
//!
//! It is what a person says, the same for all targets, or what an earlier benchmark found of each.

use std::path::PathBuf;

use crate::benchmark::reference;
use crate::failure::Failure;
use crate::results::Run;
use crate::table;
use crate::workload::amount::Amount;

const MEGA: f64 = 1_000_000.0;

/// One piece of it, as it was written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Given {
    Rate { workload: String, bytes_per_second: u64 },
    Results(PathBuf),
}

/// `W3=40 MB/s`, or a results file. What is no path may have any case, and white space between its words.
pub(crate) fn parse(text: &str) -> Result<Given, String> {
    let Some((workload, rate)) = text.split_once('=') else {
        return Ok(Given::Results(text.into()));
    };
    match bytes_per_second(rate) {
        Some(bytes_per_second) => {
            Ok(Given::Rate { workload: workload.trim().to_ascii_uppercase(), bytes_per_second })
        }
        None => Err(format!("`{rate}` is no rate in bytes: write `W3=40 MB/s`, or a results file")),
    }
}

fn bytes_per_second(rate: &str) -> Option<u64> {
    let (amount, time) = rate.split_once('/')?;
    let is_second = time.trim().eq_ignore_ascii_case("s");
    let bytes = Amount::parse_any_case(amount).filter(|_| is_second)?.bytes();
    (0 < bytes).then_some(bytes)
}

#[derive(Debug, Default)]
pub(crate) struct Earlier {
    given: Vec<Given>,
    runs: Vec<Run>,
}

impl Earlier {
    pub(crate) fn of(given: &[Given]) -> Result<Self, Failure> {
        let mut runs = Vec::new();
        for it in given {
            if let Given::Results(path) = it {
                runs.extend(table::read(path)?.runs);
            }
        }
        Ok(Self { given: given.to_vec(), runs })
    }

    /// Megabytes a second: what was said, or else what was found.
    pub(crate) fn reached(&self, workload: &str, target: &str) -> Option<f64> {
        self.said(workload).or_else(|| reference::reached(&self.runs, workload, target))
    }

    /// Whether it was said of a workload, which then is the same for all targets.
    pub(crate) fn says(&self, workload: &str) -> bool {
        self.said(workload).is_some()
    }

    fn said(&self, workload: &str) -> Option<f64> {
        self.given.iter().find_map(|it| match it {
            Given::Rate { workload: of, bytes_per_second } if of == workload => {
                Some(crate::report::float(*bytes_per_second) / MEGA)
            }
            Given::Rate { .. } | Given::Results(_) => None,
        })
    }

    /// For those who read the results.
    pub(crate) fn words(&self) -> impl Iterator<Item = String> {
        self.given.iter().map(|it| match it {
            Given::Rate { workload, bytes_per_second } => {
                let mega = crate::report::number(crate::report::float(*bytes_per_second) / MEGA);
                format!("{workload}: {mega} MB/s, as it was told")
            }
            Given::Results(path) => {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                format!("as {name} says")
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_rate_in_bytes_or_a_file() {
        let rate = Given::Rate { workload: "W3".to_owned(), bytes_per_second: 40_000_000 };
        for text in ["W3=40 MB/s", "w3=40mb/s", " w3 = 40 Mb / S ", "W3=40000000/s"] {
            assert_eq!(parse(text), Ok(rate.clone()), "{text}");
        }
        assert_eq!(parse("old/results.json"), Ok(Given::Results("old/results.json".into())));
        for wrong in
            ["W3=5000", "W3=max", "W3=", "W3=50 % of W4", "W3=0 mb/s", "W3=40 mb/m", "W3=4 0 MB/s"]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_said_holds_for_every_target_and_for_one_workload() {
        let earlier = Earlier::of(&[parse("W3=40 MB/s").expect("a rate")]).expect("no file");
        assert_eq!(earlier.reached("W3", "kafka"), Some(40.0));
        assert_eq!(earlier.reached("W4", "kafka"), None);
        let words: Vec<String> = earlier.words().collect();
        assert_eq!(words, ["W3: 40.0 MB/s, as it was told"]);
    }
}
