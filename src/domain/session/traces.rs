//! The traces of `protocol`: those that broke earlier designs, what closes them, and the limits that remain. A and B are
//! tabs of the owner; numbers are generations.

use std::time::Duration;

use super::AnswerKind::{Advanced, Healed, Held, Late, Repeated};
use super::fixture::{ABSOLUTE, GRACE, IDLE, T0, keys, open};
use super::world::Actor::{A, B, Thief};
use super::world::Outcome::{Answered, Ended, Forged, Reused, Unavailable};
use super::world::{Cut, Fate, Outcome, Replica, Step, World};
use super::*;

const DAY: u64 = 24 * 3600;

/// Plays, and holds the world to everything that the model holds it to.
fn play(world: &mut World, actor: super::world::Actor) -> Outcome {
    let outcome = world.play(actor);
    world.check().unwrap();
    outcome
}

mod a_no_honest_retry_is_refused {
    use super::*;

    #[test]
    fn a_quick_second_refresh_of_one_tab_does_not_make_the_other_tabs_retry_reuse() {
        let mut world = World::new();
        assert_eq!(play(&mut world, A), Answered(Advanced, 1));
        world.wait(2);
        assert_eq!(play(&mut world, A), Answered(Advanced, 2));
        world.wait(2);
        assert_eq!(play(&mut world, B), Answered(Repeated, 2));
    }

    #[test]
    fn a_client_that_refreshes_in_a_loop_is_held_and_the_first_tab_is_still_answered() {
        let mut world = World::new();
        for generation in 1..=8 {
            assert_eq!(play(&mut world, A), Answered(Advanced, generation));
        }
        for _ in 0..50 {
            assert_eq!(play(&mut world, A), Answered(Held, 8));
        }
        assert_eq!(play(&mut world, B), Answered(Repeated, 8));
        world.wait(36);
        assert_eq!(play(&mut world, A), Answered(Advanced, 9));
    }

    #[test]
    fn replicas_whose_clocks_are_off_judge_by_the_clock_of_sql() {
        let mut world = World::new();
        assert_eq!(world.play_on(Replica::Fast, A, Cut::Nowhere), Answered(Advanced, 1));
        world.wait(29);
        assert_eq!(world.play_on(Replica::Slow, B, Cut::AnswerLost), Answered(Repeated, 1));
        assert_eq!(world.play_on(Replica::Fast, B, Cut::Nowhere), Answered(Repeated, 1));
        world.check().unwrap();
    }

    #[test]
    fn an_outage_of_sql_in_the_middle_changes_nothing_so_the_retry_after_it_advances() {
        let mut world = World::new();
        assert_eq!(world.play_cut(A, Cut::SqlAtRead), Unavailable);
        assert_eq!(world.session().generation, 0);
        world.wait(45);
        assert_eq!(play(&mut world, A), Answered(Advanced, 1));
    }

    #[test]
    fn one_answer_lost_in_a_long_tunnel_is_forgiven() {
        let mut world = World::new();
        assert_eq!(world.play_cut(A, Cut::AnswerLost), Answered(Advanced, 1));
        world.wait(300);
        assert_eq!(world.play_cut(A, Cut::AnswerLost), Answered(Late, 1));
        world.wait(20);
        assert_eq!(play(&mut world, A), Answered(Repeated, 1), "its grace began anew");
    }

    #[test]
    fn a_late_answer_that_overwrites_a_newer_token_is_forgiven() {
        let mut world = World::new();
        world.start(Replica::Exact, A);
        for step in [Step::Get, Step::Read, Step::Swap(Fate::Answered)] {
            world.step(0, step);
        }
        assert_eq!(world.play(B), Answered(Repeated, 1));
        assert_eq!(world.play(B), Answered(Advanced, 2));
        assert_eq!(world.land(0, true), Answered(Advanced, 1));
        world.copy(A, B);
        world.wait(1800);
        assert_eq!(play(&mut world, B), Answered(Late, 2));
    }

