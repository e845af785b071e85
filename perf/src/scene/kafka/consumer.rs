//! One connection that consumes: it always has one Fetch request at the broker, and takes each answer
//! apart when all of it is there.
//!
//! It knows no clock. What has been delivered is handed out as times and counts, so that whoever
//! counts need not see records. Memory grows to the largest answer and stays.

use std::io::{self, ErrorKind, Read as _};
use std::net::TcpStream;

use crate::clock::Moment;
use crate::failure::Failure;
use crate::payload::Head;
use crate::scene::cast::Behind;
use crate::scene::continuity::Continuity;
use crate::scene::kafka::answer::{Answer, Fetched};
use crate::scene::kafka::query::Query;
use crate::scene::kafka::records::{Batch, BatchError, Record};
use crate::scene::wire::{self, Delivered, Partitions, Read};
use crate::slice::Truncated;

const PREFIX_BYTES: usize = 4;
const RECEIVED_BYTES_AT_FIRST: usize = 64 << 10;
/// Read in one go: the other connections wait meanwhile.
const READ_BYTES_MAX: usize = 256 << 10;
/// A broker may answer with more than it was asked for: one batch at least. Not with so much more.
const ANSWER_BYTES_MAX: usize = 256 << 20;
const OFFSET_OUT_OF_RANGE: i16 = 1;

pub(super) struct Consumer {
    stream: TcpStream,
    version: i16,
    query: Query,
    /// Bytes of the query that the socket took.
    written_bytes: usize,
    correlation_id: i32,
    asked_at: Moment,
    received: Vec<u8>,
    filled: usize,
    positions: Positions,
    continuity: Continuity,
    /// When the request was sent whose answer reached the end of every log.
    ends_seen_by: Moment,
}

/// Where a consumer is in each of its partitions.
#[derive(Debug)]
pub(super) struct Positions {
    partitions: Partitions,
    all: Vec<Position>,
    /// Which is asked for first.
    turn: usize,
}

#[derive(Clone, Copy, Debug)]
struct Position {
    next: i64,
    /// As last heard.
    high_watermark: i64,
    /// Of the last record that was read.
    intended: Moment,
}

impl Positions {
    /// The `nth` partition is read from the `nth` of `offsets` on.
    pub(super) fn new(partitions: Partitions, offsets: impl Iterator<Item = i64>) -> Self {
        let position = |next| Position { next, high_watermark: i64::MAX, intended: Moment::BOOT };
        Self { partitions, all: offsets.map(position).collect(), turn: 0 }
    }

    fn partition(&self, nth: usize) -> i32 {
        i32::try_from(self.partitions.at(nth)).expect("partitions have 32 bits")
    }

    fn nth(&self, partition: i32) -> Option<usize> {
        let Partitions { first, stride, .. } = self.partitions;
        let distance = usize::try_from(partition).ok()?.checked_sub(first)?;
        let nth = distance / stride;
        (distance.is_multiple_of(stride) && nth < self.all.len()).then_some(nth)
    }

    /// All of them, each time beginning with another.
    fn in_turn(&mut self) -> impl ExactSizeIterator<Item = (i32, i64)> {
        let (count, turn) = (self.all.len(), self.turn);
        self.turn = (turn + 1) % count;
        (0..count).map(move |index| {
            let nth = (turn + index) % count;
            (self.partition(nth), self.all[nth].next)
        })
    }

    /// Records that the log has and that were not read.
    fn behind_count(&self) -> u64 {
        let behind = |it: &Position| u64::try_from(it.high_watermark - it.next).unwrap_or(0);
        self.all.iter().filter(|it| it.high_watermark != i64::MAX).map(behind).sum()
    }

    fn behind_ns(&self, now: Moment) -> u64 {
        let late = self.all.iter().filter(|it| it.next < it.high_watermark);
        late.map(|it| now.ns_since(it.intended)).max().unwrap_or(0)
    }
}

