//! Manual pages and completions: whole, and accepted by what reads them, where that is here.

use std::fs;
use std::io::Write;
use std::process::{Command, Output, Stdio};

use clap::CommandFactory;

use crate::support::bare;

/// Runs `program` with `input`; `None`: it is not on this machine.
#[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
fn piped(program: &str, args: &[&str], input: &str) -> Option<Output> {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut child) = command.spawn() else {
        eprintln!("skipped: there is no {program} here");
        return None;
    };
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    Some(child.wait_with_output().unwrap())
}

#[test]
fn every_verb_has_a_page_that_groff_takes_without_a_word() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("man/man1");
    let written = bare(&["man", place.to_str().unwrap()]);
    assert_eq!(written.code, 0, "{}", written.err);
    let mut all = String::new();
    let mut leaves = Vec::new();
    collect(&ballast_cli::args::Cli::command(), "ballast", &mut leaves);
    for (name, verb) in &leaves {
        let page = fs::read_to_string(place.join(format!("{name}.1"))).unwrap();
        let about = verb.get_about().unwrap().to_string();
        let first = about.lines().next().unwrap();
        assert!(page.contains(&first.replace('-', "\\-").replace('\'', "\\*(Aq")), "{name}: {first}");
        if !verb.has_subcommands() && verb.get_name() != "version" {
            assert!(page.contains(".SH EXAMPLE") && page.contains(".SH \"EXIT STATUS\""), "{name}");
        }
        for option in verb.get_arguments().filter(|a| !a.is_hide_set()) {
            let Some(long) = option.get_long() else { continue };
            assert!(page.contains(&format!("\\-\\-{}", long.replace('-', "\\-"))), "{name}: --{long}");
        }
        all.push_str(&page);
    }
    assert_eq!(fs::read_dir(&place).unwrap().count(), leaves.len());
    assert!(all.contains("slower, but leaves nothing on this machine"), "what the short help leaves out");
    if let Some(output) = piped("groff", &["-man", "-ww", "-z", "-Tutf8", "-K", "utf8"], &all) {
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{said}");
    }
    let file = dir.path().join("file");
    fs::File::create(&file).unwrap();
    let refused = bare(&["man", file.to_str().unwrap()]);
    assert!(refused.code == 1 && refused.err.contains("\nhint: "), "{}", refused.err);
}

fn collect(command: &clap::Command, name: &str, leaves: &mut Vec<(String, clap::Command)>) {
    for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
        collect(verb, &format!("{name}-{}", verb.get_name()), leaves);
    }
    leaves.push((name.to_owned(), command.clone()));
}

/// Asks bash what it would complete: the words after `ballast`, the last one unfinished.
const ASK: &str = r#"
ask() {
    COMP_WORDS=(ballast "$@"); COMP_CWORD=$#; COMP_TYPE=9; COMP_KEY=9; COMPREPLY=()
    _ballast ballast "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
    echo "$*: ${COMPREPLY[*]}"
}
complete -p ballast
ask snapsh
ask key ex
ask snapshot --excl
ask restore --overwrite ""
"#;

#[test]
fn bash_completes_verbs_and_options() {
    let script = bare(&["completions", "bash"]);
    assert_eq!(script.code, 0, "{}", script.err);
    let Some(output) = piped("bash", &["--norc"], &format!("{}{ASK}", script.out)) else { return };
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    for words in [
        "-F _ballast ballast\n",
        "\nsnapsh: snapshot snapshots\n",
        "\nkey ex: export\n",
        "\nsnapshot --excl: --exclude --exclude-file ",
        "\nrestore --overwrite : always if-changed if-newer never\n",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
}

#[test]
fn other_shells_take_their_scripts() {
    for shell in ["zsh", "fish"] {
        let script = bare(&["completions", shell]);
        assert!(script.code == 0 && script.out.contains("snapshots"), "{shell}: {}", script.err);
        let Some(output) = piped(shell, &["-n", "/dev/stdin"], &script.out) else { continue };
        assert!(output.status.success(), "{shell}: {}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(bare(&["completions", "csh"]).code, 2);
}
