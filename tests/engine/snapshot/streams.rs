//! What comes out of a pipe is stored like a file of the same bytes, or not at all.

use std::io::{self, Cursor};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ballast::error::Error;
use ballast::format::tree::MARK_RECHECK;
use ballast::op::snapshot::{self, SnapshotOptions, StreamOptions};
use ballast::progress::{Silent, Stoppable};
use ballast::source::stream::{Feed, Reading, Tap};
use support::world::{all, forget};
use support::{Place, bytes, put, read_back};

use super::{nodes, run, temp};

fn piped(path: &str, feed: impl Feed + 'static) -> SnapshotOptions {
    let stream = StreamOptions { path: path.into(), tap: Tap::new(feed) };
    SnapshotOptions { stream: Some(stream), threads: 2, cwd: "/".into(), ..SnapshotOptions::default() }
}

fn reading(bytes: &[u8]) -> Reading<Cursor<Vec<u8>>> {
    Reading(Cursor::new(bytes.to_vec()))
}

#[test]
fn its_content_is_that_of_a_file() {
    let (_dir, top) = temp();
    let place = Place::default();
    let database = top.join("made.db");
    drop(support::database::create(&database, false, 600_000));
    let window = 16 << 20;
    let mut contents: Vec<Vec<u8>> = [0, 1, 40, 41, 70_000, 5 << 20, window - 1, window, window + 1]
        .into_iter()
        .map(|len| bytes(len as u64, len))
        .collect();
    contents.push([bytes(1, window), bytes(2, window)].concat());
    contents.push(vec![0; window + 5_000_000]);
    contents.push(std::fs::read(&database).unwrap());
    // A model that a first window holds, longer than later ones.
    contents.push(support::models::file(&support::models::transformer(1, 8, 256, 2000), ""));
    for content in contents {
        let len = content.len();
        put(top.join("file"), &content);
        let options = SnapshotOptions {
            sqlite: ballast::source::sqlite::SqliteOptions {
                mode: ballast::source::sqlite::SqliteMode::Off,
                ..Default::default()
            },
            ..support::of(top.join("file"))
        };
        let of_file = run(&place, &options).snapshot.unwrap();
        let report = run(&place, &piped("/dumps/deep/a.sql", reading(&content)));
        let id = report.snapshot.unwrap();
        let found = nodes(&place.open(), id);
        let node = &found[Path::new("/dumps/deep/a.sql")];
        let file = &nodes(&place.open(), of_file)[&top.join("file")];
        // Zeros of a file may be a hole, of a pipe they are bytes: what matters is what comes back.
        if content.iter().any(|byte| *byte != 0) {
            assert_eq!((&node.content, node.seams), (&file.content, file.seams), "{len} bytes");
        }
        assert_eq!((node.size, node.mode, node.marks), (len as u64, 0o600, MARK_RECHECK));
        assert_eq!(found[Path::new("/dumps")].mode, 0o755);
        assert_eq!((report.total_bytes, report.read_bytes), (len as u64, len as u64));
        let back = read_back(&place.open(), id).unwrap();
        assert_eq!(back[Path::new("/dumps/deep/a.sql")].content, blake3::hash(&content).as_bytes());
        let record = place.open().snapshot(id).unwrap().record;
        assert_eq!(record.paths.iter().map(|p| &**p).collect::<Vec<_>>(), [b"/dumps/deep/a.sql"]);
    }
}

#[test]
fn a_short_model_comes_back_whole() {
    use support::{formats, models};
    let tensors = models::transformer(1, 2, 64, 300);
    let all = models::file(&tensors, "");
    let short: Vec<(&str, Vec<u8>)> = vec![
        ("safetensors", all.clone()),
        ("safetensors, torn in its header", all[..200].to_vec()),
        ("GGUF", formats::gguf(&tensors, "")),
        ("GGUF, torn", formats::gguf(&tensors, "")[..100].to_vec()),
        ("an archive", formats::torch(&tensors)),
        ("npy", formats::npy("<f4", &[20], &[7; 80])),
        ("npy, of a type of its own", formats::npy("|V3", &[40_000], &bytes(3, 120_000))),
    ];
    for (name, content) in short {
        assert!((41..512 << 10).contains(&content.len()), "{name}: {} bytes", content.len());
        for threads in [1, 2, 8] {
            let place = Place::default();
            let report = run(&place, &SnapshotOptions { threads, ..piped("/model", reading(&content)) });
            assert_eq!(report.total_bytes, content.len() as u64, "{name}, {threads} threads");
            let back = read_back(&place.open(), report.snapshot.unwrap()).unwrap();
            let hash = blake3::hash(&content);
            assert_eq!(back[Path::new("/model")].content, hash.as_bytes(), "{name}, {threads} threads");
        }
    }
}

