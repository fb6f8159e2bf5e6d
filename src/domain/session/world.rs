//! A small world around `rotate`: SQL, a vault that may be thrown back, replicas, two tabs of one owner, a thief; and a
//! ghost that keeps the truth, so that what was answered can be judged.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use super::fixture::{EPOCH, GRACE, IDLE, LIMITS, T0, forged, issue, keys, open, owner, session};
use super::*;
use crate::domain::standing::{Fence, GenerationFloor, Owner};

/// What a client sees of a refresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Outcome {
    Answered(AnswerKind, u32),
    Ended(EndCause),
    Forged,
    Reused,
    Unavailable,
}

/// A token as a client holds it, and taken apart for the ghost.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) text: Rc<str>,
    pub(super) presented: Rc<Presented>,
}

impl Token {
    fn from_text(text: String) -> Self {
        let presented = Rc::new(open(&text).unwrap());
        Self { text: text.into(), presented }
    }

    pub(super) fn generation(&self) -> u32 {
        self.presented.generation
    }
}

pub(super) struct Outage;

/// One database with one clock.
#[derive(Clone)]
pub(super) struct Sql {
    pub(super) now: Timestamp,
    pub(super) up: bool,
    pub(super) owner: Option<Owner>,
    pub(super) fence: Fence,
    pub(super) revoked: Option<End>,
    pub(super) floor: Option<GenerationFloor>,
}

impl Sql {
    /// The one statement of a refresh.
    fn standing(&self) -> Result<Standing, Outage> {
        self.up.then(|| self.truth()).ok_or(Outage)
    }

    fn truth(&self) -> Standing {
        Standing {
            now: self.now,
            fence: self.fence,
            owner: self.owner.clone(),
            revoked: self.revoked,
            generation_floor: self.floor,
        }
    }

    fn raise_floor(&mut self, generation: u32) -> Result<(), Outage> {
        if !self.up {
            return Err(Outage);
        }
        if self.floor.is_none_or(|stored| stored.generation < generation) {
            self.floor = Some(GenerationFloor { generation, at: self.now });
        }
        Ok(())
    }

    pub(super) fn revoke(&mut self, cause: EndCause) -> Result<(), Outage> {
        if !self.up {
            return Err(Outage);
        }
        self.revoked.get_or_insert(End { cause, time: self.now });
        Ok(())
    }
}

/// Which of all records ever written lies in the vault. Sealing gives each its own bytes, so a swap that expects one
/// succeeds only against that one, and against that one also after it was put back.
type Sealed = usize;

#[derive(Clone)]
pub(super) struct Vault {
    record: Option<Sealed>,
    ever: Vec<Rc<Session>>,
}

impl Vault {
    pub(super) fn opened(&self) -> Option<&Session> {
        self.record.map(|sealed| &*self.ever[sealed])
    }

    fn swap(&mut self, expected: Sealed, new: Session) -> bool {
        if self.record != Some(expected) {
            return false;
        }
        self.record = Some(self.ever.len());
        self.ever.push(Rc::new(new));
        true
    }

    pub(super) fn records(&self) -> usize {
        self.ever.len()
    }
}

/// What really happened; no rule under test reads it.
#[derive(Clone, Default)]
pub(super) struct Truth {
    /// Every token that was ever made, the newest last.
    pub(super) tokens: Vec<Token>,
    /// The one secret of each generation.
    secrets: BTreeMap<u32, [u8; 32]>,
    /// The newest generation that a write reached, lost later or not.
    pub(super) newest: u32,
    /// When each generation was first superseded: the time of the earliest decision that took effect.
    first: BTreeMap<u32, Timestamp>,
    /// The same with late repeats, which open a grace anew. Only true while no write was lost.
    last: BTreeMap<u32, Timestamp>,
    lates: Vec<u32>,
    pub(super) ended: bool,
    /// The vault forgot something.
    pub(super) faulted: bool,
    /// Failed writes of the generation floor: counted, nothing else.
    pub(super) floor_failures: u32,
    broken: Option<String>,
}

