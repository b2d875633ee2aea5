//! Pages in parallel, output in order.
//!
//! Every writer does the same: walk the kept pages in frame order, obtain their bytes, make something of them, give
//! that a place in the file and write it. Here workers, one per thread of the current rayon pool, each take the next
//! [`Batch`] of pages and [`PageJob::encode`] it; finished batches are given their places strictly in order by
//! [`PageJob::place`], which is quick; and a thread of its own gives them to [`PageJob::write`] in the same order. The
//! output is therefore the same for any number of threads, and no worker waits for the disk. With one processor, and
//! writes that wait for nobody, one thread does all in turn, with a single batch.
//!
//! A worker that is done early leaves its batch in a queue and takes another, so one slow batch does not stall the
//! others. The queue is bounded, and with it memory: up to 1 MiB of pages, less where memory is short, and about as
//! much output for each of `2 * threads + 8` batches, which are used again and again ([`room`]).

mod batch;
mod ranks;
mod room;
mod source;

pub(crate) use batch::Batch;
pub(crate) use ranks::Ranks;
pub use room::available_memory;
pub(crate) use source::Source;

use crate::output::Sink;
use crate::{Error, Progress};
use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use vmcore::PhysicalMemory;

/// What a writer does with pages.
pub(crate) trait PageJob: Sync {
    /// Per-thread state, such as a compressor.
    type Worker;
    /// What one batch becomes. Records are used again for later batches, so that their buffers are.
    type Record: Default + Send;
    /// Where the next record goes, and what is counted on the way.
    type Layout: Send;

    /// Makes the tools of one thread.
    fn worker(&self) -> Result<Self::Worker, Error>;

    /// Makes a record of a batch, in parallel. `record` may still hold an earlier batch's.
    fn encode(
        &self,
        worker: &mut Self::Worker,
        batch: &Batch,
        record: &mut Self::Record,
    ) -> Result<(), Error>;

    /// Gives a record its place, in batch order and one at a time: to be kept short.
    fn place(&self, layout: &mut Self::Layout, batch: &Batch, record: &mut Self::Record)
    -> Result<(), Error>;

    /// Writes records that have their places, in batch order, while other batches are encoded: several that are ready, at most
    /// half of all that are on their way.
    fn write(&self, slots: &mut [Box<Slot<Self::Record>>]) -> Result<(), Error>;

    /// Reports whether writing waits for others than processors ([`Sink::waits`]).
    fn waits(&self) -> bool;
}

/// A batch on its way, with what became of it.
pub(crate) struct Slot<R> {
    number: u64,
    pub(crate) batch: Batch,
    pub(crate) record: R,
}

/// Writes batches together, which is quicker, or each alone: to a stream, whose bytes must not depend on how many were ready,
/// and where all were refused, as a full disk still takes the first ones.
pub(crate) fn together_or_alone<R>(
    slots: &mut [Box<Slot<R>>],
    out: &dyn Sink,
    mut write: impl FnMut(&mut [Box<Slot<R>>]) -> Result<(), Error>,
) -> Result<(), Error> {
    if !out.is_stream() {
        match write(slots) {
            Err(_) if slots.len() > 1 => {}
            result => return result,
        }
    }
    slots.chunks_mut(1).try_for_each(write)
}

/// Runs `job` over the pages of `source`, and leaves in `layout` what [`PageJob::place`] made of it, after an error too.
///
/// # Errors
///
/// The first error of any thread, after which the others stop at their next step; [`Error::Cancelled`] when `progress`
/// asks for it.
pub(crate) fn run<'m, J: PageJob>(
    job: &'m J,
    source: Source<'m>,
    layout: &'m mut J::Layout,
    progress: &'m Progress,
) -> Result<(), Error> {
    let threads = rayon::current_num_threads();
    let memory = source.memory;
    let state = State {
        source,
        taken: 0,
        placed: 0,
        ready: VecDeque::new(),
        to_write: VecDeque::new(),
        free: Vec::new(),
        outstanding: 0,
        exhausted: false,
        failure: None,
        stopped: false,
        layout,
    };
    let pipeline = Pipeline {
        job,
        memory,
        progress,
        window: room::window(threads),
        state: Mutex::new(state),
        room: Condvar::new(),
        placed: Condvar::new(),
    };
    let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    std::thread::scope(|scope| {
        if processors == 1 && !job.waits() {
            // Two threads would only take turns, and a batch would grow cold between them.
            pipeline.run(Pipeline::try_alone);
            return;
        }
        let writer = std::thread::Builder::new().name("write".to_owned());
        let Ok(writer) = writer.spawn_scoped(scope, || pipeline.run(Pipeline::try_write)) else {
            // The system grants no more threads (`ulimit -u`): slower, and the same bytes.
            pipeline.run(Pipeline::try_alone);
            return;
        };
        let encode = || pipeline.run(Pipeline::try_encode);
        if threads == 1 {
            encode();
        } else {
            rayon::scope(|scope| (0..threads).for_each(|_| scope.spawn(|_| encode())));
        }
        writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    let state = pipeline.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    state.failure.map_or(Ok(()), Err)
}

struct State<'m, J: PageJob> {
    source: Source<'m>,
    /// The number of the next batch to take, and of the next to place.
    taken: u64,
    placed: u64,
    /// Finished batches from number `placed` on; `None` where one is still being worked on.
    ready: VecDeque<Option<Box<Slot<J::Record>>>>,
    /// Batches with a place, in order.
    to_write: VecDeque<Box<Slot<J::Record>>>,
    free: Vec<Box<Slot<J::Record>>>,
    /// Batches taken and not yet written.
    outstanding: usize,
    /// No batch is left to take.
    exhausted: bool,
    failure: Option<Error>,
    stopped: bool,
    layout: &'m mut J::Layout,
}

struct Pipeline<'m, J: PageJob> {
    job: &'m J,
    memory: &'m dyn PhysicalMemory,
    progress: &'m Progress,
    window: usize,
    state: Mutex<State<'m, J>>,
    /// There is room for one more batch, or there is nothing left to do.
    room: Condvar,
    /// There is a batch to write, or there will be none.
    placed: Condvar,
}