    #[test]
    fn limit_two_lost_answers_within_32_generations_are_taken_for_theft() {
        let mut world = World::new();
        world.play_cut(A, Cut::AnswerLost);
        world.wait(300);
        assert_eq!(world.play(A), Answered(Late, 1));
        world.wait(1800);
        world.play_cut(A, Cut::AnswerLost);
        world.wait(300);
        assert_eq!(play(&mut world, A), Reused);
    }

    #[test]
    fn fifty_tabs_may_race() {
        let mut world = World::new();
        for _ in 0..50 {
            world.start(Replica::Exact, A);
        }
        for step in [Step::Get, Step::Read, Step::Swap(Fate::Answered)] {
            for flight in 0..50 {
                world.step(flight, step);
            }
        }
        for _ in 0..50 {
            while let Some(step) = world.flying[0].refresh.steps().first().copied() {
                world.step(0, step);
            }
            let outcome = world.land(0, true);
            assert!(matches!(outcome, Answered(Advanced | Repeated, 1)), "{outcome:?}");
        }
        world.check().unwrap();
    }

    #[test]
    fn a_swap_of_unknown_outcome_is_read_again_and_answered_either_way() {
        let mut world = World::new();
        assert_eq!(world.play_cut(A, Cut::SwapUnknownDone), Answered(Repeated, 1));
        assert_eq!(world.play_cut(A, Cut::SwapUnknownLost), Answered(Advanced, 2));
        world.check().unwrap();
    }

    #[test]
    fn a_failed_write_of_the_floor_is_counted_and_due_again() {
        let mut world = World::aged(16);
        assert_eq!(world.play_cut(A, Cut::SqlAtFloor), Answered(Advanced, 17));
        assert_eq!((world.services.sql.floor, world.services.truth.floor_failures), (None, 1));
        world.wait(60);
        assert_eq!(play(&mut world, A), Answered(Advanced, 18));
        assert_eq!(world.services.sql.floor.map(|floor| floor.generation), Some(16));
    }

    /// The floor runs beside the swap, so it may be written although the swap is not.
    #[test]
    fn a_floor_whose_swap_was_lost_leaves_the_generation_before_it_its_late_repeat() {
        let mut world = World::aged(15);
        world.copy(A, B);
        assert_eq!(world.play(A), Answered(Advanced, 16));
        world.wait(3600);
        world.start(Replica::Exact, A);
        for step in [Step::Get, Step::Read, Step::Floor] {
            world.step(0, step);
        }
        world.flying.clear();
        assert!(world.services.sql.floor.is_some());
        assert_eq!(play(&mut world.clone(), A), Answered(Advanced, 17));
        assert_eq!(play(&mut world, B), Answered(Late, 16));
    }

    #[test]
    fn a_floor_that_lost_its_race_against_a_late_repeat_leaves_that_its_new_grace() {
        let mut world = World::new();
        assert_eq!(world.play(A), Answered(Advanced, 1));
        world.wait(25 * 3600);
        // A's refresh has found a floor due; B's late repeat, whose answer is lost, overtakes its swap.
        world.start(Replica::Exact, A);
        world.step(0, Step::Get);
        world.step(0, Step::Read);
        assert_eq!(world.play_cut(B, Cut::AnswerLost), Answered(Late, 1));
        while let Some(step) = world.flying[0].refresh.steps().last().copied() {
            world.step(0, step);
        }
        assert_eq!(world.land(0, true), Answered(Advanced, 2));
        world.wait(10);
        assert_eq!(play(&mut world, B), Answered(Repeated, 2));
    }
}

mod b_one_token_advances {
    use super::*;

    fn advancing(world: &World) -> Vec<u32> {
        let mut advancing = Vec::new();
        for token in &world.services.truth.tokens {
            let mut world = world.clone();
            world.give(Thief, token.clone());
            let before = world.session().generation;
            if let Answered(Advanced | Healed, after) = world.play(Thief)
                && after > before.max(token.generation())
            {
                advancing.push(token.generation());
            }
        }
        advancing
    }

