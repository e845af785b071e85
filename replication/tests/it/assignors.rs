//! The server-side assignors: balance, stickiness, determinism, and what they cost.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use engine::id::{PartitionIndex, TopicId};
use proptest::prelude::{any, prop};
use proptest::{prop_assert, prop_assert_eq, proptest};
use replication::group::assignment::Assignment;
use replication::group::assignor::{Answer, Assignor, Question, Seat};

fn topic(number: u8) -> TopicId {
    TopicId::new([number; 16])
}

fn wants(topics: &[u8]) -> Arc<BTreeSet<TopicId>> {
    Arc::new(topics.iter().map(|&it| topic(it)).collect())
}

/// So many members that all want all topics, each with so many partitions.
fn equal(member_count: usize, partition_counts: &[u32]) -> Question {
    let mut question = Question::default();
    let mut numbers = Vec::new();
    for (number, &count) in (1_u8..).zip(partition_counts) {
        question.topics.insert(topic(number), count);
        numbers.push(number);
    }
    let topics = wants(&numbers);
    for number in 0..member_count {
        let seat = Seat { topics: Arc::clone(&topics), ..Seat::default() };
        question.members.insert(format!("m{number:04}").into(), seat);
    }
    question
}

/// The same again, when what was answered is what all have.
fn again(question: &Question, answer: &Answer) -> Question {
    let mut next = question.clone();
    for (id, seat) in &mut next.members {
        seat.before = answer.by_member.get(id).cloned().unwrap_or_default();
    }
    next
}

/// Every partition that somebody wants has one owner, who wants it.
fn check_sound(question: &Question, answer: &Answer) {
    let mut owned = BTreeSet::new();
    assert!(answer.by_member.keys().eq(question.members.keys()), "everybody is named");
    for (id, assignment) in &answer.by_member {
        for (topic, partition) in assignment.iter() {
            assert!(
                question.members[id].topics.contains(&topic),
                "nobody gets what it does not want"
            );
            assert!(partition.get() < question.topics[&topic], "the partition is there");
            assert!(owned.insert((topic, partition)), "one owner");
        }
    }
    let wanted = |topic: &TopicId| question.members.values().any(|it| it.topics.contains(topic));
    let all = question.topics.iter().filter(|(topic, _)| wanted(topic));
    let count: u32 = all.map(|it| *it.1).sum();
    assert_eq!(owned.len(), count as usize, "all are given");
}

fn loads(answer: &Answer) -> Vec<usize> {
    answer.by_member.values().map(Assignment::count).collect()
}

/// How many partitions changed their owner.
fn moved(before: &Answer, after: &Answer) -> usize {
    let owners = |answer: &Answer| -> BTreeMap<(TopicId, PartitionIndex), Arc<str>> {
        let all = answer.by_member.iter();
        all.flat_map(|(id, it)| it.iter().map(|it| (it, Arc::clone(id))).collect::<Vec<_>>())
            .collect()
    };
    let after = owners(after);
    owners(before).iter().filter(|(partition, id)| after.get(*partition) != Some(*id)).count()
}

fn spread(answer: &Answer) -> usize {
    let loads = loads(answer);
    loads.iter().max().unwrap_or(&0) - loads.iter().min().unwrap_or(&0)
}

#[test]
fn equal_wishes_differ_by_one_partition_at_most() {
    for (members, topics) in
        [(1, vec![5]), (3, vec![7]), (3, vec![1, 1]), (4, vec![3, 5, 1]), (9, vec![2])]
    {
        let question = equal(members, &topics);
        let answer = Assignor::Uniform.assign(&question);
        check_sound(&question, &answer);
        assert!(spread(&answer) <= 1, "{members} {topics:?}");
    }
}

#[test]
fn nothing_moves_when_nothing_changes() {
    let question = equal(7, &[10, 3, 24]);
    let first = Assignor::Uniform.assign(&question);
    let second = Assignor::Uniform.assign(&again(&question, &first));
    assert_eq!(first.by_member, second.by_member);
}

#[test]
fn a_member_that_comes_takes_only_its_share() {
    let question = equal(4, &[20]);
    let first = Assignor::Uniform.assign(&question);
    let mut more = again(&question, &first);
    more.members.insert("new".into(), Seat { topics: wants(&[1]), ..Seat::default() });
    let second = Assignor::Uniform.assign(&more);
    check_sound(&more, &second);
    assert!(spread(&second) <= 1);
    assert_eq!(moved(&first, &second), 4, "the share of the one that came");
}

