//! One blocking connection to a broker, for everything around a measure: what is said goes out at once,
//! and one waits for what is to be heard.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::failure::Failure;

const CONNECT_WAIT: Duration = Duration::from_secs(5);
const RESPONSE_WAIT: Duration = Duration::from_secs(120);
const PIECE_BYTES: usize = 16 << 10;

pub(crate) struct Conversation {
    address: SocketAddr,
    stream: TcpStream,
    received: Vec<u8>,
}

impl Conversation {
    pub(crate) fn connect(address: SocketAddr) -> Result<Self, Failure> {
        let lost = |error| Failure::io(format!("connect to {address}"), error);
        let stream = TcpStream::connect_timeout(&address, CONNECT_WAIT).map_err(lost)?;
        stream.set_nodelay(true).map_err(lost)?;
        stream.set_read_timeout(Some(RESPONSE_WAIT)).map_err(lost)?;
        Ok(Self { address, stream, received: Vec::new() })
    }

    pub(crate) fn say(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let address = self.address;
        self.stream.write_all(bytes).map_err(|error| Failure::io(format!("ask {address}"), error))
    }

    /// Waits until `take` takes something off the front of what was received.
    pub(crate) fn hear<T>(
        &mut self,
        mut take: impl FnMut(&mut &[u8]) -> Result<Option<T>, Failure>,
    ) -> Result<T, Failure> {
        let mut piece = [0; PIECE_BYTES];
        loop {
            let mut rest = self.received.as_slice();
            let taken = take(&mut rest)?;
            let taken_bytes = self.received.len() - rest.len();
            self.received.drain(..taken_bytes);
            if let Some(taken) = taken {
                return Ok(taken);
            }
            let address = self.address;
            let lost = |error| Failure::io(format!("hear the answer of {address}"), error);
            match self.stream.read(&mut piece).map_err(lost)? {
                0 => return Err(Failure::new(format!("{address} closed a connection"))),
                count => self.received.extend_from_slice(&piece[..count]),
            }
        }
    }

    /// The connection, for other things. All that was said on it has been heard.
    pub(crate) fn into_stream(self) -> TcpStream {
        assert!(self.received.is_empty(), "nothing was asked that has no answer");
        self.stream
    }
}
