//! `init`: a new repository.

use ballast::repo::Repository;
use serde_json::json;

use crate::args::InitArgs;
use crate::connect;
use crate::exit::{Exit, Failure};
use crate::output::name;
use crate::printer::Printer;

/// Runs it.
pub fn run(args: &InitArgs, p: &mut Printer<'_>) -> Result<Exit, Failure> {
    let store = connect::store(p)?;
    let repo = connect::init(p, store, &args.label)?;
    p.say(&format!("repository {} created at {}", repo.config().repo_id.short(), place(&repo)));
    p.say("");
    for line in advice(&repo) {
        p.say(&line);
    }
    if p.global.json {
        let config = repo.config();
        p.json(&json!({
            "repository": config.repo_id,
            "location": repo.store().location(),
            "key": repo.key_id(),
        }));
    }
    Ok(Exit::Done)
}

fn place(repo: &Repository) -> String {
    name(repo.store().location().as_bytes())
}

/// What everybody with a new repository must hear.
pub fn advice(repo: &Repository) -> Vec<String> {
    vec![
        format!("Print its key:  ballast -r {} key export", shell_word(&place(repo))),
        "and keep the page with the password. A forgotten password is lost data:".into(),
        "nobody can recover it.".into(),
    ]
}

/// Quoted where a shell would take it apart.
fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-+=,@%".contains(c);
    if text.chars().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_command_to_be_copied_is_quoted() {
        for (text, word) in [("/mnt/vault", "/mnt/vault"), ("/a b", "'/a b'"), ("/it's", r"'/it'\''s'")] {
            assert_eq!(super::shell_word(text), word);
        }
    }
}