impl Consumer {
    /// The stream is connected already. The version is the query's.
    pub(super) fn new(
        stream: TcpStream,
        version: i16,
        query: Query,
        positions: Positions,
        continuity: Continuity,
    ) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            version,
            written_bytes: query.bytes().len(),
            query,
            correlation_id: 0,
            asked_at: Moment::BOOT,
            received: vec![0; RECEIVED_BYTES_AT_FIRST],
            filled: 0,
            positions,
            continuity,
            ends_seen_by: Moment::BOOT,
        })
    }

    /// Reads on from there; `offsets` has all partitions of the topic.
    fn go_to(&mut self, offsets: &[i64]) {
        for nth in 0..self.positions.all.len() {
            self.positions.all[nth].next = offsets[self.positions.partitions.at(nth)];
        }
    }

    /// Begins the next request.
    fn ask(&mut self, now: Moment) -> Result<(), Failure> {
        self.correlation_id = self.correlation_id.wrapping_add(1) & i32::MAX;
        self.query.stamp(self.correlation_id, self.positions.in_turn());
        self.written_bytes = 0;
        self.asked_at = now;
        wire::Consumer::write(self)
    }

    /// Whether anything came.
    fn read(&mut self, limit: usize) -> Result<bool, Failure> {
        loop {
            let end = limit.min(self.received.len());
            match self.stream.read(&mut self.received[self.filled..end]) {
                Ok(0) => {
                    return Err(Failure::new("the broker closed a connection: look at its log"));
                }
                Ok(count) => {
                    self.filled += count;
                    return Ok(true);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Failure::io("receive records", error)),
            }
        }
    }

    /// The end of the frame if it is whole; makes room for it.
    fn frame_end(&mut self) -> Result<Option<usize>, Failure> {
        let Some(prefix) = self.received[..self.filled].first_chunk() else { return Ok(None) };
        let frame_bytes = usize::try_from(i32::from_be_bytes(*prefix)).unwrap_or(usize::MAX);
        if ANSWER_BYTES_MAX < frame_bytes {
            return Err(Failure::new("the broker's answer is longer than an answer can be"));
        }
        let frame_end = PREFIX_BYTES + frame_bytes;
        if self.received.len() < frame_end {
            self.received.resize(frame_end.next_power_of_two(), 0);
        }
        Ok((frame_end <= self.filled).then_some(frame_end))
    }

    fn take_apart(
        &mut self,
        frame_end: usize,
        delivered: &mut Vec<Delivered>,
    ) -> Result<(), Failure> {
        let senseless = |Truncated| Failure::new("an answer to Fetch makes no sense");
        let frame = &self.received[PREFIX_BYTES..frame_end];
        let mut answer = Answer::read(self.version, frame).map_err(senseless)?;
        if answer.correlation_id != self.correlation_id {
            return Err(Failure::new("the broker answers what was not asked, or not in order"));
        }
        let mut is_sound = answer.error_code == 0;
        if !is_sound {
            delivered.push(Delivered::Refused(answer.error_code));
        }
        let mut answered_count = 0;
        while let Some(fetched) = answer.next().map_err(senseless)? {
            let nth = self.positions.nth(fetched.partition);
            let nth = nth.ok_or_else(|| Failure::new("a Fetch was answered for another one"))?;
            answered_count += 1;
            if fetched.error_code == 0 {
                let mut reading = Reading {
                    nth,
                    partition: fetched.partition,
                    position: &mut self.positions.all[nth],
                    continuity: &mut self.continuity,
                    delivered,
                };
                reading.read(&fetched)?;
            } else if fetched.error_code == OFFSET_OUT_OF_RANGE {
                let partition = fetched.partition;
                let why = format!("partition {partition} no longer has what is to be read next");
                return Err(Failure::new(why));
            } else {
                is_sound = false;
                delivered.push(Delivered::Refused(fetched.error_code));
            }
        }
        let is_at_ends = self.positions.all.iter().all(|it| it.high_watermark <= it.next);
        if is_sound && answered_count == self.positions.all.len() && is_at_ends {
            self.ends_seen_by = self.asked_at;
        }
        Ok(())
    }
}

