//! Answers to DescribeLogDirs of the version that generated code does not know.
//!
//! Version 5 (KIP-1066) says of each directory, last, whether it is cordoned: whether no new replica is placed
//! there. Generated code ends at 4; no directory of ours is ever cordoned.

use kafka_protocol::messages::DescribeLogDirsResponse;
use kafka_protocol::protocol::Encodable;

use crate::api::ApiKey;
use crate::header::Reply;
use crate::outgoing::{Inexpressible, Outgoing};

/// The first version that says it.
pub const CORDONED_FROM: i16 = 5;

/// # Errors
/// If a text is longer than the version can carry: close the connection.
pub(crate) fn encode<R>(
    body: &DescribeLogDirsResponse,
    frame: &mut Outgoing<R>,
    reply: Reply,
) -> Result<(), Inexpressible> {
    let known = ApiKey::DescribeLogDirs.generated_version(reply.version);
    let writer = frame.writer();
    if reply.version < CORDONED_FROM {
        return body.encode(writer.buffer(), known).or(Err(Inexpressible));
    }
    writer.i32(body.throttle_time_ms);
    writer.i16(body.error_code);
    writer.count(body.results.len());
    for result in &body.results {
        // It ends with tagged fields, of which there are none. What is cordoned stands before them.
        let buffer = writer.buffer();
        result.encode(buffer, known).or(Err(Inexpressible))?;
        let tagged = buffer.split_off(buffer.len() - 1);
        assert!(tagged[..] == [0], "no tagged field is known");
        writer.bool(false);
        writer.end_struct();
    }
    writer.end_struct();
    Ok(())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use kafka_protocol::messages::DescribeLogDirsResponse;
    use kafka_protocol::messages::describe_log_dirs_response::DescribeLogDirsResult;
    use kafka_protocol::protocol::StrBytes;

    use super::CORDONED_FROM;
    use crate::api::ApiKey;
    use crate::header::Reply;
    use crate::outgoing::Piece;
    use crate::response::Response;

    fn frame(version: i16) -> Vec<u8> {
        let result = |path| {
            DescribeLogDirsResult::default()
                .with_log_dir(StrBytes::from_static_str(path))
                .with_total_bytes(3)
                .with_usable_bytes(2)
        };
        let body = DescribeLogDirsResponse::default()
            .with_throttle_time_ms(1)
            .with_results(vec![result("a"), result("b")]);
        let reply = Reply { api: ApiKey::DescribeLogDirs, version, correlation_id: 9 };
        let pieces = Response::<Bytes>::DescribeLogDirs(body).encode(reply).unwrap();
        let [Piece::Bytes(frame)] = pieces.as_slice() else { panic!("one piece") };
        frame.to_vec()
    }

    #[test]
    fn each_directory_ends_with_whether_it_is_cordoned() {
        let directory = |name: u8, cordoned: &[u8]| {
            let head = [&[0, 0, 2, name, 1][..], &3_i64.to_be_bytes(), &2_i64.to_be_bytes()];
            [&head.concat(), cordoned, &[0]].concat()
        };
        let expected = |cordoned: &[u8]| {
            let directories = [directory(b'a', cordoned), directory(b'b', cordoned)].concat();
            let body = [&[0, 0, 0, 9, 0, 0, 0, 0, 1, 0, 0, 3][..], &directories, &[0]].concat();
            let size = u32::try_from(body.len()).unwrap();
            [&size.to_be_bytes()[..], &body].concat()
        };
        assert_eq!(frame(CORDONED_FROM - 1), expected(&[]));
        assert_eq!(frame(CORDONED_FROM), expected(&[0]));
    }
}
