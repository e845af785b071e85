//! Runs many short jobs of one task side by side, a bounded number at a time.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

/// Runs all of `jobs`, at most `width` at once. Stops to begin more at the first error, and gives it
/// when what was begun has ended.
pub async fn try_all<J, T, E>(mut jobs: impl Iterator<Item = J>, width: usize) -> Result<Vec<T>, E>
where
    J: Future<Output = Result<T, E>>,
{
    assert!(width > 0);
    let mut running: Vec<Pin<Box<J>>> = Vec::with_capacity(width);
    let mut done = Vec::new();
    let mut failed = None;
    poll_fn(|context| {
        loop {
            while running.len() < width
                && failed.is_none()
                && let Some(job) = jobs.next()
            {
                running.push(Box::pin(job));
            }
            let before = running.len();
            running.retain_mut(|job| match job.as_mut().poll(context) {
                Poll::Pending => true,
                Poll::Ready(Ok(value)) => {
                    done.push(value);
                    false
                }
                Poll::Ready(Err(error)) => {
                    failed.get_or_insert(error);
                    false
                }
            });
            if running.is_empty() && (failed.is_some() || before == 0) {
                return Poll::Ready(());
            }
            if running.len() == before {
                return Poll::Pending;
            }
        }
    })
    .await;
    match failed {
        Some(error) => Err(error),
        None => Ok(done),
    }
}
