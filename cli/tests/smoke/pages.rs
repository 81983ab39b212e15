//! The commands of `docs/recovery.md` and `docs/recipes.md`, run by a shell as they stand there, in a world of their own:
//! `/srv`, `/mnt`, `/root`, `/var` and `/tmp` lie below a temporary directory.
#![allow(clippy::disallowed_methods, reason = "a source is written as anyone would")]
#![allow(clippy::print_stderr, reason = "what is skipped is said")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

struct World {
    dir: tempfile::TempDir,
    page: String,
}

impl World {
    fn of(page: &str) -> Self {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(page);
        let world = Self { dir: tempfile::tempdir().unwrap(), page: fs::read_to_string(docs).unwrap() };
        for dir in ["srv", "mnt", "root", "var/cache", "tmp", "bin"] {
            fs::create_dir_all(world.top().join(dir)).unwrap();
        }
        let program = Path::new(env!("CARGO_BIN_EXE_ballast"));
        std::os::unix::fs::symlink(program, world.top().join("bin/ballast")).unwrap();
        world.put("root/.ballast-password", b"correct horse");
        world
    }

    fn top(&self) -> PathBuf {
        self.dir.path().canonicalize().unwrap()
    }

    fn put(&self, name: &str, content: &[u8]) {
        let path = self.top().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.top().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// The block of the page that has this mark.
    fn block(&self, mark: &str) -> String {
        let (_, after) = self.page.split_once(&format!("<!-- run: {mark} -->\n")).expect("the mark is there");
        let (_, after) = after.split_once("```sh\n").unwrap();
        after.split_once("```").unwrap().0.to_owned()
    }

    /// Runs a script with the repository and the password given.
    fn shell(&self, script: &str) -> Output {
        let words =
            "export BALLAST_REPOSITORY=/mnt/backup/vault BALLAST_PASSWORD_FILE=/root/.ballast-password\n";
        self.bare_shell(&format!("set -eu\n{words}{script}"))
    }

    /// The same, as cron would.
    fn bare_shell(&self, script: &str) -> Output {
        let top = self.top().to_str().unwrap().to_owned();
        let mut script = script.replace("~/", "$HOME/");
        for dir in ["/srv/", "/mnt/", "/root/", "/var/cache/", "/tmp/"] {
            script = script.replace(dir, &format!("\0{dir}"));
        }
        let script = script.replace('\0', &top);
        let path = format!("{top}/bin:/usr/local/bin:/usr/bin:/bin");
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &script]).env_clear().env("PATH", path).stdin(Stdio::null());
        if !script.starts_with("#!") {
            command.env("HOME", self.top().join("root"));
        }
        command.current_dir(self.top()).output().unwrap()
    }

    /// Runs a block, which must end well; gives what it printed.
    fn run(&self, mark: &str) -> String {
        told(&self.shell(&self.block(mark)), mark)
    }
}

fn told(output: &Output, what: &str) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{what}: {:?}\n{out}\n{err}", output.status);
    out.into_owned()
}

fn database(path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let db = rusqlite::Connection::open(path).unwrap();
    db.execute_batch(
        "CREATE TABLE chat(id INTEGER PRIMARY KEY, text TEXT); INSERT INTO chat VALUES (1, 'hello')",
    )
    .unwrap();
}

/// Something of everything.
fn furnish(world: &World) {
    database(&world.top().join("srv/open-webui/webui.db"));
    world.put("srv/models/llama/model.bin", &vec![7; 300_000]);
    world.put("srv/app/config.toml", b"first");
}

#[test]
fn the_disk_has_died() {
    let world = World::of("recovery.md");
    furnish(&world);
    told(&world.shell("ballast -q snapshot --init /srv/models /srv/open-webui /srv/app"), "the last night");
    world.run("before");
    let page = world.read("mnt/backup/tools/key-page.txt");
    // The machine is another one: nothing is left but the backup disk, and its key files are lost as well.
    for name in ["srv", "root/.cache", "mnt/backup/vault/keys"] {
        drop(fs::remove_dir_all(world.top().join(name)));
    }
    fs::create_dir_all(world.top().join("srv")).unwrap();
    let locked = world.shell(&world.block("look"));
    let words = String::from_utf8_lossy(&locked.stderr).into_owned();
    assert!(!locked.status.success() && words.contains("key import"), "{words}");
    world.put("tmp/page.txt", &page);
    told(&world.shell("/mnt/backup/tools/ballast key import /tmp/page.txt"), "the page");
    assert!(world.run("look").contains("1 snapshot"));
    assert!(world.run("list").contains("webui.db"));
    world.run("database");
    let db = rusqlite::Connection::open(world.top().join("srv/open-webui/webui.db")).unwrap();
    assert_eq!(db.query_row("SELECT text FROM chat", [], |row| row.get::<_, String>(0)).unwrap(), "hello");
    world.run("models");
    assert_eq!(world.read("srv/models/llama/model.bin"), vec![7; 300_000]);
    world.run("rest");
    let top = world.top();
    let back = format!("srv/restored{}/srv/app/config.toml", top.to_str().unwrap());
    assert_eq!(world.read(&back), b"first");
}

