//! Rotation against a world that goes wrong in every way it can: every sequence up to a small depth, every interleaving
//! of a few refreshes, and long random runs. What must hold, in every state and of every decision (see `world`):
//!
//! 1. No honest retry within the grace is refused, unless the session has ended. Honest: the token is ours, and no
//!    supersession of it that took effect was decided a grace ago or earlier. A late answer may bring an older token.
//! 2. At any time at most one token advances; on a record that was put back, none below the generation floor. No
//!    generation ever has two secrets.
//! 3. A session that has ended in SQL is never refreshed, whatever the vault is thrown back to.
//! 4. A forged secret neither heals, nor is answered, nor ends the session.
//! 5. The newest token is answered whatever the vault was thrown back to: the owner is never locked out.
//! 6. A thief and an owner who both go on are found at the latest at the second refresh out of step.
//!
//! While the vault forgets nothing, every decision must also equal that of a judge with a perfect memory.

use std::collections::HashSet;
use std::rc::Rc;
use std::time::Duration;

use proptest::prelude::*;

use super::AnswerKind::Late;
use super::world::{Actor, Cut, Fate, Outcome, Replica, Step, World};

/// One thing that happens to the world, refreshes undivided.
#[derive(Clone, Copy, Debug)]
enum Event {
    Play(Actor, Cut),
    Copy(Actor, Actor),
    Forge(u32),
    Wait(Duration),
    Restore(usize),
    Flush,
    Revoke,
}

impl Event {
    fn happen(self, world: &mut World) {
        match self {
            Self::Play(actor, cut) => {
                world.play_cut(actor, cut);
            }
            Self::Copy(from, to) => world.copy(from, to),
            Self::Forge(generation) => {
                world.play_forged(generation);
            }
            Self::Wait(time) => world.wait_for(time),
            Self::Restore(sealed) => world.restore(sealed),
            Self::Flush => world.flush(),
            Self::Revoke => world.revoke(false),
        }
    }

    fn all(world: &World) -> Vec<Self> {
        use Actor::{A, B, Thief};
        let mut events = vec![
            Self::Play(A, Cut::Nowhere),
            Self::Play(A, Cut::AnswerLost),
            Self::Play(A, Cut::SqlAtRead),
            Self::Play(A, Cut::SqlAtFloor),
            Self::Play(A, Cut::SwapUnknownDone),
            Self::Play(A, Cut::SwapUnknownLost),
            Self::Play(B, Cut::Nowhere),
            Self::Play(B, Cut::SqlAtRevoke),
            Self::Play(Thief, Cut::Nowhere),
            Self::Copy(A, B),
            Self::Copy(B, A),
            Self::Copy(A, Thief),
            Self::Forge(world.services.truth.newest + 7),
            Self::Forge(0),
            // Within the grace in several steps, just within it, past it.
            Self::Wait(Duration::from_millis(700)),
            Self::Wait(Duration::from_millis(29_600)),
            Self::Wait(Duration::from_secs(45)),
            Self::Revoke,
        ];
        let records = world.services.vault.records();
        // Of a long past, the first and the last few stand for all.
        events.extend((0..records).filter(|one| *one == 0 || one + 7 > records).map(Self::Restore));
        events
    }
}

/// Every sequence of `depth` events, worlds that are alike visited once.
fn explore(start: World, depth: usize) {
    let mut seen = HashSet::from([start.likeness()]);
    let mut layer: Vec<(World, Vec<Event>)> = vec![(start, Vec::new())];
    for _ in 0..depth {
        let mut next = Vec::new();
        for (world, trail) in &layer {
            for event in Event::all(world) {
                let mut world = world.clone();
                event.happen(&mut world);
                let trail: Vec<Event> = trail.iter().copied().chain([event]).collect();
                if let Err(broken) = world.check() {
                    panic!("{broken}\nafter {trail:?}");
                }
                if seen.insert(world.likeness()) {
                    next.push((world, trail));
                }
            }
        }
        layer = next;
    }
}

#[test]
fn every_short_history_of_a_new_session() {
    explore(World::new(), 5);
}

/// The floor stands at 16 and the thief's token is below it; one late repeat was forgiven.
#[test]
fn every_short_history_of_an_old_session() {
    let mut world = World::aged(18);
    world.copy(Actor::A, Actor::B);
    world.play(Actor::A);
    world.wait(3600);
    assert_eq!(world.play(Actor::B), Outcome::Answered(Late, 19));
    explore(world, 4);
}