impl Truth {
    fn written(&mut self, answer: &Answer, presented: &Presented, decided: Timestamp) {
        self.newest = self.newest.max(answer.session.generation);
        for generation in (0..answer.session.generation).rev() {
            let first = self.first.entry(generation).or_insert(Timestamp::MAX);
            if *first <= decided {
                break;
            }
            *first = decided;
        }
        if answer.session.generation > presented.generation {
            self.last.insert(presented.generation, decided);
        }
        if answer.kind == AnswerKind::Late {
            self.lates.push(answer.session.generation);
        }
    }

    fn made(&mut self, token: &Token) {
        let known = *self.secrets.entry(token.generation()).or_insert(*token.presented.secret);
        self.claim(known == *token.presented.secret, || format!("two secrets of generation {}", token.generation()));
        let same = |one: &Token| one.text == token.text;
        if !self.tokens.iter().rev().take(12).any(same) {
            self.tokens.push(token.clone());
        }
    }

    /// **Honest**, as the property means it: the token was made by us, and no supersession of it that took effect was
    /// decided a grace ago or earlier.
    fn honest_in_grace(&self, generation: u32, now: Timestamp) -> bool {
        generation <= self.newest && self.first.get(&generation).is_none_or(|at| now.since(*at) < GRACE)
    }

    /// Whether a refresh with this generation is within the grace, however often it was reopened.
    pub(super) fn in_step(&self, generation: u32, now: Timestamp) -> bool {
        generation == self.newest || self.last.get(&generation).is_some_and(|at| now.since(*at) < GRACE)
    }

    /// The rules in one breath, with a perfect memory. Holds while the vault forgets nothing.
    fn naive(&self, generation: u32, now: Timestamp) -> Option<AnswerKind> {
        if generation == self.newest {
            let fresh = |one: &u32| self.last.get(one).is_some_and(|at| now.since(*at) < GRACE + READ_SKEW_MAX);
            let busy = (0..self.newest).rev().take(12).filter(fresh).count();
            return Some(if busy < 8 { AnswerKind::Advanced } else { AnswerKind::Held });
        }
        if self.in_step(generation, now) {
            return Some(AnswerKind::Repeated);
        }
        let forgiven = self.lates.last().is_none_or(|at| self.newest - at >= 32);
        (generation + 1 == self.newest && forgiven).then_some(AnswerKind::Late)
    }

    fn claim(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds && self.broken.is_none() {
            self.broken = Some(what());
        }
    }
}

/// A replica: its clock may be off, and it may already prefer the next master key for new sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Replica {
    Exact,
    Fast,
    Slow,
}

impl Replica {
    pub(super) const ALL: [Self; 3] = [Self::Exact, Self::Fast, Self::Slow];

    fn clock(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Exact => now,
            Self::Fast => now + Duration::from_secs(20),
            Self::Slow => now - Duration::from_secs(20),
        }
    }
}

