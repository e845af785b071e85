//! Kafka's Produce: a request that is stamped again and again.
//!
//! Invariant: answers come in the order of the requests.

use crate::failure::Failure;
use crate::frame::{AnswerLayout, ProduceFrame, Shape};
use crate::payload::Random;
use crate::scene::wire::{self, Answer, Request};

pub(super) struct Publisher {
    frame: ProduceFrame,
    layout: AnswerLayout,
    /// Requests that have an answer.
    answered: u64,
}

impl Publisher {
    pub(super) fn new(shape: &Shape<'_>, random: &mut Random) -> Self {
        let layout = AnswerLayout::new(shape.version, shape.topic);
        Self { frame: ProduceFrame::new(shape, random), layout, answered: 0 }
    }
}

impl wire::Publisher for Publisher {
    fn encode(&mut self, request: &Request) {
        let partition = i32::try_from(request.partition);
        let partition = partition.expect("partitions have an index of 32 bits");
        self.frame.stamp(correlation_id(request.number), partition, request.stamp);
    }

    fn bytes(&self) -> &[u8] {
        self.frame.bytes()
    }

    fn decode(&mut self, received: &mut &[u8], answers: &mut Vec<Answer>) -> Result<(), Failure> {
        while let Some(answer) = self.layout.take(received) {
            let number = self.answered;
            if answer.correlation_id != correlation_id(number) {
                let why = "the broker answers what was not asked, or not in order";
                return Err(Failure::new(why));
            }
            self.answered += 1;
            answers.push(Answer::Request { number, error_code: answer.error_code });
        }
        Ok(())
    }
}

/// They go from the largest back to 0.
fn correlation_id(number: u64) -> i32 {
    i32::try_from(number & u64::from(i32::MAX.cast_unsigned())).expect("31 bits")
}
