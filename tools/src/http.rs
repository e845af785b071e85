//! The HTTP listener: metrics, health and the flight recorder, on one thread that is no shard's.
//!
//! It only reads: four fixed paths, GET and HEAD, no files, no request bodies.
//! Everything a stranger can make it hold has a limit here.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use shard::metrics::Snapshot;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::LocalSet;

pub(crate) mod exposition;
pub(crate) mod latency;

const CONNECTION_COUNT_MAX: usize = 32;
const HEADER_COUNT_MAX: usize = 64;
/// Of one request's line and headers together.
const HEAD_BYTES_MAX: usize = 16 * 1024;
const HEAD_WAIT: Duration = Duration::from_secs(5);
/// A whole connection, however many requests: a stranger cannot keep one for ever.
const CONNECTION_LIFE: Duration = Duration::from_secs(120);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const SILENT: &str = "the shards do not answer\n";
const TEXT: &str = "text/plain; charset=utf-8";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
const JSON: &str = "application/json";

const INDEX: &str = "odradek\n\n/metrics\n/health/live\n/health/ready\n/debug/latency\n";

/// Asks the broker. Called on a thread that may wait, so the answer may take a while.
pub(crate) struct Probe {
    /// One snapshot a shard; `None` if a shard does not answer in time.
    pub(crate) snapshots: Box<dyn Fn() -> Option<Vec<Snapshot>> + Send + Sync>,
    /// Whether recovery is done and clients are served.
    pub(crate) is_ready: Box<dyn Fn() -> bool + Send + Sync>,
    /// Whether there is no reason to kill the process.
    pub(crate) is_live: Box<dyn Fn() -> bool + Send + Sync>,
}

/// The running listener; stops when dropped.
pub(crate) struct Listener {
    address: SocketAddr,
    stop: Option<oneshot::Sender<Infallible>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Listener {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the address cannot be bound or the thread cannot be started.
    pub(crate) fn start(address: SocketAddr, probe: Probe) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel::<Infallible>();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .max_blocking_threads(1)
            .build()?;
        let thread = std::thread::Builder::new().name("http".to_owned()).spawn(move || {
            LocalSet::new().block_on(&runtime, async move {
                let serving = tokio::task::spawn_local(serve(listener, Arc::new(probe)));
                // Nothing is ever sent: the channel closes when the listener is dropped.
                match stopped.await {
                    Ok(never) => match never {},
                    Err(_) => serving.abort(),
                }
            });
            runtime.shutdown_timeout(Duration::from_secs(1));
        })?;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the HTTP thread panicked");
        }
    }
}

/// Accepts until dropped.
async fn serve(listener: TcpListener, probe: Arc<Probe>) {
    if let Err(error) = accept_all(listener, probe).await {
        tracing::error!(%error, "the HTTP listener ended");
    }
}

