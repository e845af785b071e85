//! One blocking connection to one broker: requests out, responses in the same order back.
//!
//! It knows Kafka's framing and which versions both sides speak, and nothing of topics.
//! Invariant: responses come in the order of `send`; after an error the connection is of no use.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use kafka_protocol::protocol::{Request, StrBytes};

use net::api::ApiKey;
use net::client::{self, Envelope};
use net::codec::DecodeError;
use net::fetch::{FetchRequest, FetchResponse};
use net::produce::{ProduceRequest, ProduceResponse};

use crate::failure::Failure;

pub(crate) const CLIENT_ID: &str = "odradek";
pub(crate) const PORT_DEFAULT: u16 = 9092;

/// The newest versions that name topics instead of giving their ids.
const PRODUCE_LAST: i16 = 12;
const FETCH_LAST: i16 = 12;

const CONNECT_WAIT: Duration = Duration::from_secs(10);
/// Longer than any request's own timeout.
const RESPONSE_WAIT: Duration = Duration::from_secs(60);
/// A larger frame is not Kafka's: an HTTP server's first bytes read as a length of 1.2 GB.
const RESPONSE_BYTES_MAX: usize = 256 * 1024 * 1024;

/// A connection, after both sides told their versions.
pub(crate) struct Connection {
    address: String,
    stream: TcpStream,
    versions: ApiVersionsResponse,
    correlation_id: i32,
}

/// The right to receive the response to one request. Given back in the order of sending.
#[must_use]
pub(crate) struct Pending {
    api: ApiKey,
    version: i16,
    correlation_id: i32,
}

/// `host`, `host:port`, `[ipv6]:port`; the port is 9092 if none is given.
fn with_port(address: &str) -> String {
    let has_port = match address.rsplit_once(':') {
        Some((host, port)) => {
            let is_whole = !host.contains(':') || (host.starts_with('[') && host.ends_with(']'));
            is_whole && port.parse::<u16>().is_ok()
        }
        None => false,
    };
    if has_port {
        address.to_owned()
    } else if address.contains(':') && !address.starts_with('[') {
        format!("[{address}]:{PORT_DEFAULT}")
    } else {
        format!("{address}:{PORT_DEFAULT}")
    }
}

impl Connection {
    /// Connects to the first of the name's addresses that answers, and asks for its versions.
    pub(crate) fn open(address: &str) -> Result<Self, Failure> {
        let address = with_port(address);
        let stream = connect(&address)?;
        let mut connection =
            Self { address, stream, versions: ApiVersionsResponse::default(), correlation_id: 0 };
        // Version 0 is answered by every broker.
        let request = ApiVersionsRequest::default();
        let pending = connection.send_as(ApiKey::ApiVersions, 0, |envelope| {
            client::encode_request(ApiKey::ApiVersions, envelope, &request).ok()
        })?;
        connection.versions = connection.receive_as(pending, |version, body| {
            client::decode_response(ApiKey::ApiVersions, version, body)
        })?;
        Ok(connection)
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Whether the broker answers this API at all.
    pub(crate) fn speaks(&self, api: ApiKey) -> bool {
        client::common_version(api, &self.versions).is_some()
    }

    /// The newest version of this request that both sides know; 0 if they know none.
    pub(crate) fn version_of<R: Request>(&self) -> i16 {
        let api = ApiKey::from_code(R::KEY).expect("we ask for nothing that we do not offer");
        client::common_version(api, &self.versions).unwrap_or(0)
    }

    /// Sends and waits for the response. `version_last` is the newest version whose fields the
    /// caller fills in. Not for Produce and Fetch.
    pub(crate) fn call<R: Request>(
        &mut self,
        request: &R,
        version_last: i16,
    ) -> Result<R::Response, Failure> {
        let api = ApiKey::from_code(R::KEY).expect("we ask for nothing that we do not offer");
        let version = self.version(api, version_last)?;
        let pending = self.send_as(api, version, |envelope| {
            client::encode_request(api, envelope, request).ok()
        })?;
        self.receive_as(pending, |version, body| client::decode_response(api, version, body))
    }

    /// Topics are named. Sends without waiting.
    pub(crate) fn send_produce(&mut self, request: &ProduceRequest) -> Result<Pending, Failure> {
        let version = self.version(ApiKey::Produce, PRODUCE_LAST)?;
        self.send_as(ApiKey::Produce, version, |envelope| {
            Some(client::encode_produce(envelope, request))
        })
    }

    pub(crate) fn receive_produce(&mut self, pending: Pending) -> Result<ProduceResponse, Failure> {
        self.receive_as(pending, client::decode_produce)
    }

    /// Topics are named. Sends without waiting.
    pub(crate) fn send_fetch(&mut self, request: &FetchRequest) -> Result<Pending, Failure> {
        let version = self.version(ApiKey::Fetch, FETCH_LAST)?;
        self.send_as(ApiKey::Fetch, version, |envelope| {
            Some(client::encode_fetch(envelope, request))
        })
    }

    pub(crate) fn receive_fetch(
        &mut self,
        pending: Pending,
    ) -> Result<FetchResponse<Bytes>, Failure> {
        self.receive_as(pending, client::decode_fetch)
    }

    fn send_as(
        &mut self,
        api: ApiKey,
        version: i16,
        encode: impl FnOnce(&Envelope) -> Option<Bytes>,
    ) -> Result<Pending, Failure> {
        self.correlation_id = self.correlation_id.wrapping_add(1);
        let correlation_id = self.correlation_id;
        let client_id = StrBytes::from_static_str(CLIENT_ID);
        let frame = encode(&Envelope { version, correlation_id, client_id }).ok_or_else(|| {
            let name = api.name();
            Failure::failed(format!("{} is too old for this {name} request", self.address))
        })?;
        self.stream.write_all(&frame).map_err(|error| self.lost(&error))?;
        Ok(Pending { api, version, correlation_id })
    }

    /// Waits for the response to the oldest request that has none yet.
    fn receive_as<T>(
        &mut self,
        pending: Pending,
        decode: impl FnOnce(i16, &Bytes) -> Result<T, DecodeError>,
    ) -> Result<T, Failure> {
        let frame = self.receive_frame()?;
        let version = pending.version;
        let answer = client::split_response(pending.api, version, &frame);
        match answer.and_then(|(id, body)| Ok((id, decode(version, &body)?))) {
            Ok((correlation_id, response)) if correlation_id == pending.correlation_id => {
                Ok(response)
            }
            Ok(_) | Err(_) => {
                let address = &self.address;
                Err(Failure::failed(format!(
                    "{address} gave an answer that makes no sense: \
                     is it a Kafka broker's plain listener?"
                )))
            }
        }
    }

    fn receive_frame(&mut self) -> Result<Bytes, Failure> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).map_err(|error| self.lost(&error))?;
        let length = usize::try_from(i32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length > RESPONSE_BYTES_MAX {
            return Err(Failure::failed(format!(
                "{} does not answer as a Kafka broker does: wrong port, or a TLS listener?",
                self.address
            )));
        }
        let mut frame = vec![0; length];
        self.stream.read_exact(&mut frame).map_err(|error| self.lost(&error))?;
        Ok(Bytes::from(frame))
    }

