//! Results as small as tests of the page want them.

use std::collections::BTreeMap;

use crate::results::{Durability, FORMAT, Results, Run, Step, Target, Workload};

/// Of one workload with one step, `odradek` and `kafka`.
pub(crate) fn results(runs: Vec<Run>) -> Results {
    Results {
        format: FORMAT,
        began_unix: 1_800_000_000,
        ended_unix: 1_800_000_600,
        is_complete: true,
        profile: "smoke".to_owned(),
        scale: 1.0,
        placement: "split".to_owned(),
        commit: "0123456789ab".to_owned(),
        machine: vec![("kernel".to_owned(), "6.18".to_owned())],
        targets: vec![target("odradek", Durability::D2), target("kafka", Durability::D1)],
        workloads: vec![Workload {
            key: "W2".to_owned(),
            title: "Many small producers".to_owned(),
            about: "About.".to_owned(),
            steps: vec![Step {
                key: "5000".to_owned(),
                title: "5,000 records/s".to_owned(),
                offered: Some(5_000.0),
                curve: "1 KiB".to_owned(),
                share_of: None,
            }],
            shown: vec!["p99_us".to_owned()],
        }],
        limits: Vec::new(),
        runs,
        left_out: Vec::new(),
    }
}

pub(crate) fn target(key: &str, durability: Durability) -> Target {
    Target {
        key: key.to_owned(),
        title: key.to_owned(),
        version: "1".to_owned(),
        durability,
        configs: Vec::new(),
        command: format!("{key} serve"),
    }
}

/// Of the step that `results` has, with one number.
pub(crate) fn run(target: &str, pair: u32, p99_us: f64, void: &[&str]) -> Run {
    Run {
        workload: "W2".to_owned(),
        step: "5000".to_owned(),
        target: target.to_owned(),
        pair,
        began_unix: 1_800_000_000 + u64::from(pair) * 20,
        void: void.iter().map(|it| (*it).to_owned()).collect(),
        numbers: BTreeMap::from([("p99_us".to_owned(), p99_us)]),
        bound: String::new(),
        series: Vec::new(),
        samples: Vec::new(),
    }
}
