//! The checks before the table of rotation, every row of it, and the edges between the rows.

use std::time::Duration;

use super::fixture::{
    EPOCH, GRACE, IDLE, LIMITS, STRICT, T0, forged, keys, open, owner, session, session_at, standing, token, with_floor,
};
use super::*;
use crate::domain::standing::{Fence, Floor, Owner};

const MICRO: Duration = Duration::from_micros(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

fn rotate(session: &Session, presented: &Presented, standing: &Standing) -> Rotation {
    session.rotate(presented, standing, &LIMITS, &keys(session.key).chain)
}

/// The token of `generation`, issued with the record's own.
fn of(session: &Session, generation: u32) -> Presented {
    token(session, generation, session.advanced_at)
}

fn answer(rotation: Rotation) -> Answer {
    match rotation {
        Rotation::Answer(answer) => *answer,
        other => panic!("not answered: {other:?}"),
    }
}

fn cause(rotation: &Rotation) -> EndCause {
    match rotation {
        Rotation::Ended(end) => end.cause,
        other => panic!("not ended: {other:?}"),
    }
}

fn predecessor(generation: u32, superseded_at: Timestamp) -> Predecessor {
    Predecessor { generation, superseded_at }
}

/// `generation`, reached in a hurry: so many predecessors were superseded at `T0`.
fn hurried(generation: u32, predecessors: u32) -> Session {
    Session {
        predecessors: (generation - predecessors..generation).map(|one| predecessor(one, T0)).collect(),
        ..session_at(generation)
    }
}

mod before_the_table {
    use super::*;

    fn end_at(session: &Session, standing: &Standing) -> Rotation {
        rotate(session, &of(session, session.generation), standing)
    }

    #[test]
    fn a_revoked_session_has_ended_with_its_cause_and_time() {
        let end = End { cause: EndCause::Logout, time: T0 + SECOND };
        let standing = Standing { revoked: Some(end), ..standing(T0 + HOUR) };
        assert_eq!(end_at(&session(), &standing), Rotation::Ended(end));
    }

    #[test]
    fn a_revocation_wins_over_every_other_end() {
        let end = End { cause: EndCause::EndedByAdmin, time: T0 };
        let fence = Fence { version: EPOCH + 1, at: T0 };
        let standing = Standing { revoked: Some(end), owner: None, fence, ..standing(Timestamp::MAX) };
        assert_eq!(end_at(&session(), &standing), Rotation::Ended(end));
    }

    #[test]
    fn a_deleted_users_session_has_ended() {
        let standing = Standing { owner: None, ..standing(T0) };
        assert_eq!(cause(&end_at(&session(), &standing)), EndCause::UserDisabled);
    }

    #[test]
    fn a_disabled_users_session_has_ended_even_if_exempt_from_the_floor() {
        let floor = Floor { except: Some(session().id), at: T0 + SECOND, ..Floor::NONE };
        let owner = Owner { active: false, floor, ..owner() };
        let standing = Standing { owner: Some(owner), ..standing(T0 + HOUR) };
        let end = End { cause: EndCause::UserDisabled, time: T0 + SECOND };
        assert_eq!(end_at(&session(), &standing), Rotation::Ended(end));
    }

    fn floored(version: i64, except: Option<crate::domain::id::SessionId>) -> Standing {
        let floor = Floor { version, at: T0 + SECOND, cause: EndCause::CredentialChanged, except };
        Standing { owner: Some(Owner { floor, ..owner() }), ..standing(T0 + HOUR) }
    }

    #[test]
    fn an_epoch_below_the_floor_has_ended_with_the_floors_cause() {
        let end = End { cause: EndCause::CredentialChanged, time: T0 + SECOND };
        assert_eq!(end_at(&session(), &floored(EPOCH + 1, None)), Rotation::Ended(end));
    }

    #[test]
    fn an_epoch_at_the_floor_lives() {
        assert_eq!(answer(end_at(&session(), &floored(EPOCH, None))).kind, AnswerKind::Advanced);
    }

    #[test]
    fn the_session_that_the_floor_exempts_lives_and_no_other() {
        let mine = session().id;
        let other = crate::domain::id::SessionId::generate();
        assert_eq!(answer(end_at(&session(), &floored(EPOCH + 1, Some(mine)))).kind, AnswerKind::Advanced);
        assert_eq!(cause(&end_at(&session(), &floored(EPOCH + 1, Some(other)))), EndCause::CredentialChanged);
    }

    #[test]
    fn an_epoch_below_the_fence_has_ended_exempt_or_not() {
        let fence = Fence { version: EPOCH + 1, at: T0 + SECOND };
        for except in [None, Some(session().id)] {
            let standing = Standing { fence, ..floored(EPOCH, except) };
            let end = End { cause: EndCause::EndedForAll, time: T0 + SECOND };
            assert_eq!(end_at(&session(), &standing), Rotation::Ended(end));
        }
    }

    #[test]
    fn an_epoch_at_the_fence_lives() {
        let standing = Standing { fence: Fence { version: EPOCH, at: T0 }, ..standing(T0) };
        assert_eq!(answer(end_at(&session(), &standing)).kind, AnswerKind::Advanced);
    }

    #[test]
    fn the_session_has_expired_exactly_at_its_absolute_end() {
        let session = session();
        let busy = Session { advanced_at: session.absolute_end - HOUR, ..session.clone() };
        let end = End { cause: EndCause::Expired, time: session.absolute_end };
        assert_eq!(end_at(&busy, &standing(session.absolute_end)), Rotation::Ended(end));
        assert_eq!(answer(end_at(&busy, &standing(session.absolute_end - MICRO))).kind, AnswerKind::Advanced);
    }

    #[test]
    fn no_heal_carries_a_session_past_its_absolute_end() {
        let session = session();
        let newest = token(&session, 9, session.absolute_end - SECOND);
        assert_eq!(cause(&rotate(&session, &newest, &standing(session.absolute_end))), EndCause::Expired);
    }

    #[test]
    fn the_session_is_idle_only_past_idle_and_grace_and_a_minute() {
        let session = session();
        let last = session.advanced_at + IDLE + GRACE + Duration::from_mins(1);
        assert_eq!(answer(end_at(&session, &standing(last))).kind, AnswerKind::Advanced);
        let end = End { cause: EndCause::Idle, time: session.advanced_at + IDLE };
        assert_eq!(end_at(&session, &standing(last + MICRO)), Rotation::Ended(end));
    }

    #[test]
    fn a_record_from_a_backup_is_as_active_as_its_newest_token() {
        let session = session();
        let newest = token(&session, 4, session.advanced_at + IDLE);
        let now = session.advanced_at + IDLE + IDLE;
        assert_eq!(answer(rotate(&session, &newest, &standing(now))).kind, AnswerKind::Healed);
        assert_eq!(cause(&rotate(&session, &of(&session, 0), &standing(now))), EndCause::Idle);
    }

    #[test]
    fn a_secret_that_is_not_the_sessions_is_forged_at_any_generation() {
        let session = session_at(20);
        for generation in [0, 15, 19, 20, 21, 27, u32::MAX] {
            let token = open(&forged(&session, generation, T0)).unwrap();
            assert_eq!(rotate(&session, &token, &with_floor(T0, 16, T0)), Rotation::Forged, "{generation}");
        }
    }

    #[test]
    fn a_forged_token_below_the_generation_floor_is_no_reuse() {
        let session = session_at(40);
        let token = open(&forged(&session, 3, T0)).unwrap();
        assert_eq!(rotate(&session, &token, &with_floor(T0, 32, T0)), Rotation::Forged);
    }

    #[test]
    fn a_token_under_another_master_key_proves_nothing() {
        let session = session();
        let other = Session { key: 2, ..session.clone() };
        assert_eq!(rotate(&session, &of(&other, 0), &standing(T0)), Rotation::Forged);
        assert_eq!(rotate(&session, &of(&other, 1), &standing(T0)), Rotation::Forged);
    }

    #[test]
    fn another_sessions_token_proves_nothing_even_under_the_same_seed() {
        let session = session();
        let sibling = Session { id: crate::domain::id::SessionId::generate(), ..session.clone() };
        let stranger = Session { user: crate::domain::id::UserId::generate(), ..session.clone() };
        // The presented ids and the record's are one in the flow; here they are kept apart to see what the secret binds.
        for other in [sibling, stranger] {
            let theirs = Presented { session: session.id, user: session.user, ..of(&other, 0) };
            assert_eq!(rotate(&session, &theirs, &standing(T0)), Rotation::Forged);
        }
    }

    #[test]
    fn a_dead_session_says_so_to_a_forged_token_too() {
        let end = End { cause: EndCause::Logout, time: T0 };
        let standing = Standing { revoked: Some(end), ..standing(T0) };
        let token = open(&forged(&session(), 0, T0)).unwrap();
        assert_eq!(rotate(&session(), &token, &standing), Rotation::Ended(end));
    }

    #[test]
    fn a_generation_below_the_generation_floor_is_reuse_whatever_the_record_says() {
        for current in [0, 3, 14, 15, 16, 40] {
            let session = session_at(current);
            let rotation = rotate(&session, &of(&session, 15), &with_floor(T0 + SECOND, 16, T0));
            assert_eq!(rotation, Rotation::Reused, "record at {current}");
        }
    }

    #[test]
    fn a_generation_below_the_floor_is_reuse_even_in_its_grace() {
        let session = hurried(16, 1);
        assert_eq!(rotate(&session, &of(&session, 15), &with_floor(T0 + SECOND, 16, T0)), Rotation::Reused);
    }

    #[test]
    fn a_generation_at_the_floor_goes_on_to_the_table() {
        let session = session_at(3);
        let rotation = rotate(&session, &of(&session, 16), &with_floor(T0 + HOUR, 16, T0));
        assert_eq!(answer(rotation).kind, AnswerKind::Healed);
    }
}

mod current {
    use super::*;

    #[test]
    fn the_current_token_advances() {
        let now = T0 + HOUR;
        let got = answer(rotate(&session(), &of(&session(), 0), &standing(now)));
        let expected = Session {
            generation: 1,
            advanced_at: now.floor_to_second(),
            predecessors: vec![predecessor(0, now)],
            ..session()
        };
        assert_eq!(got, Answer { kind: AnswerKind::Advanced, session: expected, write: true, floor: None });
    }

    #[test]
    fn an_advance_forgets_predecessors_a_few_seconds_past_their_grace() {
        let session = Session { predecessors: vec![predecessor(1, T0), predecessor(2, T0 + MICRO)], ..session_at(3) };
        let now = T0 + GRACE + READ_SKEW_MAX;
        let got = answer(rotate(&session, &of(&session, 3), &standing(now)));
        assert_eq!(got.session.predecessors, [predecessor(2, T0 + MICRO), predecessor(3, now)]);
    }

    #[test]
    fn with_seven_predecessors_in_their_grace_it_advances_to_eight() {
        let session = hurried(7, 7);
        let got = answer(rotate(&session, &of(&session, 7), &standing(T0 + SECOND)));
        assert_eq!((got.kind, got.session.generation), (AnswerKind::Advanced, 8));
        assert_eq!(got.session.predecessors.len(), PREDECESSORS_MAX);
    }

    #[test]
    fn the_ninth_quick_advance_is_held_and_not_written() {
        let session = hurried(8, 8);
        let got = answer(rotate(&session, &of(&session, 8), &standing(T0 + SECOND)));
        assert_eq!(got, Answer { kind: AnswerKind::Held, session, write: false, floor: None });
    }

    #[test]
    fn a_held_client_advances_when_the_first_predecessor_is_forgotten() {
        let session = hurried(8, 8);
        let kind = |now| answer(rotate(&session, &of(&session, 8), &standing(now))).kind;
        assert_eq!(kind(T0 + GRACE + READ_SKEW_MAX - MICRO), AnswerKind::Held);
        assert_eq!(kind(T0 + GRACE + READ_SKEW_MAX), AnswerKind::Advanced);
    }

    #[test]
    fn the_last_generation_of_all_is_held_for_ever() {
        let session = session_at(u32::MAX);
        let got = answer(rotate(&session, &of(&session, u32::MAX), &standing(T0 + HOUR)));
        assert_eq!((got.kind, got.session.generation, got.write), (AnswerKind::Held, u32::MAX, false));
        let before = session_at(u32::MAX - 1);
        let got = answer(rotate(&before, &of(&before, u32::MAX - 1), &standing(T0 + HOUR)));
        assert_eq!((got.kind, got.session.generation), (AnswerKind::Advanced, u32::MAX));
    }
}

mod healed {
    use super::*;

    #[test]
    fn a_newer_token_heals_the_record_and_advances() {
        let session = session_at(2);
        let issued = (T0 + HOUR).floor_to_second();
        let now = issued + HOUR;
        let got = answer(rotate(&session, &token(&session, 12, issued), &standing(now)));
        assert_eq!((got.kind, got.session.generation, got.write), (AnswerKind::Healed, 13, true));
        assert_eq!(got.session.predecessors, [predecessor(12, now)]);
        assert_eq!(got.session.advanced_at, now.floor_to_second());
    }

    #[test]
    fn the_eight_before_a_healed_one_are_in_their_grace_if_it_is_young() {
        let session = session_at(0);
        let issued = (T0 + HOUR).floor_to_second();
        let healed = answer(rotate(&session, &token(&session, 12, issued), &standing(issued + SECOND)));
        assert_eq!((healed.kind, healed.session.generation, healed.write), (AnswerKind::Healed, 12, true));
        assert_eq!(healed.session.advanced_at, issued, "a healed record that is held keeps the token's own time");
        let generations: Vec<u32> = healed.session.predecessors.iter().map(|one| one.generation).collect();
        assert_eq!(generations, [4, 5, 6, 7, 8, 9, 10, 11]);
        let standing = standing(issued + SECOND);
        assert_eq!(answer(rotate(&healed.session, &of(&session, 4), &standing)).kind, AnswerKind::Repeated);
        assert_eq!(rotate(&healed.session, &of(&session, 3), &standing), Rotation::Reused);
    }

    #[test]
    fn a_heal_to_a_young_early_generation_advances_because_fewer_than_eight_precede_it() {
        let session = session_at(0);
        let issued = (T0 + HOUR).floor_to_second();
        for (generation, after) in [(1, 2), (7, 8), (8, 8)] {
            let got = answer(rotate(&session, &token(&session, generation, issued), &standing(issued)));
            assert_eq!((got.kind, got.session.generation), (AnswerKind::Healed, after), "from {generation}");
            assert!(got.write);
        }
    }

    #[test]
    fn a_heal_reaches_the_last_generation_of_all() {
        let session = session_at(5);
        let got = answer(rotate(&session, &token(&session, u32::MAX, T0 + HOUR), &standing(T0 + DAY)));
        assert_eq!((got.kind, got.session.generation, got.write), (AnswerKind::Healed, u32::MAX, true));
    }

    #[test]
    fn a_heal_does_not_forgive_a_second_late_repeat() {
        let session = Session { last_late: Some(2), ..session_at(2) };
        let got = answer(rotate(&session, &token(&session, 12, T0 + HOUR), &standing(T0 + DAY)));
        assert_eq!(got.session.last_late, Some(2));
    }

    /// A token carries whole seconds, the record microseconds: rounded down, a heal would cut the grace of the
    /// generation before it short by up to a second.
    #[test]
    fn a_heal_does_not_shorten_the_grace_of_the_generation_before_it() {
        let superseded_at = T0 + HOUR;
        let before = session_at(2);
        let advanced = answer(rotate(&before, &of(&before, 2), &standing(superseded_at))).session;
        let newest = of(&advanced, 3);
        // The vault is thrown back; the tab with the answer heals; the tab without one tries again in its grace.
        let healed = answer(rotate(&before, &newest, &standing(superseded_at + SECOND))).session;
        let last_moment = superseded_at + GRACE - MICRO;
        let again = rotate(&Session { last_late: Some(2), ..healed }, &of(&before, 2), &standing(last_moment));
        assert_eq!(answer(again).kind, AnswerKind::Repeated);
    }
}

mod superseded {
    use super::*;

    #[test]
    fn a_predecessor_in_its_grace_is_answered_with_the_current_token_and_nothing_is_written() {
        let session = hurried(3, 1);
        let got = answer(rotate(&session, &of(&session, 2), &standing(T0 + GRACE - MICRO)));
        assert_eq!(got, Answer { kind: AnswerKind::Repeated, session, write: false, floor: None });
    }

    #[test]
    fn any_of_eight_predecessors_is_repeated_and_the_ninth_is_not() {
        let session = hurried(20, 8);
        let standing = standing(T0 + SECOND);
        for generation in 12..20 {
            let got = answer(rotate(&session, &of(&session, generation), &standing));
            assert_eq!((got.kind, got.session.generation), (AnswerKind::Repeated, 20), "{generation}");
        }
        assert_eq!(rotate(&session, &of(&session, 11), &standing), Rotation::Reused);
    }

    #[test]
    fn exactly_at_its_grace_a_predecessor_is_no_longer_repeated() {
        let session = hurried(3, 2);
        assert_eq!(answer(rotate(&session, &of(&session, 2), &standing(T0 + GRACE))).kind, AnswerKind::Late);
        assert_eq!(rotate(&session, &of(&session, 1), &standing(T0 + GRACE)), Rotation::Reused);
    }

    /// Time and record are read in parallel: the retry's time may be just within the grace, and the record already that
    /// of another tab, which advanced just past it.
    #[test]
    fn a_retry_in_its_grace_is_repeated_by_a_record_that_is_newer_than_its_time() {
        let mut record = hurried(1, 1);
        for late in [Duration::ZERO, Duration::from_secs(3)] {
            let past = standing(T0 + GRACE + late);
            record = answer(rotate(&record, &of(&record, record.generation), &past)).session;
            let within = standing(T0 + GRACE - MICRO);
            let got = answer(rotate(&record, &of(&record, 0), &within));
            assert_eq!((got.kind, got.session.generation), (AnswerKind::Repeated, record.generation));
        }
        assert_eq!(rotate(&record, &of(&record, 0), &standing(T0 + GRACE)), Rotation::Reused);
    }

    #[test]
    fn generation_zero_is_repeated_then_late_then_reused() {
        let session = hurried(1, 1);
        let zero = of(&session, 0);
        assert_eq!(answer(rotate(&session, &zero, &standing(T0))).kind, AnswerKind::Repeated);
        let late = answer(rotate(&session, &zero, &standing(T0 + HOUR)));
        assert_eq!(late.kind, AnswerKind::Late);
        assert_eq!(rotate(&late.session, &zero, &standing(T0 + DAY)), Rotation::Reused);
    }

    #[test]
    fn a_late_parent_gets_the_current_generation_anew_and_a_new_grace() {
        let session = session_at(5);
        let now = T0 + HOUR;
        let got = answer(rotate(&session, &of(&session, 4), &standing(now)));
        let expected = Session {
            advanced_at: now.floor_to_second(),
            predecessors: vec![predecessor(4, now)],
            last_late: Some(5),
            ..session
        };
        assert_eq!(got, Answer { kind: AnswerKind::Late, session: expected.clone(), write: true, floor: None });
        let standing = standing(now + GRACE - MICRO);
        assert_eq!(answer(rotate(&expected, &of(&expected, 4), &standing)).kind, AnswerKind::Repeated);
    }

    #[test]
    fn a_late_parent_that_is_still_remembered_is_remembered_once() {
        let session = hurried(8, 8);
        let now = T0 + GRACE;
        let got = answer(rotate(&session, &of(&session, 7), &standing(now)));
        assert_eq!((got.kind, got.session.predecessors.len()), (AnswerKind::Late, PREDECESSORS_MAX));
        assert_eq!(got.session.predecessors.last(), Some(&predecessor(7, now)));
    }

    #[test]
    fn a_late_grandparent_is_reuse() {
        let session = session_at(5);
        assert_eq!(rotate(&session, &of(&session, 3), &standing(T0 + HOUR)), Rotation::Reused);
    }

    #[test]
    fn a_second_late_repeat_is_reuse_within_32_generations_and_forgiven_after_them() {
        for (generation, forgiven) in [(10, false), (11, false), (41, false), (42, true), (43, true)] {
            let session = Session { last_late: Some(10), ..session_at(generation) };
            let rotation = rotate(&session, &of(&session, generation - 1), &standing(T0 + HOUR));
            assert_eq!(rotation != Rotation::Reused, forgiven, "at {generation}");
        }
    }

    #[test]
    fn without_late_repeats_a_late_parent_is_reuse() {
        let session = session_at(5);
        let presented = of(&session, 4);
        let chain = &keys(1).chain;
        assert_eq!(session.rotate(&presented, &standing(T0 + HOUR), &STRICT, chain), Rotation::Reused);
        let hurried = hurried(5, 1);
        let repeated = hurried.rotate(&presented, &standing(T0 + SECOND), &STRICT, chain);
        assert_eq!(answer(repeated).kind, AnswerKind::Repeated);
    }

    #[test]
    fn without_a_grace_every_repeat_is_late_or_reuse() {
        let limits = RotationLimits { grace: Duration::ZERO, ..LIMITS };
        let session = hurried(5, 2);
        let chain = &keys(1).chain;
        let late = session.rotate(&of(&session, 4), &standing(T0), &limits, chain);
        assert_eq!(answer(late).kind, AnswerKind::Late);
        assert_eq!(session.rotate(&of(&session, 3), &standing(T0), &limits, chain), Rotation::Reused);
    }

    #[test]
    fn a_database_clock_that_steps_back_refuses_nobody() {
        let session = hurried(5, 1);
        let standing = standing(T0 - HOUR);
        assert_eq!(answer(rotate(&session, &of(&session, 4), &standing)).kind, AnswerKind::Repeated);
        assert_eq!(answer(rotate(&session, &of(&session, 5), &standing)).kind, AnswerKind::Advanced);
    }
}

mod generation_floor {
    use super::*;

    fn floor(session: &Session, presented: u32, standing: &Standing) -> Option<u32> {
        answer(rotate(session, &of(session, presented), standing)).floor
    }

    #[test]
    fn it_is_due_sixteen_above_the_stored_one() {
        let now = T0 + HOUR;
        for (presented, due) in [(0, None), (15, None), (16, Some(15)), (17, Some(16))] {
            assert_eq!(floor(&session_at(presented), presented, &standing(now)), due, "none stored, {presented}");
        }
        for (presented, due) in [(16, None), (31, None), (32, Some(31)), (50, Some(49))] {
            let stored = with_floor(now, 16, now - HOUR);
            assert_eq!(floor(&session_at(presented), presented, &stored), due, "16 stored, {presented}");
        }
    }

    #[test]
    fn it_is_due_when_the_stored_one_is_a_day_old() {
        let session = session_at(20);
        assert_eq!(floor(&session, 20, &with_floor(T0 + DAY - MICRO, 18, T0)), None);
        assert_eq!(floor(&session, 20, &with_floor(T0 + DAY, 18, T0)), Some(19));
        assert_eq!(floor(&session, 20, &with_floor(T0 + DAY, 19, T0)), None, "it would not rise");
    }

    #[test]
    fn before_the_first_one_the_sign_in_counts() {
        let session = session_at(2);
        assert_eq!(floor(&session, 2, &standing(T0 + DAY - MICRO)), None);
        assert_eq!(floor(&session, 2, &standing(T0 + DAY)), Some(1));
        assert_eq!(floor(&session_at(1), 1, &standing(T0 + DAY)), None, "nothing is below generation 0");
    }

    #[test]
    fn it_is_the_lowest_generation_that_may_still_be_answered() {
        let session = hurried(30, 5);
        assert_eq!(floor(&session, 30, &standing(T0 + SECOND)), Some(25));
        assert_eq!(floor(&session, 30, &standing(T0 + GRACE + READ_SKEW_MAX)), Some(29));
        assert_eq!(floor(&session, 30, &with_floor(T0 + SECOND, 10, T0)), None, "25 is but 15 above");
    }

    #[test]
    fn after_a_heal_it_is_the_eighth_before() {
        let session = session_at(3);
        assert_eq!(floor(&session, 40, &standing(T0 + HOUR)), Some(32));
        assert_eq!(floor(&session, 23, &standing(T0 + HOUR)), None);
        assert_eq!(floor(&session, 24, &standing(T0 + HOUR)), Some(16));
        assert_eq!(floor(&session, 7, &standing(T0 + DAY)), None, "nothing is below generation 0");
    }

    #[test]
    fn it_is_due_when_a_healed_record_is_held() {
        let session = session_at(3);
        let got = answer(rotate(&session, &of(&session, 40), &standing(T0)));
        assert_eq!((got.kind, got.session.generation, got.floor), (AnswerKind::Healed, 40, Some(32)));
    }

    #[test]
    fn a_late_repeat_brings_it_too() {
        assert_eq!(floor(&session_at(17), 16, &standing(T0 + HOUR)), Some(15));
        assert_eq!(floor(&session_at(16), 15, &standing(T0 + HOUR)), None);
    }

    #[test]
    fn what_is_not_written_brings_none() {
        let day_old = standing(T0 + DAY);
        let held = Session { predecessors: hurried(40, 8).predecessors, ..session_at(40) };
        let young = standing(T0 + SECOND);
        assert_eq!(floor(&held, 40, &young), None);
        assert_eq!(floor(&hurried(40, 1), 39, &young), None);
        assert_eq!(floor(&session_at(u32::MAX), u32::MAX, &day_old), None);
    }
}

mod lives {
    use super::*;

    #[test]
    fn the_idle_end_is_never_past_the_absolute_one() {
        let young = session();
        assert_eq!(young.idle_end(IDLE), young.advanced_at + IDLE);
        let old = Session { advanced_at: young.absolute_end - HOUR, ..young };
        assert_eq!(old.idle_end(IDLE), old.absolute_end);
    }

    #[test]
    fn the_record_outlives_idleness_by_a_week_and_the_absolute_end_by_five_minutes() {
        let young = session();
        assert_eq!(young.keep_until(IDLE), young.advanced_at + IDLE + 7 * DAY);
        let old = Session { advanced_at: young.absolute_end - HOUR, ..young };
        assert_eq!(old.keep_until(IDLE), old.absolute_end + Duration::from_mins(5));
    }

    #[test]
    fn nothing_printed_of_a_session_shows_its_seed() {
        let printed = format!("{:?}", session());
        assert!(printed.contains("Seed([redacted])"));
        assert!(!printed.contains("42, 42"), "{printed}");
    }
}
