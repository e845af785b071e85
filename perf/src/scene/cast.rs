//! Who takes part in a scene: connections that produce and that consume, by their streams.
//!
//! All of them connect before the first phase, so that none costs a later one its time. Every
//! connection introduces itself as clients do, so that one which rests is not taken for a stranger.

use std::process;

use rustix::event::epoll;
use rustix::fd::{AsFd, OwnedFd};

use crate::clock::Moment;
use crate::failure::Failure;
use crate::payload::{HEAD_BYTES, Origin, Random};
use crate::protocol::Protocol;
use crate::scene::continuity::{Continuity, Faults};
use crate::scene::plan::{Consumers, From, Partitioning, Plan, Producers, Share};
use crate::scene::producer::{Choice, Producer, Route};
use crate::scene::wire::{Consumer, Partitions, Reading, Session, Writing};
use crate::scene::{amqp, kafka, nats, rabbit_stream};

/// Each producer has one of its own from here on: all targets are sent the same, and no two producers
/// write to the same partitions in the same order.
const PARTITIONS_SEED: u64 = 0x70a7_1710;

pub(super) struct Cast<'a> {
    plan: &'a Plan,
    session: Box<dyn Session>,
    epoll: OwnedFd,
    scene: u16,
    pub(super) senders: Vec<Sender>,
    /// Index of each stream's first sender.
    first_senders: Vec<usize>,
    pub(super) readers: Vec<Reader>,
}

pub(super) struct Sender {
    pub(super) producer: Producer,
    /// Index in the plan's producers.
    pub(super) stream: usize,
    /// In its stream.
    pub(super) nth: u64,
}

pub(super) struct Reader {
    pub(super) consumer: Box<dyn Consumer>,
    pub(super) seat: Seat,
    /// Since when something may be there to be read; `None` if nothing is known to be.
    pub(super) waits_since: Option<Moment>,
}

/// Where a consumer belongs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seat {
    /// Index in the plan's consumers.
    pub(super) stream: usize,
    /// In its stream.
    pub(super) nth: usize,
    /// `NEVER` until it has.
    pub(super) began: Moment,
}

/// Whom an event is for: the index of a sender or of a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    Producer(usize),
    Consumer(usize),
}

/// How far a stream of consumers has to go.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Behind {
    pub(super) record_count: u64,
    /// Of the consumer that has the farthest to go.
    pub(super) ns: u64,
}

/// What consumers got in all, at the end.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Delivery {
    pub(super) faults: Faults,
    /// What those had still to read who did not come to the end of their logs.
    pub(super) undelivered_count: u64,
    pub(super) late_consumer_count: u64,
}

