//! The latencies of one workload: of each step, target and kind, all runs that count together and each for itself.

use std::collections::BTreeMap;

use crate::failure::Failure;
use crate::page::sampling::Sampling;
use crate::page::spread::Spread;
use crate::page::survey::{Kind, Place, Survey, samplings};
use crate::results::Workload;

#[derive(Debug, Default)]
pub(crate) struct Latencies {
    /// By step and target, as indexes.
    of: BTreeMap<(usize, usize), BTreeMap<Kind, Latency>>,
}

#[derive(Debug)]
pub(crate) struct Latency {
    pub(crate) together: Sampling,
    runs: Vec<Sampling>,
}

impl Latencies {
    /// Histograms of runs that do not count are read too, so that a damaged one is found, and left out.
    pub(crate) fn of(survey: &Survey<'_>, workload: &Workload) -> Result<Self, Failure> {
        let mut latencies = Self::default();
        for (index, step) in workload.steps.iter().enumerate() {
            let place = Place { workload, step };
            let targets = survey.targets().map(|(target, _)| target);
            for (target, run) in
                targets.flat_map(|it| survey.runs(place, it).iter().map(move |run| (it, run)))
            {
                let read = samplings(run)?;
                if run.void.is_empty() {
                    latencies.add((index, target), read);
                }
            }
        }
        Ok(latencies)
    }

    fn add(&mut self, at: (usize, usize), read: Vec<(Kind, Sampling)>) {
        let of = self.of.entry(at).or_default();
        for (kind, sampling) in read {
            let latency = of.entry(kind).or_insert_with(Latency::none);
            latency.together.add(&sampling);
            latency.runs.push(sampling);
        }
    }

    pub(crate) fn get(&self, step: usize, target: usize, kind: &Kind) -> Option<&Latency> {
        self.of.get(&(step, target))?.get(kind)
    }

    /// Of all steps and targets, in order.
    pub(crate) fn kinds(&self) -> Vec<Kind> {
        self.kinds_where(|_| true)
    }

    pub(crate) fn kinds_of_step(&self, step: usize) -> Vec<Kind> {
        self.kinds_where(|it| it == step)
    }

    fn kinds_where(&self, wanted: impl Fn(usize) -> bool) -> Vec<Kind> {
        let of = self.of.iter().filter(|((step, _), _)| wanted(*step));
        let mut kinds: Vec<Kind> = of.flat_map(|(_, kinds)| kinds.keys().cloned()).collect();
        kinds.sort();
        kinds.dedup();
        kinds
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (&Kind, &Latency)> {
        self.of.values().flatten()
    }
}

impl Latency {
    fn none() -> Self {
        Self { together: Sampling::empty(), runs: Vec::new() }
    }

    /// Over runs that have samples enough for it.
    pub(crate) fn spread_us(&self, quantile: f64) -> Option<Spread> {
        Spread::of(self.runs.iter().filter_map(|it| it.at_us(quantile)))
    }
}
