//! The protocol's steps, interleaved on the real code (design §3a). Two or three runs stand before a
//! turnstile; a schedule says at which of their calls another's turn comes, who looks dead from then
//! on, and who is killed. Every schedule with one change of turn is tried, and of those with two as
//! many as time allows; larger cases are drawn from a seed. After each of them all that counts is
//! read back, and a prune leaves nothing unneeded.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ballast::error::{Error, Result};
use ballast::store::Store;
use ballast::store::fault::{Death, FaultStore};
use support::world::{Action, Counts, Job, Saved, TurnStore, Turnstile, Verb, World, on_own_threads};

type Schedule = Vec<(u64, Action)>;

/// Some runs on one repository.
struct Scene {
    name: &'static str,
    world: Arc<World>,
    saved: Saved,
    runs: Vec<(usize, Verb)>,
}

/// What became of one schedule.
struct Played {
    steps: u64,
    taken: u64,
    results: Vec<Result<()>>,
}

impl Scene {
    fn new(name: &'static str, caches: bool, runs: &[(usize, Verb)], more: impl FnOnce(&Arc<World>)) -> Self {
        let world = World::new(0, caches, Arc::default());
        let run = |host, verb| world.run(&Job::plain(host, verb));
        for file in 0..6 {
            world.edit(usize::from(file) % 2, file, Some(file));
        }
        run(0, Verb::Snapshot);
        run(1, Verb::Snapshot);
        run(0, Verb::Chain(4));
        run(1, Verb::Chain(6));
        world.edit(0, 0, Some(7));
        run(0, Verb::Snapshot);
        // Dead and half dead packs: the first of each host, and the base of a difference.
        [0, 0].into_iter().for_each(|n| run(0, Verb::Forget(n)));
        run(0, Verb::Forget(0));
        world.edit(1, 0, Some(2));
        more(&world);
        let saved = world.save();
        Self { name, world, saved, runs: runs.to_vec() }
    }

    fn play(&self, schedule: &[(u64, Action)], thorough: bool) -> Played {
        let world = &self.world;
        world.reset(&self.saved);
        let lapsing = world.clone();
        let turnstile = Turnstile::new(self.runs.len(), schedule, move || lapsing.lapse());
        let results: Vec<Result<()>> = std::thread::scope(|scope| {
            let runs: Vec<_> = (0..)
                .zip(&self.runs)
                .map(|(number, (host, verb))| {
                    let turnstile = turnstile.clone();
                    scope.spawn(move || {
                        let over = Over(turnstile.clone(), number);
                        let inner: Arc<dyn Store> = world.store.clone();
                        let store = Arc::new(TurnStore::new(inner, turnstile, number));
                        let unused = Arc::new(FaultStore::new(world.store.clone()));
                        let result = on_own_threads(|| world.act(*host, *verb, &unused, store));
                        drop(over);
                        result
                    })
                })
                .collect();
            runs.into_iter().map(|run| run.join().unwrap()).collect()
        });
        let what = format!("{}, {schedule:?}", self.name);
        for (number, result) in results.iter().enumerate() {
            match result {
                Ok(()) => {}
                Err(_) if turnstile.is_dead(number) => {}
                Err(Error::Overtaken { .. }) => {}
                Err(error) => panic!("{what}: run {number}: {error}"),
            }
        }
        world.verify(&what);
        if thorough {
            world.assert_tight(&what);
        }
        let (steps, taken) = turnstile.steps();
        Played { steps, taken, results }
    }

    /// The runs one after the other, each alone: how many steps they make.
    fn lengths(&self) -> Vec<u64> {
        let alone = |number: usize| {
            let scene = Self {
                name: self.name,
                world: self.world.clone(),
                saved: self.world.save_of(&self.saved),
                runs: vec![self.runs[number]],
            };
            scene.play(&[], false).steps
        };
        (0..self.runs.len()).map(alone).collect()
    }
}