impl<'a> Cast<'a> {
    pub(super) fn connect(plan: &'a Plan) -> Result<Self, Failure> {
        let mut session = session(plan)?;
        plan.topics.iter().try_for_each(|topic| session.ensure(topic))?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)
            .map_err(|error| Failure::io("create an epoll instance", error))?;
        let mut cast = Self {
            plan,
            epoll,
            scene: draw_scene(),
            session,
            senders: Vec::new(),
            first_senders: Vec::new(),
            readers: Vec::new(),
        };
        cast.connect_producers()?;
        cast.connect_consumers()?;
        Ok(cast)
    }

    /// The consumers that begin with this phase ask for records. Blocks for a request if they read from
    /// where the log ends now.
    pub(super) fn enter(&mut self, phase: usize, now: Moment) -> Result<(), Failure> {
        for (stream, consumers) in self.plan.consumers.iter().enumerate() {
            if consumers.begins_in != phase {
                continue;
            }
            let ends = match consumers.from {
                From::Start => None,
                From::End => self.session.ends(&self.plan.topics[consumers.topic])?,
            };
            for reader in self.readers.iter_mut().filter(|it| it.seat.stream == stream) {
                reader.seat.began = now;
                reader.consumer.begin(now, ends.as_deref())?;
            }
        }
        Ok(())
    }

    pub(super) const fn epoll(&self) -> &OwnedFd {
        &self.epoll
    }

    pub(super) fn who(&self, token: u64) -> Who {
        let token = usize::try_from(token).expect("a token is an index");
        token.checked_sub(self.senders.len()).map_or(Who::Producer(token), Who::Consumer)
    }

    pub(super) fn sender_index(&self, stream: usize, nth: usize) -> usize {
        self.first_senders[stream] + nth
    }

    /// Of each stream of consumers.
    pub(super) fn behind(&self, now: Moment) -> impl Iterator<Item = Behind> {
        (0..self.plan.consumers.len()).map(move |stream| {
            let mut behind = Behind::default();
            for reader in self.present().filter(|it| it.seat.stream == stream) {
                let of_reader = self.behind_of(reader, now);
                behind.record_count += of_reader.record_count;
                behind.ns = behind.ns.max(of_reader.ns);
            }
            behind
        })
    }

    pub(super) fn have_read_all_of(&self, moment: Moment) -> bool {
        self.present().all(|it| self.has_read_all_of(it, moment))
    }

    /// What consumers got. Whether something is missing at the end is known of those who have read all
    /// since every producer was quiet. `None` without consumers.
    pub(super) fn delivery(&mut self, quiet_since: Option<Moment>) -> Option<Delivery> {
        let mut delivery = Delivery::default();
        for index in 0..self.readers.len() {
            let reader = &self.readers[index];
            if quiet_since.is_some_and(|since| self.has_read_all_of(reader, since)) {
                let judged: Vec<usize> = self.judged(reader).collect();
                let consumer = self.readers[index].consumer.as_mut();
                judged.iter().for_each(|it| check_end(consumer, *it, &self.senders[*it].producer));
            } else {
                delivery.undelivered_count += self.behind_of(reader, Moment::BOOT).record_count;
                delivery.late_consumer_count += u64::from(quiet_since.is_some());
            }
            let faults = self.readers[index].consumer.continuity().faults;
            delivery.faults.missing_count += faults.missing_count;
            delivery.faults.repeated_count += faults.repeated_count;
        }
        (!self.readers.is_empty()).then_some(delivery)
    }

    /// By what its broker said, or by what was acknowledged and did not come.
    fn behind_of(&self, reader: &Reader, now: Moment) -> Behind {
        let consumer = reader.consumer.as_ref();
        consumer.behind(now).unwrap_or_else(|| {
            let mut behind = Behind::default();
            for (nth, partition) in consumer.partitions().all().enumerate() {
                let unread = self.judged(reader).map(|index| {
                    let acknowledged_nth = self.senders[index].producer.acknowledged_nth(partition);
                    consumer.continuity().behind(nth, index, acknowledged_nth)
                });
                let unread: u64 = unread.sum();
                if 0 < unread {
                    behind.record_count += unread;
                    behind.ns = behind.ns.max(now.ns_since(consumer.last_intended(nth)));
                }
            }
            behind
        })
    }

    fn has_read_all_of(&self, reader: &Reader, moment: Moment) -> bool {
        let told = reader.consumer.has_read_all_of(moment);
        told.unwrap_or_else(|| self.behind_of(reader, moment).record_count == 0)
    }

    /// The senders whose numbers a reader can check.
    fn judged(&self, reader: &Reader) -> impl Iterator<Item = usize> {
        let topic = self.plan.consumers[reader.seat.stream].topic;
        let is_judged = move |it: &Producers| it.topic == topic && HEAD_BYTES <= it.value_bytes;
        let senders = self.senders.iter().enumerate();
        senders
            .filter(move |(_, it)| is_judged(&self.plan.producers[it.stream]))
            .map(|(index, _)| index)
    }

    /// Those who have begun.
    fn present(&self) -> impl Iterator<Item = &Reader> {
        self.readers.iter().filter(|it| it.seat.began != Moment::NEVER)
    }

    fn connect_producers(&mut self) -> Result<(), Failure> {
        let mut random = Random::from_seed(0x0d12_ade4);
        for (stream, producers) in self.plan.producers.iter().enumerate() {
            self.first_senders.push(self.senders.len());
            for nth in 0..producers.count {
                let producer = self.producer(producers, nth, &mut random)?;
                self.watch(producer.stream(), self.senders.len())?;
                let nth = u64::try_from(nth).expect("counts have at most 64 bits");
                self.senders.push(Sender { producer, stream, nth });
            }
        }
        Ok(())
    }

    fn connect_consumers(&mut self) -> Result<(), Failure> {
        for (stream, consumers) in self.plan.consumers.iter().enumerate() {
            let partition_count = partition_count(self.plan, consumers.topic);
            let count = match consumers.share {
                Share::All => consumers.count,
                Share::Split => consumers.count.min(partition_count),
            };
            for nth in 0..count {
                let consumer = self.consumer(consumers, nth)?;
                self.watch(consumer.stream(), self.senders.len() + self.readers.len())?;
                let seat = Seat { stream, nth, began: Moment::NEVER };
                self.readers.push(Reader { consumer, seat, waits_since: None });
            }
        }
        Ok(())
    }

    fn producer(
        &mut self,
        producers: &Producers,
        nth: usize,
        random: &mut Random,
    ) -> Result<Producer, Failure> {
        let number = u16::try_from(self.senders.len()).expect("a plan has at most 2^16 producers");
        let origin = Origin { scene: self.scene, producer: number };
        let topic = &self.plan.topics[producers.topic];
        let (stream, publisher) =
            self.session.publisher(&Writing { topic, producers, origin }, random)?;
        let partition_count = partition_count(self.plan, producers.topic);
        let first_sequence = producers.is_idempotent.then_some(0);
        let choice = match producers.partitioning {
            Partitioning::Turns => Choice::Turns { next: nth },
            Partitioning::Random => {
                Choice::Random(Random::from_seed(PARTITIONS_SEED + u64::from(number)))
            }
        };
        let route = Route::new(choice, partition_count, first_sequence, producers.record_count);
        Producer::new(stream, publisher, route, producers.in_flight_max)
            .map_err(|error| Failure::io("prepare a connection", error))
    }

    fn consumer(
        &mut self,
        consumers: &Consumers,
        nth: usize,
    ) -> Result<Box<dyn Consumer>, Failure> {
        let partition_count = partition_count(self.plan, consumers.topic);
        let (first, stride) = match consumers.share {
            Share::All => (0, 1),
            Share::Split => (nth, consumers.count),
        };
        let count = (partition_count - first).div_ceil(stride);
        let partitions = Partitions { first, stride, count };
        let is_there_from_the_start = consumers.begins_in == 0 || consumers.from == From::Start;
        let first_nth = is_there_from_the_start.then_some(0);
        let continuity = Continuity::new(self.scene, count, self.senders.len(), first_nth);
        let topic = &self.plan.topics[consumers.topic];
        self.session.consumer(Reading {
            topic,
            consumers,
            partitions,
            continuity,
            is_there_from_the_start,
        })
    }

    fn watch(&self, stream: impl AsFd, token: usize) -> Result<(), Failure> {
        let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
        let token = u64::try_from(token).expect("counts have at most 64 bits");
        epoll::add(&self.epoll, stream, epoll::EventData::new_u64(token), flags)
            .map_err(|error| Failure::io("watch a connection", error))
    }
}