/// What the world does with one step of a refresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Step {
    /// `vault.get`.
    Get,
    /// The one SQL statement.
    Read,
    /// `vault.swap`, and what becomes of its answer.
    Swap(Fate),
    /// The generation floor, beside the swap.
    Floor,
    /// The revocation in SQL.
    Revoke,
    /// `vault.remove`, after the revocation; or not, if the replica dies here.
    Remove,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Fate {
    Answered,
    /// It took effect, and nobody learned it.
    UnknownDone,
    /// It never arrived, and nobody learned that either.
    UnknownLost,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Got {
    NotYet,
    Nothing,
    Record(Sealed),
}

#[derive(Clone)]
enum Stage {
    Reading { got: Got, standing: Option<Box<Standing>> },
    Writing { expected: Sealed, answer: Box<Answer>, decided: Timestamp, swapped: bool, floor: Option<u32> },
    Revoking,
    Removing,
    Done(Outcome),
}

/// One call of Refresh on one replica, as `auth` runs it, cut where another call or a fault may come between.
#[derive(Clone)]
pub(super) struct Refresh {
    presented: Rc<Presented>,
    began: Timestamp,
    attempts: u8,
    /// The session had ended before this call began.
    too_late: bool,
    stage: Stage,
    answer: Option<Token>,
}

impl Refresh {
    const ATTEMPTS_MAX: u8 = 4;
    /// The server gives no refresh more.
    const DEADLINE: Duration = Duration::from_secs(3);

    /// The tag is proven, and a token too old by its own time is refused, without touching any store.
    pub(super) fn start(world: &mut Services, replica: Replica, text: &str) -> Self {
        let presented = Rc::new(open(text).unwrap());
        let age = replica.clock(world.sql.now).since(presented.issued);
        let stage = if age > IDLE + GRACE + ISSUED_LEEWAY {
            let truly = world.sql.now.since(presented.issued);
            world.truth.claim(truly > IDLE + GRACE, || "refused as idle before its time".into());
            Stage::Done(Outcome::Ended(EndCause::Idle))
        } else {
            Stage::Reading { got: Got::NotYet, standing: None }
        };
        Self { presented, began: world.sql.now, attempts: 1, too_late: world.truth.ended, stage, answer: None }
    }

    pub(super) fn outcome(&self) -> Option<Outcome> {
        if let Stage::Done(outcome) = self.stage { Some(outcome) } else { None }
    }

    /// What may happen next, in any order.
    pub(super) fn steps(&self) -> Vec<Step> {
        match &self.stage {
            Stage::Reading { got, standing } => [(*got == Got::NotYet, Step::Get), (standing.is_none(), Step::Read)]
                .into_iter()
                .filter_map(|(open, step)| open.then_some(step))
                .collect(),
            Stage::Writing { swapped, floor, .. } => {
                let mut steps = Vec::new();
                if !swapped {
                    steps.push(Step::Swap(Fate::Answered));
                }
                if floor.is_some() {
                    steps.push(Step::Floor);
                }
                steps
            }
            Stage::Revoking => vec![Step::Revoke],
            Stage::Removing => vec![Step::Remove],
            Stage::Done(_) => Vec::new(),
        }
    }

    pub(super) fn step(&mut self, step: Step, world: &mut Services) {
        if world.sql.now.since(self.began) > Self::DEADLINE {
            self.overdue(step, world);
            return;
        }
        match (step, &mut self.stage) {
            (Step::Get, Stage::Reading { got, .. }) => {
                *got = world.vault.record.map_or(Got::Nothing, Got::Record);
                self.judge_when_read(world);
            }
            (Step::Read, Stage::Reading { standing, .. }) => match world.sql.standing() {
                Ok(read) => {
                    *standing = Some(Box::new(read));
                    self.judge_when_read(world);
                }
                Err(Outage) => self.stage = Stage::Done(Outcome::Unavailable),
            },
            (Step::Swap(fate), Stage::Writing { expected, answer, decided, swapped, .. }) => {
                let done = fate != Fate::UnknownLost && world.vault.swap(*expected, answer.session.clone());
                if done {
                    world.truth.written(answer, &self.presented, *decided);
                }
                if done && fate == Fate::Answered {
                    *swapped = true;
                    self.sign_when_written(world);
                } else {
                    self.read_again();
                }
            }
            (Step::Floor, Stage::Writing { floor, .. }) => {
                if let Some(generation) = floor.take()
                    && world.sql.raise_floor(generation).is_err()
                {
                    world.truth.floor_failures += 1;
                }
                self.sign_when_written(world);
            }
            (Step::Revoke, Stage::Revoking) => {
                self.stage = if world.sql.revoke(EndCause::RefreshReused).is_ok() {
                    world.truth.ended = true;
                    Stage::Removing
                } else {
                    Stage::Done(Outcome::Unavailable)
                };
            }
            (Step::Remove, Stage::Removing) => {
                world.vault.record = None;
                self.stage = Stage::Done(Outcome::Reused);
            }
            (step, _) => panic!("{step:?} is not due"),
        }
    }

    /// Nobody waits any more, but a swap that was sent may yet take effect.
    fn overdue(&mut self, step: Step, world: &mut Services) {
        if let (Step::Swap(fate), Stage::Writing { expected, answer, decided, .. }) = (step, &self.stage)
            && fate != Fate::UnknownLost
            && world.vault.swap(*expected, answer.session.clone())
        {
            world.truth.written(answer, &self.presented, *decided);
        }
        self.stage = Stage::Done(Outcome::Unavailable);
    }

    fn judge_when_read(&mut self, world: &mut Services) {
        let Stage::Reading { got, standing: Some(standing) } = &self.stage else { return };
        let expected = match *got {
            Got::NotYet => return,
            Got::Nothing => {
                let cause = standing.revoked.map_or(EndCause::Lost, |end| end.cause);
                self.stage = Stage::Done(Outcome::Ended(cause));
                return;
            }
            Got::Record(sealed) => sealed,
        };
        let session = Rc::clone(&world.vault.ever[expected]);
        let rotation = session.rotate(&self.presented, standing, &LIMITS, &keys(session.key).chain);
        let now = standing.now;
        world.judged(&self.presented, now, &rotation, self.too_late);
        match rotation {
            Rotation::Answer(answer) if answer.write => {
                let floor = answer.floor;
                self.stage = Stage::Writing { expected, answer, decided: now, swapped: false, floor };
            }
            Rotation::Answer(answer) => self.sign(&answer, world),
            Rotation::Ended(end) => self.stage = Stage::Done(Outcome::Ended(end.cause)),
            Rotation::Forged => self.stage = Stage::Done(Outcome::Forged),
            Rotation::Reused => self.stage = Stage::Revoking,
        }
    }

    /// A lost swap, or one of unknown outcome, reads everything again.
    fn read_again(&mut self) {
        self.attempts += 1;
        self.stage = if self.attempts > Self::ATTEMPTS_MAX {
            Stage::Done(Outcome::Unavailable)
        } else {
            Stage::Reading { got: Got::NotYet, standing: None }
        };
    }

    fn sign_when_written(&mut self, world: &mut Services) {
        if let Stage::Writing { answer, swapped: true, floor: None, .. } = &self.stage {
            let answer = answer.clone();
            self.sign(&answer, world);
        }
    }

    fn sign(&mut self, answer: &Answer, world: &mut Services) {
        let token = Token::from_text(issue(&answer.session));
        world.truth.made(&token);
        self.stage = Stage::Done(Outcome::Answered(answer.kind, token.generation()));
        self.answer = Some(token);
    }
}

/// The engines, and the ghost.
#[derive(Clone)]
pub(super) struct Services {
    pub(super) sql: Sql,
    pub(super) vault: Vault,
    pub(super) truth: Truth,
}

impl Services {
    /// What must hold of every decision, however old the record and the standing were that it was made on.
    fn judged(&mut self, presented: &Presented, now: Timestamp, rotation: &Rotation, too_late: bool) {
        let truth = &mut self.truth;
        let genuine = truth.secrets.get(&presented.generation) == Some(&*presented.secret);
        let shown = || format!("generation {} was judged {rotation:?}", presented.generation);
        match rotation {
            Rotation::Answer(_) => {
                truth.claim(!too_late, || format!("an ended session was refreshed: {}", shown()));
                truth.claim(genuine, || format!("a forged token was answered: {}", shown()));
            }
            Rotation::Reused => {
                let honest = truth.honest_in_grace(presented.generation, now);
                truth.claim(genuine, || format!("a forged token ended the session: {}", shown()));
                truth.claim(!honest, || format!("an honest retry was refused: {}", shown()));
            }
            Rotation::Forged => truth.claim(!genuine, shown),
            Rotation::Ended(_) => {}
        }
    }

    /// What must hold in every state of the world, tried with every token that was ever made.
    fn check(&mut self) {
        let Some(session) = self.vault.opened().cloned() else { return };
        let standing = self.sql.truth();
        let mut advancing = Vec::new();
        let tokens: Vec<Rc<Presented>> =
            self.truth.tokens.iter().rev().take(14).map(|token| Rc::clone(&token.presented)).collect();
        for presented in tokens {
            let rotation = session.rotate(&presented, &standing, &LIMITS, &keys(session.key).chain);
            self.check_one(&session, &presented, &standing, &rotation);
            if let Rotation::Answer(answer) = &rotation
                && answer.session.generation > presented.generation.max(session.generation)
            {
                advancing.push(presented.generation);
            }
        }
        advancing.dedup();
        let restored = session.generation < self.truth.newest;
        let floor = self.sql.floor.map_or(0, |floor| floor.generation);
        self.truth.claim(restored || advancing.len() <= 1, || format!("several tokens advance: {advancing:?}"));
        self.truth.claim(advancing.iter().all(|one| *one >= floor), || format!("below {floor}: {advancing:?}"));
    }

    fn check_one(&mut self, session: &Session, presented: &Presented, standing: &Standing, rotation: &Rotation) {
        let now = standing.now;
        let truth = &mut self.truth;
        let generation = presented.generation;
        let shown = |what: &str| format!("{what}: {generation} at {now} against {session:?} is {rotation:?}");
        truth.claim(*rotation != Rotation::Forged, || shown("genuine, but called forged"));
        if let Rotation::Ended(end) = rotation {
            let rightly = match end.cause {
                EndCause::Idle => now > presented.issued + IDLE + GRACE + ISSUED_LEEWAY,
                EndCause::Expired => now >= session.absolute_end,
                EndCause::EndedForAll | EndCause::UserDisabled => true,
                _ => truth.ended,
            };
            truth.claim(rightly, || shown("ended too early"));
            return;
        }
        truth.claim(!truth.ended, || shown("an ended session lives"));

        // The owner is never locked out: the newest token, and whatever is honestly in its grace, is answered.
        if generation == truth.newest || truth.honest_in_grace(generation, now) {
            truth.claim(matches!(rotation, Rotation::Answer(_)), || shown("an honest client is refused"));
        }
        let floor = standing.generation_floor.map_or(0, |floor| floor.generation);
        if generation >= session.generation && generation >= floor {
            truth.claim(matches!(rotation, Rotation::Answer(_)), || shown("no heal"));
        }
        if generation < floor {
            truth.claim(*rotation == Rotation::Reused, || shown("below the floor"));
        }
        if !truth.faulted && session.generation == truth.newest {
            let kind = if let Rotation::Answer(answer) = rotation { Some(answer.kind) } else { None };
            let naive = truth.naive(generation, now);
            truth.claim(kind == naive, || shown(&format!("a perfect memory says {naive:?}")));
        }
        let Rotation::Answer(answer) = rotation else { return };
        let after = &answer.session;
        truth.claim(answer.write == (after != session) || !answer.write, || shown("written without need"));
        truth.claim(answer.write || after.generation == session.generation, || shown("not written"));
        truth.claim(after.generation >= session.generation, || shown("the record goes back"));
        truth.claim(after.generation <= truth.newest + 1, || shown("a generation is skipped"));
        truth.claim(after.predecessors.len() <= PREDECESSORS_MAX, || shown("too many predecessors"));
        let before = |one: &Predecessor| one.generation < after.generation;
        truth.claim(after.predecessors.iter().all(before), || shown("a predecessor follows"));
        if let Some(due) = answer.floor {
            truth.claim(due > floor && due <= generation, || shown("a wrong floor"));
            let honest = (0..due).rev().take(10).any(|one| truth.honest_in_grace(one, now));
            truth.claim(!honest, || shown("the floor cuts an honest client off"));
        }
    }
}

/// Who presents tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Actor {
    A,
    B,
    Thief,
}

