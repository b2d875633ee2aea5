//! Pages in parallel, output in order.
//!
//! Every writer does the same: walk the kept pages in frame order, obtain their bytes, make something of them, give
//! that a place in the file and write it. Here workers, one per thread of the current rayon pool, each take the next
//! [`Batch`] of pages and [`PageJob::encode`] it; finished batches are given their places strictly in order by
//! [`PageJob::place`], which is quick; [`PageJob::write`] follows in the same order, one worker at a time, while the others
//! go on encoding. The output is therefore the same for any number of threads.
//!
//! A worker that is done early leaves its batch in a queue and takes another, so one slow batch stalls nobody. The
//! queue is bounded, and with it memory: [`BATCH_BYTES`] of pages and about as much output for each of
//! `2 * threads + 2` batches, which are used again and again.

mod batch;
mod ranks;
mod source;

pub(crate) use batch::Batch;
pub(crate) use ranks::Ranks;
pub(crate) use source::Source;

use crate::{Error, Progress};
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use vmcore::PhysicalMemory;

/// The bytes of pages in a batch. With two threads 1 MiB is 4 % faster than 512 KiB and 12 % faster than 256 KiB
/// (lzo, 1.5 GiB of kernel pages to tmpfs), as fewer batches meet at the file's lock; more would only take memory.
pub(crate) const BATCH_BYTES: usize = 1 << 20;

/// What a writer does with pages.
pub(crate) trait PageJob: Sync {
    /// A thread's own tools, such as a compressor.
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

    /// Writes a record that has its place, in batch order and one at a time, while other batches are encoded.
    fn write(&self, batch: &Batch, record: &mut Self::Record) -> Result<(), Error>;
}

/// Runs `job` over the pages of `source`, and leaves in `layout` what [`PageJob::place`] made of it, after an error too.
///
/// Writes too are made one at a time and in batch order, as a stream needs them.
///
/// # Errors
///
/// The first error of any worker, after which the others stop at their next step; [`Error::Cancelled`] when `progress`
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
        placed_slots: VecDeque::new(),
        free: Vec::new(),
        outstanding: 0,
        writing: false,
        exhausted: false,
        failure: None,
        stopped: false,
        layout,
    };
    let pipeline = Pipeline {
        job,
        memory,
        progress,
        window: 2 * threads + 2,
        state: Mutex::new(state),
        changed: Condvar::new(),
    };
    if threads == 1 {
        pipeline.work();
    } else {
        rayon::scope(|scope| (0..threads).for_each(|_| scope.spawn(|_| pipeline.work())));
    }
    let state = pipeline.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    state.failure.map_or(Ok(()), Err)
}

/// A batch on its way, with what became of it.
struct Slot<R> {
    number: u64,
    batch: Batch,
    record: R,
}

/// What a worker does next.
enum Step<R> {
    Encode(Box<Slot<R>>),
    Write(Box<Slot<R>>),
}

struct State<'m, J: PageJob> {
    source: Source<'m>,
    /// The number of the next batch to take, and of the next to place.
    taken: u64,
    placed: u64,
    /// Finished batches from number `placed` on; `None` where one is still being worked on.
    ready: VecDeque<Option<Box<Slot<J::Record>>>>,
    /// Batches with a place, to be written.
    placed_slots: VecDeque<Box<Slot<J::Record>>>,
    free: Vec<Box<Slot<J::Record>>>,
    /// Batches taken and not yet written.
    outstanding: usize,
    writing: bool,
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
    changed: Condvar,
}

/// Stops the other workers when its own ends in a panic; rayon then carries the panic to the caller.
struct StopOnPanic<'p, 'm, J: PageJob>(&'p Pipeline<'m, J>);

impl<J: PageJob> Drop for StopOnPanic<'_, '_, J> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.lock().stopped = true;
            self.0.changed.notify_all();
        }
    }
}

impl<'m, J: PageJob> Pipeline<'m, J> {
    fn lock(&self) -> MutexGuard<'_, State<'m, J>> {
        // A panic under the lock stops all workers; none of them trusts the state any more.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One worker, from its first batch to the end of all.
    fn work(&self) {
        let _guard = StopOnPanic(self);
        if let Err(error) = self.try_work() {
            let mut state = self.lock();
            state.stopped = true;
            state.failure.get_or_insert(error);
            self.changed.notify_all();
        }
    }

    fn try_work(&self) -> Result<(), Error> {
        let mut worker = self.job.worker()?;
        while let Some(step) = self.next()? {
            match step {
                Step::Encode(mut slot) => {
                    slot.batch.load(self.memory)?;
                    self.job.encode(&mut worker, &slot.batch, &mut slot.record)?;
                    self.submit(slot)?;
                }
                Step::Write(mut slot) => {
                    self.job.write(&slot.batch, &mut slot.record)?;
                    self.progress.add(slot.batch.len() as u64 + slot.batch.lost());
                    self.retire(slot);
                }
            }
        }
        Ok(())
    }

    /// Waits for something to do; `None` when all is done or must stop.
    ///
    /// No worker waits while it holds a batch, so the batch that everybody waits for is always being worked on,
    /// even when rayon runs the workers one after the other.
    fn next(&self) -> Result<Option<Step<J::Record>>, Error> {
        let mut state = self.lock();
        loop {
            if state.stopped {
                return Ok(None);
            }
            if self.progress.is_cancelled() {
                return Err(Error::Cancelled);
            }
            // File systems let one thread at a time write to a file. A second one would spin on the file's lock and
            // take the first one's time, so it encodes the next batch meanwhile, or sleeps.
            if !state.writing
                && let Some(slot) = state.placed_slots.pop_front()
            {
                state.writing = true;
                return Ok(Some(Step::Write(slot)));
            }
            if !state.exhausted && state.outstanding < self.window {
                if let Some(slot) = self.take(&mut state)? {
                    return Ok(Some(Step::Encode(slot)));
                }
                // Others may be waiting for a batch that does not come.
                state.exhausted = true;
                self.changed.notify_all();
            }
            if state.exhausted && state.outstanding == 0 {
                return Ok(None);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
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
            state.placed_slots.push_back(slot);
        }
        // Nobody needs to be woken: if no other worker is writing, this one goes on to write the first of them.
        Ok(())
    }

    /// Takes back the slot of a batch that is written.
    fn retire(&self, slot: Box<Slot<J::Record>>) {
        let mut state = self.lock();
        state.writing = false;
        state.outstanding -= 1;
        state.free.push(slot);
        if state.exhausted && state.outstanding == 0 {
            self.changed.notify_all();
        } else {
            // There is one more batch to take, and at most one to write, which this worker does itself. To wake all
            // would make thousands of threads, if somebody asks for them, stand in line at every batch.
            self.changed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests;
