//! Runs of partitions, topic by topic. Topics with as many partitions and the same readers are shared alike,
//! so that a reader gets the same numbers of each (co-partitioning).

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::id::{PartitionIndex, TopicId};

use crate::group::assignment::Assignment;
use crate::group::assignor::{Answer, Question};

pub(super) fn assign(question: &Question) -> Answer {
    let mut members: Vec<_> = question.members.iter().collect();
    // Static members first, by the names that stay, so that a restart moves nothing.
    members.sort_by_key(|(id, seat)| (seat.instance.is_none(), &seat.instance, *id));
    let mut readers: BTreeMap<TopicId, Vec<&Arc<str>>> = BTreeMap::new();
    let mut answer = Answer::default();
    for (id, seat) in members {
        answer.by_member.insert(Arc::clone(id), Assignment::default());
        for topic in seat.topics.iter() {
            answer.steps += 1;
            readers.entry(*topic).or_default().push(id);
        }
    }
    for (topic, readers) in readers {
        let partition_count = question.topics.get(&topic).copied().unwrap_or(0);
        share(&mut answer, topic, partition_count, &readers);
    }
    answer
}

fn share(answer: &mut Answer, topic: TopicId, partition_count: u32, readers: &[&Arc<str>]) {
    let reader_count = u32::try_from(readers.len()).unwrap_or(u32::MAX);
    let (least, more) = (partition_count / reader_count, partition_count % reader_count);
    let mut next: u32 = 0;
    for (reader, place) in readers.iter().zip(0_u32..) {
        let end = next + least + u32::from(place < more);
        let share = answer.by_member.entry(Arc::clone(reader)).or_default();
        for partition in next..end {
            answer.steps += 1;
            share.insert(topic, PartitionIndex::new(partition));
        }
        next = end;
    }
    assert!(next == partition_count, "all partitions are shared");
}