/// Ends a run's turn however it ends.
struct Over(Arc<Turnstile>, usize);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.over(self.1);
    }
}

/// How a change of turn looks to the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// The one that stands still is still held to live.
    Live,
    /// It is held for dead.
    Lapsed,
    /// It is dead.
    Killed,
}

const MANNERS: [Manner; 3] = [Manner::Live, Manner::Lapsed, Manner::Killed];

fn change(at: u64, to: usize, manner: Manner) -> Schedule {
    match manner {
        Manner::Live => vec![(at, Action::To(to))],
        Manner::Lapsed => vec![(at, Action::Lapse), (at, Action::To(to))],
        Manner::Killed => vec![(at, Action::Lapse), (at, Action::Kill)],
    }
}

/// Every schedule of two runs with at most two changes of turn; every `stride`-th of them is played.
fn exhaust(scene: &Scene, stride: u64) -> (u64, u64) {
    let lengths = scene.lengths();
    let (first, second) = (lengths[0], lengths[1]);
    assert!(first > 3 && second > 3, "{}: {lengths:?}", scene.name);
    let mut all: Vec<Schedule> = Vec::new();
    for manner in MANNERS {
        for at in 0..first {
            all.push(change(at, 1, manner));
            if manner != Manner::Killed {
                for back in MANNERS {
                    let later = (at + 1..=at + second).map(|then| change(then, 0, back));
                    all.extend(later.map(|then| [change(at, 1, manner), then].concat()));
                }
            }
        }
    }
    let (mut played, mut rejected) = (0, 0);
    // All with one change, and a stretch of those with two.
    let single =
        |schedule: &Schedule| schedule.iter().filter(|(_, action)| *action != Action::Lapse).count() == 1;
    for (number, schedule) in (0u64..).zip(&all) {
        if !single(schedule) && !number.is_multiple_of(stride) {
            continue;
        }
        let done = scene.play(schedule, number.is_multiple_of(4));
        assert!(done.taken > 0, "{}: {schedule:?} changed nothing", scene.name);
        played += 1;
        rejected += u64::from(done.results.iter().any(Result::is_err));
    }
    (played, rejected)
}

/// Schedules drawn from a seed, for any number of runs.
fn draw(scene: &Scene, seeds: std::ops::Range<u64>) -> u64 {
    let total: u64 = scene.lengths().iter().sum();
    let runs = scene.runs.len() as u64;
    let mut taken = 0;
    for seed in seeds.clone() {
        let mut word = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut roll = |sides: u64| {
            word ^= word << 13;
            word ^= word >> 7;
            word ^= word << 17;
            word % sides
        };
        let mut at: Vec<u64> = (0..2 + roll(9)).map(|_| roll(total)).collect();
        at.sort_unstable();
        let schedule: Schedule = at
            .into_iter()
            .flat_map(|at| {
                let manner = [Manner::Live, Manner::Lapsed, Manner::Lapsed, Manner::Live, Manner::Killed];
                change(at, roll(runs) as usize, manner[roll(5) as usize])
            })
            .collect();
        taken += scene.play(&schedule, seed.is_multiple_of(4)).taken;
    }
    assert!(taken > (seeds.end - seeds.start), "{}: {taken} changes of turn", scene.name);
    taken
}

/// Two uploads that were killed: finished packs, among them differences, that nobody names.
fn orphans(world: &Arc<World>) {
    for (host, verb) in [(0, Verb::Chain(13)), (1, Verb::Snapshot)] {
        let mut job = Job::plain(host, verb);
        job.death = Some((4, Death::Before));
        world.run(&job);
    }
    world.lapse();
}