#[test]
fn nights() {
    let world = World::of("recipes.md");
    furnish(&world);
    world.put("srv/models/half.incomplete", &[1; 5000]);
    told(&world.shell("ballast -q init"), "init");
    let script = world.block("nightly");
    for _ in 0..3 {
        let output = world.bare_shell(&script);
        assert_eq!(told(&output, "nightly"), "", "nothing to tell");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    }
    let listed = told(&world.shell("ballast ls latest; ballast snapshots"), "look");
    assert!(listed.contains("webui.db") && !listed.contains("incomplete"), "{listed}");
    assert!(listed.contains("\n2 snapshots"), "the newest of the day, and the oldest: {listed}");
    assert!(world.top().join("var/cache/ballast").read_dir().unwrap().next().is_some());
    // What cannot be done is told, and the steps after it are done all the same.
    fs::remove_file(world.top().join("srv/open-webui/webui.db")).unwrap();
    fs::write(world.top().join("srv/open-webui/webui.db"), [b"SQLite format 3\0", &[9; 2000][..]].concat())
        .unwrap();
    let output = world.bare_shell(&script);
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stderr).contains("webui.db"));
}

#[test]
fn model_folders() {
    let world = World::of("recipes.md");
    let hub = "root/.cache/huggingface/hub/models--org--name";
    world.put(&format!("{hub}/blobs/abc"), &[5; 70_000]);
    world.put(&format!("{hub}/blobs/def.incomplete"), &[6; 70_000]);
    world.put(&format!("{hub}/refs/main"), b"rev1");
    fs::create_dir_all(world.top().join(hub).join("snapshots/rev1")).unwrap();
    let link = world.top().join(hub).join("snapshots/rev1/model.safetensors");
    std::os::unix::fs::symlink("../../blobs/abc", &link).unwrap();
    world.put("root/.ollama/models/blobs/sha256-1", &[1; 9000]);
    world.put("root/.ollama/models/blobs/sha256-2-partial-0", &[2; 9000]);
    world.put("srv/adapters/2026-04-05/adapter_model.safetensors", &[3; 9000]);
    told(&world.shell("ballast -q init"), "init");
    let told_of = world.run("models");
    assert!(told_of.contains("adapter_model.safetensors"), "{told_of}");
    fs::remove_dir_all(world.top().join(hub)).unwrap();
    world.run("one-model");
    assert_eq!(fs::read(&link).unwrap(), [5; 70_000], "through its link");
    assert!(!world.top().join(hub).join("blobs/def.incomplete").exists());
    let listed = told(&world.shell("ballast ls latest"), "ls");
    assert!(listed.contains("sha256-1") && !listed.contains("partial"), "{listed}");
}

#[test]
fn tensors_of_a_model() {
    let world = World::of("recipes.md");
    world.put("srv/models/llama/model.safetensors", &tiny_model(1.0, 2.0));
    told(&world.shell("ballast -q snapshot --init /srv/models"), "a model");
    let listed = world.run("tensors");
    assert!(listed.contains("model.layers.0.q_proj.weight  F32   [1]     4 B     4 B"), "{listed}");
    assert!(listed.contains("1 tensor of 2 in 1 file"), "{listed}");
    assert_eq!(world.read("tmp/head.raw"), [1.0_f32.to_le_bytes(); 2].concat());
    assert!(world.read("tmp/layer-0.safetensors").ends_with(&2.0_f32.to_le_bytes()));
    let both = world.shell("ballast dump latest:/srv/models/llama --tensor '*weight'");
    let words = String::from_utf8_lossy(&both.stderr).into_owned();
    assert!(both.stdout.is_empty() && words.contains("2 tensors fit") && words.contains("--as"), "{words}");
    // The same words whoever writes there.
    for verb in ["dump latest:/srv/models/llama --tensor lm_head.weight", "tensors latest:/srv/models/llama"]
    {
        let full = world.shell(&format!("ballast {verb} > /dev/full"));
        let words = String::from_utf8_lossy(&full.stderr).into_owned();
        assert!(!full.status.success() && words.contains("cannot write to standard output: "), "{words}");
    }
}