#[test]
fn a_member_that_goes_leaves_only_its_share() {
    let question = equal(5, &[20]);
    let first = Assignor::Uniform.assign(&question);
    let mut fewer = again(&question, &first);
    fewer.members.remove("m0002");
    let second = Assignor::Uniform.assign(&fewer);
    check_sound(&fewer, &second);
    assert!(spread(&second) <= 1);
    assert_eq!(moved(&first, &second), 4, "the share of the one that went");
}

#[test]
fn new_partitions_go_to_those_who_have_least() {
    let question = equal(3, &[4]);
    let first = Assignor::Uniform.assign(&question);
    let mut grown = again(&question, &first);
    grown.topics.insert(topic(1), 6);
    let second = Assignor::Uniform.assign(&grown);
    check_sound(&grown, &second);
    assert_eq!(loads(&second), [2, 2, 2]);
    assert_eq!(moved(&first, &second), 0);
}

#[test]
fn different_wishes_are_balanced_over_others() {
    // Only the last wants topic 2; the middle one can pass topic 1 on to the first.
    let mut question = Question::default();
    question.topics.insert(topic(1), 4);
    question.topics.insert(topic(2), 2);
    question.topics.insert(topic(3), 3);
    for (id, topics) in [("a", vec![1]), ("b", vec![1, 3]), ("c", vec![2, 3])] {
        let seat = Seat { topics: wants(&topics), ..Seat::default() };
        question.members.insert(id.into(), seat);
    }
    // The worst that could be before: the one in the middle has all that it wants.
    let all = [(1, 4), (3, 3)].into_iter().flat_map(|(number, count)| {
        (0..count).map(move |it| (topic(number), PartitionIndex::new(it)))
    });
    question.members.get_mut("b").expect("it is there").before = all.collect();
    let answer = Assignor::Uniform.assign(&question);
    check_sound(&question, &answer);
    assert_eq!(loads(&answer), [3, 3, 3]);
}

#[test]
fn a_chain_of_moves_is_found() {
    // a wants 1; b wants 1 and 2; c wants 2 and 3; d wants 3. All begins with d and c.
    let mut question = Question::default();
    for number in 1..=3 {
        question.topics.insert(topic(number), 4);
    }
    let seats = [("a", vec![1]), ("b", vec![1, 2]), ("c", vec![2, 3]), ("d", vec![3])];
    for (id, topics) in seats {
        question.members.insert(id.into(), Seat { topics: wants(&topics), ..Seat::default() });
    }
    let answer = Assignor::Uniform.assign(&question);
    check_sound(&question, &answer);
    assert_eq!(loads(&answer), [3, 3, 3, 3]);
}

#[test]
fn a_thousand_members_share_ten_thousand_partitions_in_few_steps() {
    let question = equal(1_000, &[2_500, 2_500, 2_500, 2_500]);
    let first = Assignor::Uniform.assign(&question);
    check_sound(&question, &first);
    assert_eq!(spread(&first), 0);
    assert!(first.steps <= 50_000, "{} steps", first.steps);

    let mut more = again(&question, &first);
    let topics = wants(&[1, 2, 3, 4]);
    more.members.insert("new".into(), Seat { topics, ..Seat::default() });
    let second = Assignor::Uniform.assign(&more);
    assert!(spread(&second) <= 1 && moved(&first, &second) <= 9);
    assert!(second.steps <= 50_000, "{} steps", second.steps);

    let range = Assignor::Range.assign(&question);
    check_sound(&question, &range);
    assert!(range.steps <= 50_000, "{} steps", range.steps);
}