    #[test]
    fn of_a_whole_record_only_the_current_one() {
        assert_eq!(advancing(&World::aged(20)), [20]);
    }

    #[test]
    fn of_a_restored_record_all_from_the_generation_floor() {
        let mut world = World::aged(20);
        world.restore_generation(2);
        assert_eq!(advancing(&world), [15, 16, 17, 18, 19, 20]);
    }

    #[test]
    fn two_replicas_on_two_master_keys_derive_one_successor() {
        let mut world = World::new();
        assert_eq!(world.play(A), Answered(Advanced, 1));
        let successor = world.token(A).clone();
        // The write is forgotten, and the other replica already prefers key 2: the session keeps its number.
        world.restore_generation(0);
        assert_eq!(play(&mut world, B), Answered(Advanced, 1));
        assert_eq!(*world.token(B).presented.secret, *successor.presented.secret);
        assert_eq!(world.token(B).presented.key, 1);
        assert_eq!(play(&mut world, A), Answered(Advanced, 2));
        assert!(keys(2).tag.open(&successor.text).is_err());
    }

    #[test]
    fn two_masters_of_the_vault_give_the_same_successors_and_a_heal_mends_them() {
        let mut world = World::new();
        assert_eq!(world.play(A), Answered(Advanced, 1));
        world.restore_generation(0);
        assert_eq!(world.play(B), Answered(Advanced, 1));
        assert_eq!(world.play(B), Answered(Advanced, 2));
        world.restore_generation(1);
        assert_eq!(play(&mut world, B), Answered(Healed, 3));
        assert_eq!(play(&mut world, A), Answered(Repeated, 3));
    }
}

mod c_a_thief_is_found {
    use super::*;

    #[test]
    fn who_plays_a_stolen_parent_gets_one_late_repeat_and_is_found_at_the_second_play_out_of_step() {
        let mut world = World::new();
        assert_eq!(world.play(A), Answered(Advanced, 1));
        world.wait(3600);
        assert_eq!(play(&mut world, Thief), Answered(Late, 1));
        world.wait(3600);
        assert_eq!(world.play(A), Answered(Advanced, 2));
        world.wait(3600);
        assert_eq!(play(&mut world, Thief), Reused);
        assert_eq!(play(&mut world, A), Ended(EndCause::RefreshReused));
    }

    #[test]
    fn who_plays_first_is_found_at_the_owners_second_play_out_of_step() {
        let mut world = World::new();
        assert_eq!(world.play(Thief), Answered(Advanced, 1));
        world.wait(3600);
        assert_eq!(world.play(A), Answered(Late, 1));
        world.wait(3600);
        assert_eq!(world.play(Thief), Answered(Advanced, 2));
        world.wait(3600);
        assert_eq!(play(&mut world, A), Reused);
    }

    #[test]
    fn a_poller_is_found_at_the_owners_next_refresh() {
        let mut world = World::new();
        for _ in 0..10 {
            world.wait(60);
            assert!(matches!(world.play(Thief), Answered(Advanced, _)));
        }
        assert_eq!(play(&mut world, A), Reused);
    }

    #[test]
    fn who_plays_anything_older_than_the_parent_is_found_at_once() {
        let mut world = World::aged(2);
        assert_eq!(play(&mut world, Thief), Reused);
        assert_eq!(play(&mut world, A), Ended(EndCause::RefreshReused));
    }

    #[test]
    fn limit_a_thief_in_lockstep_is_never_found_before_the_absolute_end() {
        let mut world = World::new();
        for _ in 0..100 {
            world.wait(1800);
            assert!(matches!(play(&mut world, A), Answered(Advanced, _)));
            world.wait(29);
            assert!(matches!(play(&mut world, Thief), Answered(Repeated, _)));
        }
        world.wait_for(ABSOLUTE);
        world.wait(1);
        assert_eq!(world.play(Thief), Ended(EndCause::Idle), "refused by its own time");
        let current = token_now(&world);
        assert!(matches!(current, Rotation::Ended(End { cause: EndCause::Expired, .. })));
    }