/// Every interleaving of the refreshes in flight, with up to `faults` things that go wrong at any moment between them.
fn interleave(start: World, faults: u8, end: &dyn Fn(&World)) {
    let mut seen = HashSet::new();
    let mut open: Vec<(World, u8, Rc<Trail>)> = vec![(start, faults, Rc::default())];
    while let Some((mut world, faults, trail)) = open.pop() {
        if let Err(broken) = world.check() {
            panic!("{broken}\nafter {:?}", trail.told());
        }
        let moments = Moment::all(&world, faults > 0);
        if !moments.iter().any(|one| matches!(one, Moment::Step(..))) {
            end(&world);
        }
        for moment in moments {
            let mut world = world.clone();
            moment.pass(&mut world);
            let faults = faults - u8::from(moment.is_fault());
            if seen.insert((world.likeness(), faults)) {
                open.push((world, faults, Rc::new(Trail(Some((moment, Rc::clone(&trail)))))));
            }
        }
    }
}

/// How a world came to be, the newest first.
#[derive(Default)]
struct Trail(Option<(Moment, Rc<Self>)>);

impl Trail {
    fn told(&self) -> Vec<Moment> {
        let mut told: Vec<Moment> = std::iter::successors(self.0.as_ref(), |(_, before)| before.0.as_ref())
            .map(|(moment, _)| *moment)
            .collect();
        told.reverse();
        told
    }
}

/// One thing that happens to the world, refreshes cut into their steps.
#[derive(Clone, Copy, Debug)]
enum Moment {
    Step(usize, Step),
    /// SQL is away just then.
    StepWithoutSql(usize, Step),
    /// The replica dies.
    Die(usize),
    Restore(usize),
    Revoke,
    Wait(Duration),
}

impl Moment {
    fn all(world: &World, faults: bool) -> Vec<Self> {
        let mut moments = Vec::new();
        for (flight, one) in world.flying.iter().enumerate() {
            for step in one.refresh.steps() {
                moments.push(Self::Step(flight, step));
                if faults && let Step::Swap(_) = step {
                    moments.push(Self::Step(flight, Step::Swap(Fate::UnknownDone)));
                    moments.push(Self::Step(flight, Step::Swap(Fate::UnknownLost)));
                }
                if faults && matches!(step, Step::Read | Step::Floor | Step::Revoke) {
                    moments.push(Self::StepWithoutSql(flight, step));
                }
            }
            if faults && one.refresh.outcome().is_none() {
                moments.push(Self::Die(flight));
            }
        }
        if faults && !moments.is_empty() {
            moments.extend((0..world.services.vault.records()).map(Self::Restore));
            moments.push(Self::Revoke);
            moments.push(Self::Wait(Duration::from_millis(2_500)));
        }
        moments
    }

    fn is_fault(self) -> bool {
        !matches!(
            self,
            Self::Step(
                _,
                Step::Swap(Fate::Answered) | Step::Get | Step::Read | Step::Floor | Step::Revoke | Step::Remove
            )
        )
    }

    fn pass(self, world: &mut World) {
        match self {
            Self::Step(flight, step) => world.step(flight, step),
            Self::StepWithoutSql(flight, step) => {
                world.services.sql.up = false;
                world.step(flight, step);
                world.services.sql.up = true;
            }
            Self::Die(flight) => {
                world.flying.remove(flight);
            }
            Self::Restore(sealed) => world.restore(sealed),
            Self::Revoke => world.revoke(true),
            Self::Wait(time) => world.wait_for(time),
        }
    }
}

fn outcomes(world: &World) -> Vec<Outcome> {
    world.flying.iter().map(|one| one.refresh.outcome().unwrap()).collect()
}

fn in_flight(mut world: World, actors: &[Actor]) -> World {
    for (actor, replica) in actors.iter().zip(Replica::ALL.into_iter().cycle()) {
        world.start(replica, *actor);
    }
    world
}

#[test]
fn four_refreshes_of_one_token_get_one_successor_in_every_order() {
    use Actor::{A, B, Thief};
    interleave(in_flight(World::new(), &[A, A, B, Thief]), 0, &|world| {
        for outcome in outcomes(world) {
            assert!(matches!(outcome, Outcome::Answered(_, 1)), "{outcome:?}");
        }
    });
    interleave(in_flight(World::new(), &[A, B, Thief]), 1, &|_| {});
}

#[test]
fn neighbouring_generations_race_in_every_order() {
    use Actor::{A, B};
    let mut world = World::new();
    world.play(A);
    world.wait(10);
    let racing = in_flight(world.clone(), &[A, B, A, B]);
    interleave(racing, 0, &|world| {
        assert!(outcomes(world).iter().all(|one| matches!(one, Outcome::Answered(_, 1 | 2))), "{:?}", outcomes(world));
    });
    interleave(in_flight(world, &[A, B, A]), 1, &|_| {});
}