#[test]
fn a_thousand_members_with_different_wishes_are_balanced_in_a_bounded_number_of_steps() {
    let mut question = Question::default();
    for number in 1..=100 {
        question.topics.insert(topic(number), 100);
    }
    for number in 0..1_000_u32 {
        let first = u8::try_from(number % 100).expect("below 100");
        let other = u8::try_from(number * 7 % 100).expect("below 100");
        let topics = wants(&[first + 1, (first + 1) % 100 + 1, other + 1]);
        let seat = Seat { topics, ..Seat::default() };
        question.members.insert(format!("m{number:04}").into(), seat);
    }
    let first = Assignor::Uniform.assign(&question);
    check_sound(&question, &first);
    assert!(spread(&first) <= 1, "{}", spread(&first));
    assert!(first.steps <= 10_000_000, "{} steps", first.steps);
    let second = Assignor::Uniform.assign(&again(&question, &first));
    assert_eq!(moved(&first, &second), 0);
}

#[test]
fn a_range_is_a_run_and_the_same_of_topics_with_the_same_readers() {
    let question = equal(3, &[7, 7, 2]);
    let answer = Assignor::Range.assign(&question);
    check_sound(&question, &answer);
    for assignment in answer.by_member.values() {
        let of = |number| -> Vec<u32> {
            assignment.iter().filter(|it| it.0 == topic(number)).map(|it| it.1.get()).collect()
        };
        assert_eq!(of(1), of(2), "co-partitioned");
        assert!(of(1).windows(2).all(|it| it[0] + 1 == it[1]), "a run");
    }
    assert_eq!(loads(&answer), [7, 5, 4], "the first get what does not divide");
}

#[test]
fn a_range_follows_lasting_names() {
    let mut question = equal(2, &[4]);
    let mut seats: Vec<Seat> = question.members.into_values().collect();
    for (seat, name) in seats.iter_mut().zip(["y", "x"]) {
        seat.instance = Some(name.into());
    }
    question.members = ["m1", "m2"].into_iter().map(Arc::from).zip(seats).collect();
    let answer = Assignor::Range.assign(&question);
    let first = |id: &str| answer.by_member[id].iter().next().map(|it| it.1.get());
    assert_eq!((first("m2"), first("m1")), (Some(0), Some(2)), "x is before y");
}

/// A member's wishes and what it had, in small numbers.
type SmallSeat = (Vec<u8>, Vec<(u8, u32)>);

fn question(seats: Vec<SmallSeat>, counts: [u32; 4]) -> Question {
    let mut question = Question::default();
    for (number, count) in (0_u8..).zip(counts) {
        question.topics.insert(topic(number), count);
    }
    let mut taken = BTreeSet::new();
    for (number, (topics, before)) in seats.into_iter().enumerate() {
        let before = before.into_iter().filter(|it| taken.insert(*it));
        let before = before.map(|(number, it)| (topic(number), PartitionIndex::new(it)));
        let seat = Seat { instance: None, topics: wants(&topics), before: before.collect() };
        question.members.insert(format!("m{number}").into(), seat);
    }
    question
}

/// No chain of moves leads from a member to one with two partitions less.
fn check_balanced(question: &Question, answer: &Answer) {
    for source in answer.by_member.keys() {
        let mut reached = BTreeSet::from([source]);
        let mut queue = vec![source];
        while let Some(from) = queue.pop() {
            let topics: BTreeSet<_> = answer.by_member[from].topics().map(|it| it.0).collect();
            for (to, seat) in &question.members {
                if !seat.topics.is_disjoint(&topics) && reached.insert(to) {
                    queue.push(to);
                }
            }
        }
        let load = |id: &Arc<str>| answer.by_member[id].count();
        assert!(reached.iter().all(|it| load(source) <= load(it) + 1), "{answer:?}");
    }
}

proptest! {
    #[test]
    fn any_question_has_a_sound_balanced_and_stable_answer(
        seats in prop::collection::vec(
            (prop::collection::vec(0_u8..4, 0..4), prop::collection::vec((0_u8..5, 0_u32..8), 0..8)),
            0..7,
        ),
        counts in any::<[u8; 4]>(),
        is_range in any::<bool>(),
    ) {
        let question = question(seats, counts.map(|it| u32::from(it % 9)));
        let assignor = if is_range { Assignor::Range } else { Assignor::Uniform };
        let answer = assignor.assign(&question);
        check_sound(&question, &answer);
        prop_assert_eq!(&answer, &assignor.assign(&question));
        if !is_range {
            check_balanced(&question, &answer);
        }
        let second = assignor.assign(&again(&question, &answer));
        prop_assert!(answer.by_member == second.by_member, "nothing moves");
    }
}
