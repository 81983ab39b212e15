//! What every command prints with `--json` is what docs/json.md says, field by field and in both
//! directions: its tables are read here, not repeated.

mod contract;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use ballast::id::SessionId;
use ballast::repo::Repository;
use ballast::repo::lease::Lease;
use clap::CommandFactory;
use contract::Contract;
use serde_json::Value;

use crate::support::{self, Command, Outcome, quick};

/// Tables of lines that no command called as a function prints.
const ELSEWHERE: [&str; 1] = ["log"]; // Only a process of its own logs: tests/smoke.rs.

struct Stage {
    dir: tempfile::TempDir,
    contract: Contract,
}

impl Stage {
    fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: impl AsRef<Path>, bytes: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut file = fs::File::create(path).unwrap();
        std::io::Write::write_all(&mut file, bytes).unwrap();
    }

    fn command(&self) -> Command<'_> {
        Command::at(&self.path("vault"), "p")
    }

    /// Runs it with `--json` and holds every line to the contract; the summary to `table`.
    fn run<A: AsRef<OsStr>>(&mut self, table: &str, args: &[A]) -> Value {
        let outcome = with_json(self.command(), args);
        self.hold(table, &outcome)
    }

    fn hold(&mut self, table: &str, outcome: &Outcome) -> Value {
        assert!([0, 1, 3].contains(&outcome.code), "{table}: {}", outcome.err);
        let mut last = Value::Null;
        let verb = table.split(' ').next().unwrap();
        for line in outcome.out.lines().chain(outcome.err.lines()) {
            let object: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{table}: {e}: {line}"));
            match object["message_type"].as_str().expect(line) {
                "summary" => {
                    self.contract.hold(table, &object);
                    last = object;
                }
                word @ ("entry" | "columns" | "row" | "change" | "model" | "layer" | "tensor") => {
                    self.contract.hold(&format!("{verb}: {word}"), &object)
                }
                word => self.contract.hold(word, &object),
            }
        }
        assert!(last.is_object(), "{table} has no summary: {}", outcome.err);
        last
    }
}

fn with_json<A: AsRef<OsStr>>(command: Command<'_>, args: &[A]) -> Outcome {
    let args: Vec<OsString> = [OsStr::new("--json")]
        .into_iter()
        .chain(args.iter().map(AsRef::as_ref))
        .map(OsStr::to_owned)
        .collect();
    command.run(&args)
}

/// Every file below `dir`.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    let (dirs, mut files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    files.extend(dirs.iter().flat_map(|dir| self::files(dir)));
    files.sort();
    files
}

fn spoil(path: &Path) {
    use std::os::unix::fs::{FileExt, PermissionsExt};
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(b"????", file.metadata().unwrap().len() / 2).unwrap();
}

/// What does not compress, and has nothing in common with that of another seed.
fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    next.flatten().take(bytes).collect()
}

#[test]
fn what_is_printed_is_what_is_documented() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/json.md");
    let contract = Contract::read(&fs::read_to_string(page).unwrap());
    every_verb_has_a_table(&contract);
    let mut stage = Stage { dir: tempfile::tempdir().unwrap(), contract };
    this_program(&mut stage);
    let repo = quick(&stage.path("vault"), "p");
    keys(&mut stage);
    snapshots(&mut stage);
    across(&mut stage);
    models(&mut stage);
    tensors(&mut stage);
    databases(&mut stage);
    cats(&mut stage);
    changes(&mut stage, &repo);
    damage(&mut stage);
    stage.contract.assert_all_seen(&ELSEWHERE);
}

fn every_verb_has_a_table(contract: &Contract) {
    fn look(command: &clap::Command, before: &str, contract: &Contract) {
        for verb in command.get_subcommands() {
            let name = format!("{before}{}", verb.get_name());
            // These print what their siblings do.
            let same = ["tag remove", "tag set", "lock remove"].contains(&name.as_str());
            if verb.has_subcommands() {
                look(verb, &format!("{name} "), contract);
            } else if !same && name != "help" {
                assert!(contract.has(&name), "docs/json.md has no table of `{name}`");
            }
        }
    }
    look(&ballast_cli::args::Cli::command(), "", contract);
}