#[test]
fn late_repeats_race_in_every_order() {
    use Actor::{A, B, Thief};
    let mut world = World::aged(3);
    world.copy(A, B);
    world.copy(A, Thief);
    world.play(A);
    world.wait(3600);
    // Two tabs come out of the same tunnel while the newest token is used, too.
    let racing = in_flight(world.clone(), &[B, Thief, B]);
    interleave(racing, 0, &|world| {
        assert!(outcomes(world).iter().all(|one| matches!(one, Outcome::Answered(_, 4))), "{:?}", outcomes(world));
    });
    interleave(in_flight(world, &[B, A, Thief]), 1, &|_| {});
}

#[test]
fn heals_race_in_every_order() {
    use Actor::{A, B, Thief};
    let mut world = World::aged(20);
    world.copy(A, B);
    world.play(A);
    world.copy(A, Thief);
    world.wait(1);
    world.play(A);
    world.wait(5);
    // A holds 22, the thief 21, B 20.
    world.restore_generation(12);
    let racing = in_flight(world.clone(), &[A, B, Thief]);
    interleave(racing, 0, &|world| {
        assert!(outcomes(world).iter().all(|one| matches!(one, Outcome::Answered(..))), "{:?}", outcomes(world));
    });
    interleave(in_flight(world, &[A, B]), 1, &|_| {});
}

#[test]
fn reuse_races_in_every_order() {
    use Actor::{A, Thief};
    let world = World::aged(3);
    let racing = in_flight(world.clone(), &[Thief, A, A]);
    interleave(racing, 1, &|_| {});
    interleave(in_flight(world, &[Thief, A, Thief, A]), 0, &|world| assert!(world.services.truth.ended));
}

/// One thing that happens in a random run; numbers are taken modulo what there is.
#[derive(Clone, Copy, Debug)]
enum Chance {
    Event(Event),
    Start(Actor, Replica),
    Step {
        flight: usize,
        which: usize,
        fate: Fate,
        sql_up: bool,
    },
    Land {
        flight: usize,
        arrives: bool,
    },
    Die(usize),
    Restore(usize),
    /// A generation above or below the newest.
    Forge(i8),
}

impl Chance {
    fn happen(self, world: &mut World) {
        let flights = world.flying.len();
        match self {
            Self::Event(event) => event.happen(world),
            Self::Start(actor, replica) if flights < 4 => world.start(replica, actor),
            Self::Step { flight, which, fate, sql_up } if flights > 0 => {
                let flight = flight % flights;
                let steps = world.flying[flight].refresh.steps();
                if steps.is_empty() {
                    return;
                }
                let step = match steps[which % steps.len()] {
                    Step::Swap(_) => Step::Swap(fate),
                    step => step,
                };
                world.services.sql.up = sql_up;
                world.step(flight, step);
                world.services.sql.up = true;
            }
            Self::Land { flight, arrives } if flights > 0 => {
                let flight = flight % flights;
                if world.flying[flight].refresh.outcome().is_some() {
                    world.land(flight, arrives);
                }
            }
            Self::Die(flight) if flights > 0 => {
                world.flying.remove(flight % flights);
            }
            Self::Restore(sealed) => world.restore(sealed % world.services.vault.records()),
            Self::Forge(above) => {
                let generation = world.services.truth.newest.saturating_add_signed(above.into());
                assert!(!matches!(world.play_forged(generation), Outcome::Answered(..) | Outcome::Reused));
            }
            Self::Start(..) | Self::Step { .. } | Self::Land { .. } | Self::Die(_) => {}
        }
    }
}

fn actor() -> impl Strategy<Value = Actor> {
    prop_oneof![3 => Just(Actor::A), 2 => Just(Actor::B), 1 => Just(Actor::Thief)]
}

fn replica() -> impl Strategy<Value = Replica> {
    prop::sample::select(Replica::ALL.as_slice())
}