impl wire::Consumer for Consumer {
    fn stream(&self) -> &TcpStream {
        &self.stream
    }

    fn partitions(&self) -> Partitions {
        self.positions.partitions
    }

    fn continuity(&self) -> &Continuity {
        &self.continuity
    }

    fn continuity_mut(&mut self) -> &mut Continuity {
        &mut self.continuity
    }

    fn begin(&mut self, now: Moment, ends: Option<&[i64]>) -> Result<(), Failure> {
        if let Some(ends) = ends {
            self.go_to(ends);
        }
        self.ask(now)
    }

    fn write(&mut self) -> Result<(), Failure> {
        let rest = &self.query.bytes()[self.written_bytes..];
        self.written_bytes += wire::write_some(&mut self.stream, rest)?;
        Ok(())
    }

    /// If what it reads makes an answer whole, it asks again.
    fn receive(
        &mut self,
        clock: fn() -> Moment,
        delivered: &mut Vec<Delivered>,
    ) -> Result<Read, Failure> {
        let limit = self.filled + READ_BYTES_MAX;
        while self.filled < limit {
            if !self.read(limit)? {
                return Ok(Read::All);
            }
            let Some(frame_end) = self.frame_end()? else { continue };
            if frame_end < self.filled {
                return Err(Failure::new("the broker answers what was not asked"));
            }
            let now = clock();
            self.take_apart(frame_end, delivered)?;
            self.filled = 0;
            // The socket is empty: nothing else was asked for.
            self.ask(now)?;
            return Ok(Read::Answer(now));
        }
        Ok(Read::Part)
    }

    fn behind(&self, now: Moment) -> Option<Behind> {
        let (record_count, ns) = (self.positions.behind_count(), self.positions.behind_ns(now));
        Some(Behind { record_count, ns })
    }

    fn has_read_all_of(&self, moment: Moment) -> Option<bool> {
        Some(moment <= self.ends_seen_by)
    }

    fn last_intended(&self, nth_partition: usize) -> Moment {
        self.positions.all[nth_partition].intended
    }
}

/// The records of one partition in one answer.
struct Reading<'a> {
    nth: usize,
    partition: i32,
    position: &'a mut Position,
    continuity: &'a mut Continuity,
    delivered: &'a mut Vec<Delivered>,
}

