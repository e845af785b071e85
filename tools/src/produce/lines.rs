//! Standard input as records: a thread reads, the producer takes.
//!
//! The thread hands over what has arrived, so that a slow writer's line leaves at once and a fast
//! one's lines leave many at a time. Bounded: a producer that waits stops the thread.

use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use bytes::Bytes;

use crate::failure::Failure;

/// Larger ones fit into no batch of any broker's default.
const LINE_BYTES_MAX: u64 = 128 * 1024 * 1024;
const BUFFER_BYTES: usize = 256 * 1024;
/// Lines handed over together, and how many such groups may wait.
const GROUP_LINES_MAX: usize = 1_024;
const GROUP_BYTES_MAX: usize = 1024 * 1024;
const GROUPS_WAITING_MAX: usize = 8;

/// Lines without their delimiter, or why there are no more.
pub(crate) type Group = Result<Vec<Bytes>, Failure>;

/// Starts the thread. The channel ends where the input ends.
#[expect(clippy::disallowed_methods, reason = "the command's own thread; there is no shard here")]
pub(crate) fn read(delimiter: u8) -> Receiver<Group> {
    let (sender, receiver) = sync_channel(GROUPS_WAITING_MAX);
    drop(std::thread::spawn(move || {
        let mut input = io::BufReader::with_capacity(BUFFER_BYTES, io::stdin());
        read_all(&mut input, delimiter, &sender);
    }));
    receiver
}

fn read_all<R: Read>(input: &mut io::BufReader<R>, delimiter: u8, sender: &SyncSender<Group>) {
    let mut group = Vec::new();
    let mut group_bytes = 0;
    loop {
        match read_line(input, delimiter) {
            Ok(Some(line)) => {
                group_bytes += line.len();
                group.push(line);
                let is_full = group.len() == GROUP_LINES_MAX || group_bytes >= GROUP_BYTES_MAX;
                if is_full || !input.buffer().contains(&delimiter) {
                    group_bytes = 0;
                    if sender.send(Ok(std::mem::take(&mut group))).is_err() {
                        return; // The producer failed, and has said why.
                    }
                }
            }
            Ok(None) => return,
            Err(failure) => {
                if sender.send(Err(failure)).is_err() {
                    tracing::debug!("nobody waits for the rest of the input");
                }
                return;
            }
        }
    }
}

/// The next line; the last one may lack its delimiter. `None` at the end.
fn read_line(input: &mut impl BufRead, delimiter: u8) -> Result<Option<Bytes>, Failure> {
    let mut line = Vec::new();
    let count = input
        .take(LINE_BYTES_MAX + 1)
        .read_until(delimiter, &mut line)
        .map_err(|error| Failure::failed(format!("cannot read standard input: {error}")))?;
    if count == 0 {
        return Ok(None);
    }
    if line.last() == Some(&delimiter) {
        line.pop();
    } else if u64::try_from(count).is_ok_and(|count| count > LINE_BYTES_MAX) {
        return Err(Failure::failed(format!("a line is longer than {LINE_BYTES_MAX} bytes")));
    }
    Ok(Some(Bytes::from(line)))
}

#[cfg(test)]
mod tests {
    use super::{read_all, read_line};
    use std::io::BufReader;
    use std::sync::mpsc::sync_channel;

    #[track_caller]
    fn check(input: &[u8], want: &[&[u8]]) {
        let (sender, receiver) = sync_channel(100);
        read_all(&mut BufReader::new(input), b'\n', &sender);
        drop(sender);
        let lines: Vec<_> = receiver.iter().flat_map(Result::unwrap).collect();
        assert_eq!(lines, want);
    }

    #[test]
    fn lines_are_cut_at_the_delimiter() {
        check(b"", &[]);
        check(b"a\nb\n", &[b"a", b"b"]);
        check(b"a\n\nb", &[b"a", b"", b"b"]);
        check(b"\n", &[b""]);
        check(b"a\r\n", &[b"a\r"]);
    }

    #[test]
    fn another_delimiter() {
        let mut input = BufReader::new(&b"a\nb\0c"[..]);
        assert_eq!(read_line(&mut input, 0).unwrap().unwrap(), &b"a\nb"[..]);
        assert_eq!(read_line(&mut input, 0).unwrap().unwrap(), &b"c"[..]);
        assert!(read_line(&mut input, 0).unwrap().is_none());
    }
}