/// Where a refresh that is otherwise left alone goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Cut {
    Nowhere,
    AnswerLost,
    SqlAtRead,
    SqlAtFloor,
    SqlAtRevoke,
    SwapUnknownDone,
    SwapUnknownLost,
}

#[derive(Clone)]
pub(super) struct Flight {
    pub(super) actor: Actor,
    pub(super) refresh: Refresh,
}

#[derive(Clone)]
pub(super) struct World {
    pub(super) services: Services,
    /// What A, B and the thief hold.
    held: [Token; 3],
    pub(super) flying: Vec<Flight>,
}

impl World {
    /// A has just signed in; B is a tab of the same browser; the thief copied the first token.
    pub(super) fn new() -> Self {
        let session = session();
        let first = Token::from_text(issue(&session));
        let sql = Sql { now: T0, up: true, owner: Some(owner()), fence: Fence::default(), revoked: None, floor: None };
        let vault = Vault { record: Some(0), ever: vec![Rc::new(session)] };
        let mut truth = Truth::default();
        truth.made(&first);
        let held = [first.clone(), first.clone(), first];
        Self { services: Services { sql, vault, truth }, held, flying: Vec::new() }
    }

    /// The same, after `refreshes` of A, an hour apart. B and the thief still hold the first token.
    pub(super) fn aged(refreshes: u32) -> Self {
        let mut world = Self::new();
        for _ in 0..refreshes {
            world.wait(3600);
            world.play(Actor::A);
        }
        world.wait(3600);
        world
    }

