//! The results by workload, step and target: who ran, what counts, and what follows from it.

use std::collections::BTreeMap;

use crate::failure::Failure;
use crate::page::comparison::{Comparison, comparisons};
use crate::page::sampling::Sampling;
use crate::page::spread::Spread;
use crate::results::{Measure, Results, Run, Series, Step, Target, Workload};

#[derive(Debug)]
pub(crate) struct Survey<'a> {
    pub(crate) results: &'a Results,
    pub(crate) comparisons: Vec<Comparison>,
    /// Of each target: its title, with its key if another has the same.
    pub(crate) names: Vec<String>,
    /// By workload, step and target.
    runs: BTreeMap<&'a str, BTreeMap<&'a str, BTreeMap<&'a str, Vec<&'a Run>>>>,
}

/// One step of one workload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) workload: &'a Workload,
    pub(crate) step: &'a Step,
}

/// What a latency is of. Of each, runs are added up for themselves.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Kind {
    pub(crate) phase: String,
    pub(crate) stream: String,
    /// Publish, end to end, lateness: in this order.
    rank: u8,
}

impl<'a> Survey<'a> {
    /// Refuses what names steps or targets that are not there.
    pub(crate) fn of(results: &'a Results) -> Result<Self, Failure> {
        let mut runs: BTreeMap<&str, BTreeMap<&str, BTreeMap<&str, Vec<&Run>>>> = BTreeMap::new();
        for workload in &results.workloads {
            let steps = runs.entry(&workload.key).or_default();
            for step in &workload.steps {
                let targets = results.targets.iter().map(|it| (it.key.as_str(), Vec::new()));
                steps.insert(&step.key, targets.collect());
            }
        }
        for run in &results.runs {
            let Run { workload, step, target, .. } = run;
            runs.get_mut(workload.as_str())
                .and_then(|it| it.get_mut(step.as_str()))
                .and_then(|it| it.get_mut(target.as_str()))
                .ok_or_else(|| {
                    let what = format!("{workload} {step} against {target}");
                    Failure::new(format!("there is a run of {what}, which the file does not have"))
                })?
                .push(run);
        }
        let comparisons = comparisons(&results.targets);
        Ok(Self { results, comparisons, names: names(&results.targets), runs })
    }

    /// Also those that do not count.
    pub(crate) fn runs(&self, place: Place<'_>, target: usize) -> &[&'a Run] {
        let target = self.results.targets[target].key.as_str();
        self.runs
            .get(place.workload.key.as_str())
            .and_then(|it| it.get(place.step.key.as_str()))
            .and_then(|it| it.get(target))
            .map_or(&[], Vec::as_slice)
    }

    pub(crate) fn counting(
        &self,
        place: Place<'_>,
        target: usize,
    ) -> impl Iterator<Item = &'a Run> {
        self.runs(place, target).iter().copied().filter(|it| it.void.is_empty())
    }

    /// Of the runs that count.
    pub(crate) fn spread(&self, place: Place<'_>, target: usize, number: &str) -> Option<Spread> {
        let values = self.counting(place, target).filter_map(|it| it.numbers.get(number).copied());
        Spread::of(values)
    }

    /// Ours by theirs, of pairs of which both count. `None` also where a ratio would say nothing.
    pub(crate) fn ratio(&self, place: Place<'_>, of: Comparison, number: &str) -> Option<Spread> {
        if !place.step.compares(number) {
            return None;
        }
        let ratios = self.counting(place, of.ours).filter_map(|ours| {
            let theirs = self.counting(place, of.theirs).find(|it| it.pair == ours.pair)?;
            if !ours.compares_with(theirs, number) {
                return None;
            }
            let (ours, theirs) = (ours.numbers.get(number)?, theirs.numbers.get(number)?);
            (*theirs > 0.0 && *ours >= 0.0).then_some(ours / theirs)
        });
        Spread::of(ratios)
    }

    pub(crate) fn targets(&self) -> impl Iterator<Item = (usize, &'a Target)> + use<'a> {
        self.results.targets.iter().enumerate()
    }

    /// Whether there is a word to be said about it at all.
    pub(crate) fn has_run(&self, workload: &Workload, target: usize) -> bool {
        workload.steps.iter().any(|step| !self.runs(Place { workload, step }, target).is_empty())
    }
}