    #[test]
    fn limit_a_single_use_within_the_grace_is_not_seen() {
        let mut world = World::new();
        assert_eq!(world.play(A), Answered(Advanced, 1));
        world.wait(10);
        assert_eq!(play(&mut world, Thief), Answered(Repeated, 1));
        world.wait(1800);
        assert_eq!(play(&mut world, A), Answered(Advanced, 2));
    }
}

/// What the record says of its own current token, issued just now.
fn token_now(world: &World) -> Rotation {
    let session = world.session();
    let now = world.services.sql.now;
    let presented = super::fixture::token(session, session.generation, now);
    session.rotate(&presented, &super::fixture::standing(now), &super::fixture::LIMITS, &keys(1).chain)
}

mod d_the_dead_stay_dead {
    use super::*;

    #[test]
    fn reuse_ends_the_session_in_sql_so_no_restored_record_revives_it() {
        let mut world = World::aged(3);
        assert_eq!(world.play(Thief), Reused);
        assert!(world.services.sql.revoked.is_some());
        for generation in 0..=3 {
            world.restore_generation(generation);
            assert_eq!(play(&mut world, A), Ended(EndCause::RefreshReused));
            assert_eq!(play(&mut world, Thief), Ended(EndCause::RefreshReused));
        }
    }

    #[test]
    fn reuse_with_sql_away_is_unavailable_and_changes_nothing() {
        let mut world = World::aged(3);
        assert_eq!(world.play_cut(Thief, Cut::SqlAtRevoke), Unavailable);
        assert_eq!(world.session().generation, 3);
        assert_eq!(play(&mut world.clone(), A), Answered(Advanced, 4));
        assert_eq!(play(&mut world, Thief), Reused);
    }

    #[test]
    fn a_replica_that_dies_between_revocation_and_vault_leaves_a_dead_session() {
        let mut world = World::aged(3);
        world.start(Replica::Exact, Thief);
        for step in [Step::Get, Step::Read, Step::Revoke] {
            world.step(0, step);
        }
        world.flying.clear();
        assert_eq!(world.session().generation, 3);
        assert_eq!(play(&mut world, A), Ended(EndCause::RefreshReused));
    }

    #[test]
    fn a_session_revoked_while_the_vault_is_away_is_dead_when_it_comes_back() {
        let mut world = World::aged(3);
        world.revoke(false);
        assert_eq!(play(&mut world, A), Ended(EndCause::Logout));
    }

    #[test]
    fn a_revocation_between_read_and_swap_lets_one_answer_out_and_no_second() {
        let mut world = World::new();
        world.start(Replica::Exact, A);
        world.step(0, Step::Get);
        world.step(0, Step::Read);
        world.revoke(false);
        world.step(0, Step::Swap(Fate::Answered));
        assert_eq!(world.land(0, true), Answered(Advanced, 1));
        assert_eq!(play(&mut world, A), Ended(EndCause::Logout));
    }

    #[test]
    fn a_revocation_that_sql_lost_in_a_fail_over_holds_again_once_a_replica_writes_it_back() {
        let mut world = World::aged(3);
        world.revoke(false);
        let known = world.services.sql.revoked.take();
        // Alive, which is why revocations commit synchronously ...
        assert!(matches!(world.clone().play(A), Answered(..)));
        // ... and why every replica writes back what it knows.
        world.services.sql.revoked = known;
        assert_eq!(play(&mut world, A), Ended(EndCause::Logout));
    }

    #[test]
    fn a_flush_logs_out_and_revives_nothing() {
        let mut world = World::aged(3);
        world.flush();
        assert_eq!(world.play(A), Ended(EndCause::Lost));
        world.revoke(true);
        world.restore_generation(3);
        assert_eq!(play(&mut world, A), Ended(EndCause::Logout));
    }

    #[test]
    fn the_fence_ends_it_whatever_the_record_says() {
        let mut world = World::aged(3);
        world.fence();
        for generation in 0..=3 {
            world.restore_generation(generation);
            assert_eq!(play(&mut world, A), Ended(EndCause::EndedForAll));
        }
    }
}

