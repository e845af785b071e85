//! One connection of a simulated client: requests as real bytes, responses in the order of requests.
//!
//! It knows no topic. A response that does not decode, or answers another request, is a bug of the
//! broker's and panics; a connection that ends, or a response that does not come in time, is `Gone`.

use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use net::api::ApiKey;
use net::client::{self, Envelope};
use net::frame::Assembler;

use crate::io::{Io, Nanos};
use crate::sim::{SimIo, SimSocket};

/// How long a client waits for an answer before it gives the connection up.
pub const PATIENCE: Duration = Duration::from_secs(30);
const FRAME_BYTES_MAX: usize = 100 << 20;
const RECONNECT_NANOS: u64 = 20_000_000;

/// The connection is no more; what was sent may have been done or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

pub struct Wire {
    io: SimIo,
    socket: SimSocket,
    assembler: Assembler,
    /// Received and not yet taken.
    rest: Vec<u8>,
    next_correlation: i32,
}

impl Wire {
    /// Tries until the node lets somebody in.
    pub async fn connect(io: &SimIo, node: usize) -> Self {
        loop {
            if let Ok(socket) = io.connect(node).await {
                let assembler = Assembler::of_responses(FRAME_BYTES_MAX);
                return Self {
                    io: io.clone(),
                    socket,
                    assembler,
                    rest: Vec::new(),
                    next_correlation: 0,
                };
            }
            io.sleep(Duration::from_nanos(RECONNECT_NANOS)).await;
        }
    }

    pub fn envelope(&mut self, version: i16) -> Envelope {
        let correlation_id = self.next_correlation;
        self.next_correlation += 1;
        Envelope { version, correlation_id, client_id: StrBytes::from_static_str("sim") }
    }

    pub async fn send(&mut self, frame: Bytes) -> Result<(), Gone> {
        let began = self.io.now();
        let sent = self.io.send(&self.socket, vec![frame]);
        match before(&self.io, began.plus(PATIENCE), sent).await {
            Some(sent) => sent.map_err(|_cut| Gone),
            None => {
                self.io.on_unanswered("bytes that nobody reads", began);
                Err(Gone)
            }
        }
    }

    /// The body of the next response, which must be the one to `envelope`.
    pub async fn receive(&mut self, api: ApiKey, envelope: &Envelope) -> Result<Bytes, Gone> {
        let asked_at = self.io.now();
        let Some(frame) = self.frame(asked_at.plus(PATIENCE)).await? else {
            self.io.on_unanswered(&format!("{api:?}"), asked_at);
            return Err(Gone);
        };
        let (correlation_id, body) = client::split_response(api, envelope.version, &frame)
            .unwrap_or_else(|error| panic!("the header of a response to {api:?}: {error:?}"));
        assert_eq!(
            correlation_id, envelope.correlation_id,
            "responses come in the order of requests"
        );
        Ok(body)
    }

    /// A request and its response, of any API with generated messages.
    pub async fn call<T: Decodable>(
        &mut self,
        api: ApiKey,
        version: i16,
        request: &impl Encodable,
    ) -> Result<T, Gone> {
        let envelope = self.envelope(version);
        let frame = client::encode_request(api, &envelope, request)
            .unwrap_or_else(|error| panic!("{api:?} version {version}: {error:?}"));
        self.send(frame).await?;
        let body = self.receive(api, &envelope).await?;
        let response = client::decode_response(api, version, &body);
        Ok(response.unwrap_or_else(|error| panic!("a response to {api:?} {version}: {error:?}")))
    }

    /// `None`: it does not come before `end`.
    async fn frame(&mut self, end: Nanos) -> Result<Option<Bytes>, Gone> {
        loop {
            let mut rest = &self.rest[..];
            let announced = self.assembler.announce(&mut rest);
            assert!(announced.is_ok(), "the size of a response: {announced:?}");
            let frame = self.assembler.take(&mut rest);
            self.rest = rest.to_vec();
            if frame.is_some() {
                return Ok(frame);
            }
            match before(&self.io, end, self.io.receive(&self.socket)).await {
                Some(Ok(received)) if !received.is_empty() => {
                    self.rest.extend_from_slice(&received);
                }
                Some(_) => return Err(Gone),
                None => return Ok(None),
            }
        }
    }
}

/// What `wanted` comes to, if it does before `end`.
async fn before<T>(io: &SimIo, end: Nanos, wanted: impl Future<Output = T>) -> Option<T> {
    let mut wanted = pin!(wanted);
    let mut alarm = pin!(io.sleep(end.since(io.now())));
    std::future::poll_fn(|context| {
        if let Poll::Ready(value) = wanted.as_mut().poll(context) {
            return Poll::Ready(Some(value));
        }
        alarm.as_mut().poll(context).map(|()| None)
    })
    .await
}