fn this_program(stage: &mut Stage) {
    stage.run("version", &["version"]);
    stage.run("completions", &["completions", "bash"]);
    let pages = stage.path("man\u{fffd}");
    stage.run("man", &[OsStr::new("man"), pages.as_os_str()]);
    let odd = stage.path(OsStr::from_bytes(b"man\xff"));
    let told = stage.run("man", &[OsStr::new("man"), odd.as_os_str()]);
    assert!(told["dir_hex"].as_str().unwrap().ends_with("6d616eff"), "{told}");
    // Errors of the command line, and of a command.
    for args in [&["snapshots", "--frobnicate"][..], &["snapshots"]] {
        let outcome = with_json(Command::default(), args);
        let error = outcome.json();
        assert_eq!(error["message_type"], "error");
        stage.contract.hold("error", &error);
        assert_eq!(outcome.err_lines(), [error]);
    }
    let place = stage.path("other");
    let init = with_json(Command::at(&place, "p"), &["init"]);
    stage.hold("init", &init);
}

fn keys(stage: &mut Stage) {
    stage.run("config", &["config"]);
    let list = stage.run("key list", &["key", "list"]);
    let id = list["keys"][0]["id"].as_str().unwrap().to_owned();
    let page = stage.run("key export", &["key", "export"])["page"].as_str().unwrap().to_owned();
    let file = stage.path("page");
    stage.run("key export", &["key", "export", "--output", file.to_str().unwrap()]);
    let import = with_json(Command { stdin: page.as_bytes(), ..stage.command() }, &["key", "import", "-"]);
    stage.hold("key import", &import);
    let add = with_json(stage.command().with("BALLAST_NEW_PASSWORD", "q"), &["key", "add"]);
    let added = stage.hold("key add", &add);
    stage.run("cat key", &["cat", "key", &id]);
    let other = Command::at(&stage.path("vault"), "q").with("BALLAST_NEW_PASSWORD", "r");
    let passwd = with_json(other, &["key", "passwd"]);
    let changed = stage.hold("key passwd", &passwd);
    assert_eq!(changed["removed"], added["added"]);
    stage.run("key remove", &["key", "remove", changed["added"].as_str().unwrap()]);
}

fn snapshots(stage: &mut Stage) {
    let odd = Path::new(OsStr::from_bytes(b"odd\xff"));
    stage.write(odd.join("file"), b"hello");
    stage.write("source/big", &noise(1, 1_500_000));
    stage.write("source/x.tmp", b"left out one day");
    stage.write("source/touched", b"as it was");
    stage.write("source/model", &tiny_model());
    stage.write("source/a.gone", b"one day only");
    std::os::unix::fs::symlink(OsStr::from_bytes(b"to\xff"), stage.path("source/link")).unwrap();
    let db = rusqlite::Connection::open(stage.path("source/chat.db")).unwrap();
    db.execute_batch("CREATE TABLE chat(id, x); INSERT INTO chat VALUES(1, x'00ff'), (NULL, 'b')").unwrap();
    let take = [
        OsString::from("snapshot"),
        "--tag=nightly".into(),
        "--time=2025-04-05".into(),
        stage.path("source").into(),
        stage.path(odd).into(),
        stage.path("nowhere").into(),
    ];
    let first = stage.run("snapshot", &take);
    assert_eq!(first["problem_count"], 1, "{first}");
    stage.write("source/touched", b"as it is now");
    fs::remove_file(stage.path("source/a.gone")).unwrap();
    db.execute_batch("INSERT INTO chat VALUES(3, 4)").unwrap();
    drop(db);
    let half = &fs::read(stage.path("source/chat.db")).unwrap()[..4096];
    stage.write("source/half.db", half);
    let second = stage.run("snapshot", &[&take[..2], &take[3..]].concat());
    assert!(!second["read_again"].as_object().unwrap().is_empty(), "{second}");
    stage.run("snapshot", &[&take[..1], &["--dry-run".into()][..], &take[3..5]].concat());

    let list = stage.run("snapshots", &["snapshots"]);
    assert_eq!(list["snapshots"][0]["time"], "2025-04-05T00:00:00Z");
    let hex = list["snapshots"][0]["paths_hex"].as_array().unwrap();
    assert!(hex.iter().any(|hex| hex.as_str().unwrap().ends_with("6f6464ff")), "{list}");
    let ls = with_json(stage.command(), &["ls"]);
    assert!(stage.hold("ls", &ls)["entries"].as_u64().unwrap() > 5);
    assert!(ls.out.contains("\"target_hex\":\"746fff\"") && ls.out.contains("\"path_hex\""), "{}", ls.out);

    let target = stage.path("back");
    stage.run("restore", &["restore", "latest", "-t", target.to_str().unwrap()]);
    let inside = target.join(stage.path("source").strip_prefix("/").unwrap());
    stage.write(inside.join("chat.db-wal"), b"old");
    stage.write(inside.join("chat.db"), b"another");
    let again = stage.run("restore", &["restore", "latest", "-t", target.to_str().unwrap()]);
    assert_eq!(again["moved_aside_count"], 1, "{again}");
    let mut file = OsString::from("latest:");
    file.push(stage.path(odd.join("file")));
    let dump = with_json(stage.command(), &[OsString::from("dump"), file]);
    assert_eq!(dump.out, "hello");
    let dump = Outcome { out: String::new(), ..dump };
    assert!(stage.hold("dump", &dump)["path_hex"].is_string());
}