    pub(super) fn token(&self, actor: Actor) -> &Token {
        &self.held[actor as usize]
    }

    /// `to` now holds what `from` holds: a shared cookie, or theft.
    pub(super) fn copy(&mut self, from: Actor, to: Actor) {
        self.give(to, self.token(from).clone());
    }

    pub(super) fn give(&mut self, to: Actor, token: Token) {
        self.held[to as usize] = token;
    }

    pub(super) fn wait(&mut self, secs: u64) {
        self.wait_for(Duration::from_secs(secs));
    }

    pub(super) fn wait_for(&mut self, time: Duration) {
        self.services.sql.now = self.services.sql.now + time;
    }

    /// A whole refresh, undisturbed.
    pub(super) fn play(&mut self, actor: Actor) -> Outcome {
        self.play_cut(actor, Cut::Nowhere)
    }

    pub(super) fn play_cut(&mut self, actor: Actor, cut: Cut) -> Outcome {
        self.play_on(Replica::Exact, actor, cut)
    }

    pub(super) fn play_on(&mut self, replica: Replica, actor: Actor, cut: Cut) -> Outcome {
        let text = Rc::clone(&self.token(actor).text);
        let mut refresh = Refresh::start(&mut self.services, replica, &text);
        let mut fate = match cut {
            Cut::SwapUnknownDone => Fate::UnknownDone,
            Cut::SwapUnknownLost => Fate::UnknownLost,
            _ => Fate::Answered,
        };
        while let Some(step) = refresh.steps().first().copied() {
            self.services.sql.up = !matches!(
                (cut, step),
                (Cut::SqlAtRead, Step::Read) | (Cut::SqlAtFloor, Step::Floor) | (Cut::SqlAtRevoke, Step::Revoke)
            );
            let step =
                if let Step::Swap(_) = step { Step::Swap(std::mem::replace(&mut fate, Fate::Answered)) } else { step };
            refresh.step(step, &mut self.services);
        }
        self.services.sql.up = true;
        if let Some(token) = refresh.answer.take()
            && cut != Cut::AnswerLost
        {
            self.give(actor, token);
        }
        refresh.outcome().unwrap()
    }