/// Whether a stream that goes on is the model that it begins as, nobody knows.
#[test]
fn a_long_model_is_cut_as_plain_bytes() {
    let model = support::formats::gguf(&support::models::transformer(1, 6, 512, 9000), "");
    assert!(model.len() > 20 << 20);
    let mut plain = model.clone();
    plain[0] = b'X';
    let place = Place::default();
    let cuts = |content: &[u8]| -> Vec<u64> {
        let id = run(&place, &piped("/model", reading(content))).snapshot.unwrap();
        let node = &nodes(&place.open(), id)[Path::new("/model")];
        let reader = ballast::repo::reader::Reader::open(&place.open()).unwrap();
        assert!(node.seams.is_none());
        reader.pieces(&node.content).unwrap().0.iter().map(|piece| piece.offset).collect()
    };
    assert!(cuts(&model) == cuts(&plain));
}

#[test]
fn the_next_day_costs_what_changed() {
    let place = Place::default();
    let day = |n: u64| [bytes(1, 3 << 20), bytes(n, 30_000), bytes(2, 3 << 20)].concat();
    let first = run(&place, &piped("/pg.sql", reading(&day(5))));
    let other = run(&place, &piped("/other.sql", reading(b"of another path, and longer than forty bytes")));
    let second = run(&place, &piped("/pg.sql", reading(&day(6))));
    assert_eq!((first.parent, other.parent, second.parent), (None, None, first.snapshot));
    assert!(second.new_bytes < 120_000, "{} new", second.new_bytes);
    assert_eq!((second.files_new, second.files_changed), (0, 1));
}

/// Gives bytes, then fails: in reading, or in the end.
struct Torn(Vec<u8>, bool);

impl Feed for Torn {
    fn name(&self) -> String {
        "`dump`".into()
    }

    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = out.len().min(self.0.len()).min(100_000);
        if n == 0 && self.1 {
            return Err(io::Error::other("torn"));
        }
        out[..n].copy_from_slice(&self.0[..n]);
        self.0.drain(..n);
        Ok(n)
    }

    fn finish(&mut self) -> Result<(), String> {
        Err("ended with exit code 3".into())
    }
}

#[test]
fn one_that_does_not_end_well_leaves_no_snapshot() {
    let place = Place::default();
    for (len, in_reading) in [(0, true), (0, false), (1_000_000, true), (1_000_000, false), (20 << 20, true)]
    {
        let options = piped("/pg.sql", Torn(bytes(1, len), in_reading));
        let error = snapshot::run(&place.open(), &options, &Silent).unwrap_err();
        let reason = if in_reading { "torn" } else { "exit code 3" };
        assert!(matches!(&error, Error::Stream { stream, .. } if stream == "`dump`"), "{error}");
        assert!(error.to_string().contains(reason), "{error}");
        assert_eq!(place.open().ledger(true).unwrap().committed(), []);
    }
    // Somebody asked to stop, and that is why it is torn.
    let stopped = Stoppable::default();
    stopped.stop();
    let error =
        snapshot::run(&place.open(), &piped("/pg.sql", Torn(Vec::new(), true)), &stopped).unwrap_err();
    assert!(matches!(error, Error::Interrupted), "{error}");
    assert_eq!(place.store.count_of(ballast::id::ObjectKind::Lease), 0);
}

/// Does something in the middle.
struct Meanwhile(Cursor<Vec<u8>>, Option<Box<dyn FnOnce() + Send>>);

impl Feed for Meanwhile {
    fn name(&self) -> String {
        "standard input".into()
    }

    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.0.position() > 1 << 20
            && let Some(act) = self.1.take()
        {
            act();
        }
        let piece = out.len().min(100_000);
        io::Read::read(&mut self.0, &mut out[..piece])
    }
}

#[test]
fn a_parent_that_is_forgotten_and_pruned_meanwhile_costs_nothing() {
    let place = Arc::new(Place::default());
    let content = bytes(3, 3 << 20);
    run(&place, &piped("/pg.sql", reading(&content)));
    let (dir, top) = temp();
    put(top.join("f"), &bytes(4, 100_000));
    place.take(&top);
    let there = place.clone();
    let act = move || {
        let repo = there.open_bare();
        forget(&repo, 0).unwrap();
        ballast::op::prune::run(&repo, &all(), &Silent).unwrap();
    };
    let feed = Meanwhile(Cursor::new(content.clone()), Some(Box::new(act)));
    let report = run(&place, &piped("/pg.sql", feed));
    let back = read_back(&place.open_bare(), report.snapshot.unwrap()).unwrap();
    assert_eq!(back[&PathBuf::from("/pg.sql")].content, blake3::hash(&content).as_bytes());
    drop(dir);
}