/// Of one tensor, whose name is not for terminals.
fn tiny_model() -> Vec<u8> {
    let header = br#"{"w\u001b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
    [&(header.len() as u64).to_le_bytes()[..], header, b"8 bytes."].concat()
}

fn tensors(stage: &mut Stage) {
    let of = format!("latest:{}", stage.path("source/model").display());
    let listed = stage.run("tensors", &["tensors", &of]);
    assert_eq!((&listed["entries"], &listed["total_bytes"]), (&1.into(), &8.into()), "{listed}");
    let dump = with_json(stage.command(), &["dump", &of, "--tensor", "w*"]);
    assert_eq!(dump.out, "8 bytes.");
    let dump = Outcome { out: String::new(), ..dump };
    assert_eq!(stage.hold("dump", &dump)["tensors"], 1);
}

/// Before anything is lost.
fn across(stage: &mut Stage) {
    let found = stage.run("find", &["find", "touched"]);
    assert_eq!(found["paths"][0]["versions"].as_array().unwrap().len(), 2, "{found}");
    let gone = stage.run("find", &["find", "*.gone"]);
    assert!(gone["paths"][0]["gone"]["time"].is_string(), "{gone}");
    let differs = stage.run("diff", &["diff", "--metadata", "latest~1", "latest"]);
    assert!(differs["changed_new_bytes"].as_u64().unwrap() > 0, "{differs}");
    stage.run("stats", &["stats"]);
    stage.run("stats SNAPSHOT", &["stats", "latest", "latest~1"]);
    let inside = format!("latest:{}", stage.path("source").display());
    stage.run("stats SNAPSHOT:PATH", &["stats", &inside]);
}

/// A repository of its own: what others here count stays as it is.
fn models(stage: &mut Stage) {
    let vault = stage.path("vault-of-models");
    quick(&vault, "p");
    let odd = Path::new(OsStr::from_bytes(b"odd\xff"));
    for (day, changed) in [("2025-04-05", 1), ("2025-04-06", 2)] {
        let tensor = |name: &str, n: u64| (name.to_owned(), 1000, noise(n, 1000));
        let shared = [tensor("h.0.mlp.w", 7), tensor("h.1.mlp.w", changed), tensor(&format!("wte.{day}"), 9)];
        stage.write(Path::new("llm").join(odd).join("m.safetensors"), &support::safetensors(&shared));
        let top = stage.path("llm");
        let take = ["snapshot", "--time", day, top.to_str().unwrap()];
        assert_eq!(with_json(Command::at(&vault, "p"), &take).code, 0);
    }
    let differs = with_json(Command::at(&vault, "p"), &["diff", "latest~1", "latest", "--tensors"]);
    let summary = stage.hold("diff --tensors", &differs);
    assert_eq!((&summary["models"], &summary["total"]["changed"]), (&1.into(), &1.into()), "{summary}");
    assert!(differs.out.contains("\"model_hex\"") && differs.out.contains("\"new_hex\""), "{}", differs.out);
    let costs = stage.hold("stats --models", &with_json(Command::at(&vault, "p"), &["stats", "--models"]));
    assert_eq!(costs["models"][0]["versions"][1]["changed"], true, "{costs}");
}

fn databases(stage: &mut Stage) {
    let verified = stage.run("verify", &["verify"]);
    assert_eq!((&verified["good"], &verified["bad"]), (&1.into(), &1.into()), "{verified}");
    let of = format!("latest:{}", stage.path("source/chat.db").display());
    let shown = stage.run("sqlite", &["sqlite", &of]);
    assert_eq!(shown["since"]["time"], "2025-04-05T00:00:00Z");
    stage.run("sqlite STATEMENT", &["sqlite", &of, "SELECT * FROM chat"]);
}

