//! A little of every target with every `cargo test`; `cargo xtask fuzz` does more.

use fuzz::{Runner, TARGETS};

/// Changed inputs for each target: seconds, not minutes.
const RUNS: u64 = 2000;

#[test]
fn no_input_makes_a_reader_panic_hang_or_take_memory_out_of_proportion() {
    for target in TARGETS {
        let runner = Runner::new(target);
        assert!(runner.seeds() > 0, "{}", target.name);
        match runner.run(0..runner.seeds() as u64 + RUNS) {
            // Inputs that are refused at the first look try nothing.
            Ok(taken) => assert!(taken > RUNS / 8, "{}: {taken} inputs were taken", target.name),
            Err(failure) => panic!(
                "{}: {} (cargo xtask fuzz --target {} --first {} --runs 1)",
                failure.target, failure.what, failure.target, failure.run
            ),
        }
    }
}

#[test]
fn every_seed_is_sound() {
    for target in TARGETS {
        let runner = Runner::new(target);
        let seeds = runner.seeds() as u64;
        assert_eq!(runner.run(0..seeds).map_err(|failure| failure.what), Ok(seeds), "{}", target.name);
    }
}

#[test]
fn an_input_follows_from_its_number() {
    for target in TARGETS {
        let (one, two) = (Runner::new(target), Runner::new(target));
        for run in [0, 7, 1234, u64::MAX - 1] {
            assert!(one.input(run) == two.input(run));
        }
        assert!(one.input(1000) != one.input(1001));
    }
}