    fn version(&self, api: ApiKey, version_last: i16) -> Result<i16, Failure> {
        let (address, name) = (&self.address, api.name());
        let theirs = self.versions.api_keys.iter().find(|it| it.api_key == api.code());
        let (Some(theirs), Some(common)) = (theirs, client::common_version(api, &self.versions))
        else {
            return Err(Failure::failed(format!("{address} does not offer {name}")));
        };
        let version = common.min(version_last);
        if version < theirs.min_version {
            return Err(Failure::failed(format!(
                "{address} speaks {name} from version {} on, this command up to {version_last}",
                theirs.min_version
            )));
        }
        Ok(version)
    }

    fn lost(&self, error: &io::Error) -> Failure {
        let address = &self.address;
        Failure::failed(match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                format!("{address} closed the connection: look at the broker's log")
            }
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                let seconds = RESPONSE_WAIT.as_secs();
                format!("{address} did not answer within {seconds} s: is the broker overloaded?")
            }
            _ => format!("lost the connection to {address}: {error}"),
        })
    }
}

fn connect(address: &str) -> Result<TcpStream, Failure> {
    let candidates = address.to_socket_addrs().map_err(|error| {
        Failure::failed(format!("cannot find {address}: {error}; check the name in --broker"))
    })?;
    let mut last = None;
    for candidate in candidates {
        match TcpStream::connect_timeout(&candidate, CONNECT_WAIT) {
            Ok(stream) => {
                let configured = stream
                    .set_nodelay(true)
                    .and_then(|()| stream.set_read_timeout(Some(RESPONSE_WAIT)))
                    .and_then(|()| stream.set_write_timeout(Some(RESPONSE_WAIT)));
                return match configured {
                    Ok(()) => Ok(stream),
                    Err(error) => Err(unreachable(address, &error)),
                };
            }
            Err(error) => last = Some(error),
        }
    }
    Err(match last {
        Some(error) => unreachable(address, &error),
        None => Failure::failed(format!("{address} has no address; check the name in --broker")),
    })
}

fn unreachable(address: &str, error: &io::Error) -> Failure {
    Failure::failed(match error.kind() {
        io::ErrorKind::ConnectionRefused => format!(
            "connection refused by {address}: is a broker running? \
             Start one with `odradek serve --dev`, or name another with --broker"
        ),
        io::ErrorKind::TimedOut => {
            format!("{address} does not answer: check the address, the network and the firewall")
        }
        _ => format!("cannot connect to {address}: {error}"),
    })
}

#[cfg(test)]
mod tests {
    use super::with_port;

    #[test]
    fn the_port_is_9092_unless_said() {
        for (given, whole) in [
            ("broker", "broker:9092"),
            ("broker:1", "broker:1"),
            ("127.0.0.1", "127.0.0.1:9092"),
            ("::1", "[::1]:9092"),
            ("[::1]", "[::1]:9092"),
            ("[::1]:7", "[::1]:7"),
        ] {
            assert_eq!(with_port(given), whole);
        }
    }
}
