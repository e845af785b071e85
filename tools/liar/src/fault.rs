//! Which operations fail or take long. Knows no file and no clock: operations are counted, verdicts come out.

use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Read,
    Write,
    Flush,
}

impl Operation {
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "read" => Some(Self::Read),
            "write" => Some(Self::Write),
            "flush" => Some(Self::Flush),
            _ => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Go,
    Fail,
    Stall(Duration),
}

/// What is to happen to the next operations of a kind.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    pub operation: Operation,
    /// Operations that pass before.
    pub skipped: u64,
    /// Operations that it happens to then.
    pub count: u64,
    pub verdict: Verdict,
}

/// The rules that are in force.
#[derive(Debug, Default)]
pub struct Faults {
    rules: Vec<Rule>,
    /// How often one was applied.
    pub applied_count: u64,
}

impl Faults {
    pub fn add(&mut self, rule: Rule) {
        self.rules.push(rule);
    }

    pub fn heal(&mut self) {
        self.rules.clear();
    }

    /// What happens to the operation that comes now. The first rule that applies decides.
    pub fn next(&mut self, operation: Operation) -> Verdict {
        let mut verdict = Verdict::Go;
        for rule in self.rules.iter_mut().filter(|it| it.operation == operation) {
            if rule.skipped > 0 {
                rule.skipped -= 1;
            } else if verdict == Verdict::Go {
                rule.count -= 1;
                verdict = rule.verdict;
                self.applied_count += 1;
            }
        }
        self.rules.retain(|it| it.count > 0);
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts(rules: &[Rule], operations: &[Operation]) -> Vec<Verdict> {
        let mut faults = Faults::default();
        rules.iter().for_each(|it| faults.add(*it));
        operations.iter().map(|it| faults.next(*it)).collect()
    }

    #[test]
    fn a_rule_passes_some_meets_some_and_is_over() {
        use Operation::{Read, Write};
        let rule = Rule { operation: Write, skipped: 1, count: 2, verdict: Verdict::Fail };
        let (go, fail) = (Verdict::Go, Verdict::Fail);
        let got = verdicts(&[rule], &[Read, Write, Write, Read, Write, Write]);
        assert_eq!(got, [go, go, fail, go, fail, go]);
    }

    #[test]
    fn of_two_rules_the_first_decides_and_the_second_waits() {
        let stall = Verdict::Stall(Duration::from_millis(3));
        let rule = |verdict| Rule { operation: Operation::Flush, skipped: 0, count: 1, verdict };
        let got = verdicts(&[rule(stall), rule(Verdict::Fail)], &[Operation::Flush; 3]);
        assert_eq!(got, [stall, Verdict::Fail, Verdict::Go]);
    }

    #[test]
    fn what_is_healed_does_not_fail() {
        let mut faults = Faults::default();
        let verdict = Verdict::Fail;
        faults.add(Rule { operation: Operation::Read, skipped: 0, count: 9, verdict });
        assert_eq!(faults.next(Operation::Read), Verdict::Fail);
        faults.heal();
        assert_eq!(faults.next(Operation::Read), Verdict::Go);
        assert_eq!(faults.applied_count, 1);
    }
}
