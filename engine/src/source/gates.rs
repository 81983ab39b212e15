//! How many files are read at once: disks that seek, and servers far away, are read by one at a time,
//! whatever the number of threads.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::at::At;
use super::medium::Medium;

/// A number of readers at a time.
#[derive(Debug)]
pub struct Gate {
    free: Mutex<usize>,
    freed: Condvar,
}

/// May read while it lives.
#[derive(Debug)]
pub struct Pass(Option<Arc<Gate>>);

impl Gate {
    /// For so many, at least one.
    pub fn new(readers: usize) -> Arc<Self> {
        Arc::new(Self { free: Mutex::new(readers.max(1)), freed: Condvar::new() })
    }

    /// Waits for a place. Whoever holds one must not wait for another.
    pub fn enter(self: &Arc<Self>) -> Pass {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        while *free == 0 {
            free = self.freed.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
        *free -= 1;
        Pass(Some(self.clone()))
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if let Some(gate) = &self.0 {
            *gate.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
            gate.freed.notify_one();
        }
    }
}

/// Who may read what at the same time.
#[derive(Debug)]
pub struct Gates {
    all: Option<Arc<Gate>>,
    by_device: Mutex<HashMap<u64, Option<Arc<Gate>>>>,
}

impl Gates {
    /// `readers` of all files together; 0: one for each device that had better be read by one, no bound on others.
    pub fn new(readers: usize) -> Self {
        Self { all: (readers > 0).then(|| Gate::new(readers)), by_device: Mutex::default() }
    }

    /// Waits until a file on `device` may be read.
    pub fn pass(&self, at: &At, device: u64) -> Pass {
        let gate = match &self.all {
            Some(gate) => Some(gate.clone()),
            None => {
                let mut known = self.by_device.lock().unwrap_or_else(PoisonError::into_inner);
                known.entry(device).or_insert_with(|| gate_for(at, device)).clone()
            }
        };
        gate.map_or(Pass(None), |gate| gate.enter())
    }
}

fn gate_for(at: &At, device: u64) -> Option<Arc<Gate>> {
    let medium = Medium::of(at, device);
    tracing::debug!(path = %at.path().display(), ?medium, "a device");
    (medium != Medium::Parallel).then(|| Gate::new(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    #[test]
    fn no_more_than_were_allowed_are_inside() {
        for readers in [1, 3] {
            let gates = Gates::new(readers);
            let at = At::of_path(std::path::Path::new("/tmp")).unwrap();
            let (inside, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
            std::thread::scope(|scope| {
                for device in 0..8 {
                    let (gates, at, inside, most) = (&gates, &at, &inside, &most);
                    scope.spawn(move || {
                        for _ in 0..5 {
                            let _pass = gates.pass(at, device);
                            most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                            std::thread::sleep(Duration::from_millis(1));
                            inside.fetch_sub(1, Ordering::SeqCst);
                        }
                    });
                }
            });
            assert_eq!(most.into_inner(), readers);
        }
    }
}