mod e_a_restored_record {
    use super::*;

    /// A session of 40 generations and every token that it ever gave.
    fn old() -> World {
        World::aged(40)
    }

    #[test]
    fn never_locks_the_owner_out() {
        for generation in 0..40 {
            let mut world = old();
            world.restore_generation(generation);
            assert_eq!(play(&mut world, A), Answered(Healed, 41), "thrown back to {generation}");
        }
    }

    #[test]
    fn revives_no_stolen_token_below_the_floor_and_at_most_sixteen_above_it() {
        let mut most = 0;
        for age in 0..=40 {
            let mut world = World::aged(age);
            world.restore_generation(0);
            let stolen = world.services.truth.tokens.iter().filter(|one| one.generation() < age);
            let revived = stolen
                .filter(|token| {
                    let mut world = world.clone();
                    world.give(Thief, (*token).clone());
                    matches!(world.play(Thief), Answered(..))
                })
                .count();
            most = most.max(revived);
        }
        assert_eq!(most, 16);
    }

    #[test]
    fn is_healed_over_the_thief_by_the_owner_and_the_thiefs_next_play_is_reuse() {
        let mut world = World::aged(10);
        world.restore_generation(0);
        assert_eq!(world.play(Thief), Answered(Advanced, 1));
        world.wait(60);
        assert_eq!(play(&mut world, A), Answered(Healed, 11));
        world.wait(60);
        assert_eq!(play(&mut world, Thief), Reused);
    }

    #[test]
    fn gives_a_writer_of_the_vault_nothing_below_the_floor() {
        for stolen in 0..30 {
            let mut world = old();
            let token = world.services.truth.tokens[stolen].clone();
            world.give(Thief, token);
            world.restore_generation(u32::try_from(stolen).unwrap());
            assert_eq!(play(&mut world, Thief), Reused, "stolen at {stolen}");
        }
    }

    #[test]
    fn limit_gives_a_writer_of_the_vault_the_few_above_the_floor_unseen() {
        let mut world = old();
        let token = world.services.truth.tokens[35].clone();
        world.give(Thief, token);
        world.restore_generation(35);
        assert_eq!(world.play(Thief), Answered(Advanced, 36));
        world.restore_generation(40);
        assert_eq!(play(&mut world, A), Answered(Advanced, 41));
    }

    #[test]
    fn with_two_tabs_refuses_neither_the_healing_one_nor_the_one_before() {
        let mut world = World::aged(20);
        world.copy(A, B);
        assert_eq!(world.play(A), Answered(Advanced, 21));
        world.wait(5);
        world.restore_generation(3);
        // Its token is young, so the healed record is held, and written.
        assert_eq!(play(&mut world, A), Answered(Healed, 21));
        assert_eq!(world.session().generation, 21);
        assert_eq!(play(&mut world, B), Answered(Repeated, 21));
    }

    #[test]
    fn healed_with_a_due_floor_still_answers_the_other_tabs_retry() {
        let mut world = World::aged(15);
        for _ in 0..16 {
            assert!(matches!(world.play_cut(A, Cut::SqlAtFloor), Answered(..)));
            world.wait(3600);
        }
        world.copy(A, B);
        assert_eq!(world.play_cut(A, Cut::SqlAtFloor), Answered(Advanced, 32));
        world.wait(5);
        world.restore_generation(3);
        assert_eq!(play(&mut world, A), Answered(Healed, 32));
        assert_eq!(world.services.sql.floor.map(|floor| floor.generation), Some(24), "not 32, which would refuse B");
        assert_eq!(play(&mut world, B), Answered(Repeated, 32));
    }

    /// The token carries whole seconds; this one was the model's find.
    #[test]
    fn healed_leaves_the_retry_of_the_other_tab_its_last_second_of_grace() {
        let mut world = World::new();
        assert_eq!(world.play(A), Answered(Advanced, 1));
        world.wait_for(Duration::from_millis(29_600));
        world.restore_generation(0);
        assert_eq!(world.play(A), Answered(Healed, 2));
        assert_eq!(play(&mut world, B), Answered(Repeated, 2));
    }

