//! Walking real directories: odd names and types, trees that change or cannot
//! be read, links, and what is left out.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ballast::entropy::SystemClock;
use ballast::error::ProblemKind;
use ballast::format::tree::{MARK_INCOMPLETE, MARK_RECHECK, Node, NodeKind};
use ballast::source::{
    ChangePolicy, Event, Exclude, ExcludeOptions, Links, Names, Plan, Skeleton, SourceFile, Stored, Walk,
    WalkContext, Why, unchanged,
};
use rustix::fs::{CWD, FileType, Mode, OFlags};

fn temp() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().canonicalize().unwrap();
    (dir, top)
}

fn put(path: &Path, bytes: &[u8]) {
    File::create(path).unwrap().write_all(bytes).unwrap();
}

fn context(options: &ExcludeOptions) -> WalkContext {
    WalkContext {
        exclude: Exclude::new(options).unwrap(),
        names: Names::new(),
        clock: Arc::new(SystemClock),
        taken: BTreeSet::new(),
    }
}

fn plain() -> WalkContext {
    context(&ExcludeOptions::default())
}

/// Events as lines: `+ dir`, `- dir`, `file`, `! kind path`, `x why path`, `= taken`.
fn lines(root: &Path, events: impl Iterator<Item = Event>) -> Vec<String> {
    let short = |p: &Path| {
        let below = p.strip_prefix(root).unwrap().as_os_str().as_bytes().escape_ascii().to_string();
        if below.is_empty() { ".".to_owned() } else { below }
    };
    let line = |event| match event {
        Event::EnterDir { at, node, .. } => {
            assert_eq!(node.kind, NodeKind::Directory);
            let mark = if node.marks & MARK_INCOMPLETE == 0 { "" } else { " incomplete" };
            format!("+ {}{mark}", short(at.path()))
        }
        Event::LeaveDir { path, incomplete } => {
            format!("- {}{}", short(&path), if incomplete { " incomplete" } else { "" })
        }
        Event::Item { at, node, stat } => {
            assert_eq!(&*node.name, at.name());
            assert_eq!(node.kind, stat.kind);
            short(at.path())
        }
        Event::Taken { path } => format!("= {}", short(&path)),
        Event::Problem(p) => format!("! {:?} {}", p.kind, p.path.trim_start_matches(root.to_str().unwrap())),
        Event::Excluded(e) => format!("x {:?} {} {}/{}", e.why, short(&e.path), e.files, e.bytes),
    };
    events.map(line).collect()
}

fn walk(root: &Path, context: &WalkContext) -> Vec<String> {
    lines(root, Walk::new(root, context))
}

fn nodes(root: &Path) -> BTreeMap<Vec<u8>, Node> {
    Walk::new(root, &plain())
        .filter_map(|e| match e {
            Event::Item { node, .. } => Some((node.name.to_vec(), node)),
            _ => None,
        })
        .collect()
}

#[test]
fn names_of_all_sorts_in_bytewise_order() {
    let (_dir, top) = temp();
    for name in [&b"-rf"[..], b"a\nb", b"\xff\xfe", b"b", b".hidden", b"a", b"a b", b"B", b".gitignore"] {
        put(&top.join(OsStr::from_bytes(name)), b"*\n");
    }
    fs::create_dir(top.join("a.d")).unwrap();
    put(&top.join("a.d/x"), b"");
    let expected = [
        "+ .",
        "-rf",
        ".gitignore",
        ".hidden",
        "B",
        "a",
        "a\\nb",
        "a b",
        "+ a.d",
        "a.d/x",
        "- a.d",
        "b",
        "\\xff\\xfe",
        "- .",
    ];
    assert_eq!(walk(&top, &plain()), expected);
}