fn pairs() -> Vec<Scene> {
    let none = |_: &Arc<World>| {};
    vec![
        Scene::new("snapshot and prune", false, &[(1, Verb::Snapshot), (0, Verb::Prune)], none),
        Scene::new("prune and snapshot", false, &[(0, Verb::Prune), (1, Verb::Snapshot)], none),
        Scene::new("differences and prune", false, &[(1, Verb::Chain(9)), (0, Verb::Prune)], none),
        Scene::new("prune and differences", false, &[(0, Verb::Prune), (1, Verb::Chain(9))], none),
        Scene::new("two prunes", false, &[(0, Verb::Prune), (1, Verb::Prune)], none),
        Scene::new("an upload goes on and prune", false, &[(1, Verb::Snapshot), (0, Verb::Prune)], orphans),
        Scene::new(
            "prune and an upload that goes on",
            false,
            &[(0, Verb::Prune), (1, Verb::Chain(13))],
            orphans,
        ),
        Scene::new("two uploads go on", false, &[(0, Verb::Chain(13)), (1, Verb::Chain(13))], orphans),
        Scene::new("its parent is forgotten", true, &[(0, Verb::Snapshot), (1, Verb::Forget(1))], none),
        Scene::new("forgetting and prune", false, &[(1, Verb::Forget(1)), (0, Verb::Prune)], none),
    ]
}

fn threes() -> Vec<Scene> {
    let none = |_: &Arc<World>| {};
    vec![
        Scene::new(
            "two snapshots and a prune",
            false,
            &[(0, Verb::Snapshot), (1, Verb::Snapshot), (0, Verb::Prune)],
            none,
        ),
        Scene::new(
            "a parent is forgotten and pruned",
            true,
            &[(0, Verb::Snapshot), (1, Verb::Forget(1)), (1, Verb::Prune)],
            none,
        ),
        Scene::new(
            "differences, going on, a prune",
            false,
            &[(0, Verb::Chain(9)), (1, Verb::Chain(13)), (0, Verb::Prune)],
            orphans,
        ),
        Scene::new(
            "two prunes and a snapshot",
            false,
            &[(0, Verb::Prune), (1, Verb::Prune), (1, Verb::Snapshot)],
            none,
        ),
    ]
}

/// Scenes side by side: each waits for itself most of the time.
fn side_by_side(scenes: Vec<Scene>, play: impl Fn(&Scene) -> (u64, u64) + Sync) -> (u64, u64) {
    let (played, rejected) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for scene in &scenes {
            let (play, played, rejected) = (&play, &played, &rejected);
            scope.spawn(move || {
                let (more, of_them) = play(scene);
                played.fetch_add(more, Ordering::Relaxed);
                rejected.fetch_add(of_them, Ordering::Relaxed);
                told(scene, more, of_them);
            });
        }
    });
    (played.into_inner(), rejected.into_inner())
}

#[allow(clippy::print_stdout, reason = "shown with --nocapture: what was really tried")]
fn told(scene: &Scene, played: u64, rejected: u64) {
    let counts: &Counts = &scene.world.counts;
    println!(
        "{}: {played} schedules, {rejected} with a run that gave up or was killed; {counts:?}",
        scene.name
    );
}

#[test]
fn two_runs_with_one_change_of_turn_and_some_with_two() {
    let (played, rejected) = side_by_side(pairs(), |scene| exhaust(scene, 53));
    assert!(played > 600 && rejected > 50, "{played} schedules, {rejected} with a run that ended early");
}

#[test]
fn three_runs_at_random() {
    let (taken, _) = side_by_side(threes(), |scene| (draw(scene, 1..40), 0));
    assert!(taken > 150, "{taken}");
}

#[test]
#[ignore = "minutes"]
fn two_runs_with_every_two_changes_of_turn() {
    let (played, _) = side_by_side(pairs(), |scene| exhaust(scene, 1));
    assert!(played > 10_000, "{played}");
}

#[test]
#[ignore = "minutes"]
fn three_runs_at_random_thousands_of_times() {
    side_by_side(threes(), |scene| (draw(scene, 1000..4000), 0));
}