fn session(plan: &Plan) -> Result<Box<dyn Session>, Failure> {
    Ok(match plan.protocol {
        Protocol::Kafka => Box::new(kafka::Session::connect(plan.address)?),
        Protocol::Nats => Box::new(nats::Session::connect(plan.address)?),
        Protocol::Amqp => Box::new(amqp::Session::connect(plan.address)?),
        Protocol::RabbitStream => Box::new(rabbit_stream::Session::connect(plan.address)?),
    })
}

fn partition_count(plan: &Plan, topic: usize) -> usize {
    usize::try_from(plan.topics[topic].partition_count).expect("a positive count")
}

fn check_end(consumer: &mut dyn Consumer, index: usize, producer: &Producer) {
    for (nth, partition) in consumer.partitions().all().enumerate() {
        let acknowledged_nth = producer.acknowledged_nth(partition);
        consumer.continuity_mut().on_end(nth, index, acknowledged_nth);
    }
}

/// Never 0. Two scenes that write to the same topic draw the same one once in 65,535 times.
fn draw_scene() -> u16 {
    let drawn = Moment::now().ns() ^ (u64::from(process::id()) << 40);
    let mixed = Random::from_seed(drawn).next() % u64::from(u16::MAX);
    u16::try_from(mixed).expect("16 bits") + 1
}