#[test]
fn every_type_has_its_node() {
    let (_dir, top) = temp();
    let special = |name: &str, kind, device| {
        rustix::fs::mknodat(CWD, top.join(name), kind, Mode::from_raw_mode(0o640), device)
    };
    put(&top.join("file"), b"12345");
    fs::set_permissions(top.join("file"), fs::Permissions::from_mode(0o4751)).unwrap();
    fs::hard_link(top.join("file"), top.join("hard")).unwrap();
    symlink("/does/not/\u{e4}xist", top.join("link")).unwrap();
    special("fifo", FileType::Fifo, 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(top.join("socket")).unwrap();
    let has_device = special("null", FileType::CharacterDevice, rustix::fs::makedev(1, 3)).is_ok();

    let found = nodes(&top);
    let kind = |name: &str| found[name.as_bytes()].kind;
    let file = &found[&b"file"[..]];
    assert_eq!((file.kind, file.size, file.mode, file.nlink), (NodeKind::File, 5, 0o4751, 2));
    assert_eq!(file.marks, MARK_RECHECK, "written a moment ago");
    assert_eq!(found[&b"hard"[..]].inode, file.inode);
    assert_eq!(found[&b"hard"[..]].device, file.device);
    let link = &found[&b"link"[..]];
    assert_eq!(link.link_target(), Some("/does/not/äxist".as_bytes()));
    assert_eq!(link.marks, 0);
    assert_eq!(kind("fifo"), NodeKind::Fifo);
    assert_eq!(kind("socket"), NodeKind::Socket);
    assert!(found[&b"fifo"[..]].content.is_empty());
    if has_device {
        assert_eq!(kind("null"), NodeKind::CharDevice);
        assert_eq!(found[&b"null"[..]].rdev, rustix::fs::makedev(1, 3));
    }
}

#[test]
fn a_file_alone_is_a_root_and_so_is_nothing() {
    let (_dir, top) = temp();
    put(&top.join("f"), b"1");
    assert_eq!(walk(&top.join("f"), &plain()), ["."]);
    assert_eq!(walk(&top.join("none"), &plain()), ["! Vanished "]);
    assert_eq!(walk(&top.join("none/x"), &plain()), ["! Vanished "]);
}

#[test]
fn what_vanishes_between_listing_and_looking_is_a_problem() {
    let (_dir, top) = temp();
    for name in ["a", "b", "b.tmp", "c"] {
        put(&top.join(name), b"");
    }
    fs::create_dir(top.join("d")).unwrap();
    let exclude = ExcludeOptions { patterns: vec!["*.tmp".into()], ..ExcludeOptions::default() };
    let context = context(&exclude);
    let mut walk = Walk::new(&top, &context);
    assert!(matches!(walk.next(), Some(Event::EnterDir { .. })));
    fs::remove_file(top.join("b")).unwrap();
    fs::remove_file(top.join("b.tmp")).unwrap();
    fs::remove_dir(top.join("d")).unwrap();
    // What was left out anyway is none.
    assert_eq!(lines(&top, walk), ["a", "! Vanished /b", "c", "! Vanished /d", "- ."]);
}

/// Runs as someone without the super-user's powers, on a thread of its own.
fn unprivileged<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let run = move || {
            if rustix::process::geteuid().is_root() {
                let nobody = rustix::process::Uid::from_raw(65534);
                rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
            }
            work()
        };
        scope.spawn(run).join().unwrap()
    })
}