    /// The holder of the tag key makes a token without the seed.
    pub(super) fn play_forged(&mut self, generation: u32) -> Outcome {
        let text = forged(&session(), generation, self.services.sql.now);
        let mut refresh = Refresh::start(&mut self.services, Replica::Exact, &text);
        while let Some(step) = refresh.steps().first().copied() {
            refresh.step(step, &mut self.services);
        }
        refresh.outcome().unwrap()
    }

    /// Begins a refresh and leaves it there, for others to come between.
    pub(super) fn start(&mut self, replica: Replica, actor: Actor) {
        let text = Rc::clone(&self.token(actor).text);
        let refresh = Refresh::start(&mut self.services, replica, &text);
        self.flying.push(Flight { actor, refresh });
    }

    pub(super) fn step(&mut self, flight: usize, step: Step) {
        let Self { services, flying, .. } = self;
        flying[flight].refresh.step(step, services);
    }

    /// The answer of a finished refresh arrives, however late, or is lost.
    pub(super) fn land(&mut self, flight: usize, arrives: bool) -> Outcome {
        let Flight { actor, mut refresh } = self.flying.remove(flight);
        if let Some(token) = refresh.answer.take()
            && arrives
        {
            self.give(actor, token);
        }
        refresh.outcome().unwrap()
    }

    /// The vault is thrown back to a record that it once held.
    pub(super) fn restore(&mut self, sealed: Sealed) {
        self.services.truth.faulted |= self.services.vault.record != Some(sealed);
        self.services.vault.record = Some(sealed);
    }

