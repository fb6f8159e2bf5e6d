//! Where lines go before they are written: into memory, and from there by one thread. Whoever logs never waits for whoever
//! reads, because a collector that stopped would otherwise stop every call. What finds no room is counted, not kept.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// Some ten thousand lines.
const ROOM: usize = 4 * 1024 * 1024;
/// How often it is told that lines were lost.
const TELL_EVERY: Duration = Duration::from_mins(1);

/// A handle on the lines that wait.
#[derive(Clone, Default)]
pub(super) struct Sink(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Something waits.
    filled: Condvar,
    /// What waited was written, or could not be.
    written: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Vec<u8>,
    lines: u64,
    is_writing: bool,
    /// Lines, since the start.
    lost: u64,
    /// How many of them were told of.
    told: u64,
}

impl Sink {
    /// A sink whose lines a thread of its own writes.
    pub(super) fn start(into: impl Write + Send + 'static) -> io::Result<Self> {
        let sink = Self::default();
        let writing = sink.clone();
        thread::Builder::new().name("log".to_owned()).spawn(move || writing.write_on(into))?;
        Ok(sink)
    }

    /// Tells of losses as they come, at most once a minute, in lines like any other.
    pub(super) fn tell_of_losses(&self) -> io::Result<()> {
        let telling = self.clone();
        let tell_on = move || loop {
            telling.tell_of_next_loss();
            thread::sleep(TELL_EVERY);
        };
        thread::Builder::new().name("log-losses".to_owned()).spawn(tell_on).map(drop)
    }

    /// Waits until all is written, but no longer than that: a reader that stopped must not hold up the end.
    pub(super) fn flush(&self, patience: Duration) {
        let is_busy = |state: &mut State| state.is_writing || !state.waiting.is_empty();
        let waited = self.0.written.wait_timeout_while(self.state(), patience, is_busy);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Lines that found no room, since the start.
    pub(super) fn lost(&self) -> u64 {
        self.state().lost
    }

    fn take(&self, line: &[u8]) {
        let mut state = self.state();
        if state.waiting.len() + line.len() > ROOM {
            state.lost += 1;
            return;
        }
        state.waiting.extend_from_slice(line);
        state.lines += 1;
        drop(state);
        self.0.filled.notify_all();
    }

    fn write_on(&self, mut into: impl Write) {
        let mut lines = Vec::new();
        loop {
            lines.clear();
            let state = self.0.filled.wait_while(self.state(), |state| state.waiting.is_empty());
            let mut state = state.unwrap_or_else(PoisonError::into_inner);
            std::mem::swap(&mut lines, &mut state.waiting);
            let number = std::mem::take(&mut state.lines);
            state.is_writing = true;
            drop(state);
            let is_written = into.write_all(&lines).and_then(|()| into.flush()).is_ok();
            let mut state = self.state();
            if !is_written {
                state.lost += number;
            }
            state.is_writing = false;
            drop(state);
            self.0.written.notify_all();
        }
    }

    /// Waits for a loss, and for room to tell of it: a loss means that there was none.
    fn tell_of_next_loss(&self) {
        let is_idle = |state: &mut State| state.lost == state.told || state.waiting.len() > ROOM / 2;
        let state = self.0.written.wait_while(self.state(), is_idle);
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        let lost = state.lost;
        state.told = lost;
        drop(state);
        tracing::warn!(log.lost = lost, "lines of the log were lost: nobody took them from standard error");
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for &Sink {
    /// A whole line, as the layer writes them.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.take(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'w> MakeWriter<'w> for Sink {
    type Writer = &'w Self;

    fn make_writer(&'w self) -> Self::Writer {
        self
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, Receiver, SyncSender};

    use tracing::subscriber::with_default;

    use super::*;
    use crate::config::{Log, LogAddresses, LogFormat};

    /// A reader that takes when it is told to, and gives up with the end of the test.
    struct Slow {
        may_take: Receiver<()>,
        taken: SyncSender<Vec<u8>>,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.may_take.recv().map_err(|_gone| io::Error::from(io::ErrorKind::BrokenPipe))?;
            self.taken.send(bytes.to_vec()).map_err(|_gone| io::Error::from(io::ErrorKind::BrokenPipe))?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_stopped_holds_up_nobody_and_is_told_what_it_missed() {
        let (go, may_take) = mpsc::sync_channel(64);
        let (taken, took) = mpsc::sync_channel(64);
        let sink = Sink::start(Slow { may_take, taken }).unwrap();
        let log = Log { format: LogFormat::Json, filter: "info".to_owned(), addresses: LogAddresses::Full };
        let subscriber = crate::telemetry::subscriber(&log, false, sink.clone()).unwrap();
        with_default(subscriber, || {
            let words = "x".repeat(1_000);
            // Three times what there is room for: none of them waits, as the end of this loop shows.
            for _ in 0..3 * ROOM / words.len() {
                tracing::info!("{words}");
            }
            assert!(sink.state().waiting.len() <= ROOM);
            sink.flush(Duration::from_millis(1));
            let lost = sink.state().lost;
            assert!(lost > 3_000, "{lost}");
            (0..8).for_each(|_| go.send(()).unwrap());
            sink.tell_of_next_loss();
            sink.flush(Duration::from_mins(1));
            let all: Vec<u8> = took.try_iter().flatten().collect();
            let lines: Vec<serde_json::Value> =
                all.split_inclusive(|byte| *byte == b'\n').map(|line| serde_json::from_slice(line).unwrap()).collect();
            assert_eq!(lines.last().unwrap()["log.lost"], lost);
            // What was told is not told again, and what was taken had been whole.
            let (told, lost) = {
                let state = sink.state();
                (state.told, state.lost)
            };
            assert_eq!(told, lost);
            assert_eq!(lines.iter().filter(|line| line["message"] == words).count() + 1, lines.len());
        });
    }

    #[test]
    fn a_reader_that_is_gone_costs_lines_and_nothing_else() {
        let (go, may_take) = mpsc::sync_channel(1);
        let (taken, _took) = mpsc::sync_channel(1);
        drop(go);
        let sink = Sink::start(Slow { may_take, taken }).unwrap();
        for line in ["one\n", "two\n", "three\n"] {
            (&sink).write_all(line.as_bytes()).unwrap();
        }
        sink.flush(Duration::from_mins(1));
        assert_eq!(sink.state().lost, 3);
    }
}
