//! What is on disk of a service that is to be taken over: its state and its unit. Where there are many, a second thread
//! reads and parses them while the first one takes over what has been read; whenever nothing is ready the first one reads
//! the next by itself.
//!
//! Only what nobody changes meanwhile is read ahead: the daemon that wrote the states is dead. What the kernel knows of a
//! service is looked at when it is taken over.

use super::super::definition::Sought;
use super::super::scarcity;
use super::super::state::{self, Newest, StateError};
use crate::cgroup::Group;
use crate::load::{Survey, Trust};
use crate::unit::Shared;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

/// For fewer a thread is not worth its memory.
const MANY: usize = 64;
/// So many are handed over at once,
const BATCH: usize = 8;
/// and so many of such wait at most.
const WAITING: usize = 8;

/// One service, as it is on disk.
pub(super) struct Ahead {
    pub name: String,
    /// `None`: it was launched where none could be made.
    pub group: Option<Group>,
    /// Its state.
    pub state: Result<Newest, StateError>,
    /// Its unit; `None` where a connection may be served without.
    pub sought: Option<Sought>,
    /// Something could not be seen, and was taken for absent (see [`scarcity`]).
    pub unseen: Option<io::Error>,
}

impl Ahead {
    /// Read when it is its turn: where no group can be made there are never many.
    pub fn without_group(runtime_dir: &Path, name: &str) -> Ahead {
        let state = state::read_newest(runtime_dir, name, None);
        Ahead { name: name.to_owned(), group: None, state, sought: None, unseen: scarcity::take_noted() }
    }
}

/// Where to read.
pub(super) struct Reader {
    pub unit_path: Vec<PathBuf>,
    pub runtime_dir: PathBuf,
    pub trust: Trust,
    pub survey: Survey,
}

impl Reader {
    fn read(&self, name: String, group: Group) -> Ahead {
        let state = state::read_newest(&self.runtime_dir, &name, Some(&group));
        let serves = state.as_ref().is_ok_and(|newest| newest.state.connection.is_some());
        let sought = (!serves).then(|| Sought::of(&self.survey, &self.unit_path, &name, self.trust));
        Ahead { name, group: Some(group), state, sought, unseen: scarcity::take_noted() }
    }
}

/// Who is still to be read.
#[derive(Clone)]
struct Queue(Arc<Mutex<std::vec::IntoIter<(String, Group)>>>);

impl Queue {
    fn take(&self, number: usize) -> Vec<(String, Group)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).by_ref().take(number).collect()
    }
}

/// Has `adopt` take over each of these, in any order, until it fails.
///
/// # Errors
/// That of `adopt`.
pub(super) fn each(
    reader: &Arc<Reader>,
    existing: Vec<(String, Group)>,
    mut adopt: impl FnMut(Ahead) -> io::Result<()>,
) -> io::Result<()> {
    let many = existing.len() >= MANY;
    let queue = Queue(Arc::new(Mutex::new(existing.into_iter())));
    // Where no thread can be had all is read here.
    let second = if many { Second::begin(reader, &queue).ok() } else { None };
    let adopted = (|| {
        loop {
            if let Some(batch) = second.as_ref().and_then(|second| second.batches.try_recv().ok()) {
                batch.into_iter().try_for_each(&mut adopt)?;
                continue;
            }
            let Some((name, group)) = queue.take(1).pop() else { break };
            adopt(reader.read(name, group))?;
        }
        second.iter().flat_map(|second| &second.batches).flatten().try_for_each(&mut adopt)
    })();
    // After a failure nobody is read any more.
    queue.take(usize::MAX);
    second.into_iter().for_each(Second::end);
    adopted
}

/// The thread that reads ahead.
struct Second {
    batches: Receiver<Vec<Ahead>>,
    thread: JoinHandle<()>,
}

impl Second {
    fn begin(reader: &Arc<Reader>, queue: &Queue) -> io::Result<Second> {
        crate::sys::memory::one_heap();
        let (send, batches) = sync_channel(WAITING);
        let (reader, queue) = (Arc::clone(reader), queue.clone());
        let thread =
            thread::Builder::new().name("rsvcd-ahead".into()).spawn(move || read_all(&reader, &queue, &send))?;
        Ok(Second { batches, thread })
    }

    fn end(self) {
        drop(self.batches);
        if let Err(panic) = self.thread.join() {
            // A bug, which ends the daemon as if it had happened in the first thread.
            std::panic::resume_unwind(panic);
        }
    }
}

fn read_all(reader: &Reader, queue: &Queue, send: &SyncSender<Vec<Ahead>>) {
    let mut shared = Shared::default();
    loop {
        let batch: Vec<Ahead> = queue
            .take(BATCH)
            .into_iter()
            .map(|(name, group)| {
                let mut read = reader.read(name, group);
                read.sought.iter_mut().for_each(|sought| sought.parse(&mut shared));
                read
            })
            .collect();
        // Nobody takes it where one could not be taken over.
        if batch.is_empty() || send.send(batch).is_err() {
            return;
        }
    }
}