    /// The same, to the newest record of a generation.
    pub(super) fn restore_generation(&mut self, generation: u32) {
        let sealed = self.services.vault.ever.iter().rposition(|one| one.generation == generation).unwrap();
        self.restore(sealed);
    }

    pub(super) fn flush(&mut self) {
        self.services.truth.faulted = true;
        self.services.vault.record = None;
    }

    /// `Revoke`: SQL first; the vault is cleaned if it is there.
    pub(super) fn revoke(&mut self, vault_up: bool) {
        if self.services.sql.revoke(EndCause::Logout).is_ok() {
            self.services.truth.ended = true;
            if vault_up {
                self.services.vault.record = None;
            }
        }
    }

    pub(super) fn fence(&mut self) {
        self.services.sql.fence = Fence { version: EPOCH + 1, at: self.services.sql.now };
        self.services.truth.ended = true;
    }

    pub(super) fn session(&self) -> &Session {
        self.services.vault.opened().unwrap()
    }

    /// Says what is broken, if anything is.
    pub(super) fn check(&mut self) -> Result<(), String> {
        self.services.check();
        self.services.truth.broken.clone().map_or(Ok(()), Err)
    }

    /// Equal for worlds that will behave alike: times are ages, and ages past the grace are one.
    pub(super) fn likeness(&self) -> u64 {
        use std::hash::{DefaultHasher, Hash as _, Hasher as _};
        let now = self.services.sql.now;
        let age = |at: Timestamp| now.since(at).min(GRACE + Duration::from_secs(2));
        let Services { sql, vault, truth } = &self.services;
        let mut hash = DefaultHasher::new();
        let record = |sealed: Sealed| {
            let one = &vault.ever[sealed];
            let predecessors: Vec<_> =
                one.predecessors.iter().map(|one| (one.generation, age(one.superseded_at))).collect();
            (one.generation, one.last_late, age(one.advanced_at), predecessors)
        };
        (now.micros().rem_euclid(1_000_000), sql.revoked.is_some(), sql.floor.map(|floor| floor.generation))
            .hash(&mut hash);
        sql.fence.version.hash(&mut hash);
        vault.record.map(record).hash(&mut hash);
        let mut ever: Vec<_> = (0..vault.ever.len()).map(record).collect();
        ever.sort_unstable();
        ever.dedup();
        ever.hash(&mut hash);
        let token = |one: &Token| (one.generation(), age(one.presented.issued));
        self.held.each_ref().map(token).hash(&mut hash);
        let mut tokens: Vec<_> = truth.tokens.iter().map(token).collect();
        tokens.sort_unstable();
        tokens.hash(&mut hash);
        let ages = |of: &BTreeMap<u32, Timestamp>| of.values().map(|at| age(*at)).collect::<Vec<_>>();
        (truth.newest, ages(&truth.first), truth.ended, truth.faulted).hash(&mut hash);
        if !truth.faulted {
            (ages(&truth.last), &truth.lates).hash(&mut hash);
        }
        for Flight { actor, refresh } in &self.flying {
            (actor, refresh.presented.generation, age(refresh.began), refresh.attempts, refresh.too_late)
                .hash(&mut hash);
            match &refresh.stage {
                Stage::Reading { got, standing } => {
                    (got, standing.as_ref().map(|one| age(one.now))).hash(&mut hash);
                    let floor = standing.as_ref().and_then(|one| one.generation_floor);
                    (floor.map(|one| one.generation), standing.as_ref().is_some_and(|one| one.revoked.is_some()))
                        .hash(&mut hash);
                }
                Stage::Writing { expected, answer, decided, swapped, floor } => {
                    (expected, answer.session.generation, age(*decided), swapped, floor).hash(&mut hash);
                }
                Stage::Revoking => 1.hash(&mut hash),
                Stage::Removing => 2.hash(&mut hash),
                Stage::Done(outcome) => outcome.hash(&mut hash),
            }
        }
        if !self.flying.is_empty() {
            // In mid-flight it matters which record is which, for the swaps expect one.
            (vault.record, vault.ever.len()).hash(&mut hash);
        }
        hash.finish()
    }
}
