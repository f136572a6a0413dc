//! Python code that is called while the work goes on: handlers of signals, progress, filters.

use crate::keyed::{PyKey, object};
use lodestore::Control;
use pyo3::prelude::*;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

/// How often a long call looks whether it is to stop.
const OFTEN: Duration = Duration::from_millis(30);

/// Asked by work that runs without the interpreter whether to go on.
pub(crate) struct Waiting<'a> {
    /// Called with what is done and what there is to do.
    progress: Option<&'a Py<PyAny>>,
    total: usize,
    last: Instant,
    error: Option<PyErr>,
}

impl<'a> Waiting<'a> {
    pub(crate) fn new(progress: Option<&'a Py<PyAny>>, total: usize) -> Self {
        Self { progress, total, last: Instant::now(), error: None }
    }

    /// Whether to go on: no signal has come whose handler raises, and neither does `progress`.
    pub(crate) fn go_on(&mut self, done: usize) -> bool {
        if self.last.elapsed() < OFTEN {
            return true;
        }
        let told = self.tell(done);
        self.last = Instant::now();
        self.error = told.err();
        self.error.is_none()
    }

    fn tell(&self, done: usize) -> PyResult<()> {
        Python::attach(|py| {
            py.check_signals()?;
            if let Some(progress) = self.progress {
                progress.call1(py, (done, self.total))?;
            }
            Ok(())
        })
    }

    /// After the work: what stopped it is raised; otherwise `progress` hears of the end.
    pub(crate) fn end(self) -> PyResult<()> {
        match self.error {
            Some(error) => Err(error),
            None if self.progress.is_some() => self.tell(self.total),
            None => Ok(()),
        }
    }
}

/// Looked at by work without the interpreter that has nothing to tell.
pub(crate) struct Signals {
    last: Instant,
}

impl Signals {
    pub(crate) fn new() -> Self {
        Self { last: Instant::now() }
    }

    /// # Errors
    /// What the handler of a signal raises.
    pub(crate) fn check(&mut self) -> PyResult<()> {
        if self.last.elapsed() < OFTEN {
            return Ok(());
        }
        self.last = Instant::now();
        Python::attach(|py| py.check_signals())
    }
}

/// Work that looks at nothing but its control for long: it is done by another thread, while this one, which has handed the
/// interpreter in, looks for signals.
pub(crate) fn interruptible<T: Send>(control: &Control, work: impl FnOnce() -> PyResult<T> + Send) -> PyResult<T> {
    let this = thread::current();
    thread::scope(|scope| {
        let worker = scope.spawn(move || {
            let done = work();
            this.unpark();
            done
        });
        let mut raised = Ok(());
        while !worker.is_finished() && raised.is_ok() {
            thread::park_timeout(OFTEN);
            if !worker.is_finished() {
                raised = Python::attach(|py| py.check_signals());
            }
        }
        if raised.is_err() {
            control.cancel();
        }
        let done = worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        raised.and(done)
    })
}

/// A filter of keys that is a callable of Python. It is called, which takes the interpreter, once for each key; what it
/// has said holds for the whole search.
pub(crate) struct Asked<K: PyKey + ?Sized> {
    callable: Py<PyAny>,
    said: RwLock<HashMap<K::Owned, bool>>,
    error: Mutex<Option<PyErr>>,
}

impl<K: PyKey + ?Sized> Asked<K> {
    pub(crate) fn new(callable: Py<PyAny>) -> Self {
        Self { callable, said: RwLock::default(), error: Mutex::new(None) }
    }

    /// What the callable says. Once it has raised, no key is kept, so that the search ends soon.
    pub(crate) fn keeps(&self, key: K::Ref<'_>) -> bool {
        let key = K::owned(key);
        let said = self.said.read().unwrap_or_else(PoisonError::into_inner).get(&key).copied();
        said.unwrap_or_else(|| {
            let kept = self.ask(&key);
            self.said.write().unwrap_or_else(PoisonError::into_inner).insert(key, kept);
            kept
        })
    }

    fn ask(&self, key: &K::Owned) -> bool {
        Python::attach(|py| {
            // Never held while Python code runs.
            let error = || self.error.lock().unwrap_or_else(PoisonError::into_inner);
            if error().is_some() {
                return false;
            }
            let asked = object::<K>(py, key).and_then(|key| self.callable.bind(py).call1((key,)));
            let kept = asked.and_then(|kept| kept.is_truthy());
            kept.unwrap_or_else(|raised| {
                error().get_or_insert(raised);
                false
            })
        })
    }

    /// What the callable has raised by now.
    pub(crate) fn raised(&self) -> PyResult<()> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err)
    }

    /// After the work: what the callable raised is raised.
    pub(crate) fn end(self) -> PyResult<()> {
        self.error.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }
}
