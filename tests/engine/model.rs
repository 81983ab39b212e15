//! Random histories of two hosts on one repository, beside plain copies: edits, snapshots, sessions
//! that stay open, differences, forgetting, pruning, restoring, stores that die or lose answers, runs
//! within runs, leases that lapse at any moment. After every step all that counts is read back.
//!
//! A history is drawn from its seed; one that fails is made shorter before it is told.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use ballast::store::fault::Death;
use support::world::{Between, Counts, Job, Lost, Verb, World};

/// Steps of one history.
const STEPS: usize = 22;

#[derive(Debug, Clone)]
enum Step {
    Edit { host: usize, file: u8, content: Option<u8> },
    Lapse,
    Run(Job),
}

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }

    fn byte(&mut self) -> u8 {
        self.roll(256) as u8
    }

    fn step(&mut self) -> Step {
        match self.roll(20) {
            0..5 => Step::Edit {
                host: self.roll(2) as usize,
                file: self.roll(7) as u8,
                content: (self.roll(5) > 0).then(|| self.roll(12) as u8),
            },
            5 => Step::Lapse,
            _ => Step::Run(self.job(0)),
        }
    }

    fn job(&mut self, depth: u32) -> Job {
        let verb = match self.roll(17) {
            0..3 => Verb::Snapshot,
            3..5 => Verb::Chain(self.byte()),
            5..7 => Verb::Forget(self.byte()),
            7..11 => Verb::Prune,
            11 => Verb::Restore(self.byte()),
            12 => Verb::Begin,
            13 => Verb::Add(self.byte()),
            14 => Verb::Flush,
            15 => Verb::Commit,
            _ => Verb::Abandon,
        };
        let death = (self.roll(4) == 0).then(|| {
            let death = [Death::Before, Death::Torn, Death::After][self.roll(3) as usize];
            (1 + self.roll(9), death)
        });
        let lost =
            (self.roll(12) == 0).then(|| if self.roll(2) == 0 { Lost::Transient } else { Lost::ForGood });
        let between = (depth < 2 && self.roll(3) == 0).then(|| Between {
            at: 1 + self.roll(9),
            lapse: self.roll(2) == 0,
            job: Box::new(self.job(depth + 1)),
        });
        Job { host: self.roll(2) as usize, verb, death, lost, between }
    }
}

fn history(seed: u64) -> Vec<Step> {
    let mut dice = Dice(seed);
    let mut steps: Vec<Step> = (0..6)
        .map(|file| Step::Edit { host: file % 2, file: file as u8, content: Some(file as u8) })
        .collect();
    steps.extend([0, 1].map(|host| Step::Run(Job::plain(host, Verb::Snapshot))));
    steps.push(Step::Run(Job::plain(0, Verb::Chain(dice.byte()))));
    steps.extend((0..STEPS).map(|_| dice.step()));
    steps
}

/// What went wrong, if anything.
fn play(seed: u64, steps: &[Step], counts: &Arc<Counts>) -> Option<String> {
    let run = || {
        let world = World::new(seed, true, counts.clone());
        for (number, step) in steps.iter().enumerate() {
            match step {
                Step::Edit { host, file, content } => world.edit(*host, *file, *content),
                Step::Lapse => world.lapse(),
                Step::Run(job) => {
                    world.run(job);
                    world.verify(&format!("after step {number}"));
                }
            }
        }
        world.assert_tight("at the end");
        world.tally();
    };
    let failure = catch_unwind(AssertUnwindSafe(run)).err()?;
    let text = failure.downcast_ref::<String>().cloned();
    Some(text.or_else(|| failure.downcast_ref::<&str>().map(|s| (*s).to_owned())).unwrap_or_default())
}

/// Leaves out steps while it still fails.
fn shortened(seed: u64, mut steps: Vec<Step>, mut failure: String) -> (Vec<Step>, String) {
    let counts = Arc::default();
    let mut at = steps.len();
    while at > 0 {
        at -= 1;
        let mut fewer = steps.clone();
        fewer.remove(at);
        if let Some(still) = play(seed, &fewer, &counts) {
            (steps, failure) = (fewer, still);
        }
    }
    (steps, failure)
}

fn histories(seeds: std::ops::Range<u64>) {
    let counts: Arc<Counts> = Arc::default();
    let next = std::sync::atomic::AtomicU64::new(seeds.start);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    if !seeds.contains(&seed) {
                        return;
                    }
                    let steps = history(seed);
                    if let Some(failure) = play(seed, &steps, &counts) {
                        let (steps, failure) = shortened(seed, steps, failure);
                        let steps: String = steps.iter().map(|step| format!("{step:?}\n")).collect();
                        panic!("history {seed}: {failure}\nin its shortest form:\n{steps}");
                    }
                }
            });
        }
    });
    let missed: Vec<_> = counts.all().into_iter().filter(|(_, n)| *n == 0).collect();
    assert!(missed.is_empty(), "never came to pass: {missed:?}");
    told(&counts);
}

#[allow(clippy::print_stdout, reason = "shown with --nocapture: what was really tried")]
fn told(counts: &Counts) {
    let all: Vec<String> = counts.all().iter().map(|(name, n)| format!("{n} {name}")).collect();
    println!("{}", all.join(", "));
}

#[test]
fn what_was_committed_is_there_whatever_happens() {
    histories(1..101);
}

/// Thousands; `BALLAST_SEED` is where they begin.
#[test]
#[ignore = "minutes"]
fn what_was_committed_is_there_in_thousands_of_histories() {
    let from = std::env::var("BALLAST_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(1000);
    histories(from..from + 2000);
}
