//! Who takes part in a scene: connections that produce and that consume, by their streams.
//!
//! All of them connect before the first phase, so that none costs a later one its time. Every
//! connection introduces itself as clients do, so that one which rests is not taken for a stranger.

use std::process;

use net::api::ApiKey;
use rustix::event::epoll;
use rustix::fd::{AsFd, OwnedFd};

use crate::batch::ProducerId;
use crate::broker::{self, Broker};
use crate::clock::Moment;
use crate::failure::Failure;
use crate::frame::{AnswerLayout, PRODUCE_LAST, ProduceFrame, Shape};
use crate::payload::{HEAD_BYTES, Origin, Random};
use crate::scene::answer::FETCH_LAST;
use crate::scene::consumer::{Consumer, Positions};
use crate::scene::continuity::{Continuity, Faults};
use crate::scene::plan::{Consumers, From, Plan, Producers, Share, Topic};
use crate::scene::producer::{Producer, Route};
use crate::scene::query::{self, Query};

pub(super) struct Cast<'a> {
    plan: &'a Plan,
    broker: Broker,
    epoll: OwnedFd,
    scene: u16,
    produce_version: i16,
    fetch_version: i16,
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
    pub(super) layout: AnswerLayout,
}

pub(super) struct Reader {
    pub(super) consumer: Consumer,
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
        let mut broker = Broker::connect(plan.address)?;
        for Topic { name, partition_count, configs } in &plan.topics {
            let topic = broker::Topic { name, partition_count: *partition_count, configs };
            broker.ensure_topic(&topic)?;
            broker.until_served(&topic)?;
        }
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)
            .map_err(|error| Failure::io("create an epoll instance", error))?;
        let mut cast = Self {
            plan,
            epoll,
            scene: draw_scene(),
            produce_version: broker.version(ApiKey::Produce, PRODUCE_LAST)?,
            fetch_version: broker.version(ApiKey::Fetch, FETCH_LAST)?,
            broker,
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
            let Topic { name, partition_count, .. } = &self.plan.topics[consumers.topic];
            let ends = match consumers.from {
                From::Start => None,
                From::End => Some(self.broker.log_ends(name, *partition_count)?),
            };
            for reader in self.readers.iter_mut().filter(|it| it.seat.stream == stream) {
                if let Some(ends) = &ends {
                    reader.consumer.go_to(ends);
                }
                reader.seat.began = now;
                reader.consumer.ask(now)?;
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
                behind.record_count += reader.consumer.behind_count();
                behind.ns = behind.ns.max(reader.consumer.behind_ns(now));
            }
            behind
        })
    }

    pub(super) fn have_read_all_of(&self, moment: Moment) -> bool {
        self.present().all(|it| it.consumer.has_read_all_of(moment))
    }

    /// What consumers got. Whether something is missing at the end is known of those who have read all
    /// since every producer was quiet. `None` without consumers.
    pub(super) fn delivery(&mut self, quiet_since: Option<Moment>) -> Option<Delivery> {
        let mut delivery = Delivery::default();
        for reader in &mut self.readers {
            let consumer = &mut reader.consumer;
            if quiet_since.is_some_and(|since| consumer.has_read_all_of(since)) {
                let topic = self.plan.consumers[reader.seat.stream].topic;
                let is_judged = |it: &Producers| it.topic == topic && HEAD_BYTES <= it.value_bytes;
                let senders = self.senders.iter().enumerate();
                senders
                    .filter(|(_, it)| is_judged(&self.plan.producers[it.stream]))
                    .for_each(|(index, it)| check_end(consumer, index, &it.producer));
            } else {
                delivery.undelivered_count += consumer.behind_count();
                delivery.late_consumer_count += u64::from(quiet_since.is_some());
            }
            delivery.faults.missing_count += consumer.continuity.faults.missing_count;
            delivery.faults.repeated_count += consumer.continuity.faults.repeated_count;
        }
        (!self.readers.is_empty()).then_some(delivery)
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
                let topic = &self.plan.topics[producers.topic].name;
                let layout = AnswerLayout::new(self.produce_version, topic);
                let nth = u64::try_from(nth).expect("counts have at most 64 bits");
                self.senders.push(Sender { producer, stream, nth, layout });
            }
        }
        Ok(())
    }

    fn connect_consumers(&mut self) -> Result<(), Failure> {
        for (stream, consumers) in self.plan.consumers.iter().enumerate() {
            let Topic { name, partition_count, .. } = &self.plan.topics[consumers.topic];
            let starts = self.broker.log_starts(name, *partition_count)?;
            let count = match consumers.share {
                Share::All => consumers.count,
                Share::Split => consumers.count.min(starts.len()),
            };
            for nth in 0..count {
                let consumer = self.consumer(consumers, nth, &starts)?;
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
        let topic = &self.plan.topics[producers.topic];
        let partition_count = usize::try_from(topic.partition_count).expect("a positive count");
        let (producer, first_sequence) = if producers.is_idempotent {
            (self.broker.producer_id()?, Some(0))
        } else {
            (ProducerId::NONE, None)
        };
        let number = u16::try_from(self.senders.len()).expect("a plan has at most 2^16 producers");
        let shape = Shape {
            version: self.produce_version,
            topic: &topic.name,
            acks: producers.acks,
            record_count: producers.record_count,
            value_bytes: producers.value_bytes,
            producer,
            origin: Origin { scene: self.scene, producer: number },
        };
        let frame = ProduceFrame::new(&shape, random);
        let route = Route::new(nth, partition_count, first_sequence, producers.record_count);
        let stream = Broker::connect(self.plan.address)?.into_stream();
        Producer::new(stream, frame, route, producers.in_flight_max)
            .map_err(|error| Failure::io("prepare a connection", error))
    }

    fn consumer(
        &self,
        consumers: &Consumers,
        nth: usize,
        starts: &[i64],
    ) -> Result<Consumer, Failure> {
        let (first, stride) = match consumers.share {
            Share::All => (0, 1),
            Share::Split => (nth, consumers.count),
        };
        let starts = starts.iter().copied().skip(first).step_by(stride);
        let narrow = |it| i32::try_from(it).expect("consumers are few");
        let positions = Positions::new(narrow(first), narrow(stride), starts);
        let query = Query::new(&query::Shape {
            version: self.fetch_version,
            topic: &self.plan.topics[consumers.topic].name,
            partition_count: positions.count(),
            partition_bytes_max: consumers.partition_bytes_max,
            wait_max: consumers.wait_max,
        });
        let is_there_from_the_start = consumers.begins_in == 0 || consumers.from == From::Start;
        let first_nth = is_there_from_the_start.then_some(0);
        let sender_count = self.senders.len();
        let continuity = Continuity::new(self.scene, positions.count(), sender_count, first_nth);
        let stream = Broker::connect(self.plan.address)?.into_stream();
        Consumer::new(stream, self.fetch_version, query, positions, continuity)
            .map_err(|error| Failure::io("prepare a connection", error))
    }

    fn watch(&self, stream: impl AsFd, token: usize) -> Result<(), Failure> {
        let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
        let token = u64::try_from(token).expect("counts have at most 64 bits");
        epoll::add(&self.epoll, stream, epoll::EventData::new_u64(token), flags)
            .map_err(|error| Failure::io("watch a connection", error))
    }
}

fn check_end(consumer: &mut Consumer, index: usize, producer: &Producer) {
    for nth in 0..consumer.positions().count() {
        let partition = usize::try_from(consumer.positions().partition(nth));
        let partition = partition.expect("partitions count from 0");
        let acknowledged_nth = producer.acknowledged_nth(partition);
        consumer.continuity.on_end(nth, index, acknowledged_nth);
    }
}

/// Never 0. Two scenes that write to the same topic draw the same one once in 65,535 times.
fn draw_scene() -> u16 {
    let drawn = Moment::now().ns() ^ (u64::from(process::id()) << 40);
    let mixed = Random::from_seed(drawn).next() % u64::from(u16::MAX);
    u16::try_from(mixed).expect("16 bits") + 1
}
