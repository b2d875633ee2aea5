//! The windows that are mapped at a time.

use crate::mapping::Mapping;
use std::sync::{Arc, Mutex, PoisonError};

/// Windows that may take each other's place, the one used last the last.
const WAYS: usize = 4;

/// What is known of a window.
#[derive(Clone, Debug)]
pub(crate) enum Window {
    /// It is mapped.
    Mapped(Arc<Mapping>),
    /// The kernel refuses to map it.
    Refused,
}

/// A bounded number of windows, shared by all threads. Each belongs into one of several sets, so that threads rarely wait
/// for each other.
#[derive(Debug)]
pub(crate) struct Windows(Box<[Set]>);

/// Windows of one set, in the order of their last use.
type Set = Mutex<Vec<(u64, Window)>>;

impl Windows {
    /// Enough windows for this number of threads, each of which works in a place of its own.
    pub(crate) fn new(threads: usize) -> Self {
        let sets = (threads.saturating_mul(2) + 16).div_ceil(WAYS);
        Self((0..sets).map(|_| Mutex::new(Vec::with_capacity(WAYS))).collect())
    }

    /// The window `number`, if it is there; what `make` makes of it if not. Only one thread makes a window.
    pub(crate) fn get(&self, number: u64, make: impl FnOnce() -> Option<Window>) -> Option<Window> {
        let set = &self.0[(number % self.0.len() as u64) as usize];
        let mut windows = set.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = windows.iter().position(|(known, _)| *known == number) {
            windows[place..].rotate_left(1);
            return windows.last().map(|(_, window)| window.clone());
        }
        let window = make()?;
        let oldest = (windows.len() == WAYS).then(|| windows.remove(0));
        windows.push((number, window.clone()));
        drop(windows);
        // Unmapping interrupts other processors: nobody should wait for it here.
        drop(oldest);
        Some(window)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_used_last_stays_and_the_oldest_goes() {
        let windows = Windows::new(1);
        let sets = windows.0.len() as u64;
        let mut made = Vec::new();
        for number in [0, 1, 2, 3, 0, 4, 0, 1] {
            windows.get(number * sets, || {
                made.push(number);
                Some(Window::Refused)
            });
        }
        assert_eq!(made, [0, 1, 2, 3, 4, 1]);
        assert!(windows.0.iter().all(|set| set.lock().unwrap().len() <= WAYS));
        assert!(windows.get(99, || None).is_none());
    }
}