/// A safetensors file of two tensors.
fn tiny_model(head: f32, layer: f32) -> Vec<u8> {
    let header = br#"{"lm_head.weight":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},
        "model.layers.0.q_proj.weight":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}}"#;
    let numbers = [head, head, layer].map(f32::to_le_bytes).concat();
    [&(header.len() as u64).to_le_bytes()[..], header, &numbers].concat()
}

#[test]
fn working_with_models() {
    let world = World::of("working-with-models.md");
    world.put("srv/models/base/model.safetensors", &tiny_model(1.0, 1.0));
    world.put("srv/models/chat/model.safetensors", &tiny_model(1.0, 1.5));
    world.put("srv/models/adapters/2026-03-01/adapter_model.safetensors", &tiny_model(3.0, 3.0));
    told(&world.shell("ballast -q snapshot --init /srv/models"), "last week");
    world.put("srv/models/chat/model.safetensors", &tiny_model(1.0, 1.75));
    world.put("srv/models/adapters/2026-03-08/adapter_model.safetensors", &tiny_model(3.0, 4.0));
    let told_of = world.run("week");
    assert!(told_of.contains("model.layers.0") && told_of.contains("2.50e-1"), "{told_of}");
    assert!(String::from_utf8(world.read("tmp/weeks.svg")).unwrap().contains("</svg>"));
    let listed = world.run("tensors");
    assert!(listed.contains("model.layers.0.q_proj.weight  F32   [1]"), "{listed}");
    assert_eq!(world.read("tmp/head.raw"), [1.0_f32.to_le_bytes(); 2].concat());
    assert!(world.read("tmp/layer-0.safetensors").ends_with(&1.75_f32.to_le_bytes()));
    let asked = world.run("asking");
    assert!(asked.contains("lm_head.weight") && asked.contains("7.50e-1"), "{asked}");
    let adapters = world.run("adapters");
    assert!(adapters.contains("2026-03-08/adapter_model.safetensors"), "{adapters}");
    assert!(adapters.contains("1 identical, 1 changed"), "{adapters}");
}

#[test]
fn a_dump_by_a_pipe() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::of("recipes.md");
    let program = world.top().join("bin/pg_dump");
    fs::write(&program, "#!/bin/sh\necho \"-- dump of $1\"\nexit $FAILS\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    told(&world.shell("ballast -q init"), "init");
    let block = world.block("dump");
    let said = told(&world.shell(&format!("export FAILS=0\n{block}")), "dump");
    assert!(said.contains("-- dump of app"), "{said}");
    let failed = world.shell(&format!("export FAILS=7\n{block}"));
    assert_eq!(failed.status.code(), Some(1), "{}", String::from_utf8_lossy(&failed.stderr));
    let words = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert!(words.contains("pg_dump") && words.contains('7'), "{words}");
    assert!(told(&world.shell("ballast snapshots"), "snapshots").ends_with("\n1 snapshot\n"));
}

#[test]
fn a_file_as_it_was() {
    let world = World::of("recipes.md");
    furnish(&world);
    let week_ago = "ballast -q snapshot --init /srv/app --time @$(($(date +%s) - 8 * 86400))";
    told(&world.shell(week_ago), "a week ago");
    world.put("srv/app/config.toml", b"second");
    told(&world.shell("ballast -q snapshot /srv/app"), "now");
    let lines = world.run("one-file");
    assert!(lines.contains("M  "), "{lines}");
    assert_eq!(world.read("tmp/config.toml"), b"first");
}

#[test]
fn a_second_copy() {
    if Command::new("rsync").arg("--version").output().is_err() {
        return eprintln!("skipped: rsync is not here");
    }
    let world = World::of("recipes.md");
    furnish(&world);
    told(&world.shell("ballast -q snapshot --init /srv/app"), "first");
    // Somebody takes a snapshot when the ledger was read, and the packs were not.
    let block = world.block("copy");
    let (before, after) = block.split_once("for part").unwrap();
    world.put("srv/app/new", b"meanwhile");
    let meanwhile = format!("{before}ballast -q snapshot /srv/app\nfor part{after}");
    told(&world.shell(&meanwhile), "copy");
    let count = |repo: &str| told(&world.shell(&format!("ballast -r {repo} snapshots")), "snapshots");
    assert!(count("/mnt/other/vault").ends_with("\n1 snapshot\n"), "{}", count("/mnt/other/vault"));
    assert!(count("/mnt/backup/vault").ends_with("\n2 snapshots\n"));
    world.run("copy");
    assert!(count("/mnt/other/vault").ends_with("\n2 snapshots\n"));
    told(&world.shell("ballast -q -r /mnt/other/vault check --read-data"), "check");
    told(&world.shell("ballast -q -r /mnt/other/vault restore latest:/srv/app -t /tmp/back"), "restore");
    assert_eq!(world.read("tmp/back/new"), b"meanwhile");
}
