//! An answer that is a time to wait and one list of Kafka's generated structs, a struct at a time: all of them
//! together may be many megabytes, and several times that before they are written.
//!
//! ```text
//! answer    throttle i32 | items
//! ```

use kafka_protocol::protocol::Encodable;

use crate::api::ApiKey;
use crate::chunks::Chunks;
use crate::header::Reply;
use crate::outgoing::{Inexpressible, Outgoing, Piece};

/// The items of an answer that is being written.
#[derive(Debug)]
pub struct Items {
    reply: Reply,
    count: usize,
    chunks: Chunks,
}

impl Items {
    /// # Panics
    /// If it answers a request of an API whose answers have another shape.
    #[must_use]
    pub fn new(reply: Reply) -> Self {
        assert!(reply.api == ApiKey::DescribeConfigs, "an answer is of the API that was asked");
        Self { reply, count: 0, chunks: Chunks::new(reply.api.layout(reply.version)) }
    }

    /// # Errors
    /// If a text is longer than the version can carry: close the connection.
    pub fn push(&mut self, item: &impl Encodable) -> Result<(), Inexpressible> {
        self.count += 1;
        let version = self.reply.api.generated_version(self.reply.version);
        item.encode(self.chunks.writer().buffer(), version).or(Err(Inexpressible))
    }

    pub const fn chunks(&mut self) -> &mut Chunks {
        &mut self.chunks
    }

    /// What is written.
    #[must_use]
    pub const fn byte_count(&self) -> usize {
        self.chunks.byte_count()
    }

    /// The frame to send.
    ///
    /// # Errors
    /// If it is more than a frame can carry: close the connection.
    pub fn answer<R>(self, throttle_ms: i32) -> Result<Vec<Piece<R>>, Inexpressible> {
        let mut frame = Outgoing::response(self.reply);
        frame.writer().i32(throttle_ms);
        frame.writer().count(self.count);
        self.chunks.put_into(&mut frame);
        frame.writer().end_struct();
        frame.finish()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use kafka_protocol::messages::DescribeConfigsResponse;
    use kafka_protocol::messages::describe_configs_response::{
        DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
    };
    use kafka_protocol::protocol::{Encodable, StrBytes};

    use super::Items;
    use crate::api::ApiKey;
    use crate::header::{Reply, read_response};
    use crate::outgoing::{Inexpressible, Piece};

    const API: ApiKey = ApiKey::DescribeConfigs;

    const fn reply(version: i16) -> Reply {
        Reply { api: API, version, correlation_id: 5 }
    }

    fn result(name: &'static str) -> DescribeConfigsResult {
        let text = StrBytes::from_static_str;
        let synonym = DescribeConfigsSynonym::default()
            .with_name(text("log.retention.ms"))
            .with_value(Some(text("1")))
            .with_source(5);
        let config = DescribeConfigsResourceResult::default()
            .with_name(text("retention.ms"))
            .with_config_source(1)
            .with_synonyms(vec![synonym]);
        DescribeConfigsResult::default()
            .with_error_code(3)
            .with_resource_type(2)
            .with_resource_name(text(name))
            .with_configs(vec![config])
    }

    fn bytes(pieces: Vec<Piece<Bytes>>) -> Bytes {
        let bytes = pieces.into_iter().map(|piece| match piece {
            Piece::Bytes(bytes) => bytes,
            Piece::Records(_) => panic!("configs are no records"),
        });
        Bytes::from(bytes.collect::<Vec<_>>().concat())
    }

    /// In chunks where `cuts` says so.
    fn written(version: i16, results: &[DescribeConfigsResult], cuts: bool) -> Bytes {
        let mut items = Items::new(reply(version));
        for result in results {
            items.push(result).unwrap();
            if cuts {
                items.chunks().end_chunk();
            }
        }
        bytes(items.answer(3).unwrap())
    }

    #[test]
    fn every_version_is_as_generated_code_writes_it_in_chunks_or_not() {
        let results = vec![result("a"), result("b"), result("c")];
        for version in API.api().working_first..=API.api().last {
            let whole = DescribeConfigsResponse::default()
                .with_throttle_time_ms(3)
                .with_results(results.clone());
            let mut expected = Vec::new();
            whole.encode(&mut expected, version).unwrap();
            for cuts in [false, true] {
                let frame = written(version, &results, cuts);
                let (id, body) = read_response(&frame.slice(4..), API, version).unwrap();
                assert_eq!((id, &*body), (5, &*expected), "version {version}");
            }
        }
    }

    #[test]
    fn a_text_too_long_for_its_version_is_no_crash() {
        let long = StrBytes::from_string("x".repeat(40_000));
        let result = DescribeConfigsResult::default().with_resource_name(long);
        assert_eq!(Items::new(reply(1)).push(&result), Err(Inexpressible));
    }
}