/// Stops the other threads when its own ends in a panic, which is then passed to the caller.
struct StopOnPanic<'p, 'm, J: PageJob>(&'p Pipeline<'m, J>);

impl<J: PageJob> Drop for StopOnPanic<'_, '_, J> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop(None);
        }
    }
}

impl<'m, J: PageJob> Pipeline<'m, J> {
    fn lock(&self) -> MutexGuard<'_, State<'m, J>> {
        // A panic under the lock stops all threads; none of them trusts the state any more.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stop(&self, error: Option<Error>) {
        let mut state = self.lock();
        state.stopped = true;
        state.failure = state.failure.take().or(error);
        self.room.notify_all();
        self.placed.notify_all();
    }

    /// One thread, from its first batch to its last.
    fn run(&self, work: impl FnOnce(&Self) -> Result<(), Error>) {
        let _guard = StopOnPanic(self);
        if let Err(error) = work(self) {
            self.stop(Some(error));
        }
    }

    fn try_encode(&self) -> Result<(), Error> {
        let mut worker = self.job.worker()?;
        while let Some(mut slot) = self.next()? {
            slot.batch.load(self.memory)?;
            self.job.encode(&mut worker, &slot.batch, &mut slot.record)?;
            self.submit(slot)?;
        }
        Ok(())
    }

    /// One thread in the place of all: each batch is written before the next is taken.
    fn try_alone(&self) -> Result<(), Error> {
        let mut worker = self.job.worker()?;
        while let Some(mut slot) = self.next()? {
            slot.batch.load(self.memory)?;
            self.job.encode(&mut worker, &slot.batch, &mut slot.record)?;
            self.submit(slot)?;
            let mut slots: Vec<_> = self.lock().to_write.drain(..).collect();
            self.write(&mut slots)?;
            let mut state = self.lock();
            state.outstanding -= slots.len();
            state.free.append(&mut slots);
        }
        Ok(())
    }

    fn write(&self, slots: &mut [Box<Slot<J::Record>>]) -> Result<(), Error> {
        self.job.write(slots)?;
        let pages: u64 = slots.iter().map(|slot| slot.batch.len() as u64 + slot.batch.lost()).sum();
        self.progress.add(pages);
        Ok(())
    }

    fn try_write(&self) -> Result<(), Error> {
        let mut slots = Vec::new();
        loop {
            let mut state = self.lock();
            if !slots.is_empty() {
                state.outstanding -= slots.len();
                state.free.append(&mut slots);
                // To wake all would make thousands of threads, if so many are asked for, wait in line at every batch.
                // Each that takes a batch wakes another while there is room.
                self.room.notify_one();
            }
            while state.to_write.is_empty() && !state.stopped && !(state.exhausted && state.outstanding == 0)
            {
                state = self.placed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.stopped || state.to_write.is_empty() {
                return Ok(());
            }
            // Not all: while these are written there should be others to go on with, and room for the workers.
            let count = state.to_write.len().min(self.window / 2);
            slots.extend(state.to_write.drain(..count));
            drop(state);
            self.write(&mut slots)?;
        }
    }

    /// The next batch, as soon as there is room for it; `None` when all are taken, or all must stop.
    ///
    /// No worker waits while it holds a batch, so the batch that all wait for is always being worked on,
    /// even when rayon runs the workers one after the other.
    fn next(&self) -> Result<Option<Box<Slot<J::Record>>>, Error> {
        let mut state = self.lock();
        loop {
            if state.stopped || state.exhausted {
                return Ok(None);
            }
            if self.progress.is_cancelled() {
                return Err(Error::Cancelled);
            }
            if state.outstanding < self.window {
                let slot = self.take(&mut state)?;
                if slot.is_none() {
                    state.exhausted = true;
                    self.room.notify_all();
                    self.placed.notify_all();
                } else if state.outstanding < self.window {
                    self.room.notify_one();
                }
                return Ok(slot);
            }
            state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Fills a slot with the next batch.
    fn take(&self, state: &mut State<'m, J>) -> Result<Option<Box<Slot<J::Record>>>, Error> {
        let mut slot = state.free.pop().unwrap_or_else(|| {
            let batch = Batch::new(self.memory.map().page_size());
            Box::new(Slot { number: 0, batch, record: J::Record::default() })
        });
        if !state.source.fill(&mut slot.batch)? {
            return Ok(None);
        }
        slot.number = state.taken;
        state.taken += 1;
        state.outstanding += 1;
        Ok(Some(slot))
    }

    /// Hands over a finished batch, and places it and its successors when it is their turn.
    fn submit(&self, slot: Box<Slot<J::Record>>) -> Result<(), Error> {
        let mut state = self.lock();
        let position = (slot.number - state.placed) as usize;
        if state.ready.len() <= position {
            state.ready.resize_with(position + 1, || None);
        }
        state.ready[position] = Some(slot);
        while let Some(Some(_)) = state.ready.front() {
            let state = &mut *state;
            let Some(Some(mut slot)) = state.ready.pop_front() else { break };
            self.job.place(state.layout, &slot.batch, &mut slot.record)?;
            state.placed += 1;
            state.to_write.push_back(slot);
        }
        if !state.to_write.is_empty() {
            self.placed.notify_one();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