fn names(targets: &[Target]) -> Vec<String> {
    let name = |target: &Target| {
        let Target { title, key, .. } = target;
        let is_one = targets.iter().filter(|it| it.title == *title).count() == 1;
        if is_one { title.clone() } else { format!("{title} ({key})") }
    };
    targets.iter().map(name).collect()
}

impl Kind {
    pub(crate) fn of(series: &Series) -> Self {
        let rank = match series.measure {
            Measure::Publish => 0,
            Measure::EndToEnd => 1,
            Measure::Lateness => 2,
        };
        Self { phase: series.phase.clone(), stream: series.stream.clone(), rank }
    }

    pub(crate) const fn measure(&self) -> &'static str {
        match self.rank {
            0 => "publish",
            1 => "end-to-end",
            _ => "generator lateness",
        }
    }

    pub(crate) const fn is_of_broker(&self) -> bool {
        self.rank < 2
    }

    /// What a second counts.
    pub(crate) const fn counted(&self) -> &'static str {
        match self.rank {
            0 => "requests acknowledged each second",
            1 => "records received each second",
            _ => "requests sent each second",
        }
    }

    /// Without what all of them have in common.
    pub(crate) fn words(&self, all: &[Self]) -> String {
        let mut words = self.measure().to_owned();
        if all.iter().any(|it| it.stream != self.stream) {
            words = format!("{words}, {}", self.stream);
        }
        if all.iter().any(|it| it.phase != self.phase) {
            words = format!("{words}, while \u{201c}{}\u{201d}", self.phase);
        }
        words
    }
}

/// What a run recorded of each kind.
pub(crate) fn samplings(run: &Run) -> Result<Vec<(Kind, Sampling)>, Failure> {
    run.series
        .iter()
        .map(|series| {
            let sampling = Sampling::read(&series.histogram).ok_or_else(|| {
                let Run { workload, step, target, pair, .. } = run;
                let what = format!("{workload} {step}, {target}, run {pair}, {}", series.stream);
                Failure::new(format!("the histogram of {what} cannot be read"))
            })?;
            Ok((Kind::of(series), sampling))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::page::testing::{results, run};

    #[track_caller]
    fn check(runs: Vec<Run>, spread: Option<(f64, f64, f64)>, ratio: Option<(f64, f64, f64)>) {
        let results = results(runs);
        let survey = Survey::of(&results).expect("names that are there");
        let workload = &results.workloads[0];
        let place = Place { workload, step: &workload.steps[0] };
        let three = |it: Spread| (it.least, it.median, it.most);
        assert_eq!(survey.spread(place, 0, "p99_us").map(three), spread);
        assert_eq!(survey.ratio(place, survey.comparisons[0], "p99_us").map(three), ratio);
    }

    #[test]
    fn ratios_are_of_pairs_and_spreads_of_runs() {
        let runs = vec![
            run("odradek", 1, 10.0, &[]),
            run("kafka", 1, 20.0, &[]),
            run("kafka", 2, 100.0, &[]),
            run("odradek", 2, 30.0, &[]),
        ];
        check(runs, Some((10.0, 20.0, 30.0)), Some((0.3, 0.4, 0.5)));
    }

    #[test]
    fn a_void_run_counts_in_no_spread_and_its_pair_in_no_ratio() {
        let runs = vec![
            run("odradek", 1, 10.0, &["late"]),
            run("kafka", 1, 20.0, &[]),
            run("odradek", 2, 30.0, &[]),
            run("kafka", 2, 60.0, &["stolen"]),
            run("odradek", 3, 50.0, &[]),
            run("kafka", 3, 100.0, &[]),
        ];
        check(runs, Some((30.0, 40.0, 50.0)), Some((0.5, 0.5, 0.5)));
        check(vec![run("odradek", 1, 10.0, &["late"])], None, None);
    }

    #[test]
    fn targets_of_one_title_have_their_keys_in_their_names() {
        let mut results = results(Vec::new());
        let check = |results: &Results, want: [&str; 2]| {
            assert_eq!(Survey::of(results).expect("no runs").names, want);
        };
        check(&results, ["odradek", "kafka"]);
        results.targets.iter_mut().for_each(|it| it.title = "Odradek".to_owned());
        check(&results, ["Odradek (odradek)", "Odradek (kafka)"]);
    }

    #[test]
    fn a_run_of_nobody_is_refused() {
        let results = results(vec![run("nobody", 1, 1.0, &[])]);
        assert!(Survey::of(&results).is_err());
    }
}