    /// After a restore the second line of the same generations is walked again, more slowly than the first: a token that
    /// it gave may already be out of the grace of the first.
    #[test]
    fn limit_a_tab_answered_by_a_restored_record_may_hold_a_token_that_a_newer_ones_heal_leaves_behind() {
        let mut world = World::aged(10);
        world.copy(A, B);
        assert_eq!(world.play(A), Answered(Advanced, 11));
        assert_eq!(world.play(A), Answered(Advanced, 12));
        world.wait(28);
        world.restore_generation(10);
        assert_eq!(world.play(B), Answered(Advanced, 11));
        world.wait(8);
        assert_eq!(world.play(A), Answered(Healed, 13));
        assert_eq!(play(&mut world, B), Reused);
    }
}

mod f_idle_and_absolute_ends {
    use super::*;

    #[test]
    fn a_retry_just_past_the_idle_end_is_not_idle() {
        let mut world = World::new();
        world.wait(14 * DAY - 1);
        assert_eq!(world.play_cut(A, Cut::SqlAtRead), Unavailable);
        world.wait(10);
        for replica in Replica::ALL {
            assert!(matches!(world.clone().play_on(replica, A, Cut::Nowhere), Answered(Advanced, 1)), "{replica:?}");
        }
    }

    #[test]
    fn a_backup_older_than_the_idle_limit_refuses_no_active_client() {
        let mut world = World::new();
        for _ in 0..5 {
            world.wait(4 * DAY);
            assert!(matches!(world.play(A), Answered(Advanced, _)));
        }
        world.wait(4 * DAY);
        world.restore_generation(0);
        assert_eq!(play(&mut world, A), Answered(Healed, 6));
    }

    #[test]
    fn an_idle_session_stays_idle_whatever_record_is_restored() {
        let mut world = World::aged(3);
        world.wait_for(IDLE + GRACE + ISSUED_LEEWAY);
        for generation in 0..=3 {
            world.restore_generation(generation);
            assert_eq!(play(&mut world, A), Ended(EndCause::Idle));
        }
    }

    #[test]
    fn a_database_clock_that_was_once_an_hour_fast_refuses_no_one() {
        let mut world = World::new();
        world.services.sql.now = T0 + Duration::from_hours(1);
        assert_eq!(world.play(A), Answered(Advanced, 1));
        world.services.sql.now = T0;
        assert_eq!(world.play(B), Answered(Repeated, 1));
        assert_eq!(world.play(A), Answered(Advanced, 2));
    }
}

mod g_forged_secrets {
    use super::*;

    #[test]
    fn the_tag_key_alone_heals_nothing_and_ends_nothing() {
        let mut world = World::aged(20);
        for generation in [0, 15, 19, 20, 21, 27, 1000, u32::MAX] {
            assert_eq!(world.play_forged(generation), Forged, "{generation}");
            world.check().unwrap();
        }
        assert_eq!((world.session().generation, world.services.sql.revoked), (20, None));
        assert_eq!(play(&mut world, A), Answered(Advanced, 21));
    }

    #[test]
    fn the_tag_key_alone_heals_no_restored_record_either() {
        let mut world = World::aged(20);
        world.restore_generation(3);
        assert_eq!(world.play_forged(27), Forged);
        assert_eq!(world.session().generation, 3);
        assert_eq!(play(&mut world, A), Answered(Healed, 21));
    }

    #[test]
    fn a_token_of_another_master_key_is_an_alarm_and_no_log_out() {
        let mut world = World::new();
        let other = Session { key: 2, ..world.session().clone() };
        let presented = open(&super::super::fixture::issue(&other)).unwrap();
        let standing = super::super::fixture::standing(T0);
        let rotation =
            world.session().rotate(&presented, &standing, &super::super::fixture::LIMITS, &keys(other.key).chain);
        assert_eq!(rotation, Rotation::Forged);
        assert_eq!(play(&mut world, A), Answered(Advanced, 1));
    }
}