async fn accept_all(listener: TcpListener, probe: Arc<Probe>) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let permits = Arc::new(Semaphore::new(CONNECTION_COUNT_MAX));
    loop {
        // The permit comes first, so that connections past the limit wait in the kernel.
        let permit = Arc::clone(&permits).acquire_owned().await.map_err(io::Error::other)?;
        match listener.accept().await {
            Ok((stream, _)) => {
                let probe = Arc::clone(&probe);
                tokio::task::spawn_local(async move {
                    connection(stream, probe).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "an HTTP connection was not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: tokio::net::TcpStream, probe: Arc<Probe>) {
    let service = service_fn(move |request| {
        let probe = Arc::clone(&probe);
        async move { Ok::<_, Infallible>(respond(&request, probe).await) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WAIT)
        .max_headers(HEADER_COUNT_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(CONNECTION_LIFE, serving).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "an HTTP connection failed"),
        Err(_) => tracing::debug!("an HTTP connection lived too long"),
    }
}

/// The whole site. hyper itself leaves the body out of an answer to HEAD.
async fn respond(request: &Request<Incoming>, probe: Arc<Probe>) -> Response<Full<Bytes>> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/" => text(StatusCode::OK, INDEX),
        "/health/ready" => match ask(probe, |probe| (probe.is_ready)()).await {
            Some(true) => text(StatusCode::OK, "ready\n"),
            Some(false) | None => text(StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
        },
        "/health/live" => match ask(probe, |probe| (probe.is_live)()).await {
            Some(true) => text(StatusCode::OK, "live\n"),
            Some(false) | None => text(StatusCode::SERVICE_UNAVAILABLE, SILENT),
        },
        "/metrics" => match snapshots(probe).await {
            Some(shards) => page(StatusCode::OK, PROMETHEUS, exposition::render(&shards)),
            None => text(StatusCode::SERVICE_UNAVAILABLE, SILENT),
        },
        "/debug/latency" => match snapshots(probe).await {
            Some(shards) => page(StatusCode::OK, JSON, format!("{:#}\n", latency::render(&shards))),
            None => text(StatusCode::SERVICE_UNAVAILABLE, SILENT),
        },
        _ => text(StatusCode::NOT_FOUND, INDEX),
    }
}

async fn snapshots(probe: Arc<Probe>) -> Option<Vec<Snapshot>> {
    ask(probe, |probe| (probe.snapshots)()).await.flatten()
}

/// Waits for the shards on the one thread that may; `None` if the question panicked.
async fn ask<T: Send + 'static>(
    probe: Arc<Probe>,
    question: impl FnOnce(&Probe) -> T + Send + 'static,
) -> Option<T> {
    match tokio::task::spawn_blocking(move || question(&probe)).await {
        Ok(answer) => Some(answer),
        Err(error) => {
            tracing::error!(%error, "a question to the shards failed");
            None
        }
    }
}

fn text(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    page(status, TEXT, body)
}

fn page(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::{Listener, Probe};
    use shard::io::Nanos;
    use shard::metrics::Recorder;
    use std::io::{Read, Write};
    use std::net::TcpStream;

    /// The broker runs well, or it stops: alive, and nobody answers.
    fn listener(is_ready: bool) -> Listener {
        let snapshots = || vec![Recorder::new(0).snapshot(Nanos::new(0))];
        let probe = Probe {
            snapshots: Box::new(move || is_ready.then(snapshots)),
            is_ready: Box::new(move || is_ready),
            is_live: Box::new(|| true),
        };
        Listener::start("127.0.0.1:0".parse().unwrap(), probe).unwrap()
    }

    /// Sends `request` and returns all the listener says until it closes.
    fn exchange(listener: &Listener, request: &str) -> String {
        let mut stream = TcpStream::connect(listener.address()).unwrap();
        // A refused request is answered and closed before its end was read.
        if stream.write_all(request.as_bytes()).is_err() {
            return String::new();
        }
        let mut answer = Vec::new();
        match stream.read_to_end(&mut answer) {
            Ok(_) | Err(_) => String::from_utf8(answer).unwrap(),
        }
    }

    #[track_caller]
    fn check(is_ready: bool, request_line: &str, status: &str, part: &str) {
        let request = format!("{request_line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let answer = exchange(&listener(is_ready), &request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert!(answer.contains(part), "{answer}");
    }

    #[test]
    fn the_pages_are_there() {
        check(true, "GET /metrics", "200", "odradek_records_total{shard=\"0\"} 0");
        check(true, "GET /metrics?x=1", "200", "text/plain; version=0.0.4");
        check(true, "GET /health/live", "200", "live");
        check(true, "GET /debug/latency", "200", "\"slowest\": []");
    }

    #[test]
    fn a_broker_that_stops_is_alive_and_not_ready() {
        check(true, "GET /health/ready", "200", "ready");
        check(false, "GET /health/ready", "503", "not ready");
        check(false, "GET /health/live", "200", "live");
        check(false, "GET /metrics", "503", "do not answer");
    }

    #[test]
    fn nothing_else_is_there() {
        for path in ["/../etc/passwd", "/metrics/", "/%2e%2e/", "//metrics", "/debug"] {
            check(true, &format!("GET {path}"), "404", "/metrics");
        }
        check(true, "POST /metrics", "405", "allow: GET, HEAD");
    }

    #[test]
    fn a_head_beyond_its_limit_is_refused() {
        let listener = listener(true);
        let long = format!("GET /metrics HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(1 << 20));
        let many = format!("GET /metrics HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(1_000));
        for request in [long, many] {
            let answer = exchange(&listener, &request);
            assert!(!answer.contains("200 OK"), "{answer}");
        }
    }
}
