//! Who runs on which cores.

use crate::failure::Failure;
use crate::pin;

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Placement {
    /// The broker on its cores, all clients on another one: numbers per core.
    Split { broker: Vec<usize>, load: usize },
    /// Nobody is bound.
    Shared,
}

impl Placement {
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Split { .. } => "split",
            Self::Shared => "shared",
        }
    }

    /// `None` if the broker may have all.
    pub(crate) fn broker_core_count(&self) -> Option<usize> {
        match self {
            Self::Split { broker, .. } => Some(broker.len()),
            Self::Shared => None,
        }
    }

    /// The first core of the broker, and the load's.
    pub(crate) fn cores(&self) -> (Option<usize>, Option<usize>) {
        match self {
            Self::Split { broker, load } => (broker.first().copied(), Some(*load)),
            Self::Shared => (None, None),
        }
    }

    /// Binds the calling thread, and what it starts from now on, to where brokers run.
    pub(crate) fn enter_broker(&self) -> Result<(), Failure> {
        match self {
            Self::Split { broker, .. } => pin::to_cores(broker),
            Self::Shared => Ok(()),
        }
    }

    /// The same, to where the load runs.
    pub(crate) fn enter_load(&self) -> Result<(), Failure> {
        match self {
            Self::Split { load, .. } => pin::to_core(*load),
            Self::Shared => Ok(()),
        }
    }

    /// Whether the load has a core of its own.
    pub(crate) const fn spins(&self) -> bool {
        matches!(self, Self::Split { .. })
    }
}

/// Some, as a person names them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Cores(pub(crate) Vec<usize>);

/// `0`, `0-3`, `0,2,4-5`.
pub(crate) fn cores(text: &str) -> Result<Cores, String> {
    let mut cores = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |word: &str| {
            word.trim().parse::<usize>().map_err(|_letters| format!("`{word}` is no core"))
        };
        cores.extend(number(first)?..=number(last)?);
    }
    if cores.is_empty() { Err(format!("`{text}` has no cores")) } else { Ok(Cores(cores)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_numbers_and_ranges() {
        assert_eq!(cores("0"), Ok(Cores(vec![0])));
        assert_eq!(cores("0,2-4"), Ok(Cores(vec![0, 2, 3, 4])));
        for wrong in ["", "x", "3-1", "1,", "-1"] {
            assert!(cores(wrong).is_err(), "{wrong}");
        }
    }
}
