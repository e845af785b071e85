//! Runs short jobs of one task side by side.

use std::future::poll_fn;
use std::pin::{Pin, pin};
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

/// Runs both to their ends.
pub async fn both<A, B>(first: impl Future<Output = A>, second: impl Future<Output = B>) -> (A, B) {
    let (mut first, mut second) = (pin!(first), pin!(second));
    let (mut of_first, mut of_second) = (None, None);
    poll_fn(|context| {
        if of_first.is_none()
            && let Poll::Ready(value) = first.as_mut().poll(context)
        {
            of_first = Some(value);
        }
        if of_second.is_none()
            && let Poll::Ready(value) = second.as_mut().poll(context)
        {
            of_second = Some(value);
        }
        match (of_first.take(), of_second.take()) {
            (Some(first), Some(second)) => Poll::Ready((first, second)),
            (first, second) => {
                (of_first, of_second) = (first, second);
                Poll::Pending
            }
        }
    })
    .await
}