fn chance(faults: u32) -> impl Strategy<Value = Chance> {
    let cut = prop_oneof![
        4 => Just(Cut::Nowhere),
        1 => prop::sample::select(vec![
            Cut::AnswerLost, Cut::SqlAtRead, Cut::SqlAtFloor, Cut::SqlAtRevoke, Cut::SwapUnknownDone, Cut::SwapUnknownLost,
        ]),
    ];
    let fate = prop_oneof![8 => Just(Fate::Answered), 1 => Just(Fate::UnknownDone), 1 => Just(Fate::UnknownLost)];
    let wait = prop_oneof![
        4 => (0_u64..3_000).prop_map(Duration::from_millis),
        2 => (0_u64..31_000).prop_map(Duration::from_millis),
        2 => (30_u64..7_200).prop_map(Duration::from_secs),
        1 => (1_u64..100).prop_map(|quarters| Duration::from_hours(6 * quarters)),
    ];
    let ending = prop_oneof![Just(Event::Revoke), Just(Event::Flush)];
    prop_oneof![
        24 => (actor(), cut).prop_map(|(actor, cut)| Chance::Event(Event::Play(actor, cut))),
        6 => (actor(), actor()).prop_map(|(from, to)| Chance::Event(Event::Copy(from, to))),
        12 => wait.prop_map(|time| Chance::Event(Event::Wait(time))),
        12 => (actor(), replica()).prop_map(|(actor, replica)| Chance::Start(actor, replica)),
        36 => (0..4_usize, 0..2_usize, fate, prop::bool::weighted(0.9))
            .prop_map(|(flight, which, fate, sql_up)| Chance::Step { flight, which, fate, sql_up }),
        12 => (0..4_usize, prop::bool::weighted(0.8)).prop_map(|(flight, arrives)| Chance::Land { flight, arrives }),
        1 => (0..4_usize).prop_map(Chance::Die),
        2 => (-40_i8..10).prop_map(Chance::Forge),
        faults => any::<u16>().prop_map(|sealed| Chance::Restore(sealed.into())),
        1 => prop::option::weighted(0.1, ending)
            .prop_map(|ending| Chance::Event(ending.unwrap_or(Event::Wait(Duration::ZERO)))),
    ]
}

fn run(age: u32, chances: &[Chance]) -> Result<(), TestCaseError> {
    let mut world = World::aged(age);
    world.copy(Actor::A, Actor::B);
    world.copy(Actor::A, Actor::Thief);
    for chance in chances {
        chance.happen(&mut world);
        world.check().map_err(TestCaseError::fail)?;
    }
    while !world.flying.is_empty() {
        while let Some(step) = world.flying[0].refresh.steps().first().copied() {
            world.step(0, step);
        }
        world.land(0, true);
        world.check().map_err(TestCaseError::fail)?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn long_runs_on_a_vault_that_forgets_nothing(age in 0_u32..40, chances in prop::collection::vec(chance(0), 1..120)) {
        run(age, &chances)?;
    }

    #[test]
    fn long_runs_on_a_vault_that_is_thrown_back(age in 0_u32..40, chances in prop::collection::vec(chance(4), 1..120)) {
        run(age, &chances)?;
    }
}

/// An owner and a thief who begin with the same token and both go on with what they are answered.
#[derive(Clone)]
struct Duel {
    world: World,
    /// Refreshes with a token whose grace was over.
    out_of_step: u32,
    switches: u32,
    last: Option<Actor>,
}

impl Duel {
    fn new() -> Self {
        Self { world: World::new(), out_of_step: 0, switches: 0, last: None }
    }

    fn play(&mut self, actor: Actor) -> Outcome {
        self.switches += u32::from(self.last.is_some_and(|last| last != actor));
        self.last = Some(actor);
        let generation = self.world.token(actor).generation();
        self.out_of_step += u32::from(!self.world.services.truth.in_step(generation, self.world.services.sql.now));
        self.world.play(actor)
    }
}

/// Every order of two players, within the grace of the last refresh or past it.
#[test]
fn a_thief_and_an_owner_who_both_go_on_are_found_at_the_second_refresh_out_of_step() {
    let mut open = vec![(Duel::new(), 8_u8)];
    let mut seen = HashSet::new();
    while let Some((duel, left)) = open.pop() {
        if left == 0 {
            continue;
        }
        for (actor, wait) in [(Actor::A, 10), (Actor::A, 3600), (Actor::Thief, 10), (Actor::Thief, 3600)] {
            let mut duel = duel.clone();
            duel.world.wait(wait);
            let outcome = duel.play(actor);
            if duel.out_of_step >= 2 {
                assert_eq!(outcome, Outcome::Reused);
            }
            if outcome == Outcome::Reused {
                assert!(duel.out_of_step >= 1, "an honest retry was refused");
            } else if seen.insert((duel.world.likeness(), duel.out_of_step, left)) {
                open.push((duel, left - 1));
            }
        }
    }
}

proptest! {
    #[test]
    fn a_thief_at_a_random_phase_is_found_at_the_third_change_of_hands(
        plays in prop::collection::vec((prop::bool::ANY, 30_u64..3_600), 30),
    ) {
        let mut duel = Duel::new();
        for (thief, wait) in plays {
            duel.world.wait(wait);
            let outcome = duel.play(if thief { Actor::Thief } else { Actor::A });
            if outcome == Outcome::Reused {
                return Ok(());
            }
            prop_assert!(duel.switches < 3, "not found: {outcome:?}");
        }
    }
}
