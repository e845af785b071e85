//! Tells what a file system has free, on a thread of its own: the kernel has only a call that may block.
//!
//! One thread per node. It waits for questions, and ends with the last of those who may ask.

use std::fs::File;
use std::io;
use std::sync::{Arc, mpsc};

use crate::io::Space;
use crate::ring::{WakeHandle, system};

struct Question {
    answer: mpsc::Sender<io::Result<Space>>,
    /// Of the shard that asks.
    wake: WakeHandle,
}

/// A way to ask.
#[derive(Clone)]
pub(super) struct Surveyor {
    questions: mpsc::Sender<Question>,
}

impl Surveyor {
    pub(super) fn start(directory: Arc<File>) -> io::Result<Self> {
        let (questions, asked) = mpsc::channel::<Question>();
        let thread = std::thread::Builder::new().name("surveyor".to_owned());
        let thread = thread.spawn(move || {
            for Question { answer, wake } in asked {
                if answer.send(system::space(&directory)).is_ok() {
                    wake.wake();
                }
            }
        })?;
        drop(thread); // It ends by itself.
        Ok(Self { questions })
    }

    /// Where the answer comes; the shard is woken then.
    pub(super) fn ask(&self, wake: WakeHandle) -> io::Result<mpsc::Receiver<io::Result<Space>>> {
        let (answer, answered) = mpsc::channel();
        self.questions.send(Question { answer, wake }).map_err(|_ended| gone())?;
        Ok(answered)
    }
}

/// The thread has ended, which it does not while somebody may ask.
pub(super) fn gone() -> io::Error {
    io::Error::other("nobody tells what the disk has free")
}
