//! A thread that goes on beside a run, until somebody wants to know what came of it.

use std::panic::resume_unwind;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::clock::Moment;
use crate::stop::Stop;

/// It is told to stop when this is dropped.
#[derive(Debug)]
pub(crate) struct Beside<T> {
    stop: Stop,
    began: Moment,
    /// `None` once it was waited for.
    thread: Option<JoinHandle<T>>,
}

impl<T: Send + 'static> Beside<T> {
    /// `body` is to return soon after it was told to stop.
    #[expect(clippy::disallowed_methods, reason = "no shard runs in this process")]
    pub(crate) fn begin(body: impl FnOnce(&Stop) -> T + Send + 'static) -> Self {
        let (stop, began) = (Stop::default(), Moment::now());
        let heeded = stop.clone();
        let thread = Some(thread::spawn(move || body(&heeded)));
        Self { stop, began, thread }
    }

    /// Waits for its end. What came of it, and how long it went on.
    pub(crate) fn end(mut self) -> (T, Duration) {
        self.stop.ask();
        let thread = self.thread.take().expect("only its end takes it");
        let result = thread.join().unwrap_or_else(|panic| resume_unwind(panic));
        (result, Moment::now().since(self.began))
    }
}

impl<T> Drop for Beside<T> {
    fn drop(&mut self) {
        self.stop.ask();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    #[test]
    fn it_goes_on_until_it_is_asked() {
        let beside = Beside::begin(|stop| stop.pause(HOUR).is_err());
        let (was_stopped, lasted) = beside.end();
        assert!(was_stopped);
        assert!(lasted < HOUR);
    }

    #[test]
    fn who_is_forgotten_stops() {
        let (teller, told) = mpsc::channel();
        let body = move |stop: &Stop| teller.send(stop.pause(HOUR).is_err());
        drop(Beside::begin(body));
        assert_eq!(told.recv(), Ok(true));
    }
}