fn cats(stage: &mut Stage) {
    stage.run("cat config", &["cat", "config"]);
    let index = stage.run("cat", &["cat", "index"]);
    stage.run("cat index", &["cat", "index", index["names"][0].as_str().unwrap()]);
    stage.run("cat ledger", &["cat", "ledger", "1"]);
    let snapshot = stage.run("cat snapshot", &["cat", "snapshot", "latest"]);
    let tree = stage.run("cat tree", &["cat", "tree", snapshot["root"].as_str().unwrap()]);
    assert!(tree["nodes"][0]["mtime"].as_str().unwrap().ends_with('Z'), "{tree}");
    // A content list beyond a few chunks: found where the index has one.
    stage.write("list/large", &noise(7, 90 << 20));
    let large = stage.path("list");
    stage.run("snapshot", &["snapshot", large.to_str().unwrap()]);
    let index = stage.run("cat", &["cat", "index"]);
    let found = index["names"].as_array().unwrap().iter().find_map(|name| {
        let object = with_json(stage.command(), &["cat", "index", name.as_str().unwrap()]).json();
        let frames = object["packs"].as_array()?.iter().flat_map(|pack| pack["frames"].as_array().unwrap());
        let blobs: Vec<Value> = frames.flat_map(|f| f["blobs"].as_array().unwrap().clone()).collect();
        blobs.into_iter().find(|blob| blob["kind"] == "list")
    });
    let list = found.expect("no list blob")["id"].as_str().unwrap().to_owned();
    stage.run("cat list", &["cat", "list", &list]);
    stage.run("forget", &["forget", "latest"]);
}

fn changes(stage: &mut Stage, repo: &Repository) {
    let tagged = stage.run("tag add", &["tag", "add", "keep", "latest"]);
    stage.run("tag add", &["tag", "set", "keep", tagged["changed"][0]["new"].as_str().unwrap()]);
    stage.run("rewrite", &["rewrite", "--exclude", "*.tmp", "--dry-run"]);
    let all = stage.run("rewrite", &["rewrite", "--exclude", "*"]);
    assert!(!all["failed"].as_array().unwrap().is_empty(), "{all}");
    stage.run("rewrite", &["rewrite", "--exclude", "*.tmp", "--forget"]);
    stage.run("forget", &["forget", "--keep-daily", "1", "--dry-run"]);

    let session = SessionId(repo.surroundings().random().unwrap());
    let lease = Lease::take(repo, session, "snapshot").unwrap();
    let leases = stage.run("lock list", &["lock", "list"]);
    assert_eq!(leases["leases"][0]["state"], "alive", "{leases}");
    stage.run("cat lease", &["cat", "lease", leases["leases"][0]["session"].as_str().unwrap()]);
    let pruned = stage.run("forget", &["forget", "--keep-last", "1", "--group-by", "", "--prune"]);
    assert!(!pruned["prune"]["waiting_for"].as_array().unwrap().is_empty(), "{pruned}");
    stage.run("unlock", &["unlock"]);
    stage.run("unlock", &["unlock", "--all"]);
    drop(lease);
    stage.run("prune", &["prune"]);

    let ledger = stage.run("ledger", &["ledger"]);
    let events: Vec<&str> =
        ledger["entries"].as_array().unwrap().iter().map(|e| e["event"].as_str().unwrap()).collect();
    for event in ["commit", "forget", "condemn", "verified"] {
        assert!(events.contains(&event), "{events:?}");
    }
}

fn damage(stage: &mut Stage) {
    let vault = stage.path("vault");
    let sound = stage.run("check", &["check"]);
    assert_eq!(sound["damaged"], false, "{sound}");
    let source = stage.path("source");
    stage.run("snapshot", &["snapshot", source.to_str().unwrap()]);
    fs::remove_file(vault.join("config")).unwrap();
    stage.run("repair config", &["repair", "config"]);
    for index in files(&vault.join("index")) {
        spoil(&index);
    }
    let largest = files(&vault.join("data")).into_iter().max_by_key(|p| p.metadata().unwrap().len()).unwrap();
    spoil(&largest);
    let found = stage.run("check", &["check", "--read-data"]);
    assert_eq!(found["damaged"], true);
    stage.run("repair index", &["repair", "index"]);
    let touched = stage.run("check", &["check", "--read-data"]);
    assert!(!touched["touches"]["first"].as_array().unwrap().is_empty(), "{touched}");
    let lost = stage.run("repair packs", &["repair", "packs"]);
    assert!(!lost["snapshots"].as_array().unwrap().is_empty(), "{lost}");
    stage.run("repair snapshots", &["repair", "snapshots"]);
    let ls = with_json(stage.command(), &["ls"]);
    stage.hold("ls", &ls);
    assert!(ls.out.contains("\"lost\":{"), "{}", ls.out);
    // A snapshot that is gone.
    let ids = stage.run("snapshots", &["snapshots"]);
    let id = ids["snapshots"][0]["id"].as_str().unwrap().to_owned();
    fs::remove_file(vault.join("snapshots").join(id)).unwrap();
    let without = stage.run("stats", &["stats"]);
    assert_eq!(without["unreadable"].as_array().unwrap().len(), 1, "{without}");
    let list = stage.run("snapshots", &["snapshots"]);
    assert_eq!(list["unreadable"].as_array().unwrap().len(), 1, "{list}");
}
