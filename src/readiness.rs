//! Whether this process should be sent work. Stands aside: `app` sets it, the gRPC health service and the operations
//! port show it. Deliberately knows of no engine: an outage of one must not take the others' work away with it.

use tokio::sync::watch;

/// Where the process is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The feed was not loaded yet: nothing can be judged.
    Loading,
    Ready,
    /// Finishes what it has and takes nothing new.
    Draining,
}

/// The state, and news of it.
#[derive(Debug)]
pub struct Readiness(watch::Sender<State>);

impl Default for Readiness {
    fn default() -> Self {
        Self(watch::Sender::new(State::Loading))
    }
}

impl Readiness {
    /// The feed was loaded once. A process that drains stays so.
    pub fn loaded(&self) {
        self.0.send_if_modified(|state| {
            let is_news = *state == State::Loading;
            if is_news {
                *state = State::Ready;
            }
            is_news
        });
    }

    /// For good.
    pub fn drain(&self) {
        self.0.send_replace(State::Draining);
    }

    pub fn state(&self) -> State {
        *self.0.borrow()
    }

    pub fn is_ready(&self) -> bool {
        self.state() == State::Ready
    }

    /// Sees every change that comes after the last one it saw.
    pub fn watch(&self) -> watch::Receiver<State> {
        self.0.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_drains_never_becomes_ready_again() {
        let readiness = Readiness::default();
        assert_eq!(readiness.state(), State::Loading);
        readiness.loaded();
        assert!(readiness.is_ready());
        readiness.drain();
        readiness.loaded();
        assert_eq!(readiness.state(), State::Draining);
    }
}