impl Reading<'_> {
    fn read(&mut self, fetched: &Fetched<'_>) -> Result<(), Failure> {
        self.position.high_watermark = fetched.high_watermark;
        let mut rest = fetched.records;
        let before = self.position.next;
        while let Some(batch) = Batch::take(&mut rest).map_err(|it| self.broken(it))? {
            self.delivered.push(Delivered::Bytes(batch.byte_count));
            self.read_batch(batch).map_err(|it| self.broken(it))?;
        }
        if !fetched.records.is_empty() && self.position.next == before {
            let partition = self.partition;
            let why = format!("partition {partition} gives no whole batch: ask for more bytes");
            return Err(Failure::new(why));
        }
        Ok(())
    }

    /// Records of the same time are told as one.
    fn read_batch(&mut self, mut batch: Batch<'_>) -> Result<(), BatchError> {
        let (mut intended, mut count) = (Moment::BOOT, 0);
        // An answer may begin with a batch of which a part was read.
        let first = self.position.next.max(batch.base_offset);
        let mut expected = first;
        while let Some(Record { offset, value }) = batch.next()? {
            if offset < first {
                continue;
            }
            if offset < expected {
                return Err(BatchError::Senseless);
            }
            expected = offset + 1;
            let Some(head) = Head::of(value) else { continue };
            self.continuity.on_record(self.nth, head);
            let moment = Moment::BOOT.plus_ns(head.intended_ns);
            if moment != intended && 0 < count {
                self.delivered.push(Delivered::Records { intended, count });
                count = 0;
            }
            intended = moment;
            count += 1;
        }
        if 0 < count {
            self.delivered.push(Delivered::Records { intended, count });
            self.position.intended = intended;
        }
        self.position.next = self.position.next.max(batch.end_offset);
        Ok(())
    }

    fn broken(&self, error: BatchError) -> Failure {
        let (partition, next) = (self.partition, self.position.next);
        let what = match error {
            BatchError::Senseless => "makes no sense",
            BatchError::Checksum => "has a wrong checksum",
            BatchError::Compressed => "is compressed: give the topic compression.type=producer",
        };
        Failure::new(format!("the batch at offset {next} of partition {partition} {what}"))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::TcpListener;
    use std::time::Duration;

    use bytes::Bytes;
    use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
    use kafka_protocol::messages::{FetchResponse, ResponseHeader, TopicName};
    use kafka_protocol::protocol::{Encodable, HeaderVersion, StrBytes};
    use net::fetch::FetchRequest;
    use rustix::event::{PollFd, PollFlags, poll};

    use super::*;
    use crate::batch::{ProducerId, Stamp, encode};
    use crate::broker;
    use crate::frame::CLIENT_ID;
    use crate::payload::{Origin, Random};
    use crate::scene::kafka::answer::FETCH_LAST;
    use crate::scene::kafka::query::Shape;
    use crate::scene::wire::Consumer as _;

    const SCENE: u16 = 4;
    const NOW: Moment = Moment::BOOT.plus_ns(99);

    /// A consumer of the partitions 1 and 3, and the broker's end of its connection.
    fn pair() -> (Consumer, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (peer, _) = listener.accept().unwrap();
        let query = Query::new(&Shape {
            version: FETCH_LAST,
            topic: "topic",
            partition_count: 2,
            partition_bytes_max: 1 << 20,
            wait_max: Duration::from_millis(500),
        });
        let positions =
            Positions::new(Partitions { first: 1, stride: 2, count: 2 }, [10, 0].into_iter());
        let continuity = Continuity::new(SCENE, 2, 1, Some(0));
        let consumer = Consumer::new(stream, FETCH_LAST, query, positions, continuity);
        (consumer.unwrap(), peer)
    }

    fn behind(consumer: &Consumer) -> (u64, u64) {
        let behind = consumer.behind(NOW).unwrap();
        (behind.record_count, behind.ns)
    }

    fn batch(base_offset: i64, record_count: i32, intended_ns: u64, first_nth: u32) -> Vec<u8> {
        let (origin, mut random) = (Origin { scene: SCENE, producer: 0 }, Random::from_seed(1));
        let (mut batch, layout) = encode(record_count, 100, ProducerId::NONE, origin, &mut random);
        let stamp = Stamp { intended_ns, first_nth, wall_ms: 1, base_sequence: -1 };
        layout.stamp(&mut batch, stamp);
        batch[..8].copy_from_slice(&base_offset.to_be_bytes());
        batch
    }

    fn partition(index: i32, high_watermark: i64, records: Vec<u8>) -> PartitionData {
        PartitionData::default()
            .with_partition_index(index)
            .with_high_watermark(high_watermark)
            .with_records(Some(Bytes::from(records)))
    }

    fn answer(correlation_id: i32, partitions: Vec<PartitionData>) -> Vec<u8> {
        let topic = FetchableTopicResponse::default()
            .with_topic(TopicName(StrBytes::from_static_str("topic")))
            .with_partitions(partitions);
        let response = FetchResponse::default().with_responses(vec![topic]);
        let mut frame = vec![0; PREFIX_BYTES];
        let header = ResponseHeader::default().with_correlation_id(correlation_id);
        header.encode(&mut frame, FetchResponse::header_version(FETCH_LAST)).unwrap();
        response.encode(&mut frame, FETCH_LAST).unwrap();
        let frame_bytes = i32::try_from(frame.len() - PREFIX_BYTES).unwrap();
        frame[..PREFIX_BYTES].copy_from_slice(&frame_bytes.to_be_bytes());
        frame
    }

    /// The offsets that the next request asks for.
    fn asked(peer: &mut TcpStream) -> Vec<(i32, i64)> {
        let mut frame = Vec::new();
        broker::read_frame(peer, &mut frame).unwrap();
        let header_bytes = 8 + 2 + CLIENT_ID.len() + 1;
        let body = Bytes::from(frame).slice(header_bytes..);
        let request = FetchRequest::decode(&body, FETCH_LAST).unwrap();
        let partitions = request.topics[0].partitions.iter();
        partitions.map(|it| (it.index, it.fetch_offset)).collect()
    }

    /// What comes of these bytes, once all of them have been read.
    fn receive(
        consumer: &mut Consumer,
        peer: &mut TcpStream,
        bytes: &[u8],
    ) -> Result<Vec<Delivered>, Failure> {
        let mut delivered = Vec::new();
        let mut read = Read::All;
        for piece in bytes.chunks(bytes.len().div_ceil(50)) {
            assert_eq!(read, Read::All, "an answer ends with its last byte");
            peer.write_all(piece).unwrap();
            until_readable(consumer);
            read = consumer.receive(|| NOW, &mut delivered)?;
        }
        assert_eq!(read, Read::Answer(NOW));
        Ok(delivered)
    }

    fn until_readable(consumer: &Consumer) {
        let mut watched = [PollFd::new(consumer.stream(), PollFlags::IN)];
        assert_eq!(poll(&mut watched, None), Ok(1));
    }

    #[track_caller]
    fn check_failure(bytes: &[u8], want: &str) {
        let (mut consumer, mut peer) = pair();
        consumer.ask(NOW).unwrap();
        let failure = receive(&mut consumer, &mut peer, bytes).unwrap_err().to_string();
        assert!(failure.contains(want), "{failure}");
    }

    #[test]
    fn an_answer_in_pieces_is_delivered_once_and_the_next_is_asked_for() {
        let (mut consumer, mut peer) = pair();
        consumer.ask(NOW).unwrap();
        assert_eq!(asked(&mut peer), [(1, 10), (3, 0)]);
        let first = [batch(10, 2, 7, 0), batch(12, 1, 8, 2)].concat();
        let (first_bytes, second_bytes) = (batch(0, 2, 0, 0).len(), batch(0, 1, 0, 0).len());
        let bytes = answer(1, vec![partition(1, 13, first), partition(3, 0, Vec::new())]);
        let delivered = receive(&mut consumer, &mut peer, &bytes).unwrap();
        let records = |ns, count| Delivered::Records { intended: Moment::BOOT.plus_ns(ns), count };
        let want = [
            Delivered::Bytes(first_bytes),
            records(7, 2),
            Delivered::Bytes(second_bytes),
            records(8, 1),
        ];
        assert_eq!(delivered, want);
        assert_eq!(asked(&mut peer), [(3, 0), (1, 13)]);
        assert_eq!((behind(&consumer), consumer.has_read_all_of(NOW)), ((0, 0), Some(true)));
        assert_eq!(consumer.continuity.faults.missing_count, 0);
    }

    #[test]
    fn a_long_answer_is_read_in_parts() {
        let (mut consumer, mut peer) = pair();
        consumer.ask(NOW).unwrap();
        let records = batch(10, 20_000, 7, 0);
        let bytes = answer(1, vec![partition(1, 20_010, records)]);
        let mut delivered = Vec::new();
        let mut part_count = 0;
        std::thread::scope(|scope| {
            scope.spawn(|| peer.write_all(&bytes).unwrap());
            loop {
                until_readable(&consumer);
                match consumer.receive(|| NOW, &mut delivered).unwrap() {
                    Read::Answer(_) => break,
                    Read::Part | Read::PartWhole(_) | Read::All => part_count += 1,
                }
            }
        });
        assert!(bytes.len() / READ_BYTES_MAX <= part_count, "{part_count}");
        let intended = Moment::BOOT.plus_ns(7);
        assert_eq!(delivered[1..], [Delivered::Records { intended, count: 20_000 }]);
    }

    #[test]
    fn who_goes_elsewhere_asks_for_its_partitions_there() {
        let (mut consumer, mut peer) = pair();
        consumer.go_to(&[5, 6, 7, 8]);
        consumer.ask(NOW).unwrap();
        assert_eq!(asked(&mut peer), [(1, 6), (3, 8)]);
    }

    #[test]
    fn who_has_not_heard_of_every_log_has_not_read_all() {
        let (mut consumer, mut peer) = pair();
        consumer.ask(NOW).unwrap();
        let bytes = answer(1, vec![partition(1, 10, Vec::new())]);
        assert_eq!(receive(&mut consumer, &mut peer, &bytes).unwrap(), []);
        assert_eq!(consumer.has_read_all_of(NOW), Some(false));
        let empty = |index, end| partition(index, end, Vec::new());
        let bytes = answer(2, vec![empty(1, 10), empty(3, 5)]);
        receive(&mut consumer, &mut peer, &bytes).unwrap();
        assert_eq!((behind(&consumer), consumer.has_read_all_of(NOW)), ((5, 99), Some(false)));
    }

    #[test]
    fn a_batch_of_which_a_part_was_read_gives_the_rest() {
        let (mut consumer, mut peer) = pair();
        consumer.ask(NOW).unwrap();
        let bytes = answer(1, vec![partition(1, 12, batch(8, 4, 7, 0))]);
        let delivered = receive(&mut consumer, &mut peer, &bytes).unwrap();
        let intended = Moment::BOOT.plus_ns(7);
        assert_eq!(delivered[1..], [Delivered::Records { intended, count: 2 }]);
    }

    #[test]
    fn a_refused_partition_is_asked_for_again() {
        let (mut consumer, mut peer) = pair();
        consumer.ask(NOW).unwrap();
        asked(&mut peer);
        let refused = partition(1, -1, Vec::new()).with_error_code(6);
        let bytes = answer(1, vec![refused, partition(3, 0, Vec::new())]);
        let delivered = receive(&mut consumer, &mut peer, &bytes).unwrap();
        assert_eq!(delivered, [Delivered::Refused(6)]);
        assert_eq!(asked(&mut peer), [(3, 0), (1, 10)]);
        assert_eq!(consumer.has_read_all_of(NOW), Some(false));
    }

    #[test]
    fn answers_that_cannot_be_end_the_scene() {
        let empty = |index| partition(index, 0, Vec::new());
        check_failure(&answer(2, vec![empty(1)]), "not in order");
        check_failure(&answer(1, vec![empty(2)]), "for another one");
        check_failure(&answer(1, vec![empty(1).with_error_code(1)]), "no longer has");
        let cut_off = batch(10, 1, 7, 0)[..80].to_vec();
        check_failure(&answer(1, vec![partition(1, 11, cut_off)]), "no whole batch");
        let mut wrong = batch(10, 1, 7, 0);
        wrong[30] ^= 1;
        check_failure(&answer(1, vec![partition(1, 11, wrong)]), "wrong checksum");
        check_failure(&[0, 0, 0, 2, 0, 0], "makes no sense");
        check_failure(&i32::MAX.to_be_bytes(), "longer than");
    }

    #[test]
    fn more_than_an_answer_ends_the_scene() {
        let (mut consumer, mut peer) = pair();
        consumer.ask(NOW).unwrap();
        let mut bytes = answer(1, vec![partition(1, 0, Vec::new())]);
        bytes.push(0);
        peer.write_all(&bytes).unwrap();
        until_readable(&consumer);
        let failure = consumer.receive(|| NOW, &mut Vec::new()).unwrap_err();
        assert!(failure.to_string().contains("not asked"));
    }

    #[test]
    fn a_connection_that_is_closed_is_a_failure() {
        let (mut consumer, peer) = pair();
        drop(peer);
        until_readable(&consumer);
        let failure = consumer.receive(|| NOW, &mut Vec::new()).unwrap_err();
        assert!(failure.to_string().contains("closed a connection"));
    }
}