#[test]
fn what_cannot_be_read_is_a_problem_and_recorded() {
    let (_dir, top) = temp();
    for (name, mode) in [("closed", 0o000), ("listed", 0o444), ("open", 0o755)] {
        fs::create_dir(top.join(name)).unwrap();
        put(&top.join(name).join("f"), b"1");
        fs::set_permissions(top.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    put(&top.join("secret"), b"1");
    fs::set_permissions(top.join("secret"), fs::Permissions::from_mode(0o000)).unwrap();
    fs::set_permissions(&top, fs::Permissions::from_mode(0o755)).unwrap();
    let (lines, kind) = unprivileged(|| {
        let context = plain();
        let secret = Walk::new(&top.join("secret"), &context).next();
        let Some(Event::Item { at, stat, .. }) = secret else { panic!("{secret:?}") };
        (walk(&top, &context), SourceFile::open(&at, &stat).unwrap_err().kind)
    });
    for name in ["closed", "listed"] {
        fs::set_permissions(top.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let expected = [
        "+ .",
        "+ closed incomplete",
        "! Unreadable /closed",
        "- closed incomplete",
        "+ listed",
        "! Unreadable /listed/f",
        "- listed",
        "+ open",
        "open/f",
        "- open",
        "secret",
        "- .",
    ];
    assert_eq!(lines, expected);
    assert_eq!(kind, ProblemKind::Unreadable);
}

/// Makes `depth` nested directories `d` below `top`, each with a file `z`; returns the deepest.
fn dig(top: &Path, depth: usize) -> std::os::fd::OwnedFd {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY;
    let mut dir = rustix::fs::openat(CWD, top, flags, Mode::empty()).unwrap();
    for _ in 0..depth {
        rustix::fs::mkdirat(&dir, "d", Mode::from_raw_mode(0o755)).unwrap();
        let create = OFlags::CREATE | OFlags::WRONLY;
        rustix::fs::openat(&dir, "z", create, Mode::from_raw_mode(0o644)).unwrap();
        dir = rustix::fs::openat(&dir, "d", flags, Mode::empty()).unwrap();
    }
    dir
}

/// Removes what [`dig`] made: a recursive removal would need a descriptor for each level.
fn fill_in(mut dir: std::os::fd::OwnedFd, depth: usize) {
    for _ in 0..depth {
        dir = rustix::fs::openat(&dir, "..", OFlags::DIRECTORY | OFlags::RDONLY, Mode::empty()).unwrap();
        rustix::fs::unlinkat(&dir, "z", rustix::fs::AtFlags::empty()).unwrap();
        rustix::fs::unlinkat(&dir, "d", rustix::fs::AtFlags::REMOVEDIR).unwrap();
    }
}

#[test]
fn a_tree_deeper_than_paths_and_descriptors_reach() {
    const DEPTH: usize = 5000;
    // In memory where possible: disks spread directories over all their groups.
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let top = dir.path().canonicalize().unwrap();
    let bottom = dig(&top, DEPTH);
    let context = plain();
    let open_files = || fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let before = open_files();
    let (mut entered, mut left, mut files, mut most) = (0, 0, 0, 0);
    for event in Walk::new(&top, &context) {
        match event {
            Event::EnterDir { .. } => entered += 1,
            Event::LeaveDir { incomplete, .. } => {
                assert!(!incomplete);
                left += 1;
            }
            Event::Item { at, stat, .. } => {
                files += 1;
                if files == 1 {
                    assert!(SourceFile::open(&at, &stat).is_ok(), "read where no path reaches");
                    most = open_files();
                }
            }
            other => panic!("{other:?}"),
        }
    }
    fill_in(bottom, DEPTH);
    assert_eq!((entered, left, files), (DEPTH + 1, DEPTH + 1, DEPTH));
    // Other tests of this binary open files too.
    assert!(most < before + 200, "{most} descriptors, {before} before");
}

/// Walks 40 levels and moves things about when it is at the bottom.
fn disturbed(disturb: impl FnOnce(&Path)) -> Vec<String> {
    let (_dir, top) = temp();
    let root = top.join("root");
    fs::create_dir(&root).unwrap();
    drop(dig(&root, 40));
    let context = plain();
    let mut walk = Walk::new(&root, &context);
    let mut events: Vec<Event> = walk.by_ref().take(41).collect();
    disturb(&top);
    events.extend(walk);
    lines(&root, events.into_iter())
}

fn at_level(top: &Path, level: usize) -> PathBuf {
    let mut path = top.join("root");
    path.extend(std::iter::repeat_n("d", level));
    path
}

#[test]
fn directories_moved_under_the_walk() {
    let whole = disturbed(|_| ());
    let moved = disturbed(|top| fs::rename(at_level(top, 20), top.join("elsewhere")).unwrap());
    assert_eq!(moved, whole, "the way back was found by name");

    let lost = disturbed(|top| {
        fs::rename(at_level(top, 20), top.join("one")).unwrap();
        fs::rename(at_level(top, 10), top.join("two")).unwrap();
    });
    let count = |lines: &[String], what: &str| lines.iter().filter(|l| l.starts_with(what)).count();
    assert_eq!(count(&lost, "+ "), count(&lost, "- "));
    assert_eq!(count(&lost, "! Vanished"), 10, "levels 10 to 19");
    assert_eq!(lost.iter().filter(|l| l.starts_with("- ") && l.ends_with("incomplete")).count(), 10);
    assert_eq!(lost.last().unwrap(), "- .");
    assert!(lost.contains(&"z".to_owned()), "the levels above go on");
}

#[test]
fn a_hub_revision_is_stored_whole_by_following_links() {
    let (_dir, top) = temp();
    let (rev, blobs) = (top.join("hub/snapshots/abc"), top.join("hub/blobs"));
    fs::create_dir_all(rev.join("sub")).unwrap();
    fs::create_dir(&blobs).unwrap();
    for (blob, link, up) in [("b1", "model.safetensors", "../.."), ("b2", "sub/config.json", "../../..")] {
        put(&blobs.join(blob), &[7; 1234]);
        symlink(format!("{up}/blobs/{blob}"), rev.join(link)).unwrap();
    }
    symlink("hub/snapshots/abc", top.join("current")).unwrap();

    let mut context = plain();
    let mut plan = Plan::new();
    let mut links = Links::new();
    let (mut skeleton, mut files, left_out) = (Skeleton::new(), BTreeSet::new(), HashSet::new());
    let mut todo = plan.add(&["current"], &top).roots;
    let mut rounds = 0;
    while !todo.is_empty() {
        rounds += 1;
        let roots: BTreeSet<PathBuf> = plan.roots().map(Path::to_owned).collect();
        let stored = Stored { roots: &roots, exclude: &context.exclude, left_out: &left_out };
        for root in &todo {
            for event in Walk::new(root, &context) {
                match event {
                    Event::Item { at, node, stat } => {
                        if let Some(target) = node.link_target() {
                            links.note(at.path(), target, &stored);
                        } else {
                            let source = SourceFile::open(&at, &stat).unwrap();
                            assert_eq!(source.read_at(0, &mut [0; 2000]).unwrap(), 1234);
                            files.insert(at.path().to_owned());
                        }
                        skeleton.insert(at.path(), node);
                    }
                    Event::EnterDir { at, node, .. } => {
                        skeleton.insert(at.path(), node);
                    }
                    Event::LeaveDir { .. } => {}
                    other => panic!("{other:?}"),
                }
            }
        }
        let report = links.outside(&stored);
        if rounds == 1 {
            assert_eq!((report.links.len(), report.bytes), (2, 2468));
            assert!(files.is_empty(), "the revision alone holds no bytes");
        }
        let added = plan.add(&report.further(), &top);
        assert!(added.swallowed.is_empty());
        context.taken.extend(todo);
        todo = added.roots;
    }
    assert_eq!(rounds, 2);
    assert_eq!(files, BTreeSet::from([blobs.join("b1"), blobs.join("b2")]));
    let (nodes, problems) = plan.link_nodes(&context.names);
    assert_eq!((nodes.len(), problems.len()), (1, 0), "only `current` lies outside of the walks");
    assert_eq!(nodes[0].0, top.join("current"));
}

#[test]
fn a_new_root_around_an_old_one_does_not_walk_it_again() {
    let (_dir, top) = temp();
    fs::create_dir_all(top.join("a/b")).unwrap();
    put(&top.join("a/b/f"), b"");
    put(&top.join("a/g"), b"");
    let mut context = plain();
    context.taken.insert(top.join("a/b"));
    assert_eq!(walk(&top, &context), ["+ .", "+ a", "= a/b", "a/g", "- a", "- ."]);
}

#[test]
fn patterns_leave_out_and_count() {
    let (_dir, top) = temp();
    fs::create_dir_all(top.join("cache/deep")).unwrap();
    put(&top.join("cache/deep/1"), &[0; 10]);
    put(&top.join("cache/2"), &[0; 20]);
    put(&top.join("x.tmp"), &[0; 5]);
    put(&top.join("keep.tmp"), b"");
    let patterns = ["cache/", "*.tmp", "!keep.tmp"].map(String::from).to_vec();
    let context = context(&ExcludeOptions { patterns, ..ExcludeOptions::default() });
    let expected = ["+ .", "x Pattern cache 2/30", "keep.tmp", "x Pattern x.tmp 1/5", "- ."];
    assert_eq!(walk(&top, &context), expected);
    assert_eq!(walk(&top.join("x.tmp"), &context), ["x Pattern . 1/5"], "a root too");
    assert_eq!(walk(&top.join("cache/deep"), &context), ["+ .", "1", "- ."], "not what is above a root");
}

#[test]
fn tagged_caches_keep_their_tag_only_when_asked() {
    let (_dir, top) = temp();
    for (name, tag) in [
        ("real", &b"Signature: 8a477f597d28d172789f06886806bc55\n# x"[..]),
        ("fake", b"Signature: 8a477f597d28d172789f06886806bc56\n"),
    ] {
        fs::create_dir_all(top.join(name).join("sub")).unwrap();
        put(&top.join(name).join("CACHEDIR.TAG"), tag);
        put(&top.join(name).join("sub/data"), &[1; 100]);
    }
    let fake = ["+ fake", "fake/CACHEDIR.TAG", "+ fake/sub", "fake/sub/data", "- fake/sub", "- fake"];
    let asked = context(&ExcludeOptions { caches: true, ..ExcludeOptions::default() });
    let real = ["+ real", "x CacheTag real 1/100", "real/CACHEDIR.TAG", "- real"];
    assert_eq!(walk(&top, &asked), [&["+ ."], &fake[..], &real[..], &["- ."]].concat());
    let all = walk(&top, &plain());
    assert!(all.contains(&"real/sub/data".to_owned()), "off by default");
}

#[test]
fn the_repository_is_left_out_by_every_way_to_it() {
    let (_dir, top) = temp();
    fs::create_dir_all(top.join("vault/data")).unwrap();
    put(&top.join("vault/config"), b"x");
    put(&top.join("f"), b"");
    symlink("vault", top.join("alias")).unwrap();
    let own = vec![top.join("alias")];
    let context = context(&ExcludeOptions { own, ..ExcludeOptions::default() });
    assert_eq!(walk(&top, &context), ["+ .", "alias", "f", "x Own vault 0/0", "- ."]);
    assert_eq!(walk(&top.join("vault/data"), &context), ["x Own . 0/0"]);
}

#[test]
fn another_file_system_is_an_empty_directory() {
    let dev = Path::new("/dev");
    let context = context(&ExcludeOptions { one_file_system: true, ..ExcludeOptions::default() });
    let device = |p: &str| std::os::unix::fs::MetadataExt::dev(&fs::metadata(p).unwrap());
    if !Path::new("/dev/pts").is_dir() || device("/dev/pts") == device("/dev") {
        return; // no mount point to try it on
    }
    let found = walk(dev, &context);
    let at = found.iter().position(|l| l == "+ pts").unwrap();
    assert_eq!(found[at + 1..at + 3], ["x OtherFileSystem pts 0/0", "- pts"]);
    assert_eq!(Why::OtherFileSystem.to_string(), "on another file system");
}

#[test]
fn an_unchanged_file_is_known_and_a_touched_one_is_not() {
    let (_dir, top) = temp();
    put(&top.join("f"), b"one");
    let look = || {
        let context = plain();
        let found = Walk::new(&top.join("f"), &context).next();
        let Some(Event::Item { stat, mut node, .. }) = found else { panic!("{found:?}") };
        node.marks = 0; // as if it had been old
        (stat, node)
    };
    let (stat, node) = look();
    assert_eq!(unchanged(&node, &stat, &ChangePolicy::default()), Ok(()));
    fs::set_permissions(top.join("f"), fs::Permissions::from_mode(0o600)).unwrap();
    let (touched, _) = look();
    let reason = unchanged(&node, &touched, &ChangePolicy::default()).unwrap_err();
    assert_eq!(reason.words(), "change time differs");
    let lenient = ChangePolicy { ignore_ctime: true, ..ChangePolicy::default() };
    assert_eq!(unchanged(&node, &touched, &lenient), Ok(()));
}
