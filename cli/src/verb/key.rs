//! `key`: passwords and pages.

use ballast::crypto::kdf;
use ballast::format::wire::Stamp;
use ballast::id::KeyId;
use ballast::repo::Repository;
use ballast::repo::keys::KeyInfo;
use serde_json::json;

use super::key_page;
use crate::args::{KeyCommand, NewPassword};
use crate::connect;
use crate::exit::{Exit, Failure};
use crate::printer::Printer;
use crate::table::Table;
use crate::time;

/// Runs one of them.
pub fn run(command: &KeyCommand, p: &mut Printer<'_>) -> Result<Exit, Failure> {
    match command {
        KeyCommand::List => list(p),
        KeyCommand::Add { label, new } => add(label, new, p),
        KeyCommand::Remove { id } => remove(id, p),
        KeyCommand::Passwd { new } => passwd(new, p),
        KeyCommand::Export(args) => key_page::export(args, p),
        KeyCommand::Import(args) => key_page::import(args, p),
    }
}

fn list(p: &mut Printer<'_>) -> Result<Exit, Failure> {
    let repo = connect::open(p)?;
    let keys = repo.keys()?;
    if p.global.json {
        p.json(&json!({ "keys": keys }));
    } else {
        let mut table = Table::new(&["ID", "In use", "Created", "Host", "Label", "Damage"]);
        for key in &keys {
            let created = key.created_ns.map(|ns| time::local(Stamp::from_ns(ns), &p.io.zone));
            table.row([
                key.id.short(),
                if key.current { "*".into() } else { String::new() },
                created.unwrap_or_default(),
                key.host.clone().unwrap_or_default(),
                key.label.clone().unwrap_or_default(),
                key.damage.clone().unwrap_or_default(),
            ]);
        }
        for line in table.lines() {
            p.data(&line);
        }
    }
    Ok(Exit::with_problems(keys.iter().any(|key| key.damage.is_some())))
}

fn add(label: &str, new: &NewPassword, p: &mut Printer<'_>) -> Result<Exit, Failure> {
    let repo = connect::open(p)?;
    let password = connect::new_password(p.io, new)?;
    let id = repo.add_key(&password, label, &kdf::DEFAULT)?;
    p.say(&format!("key {} added", id.short()));
    if p.global.json {
        p.json(&json!({ "added": id }));
    }
    Ok(Exit::Done)
}

fn remove(id: &str, p: &mut Printer<'_>) -> Result<Exit, Failure> {
    let repo = connect::open(p)?;
    let id = repo.find_key(&id.to_ascii_lowercase())?;
    remove_key(&repo, id)?;
    p.say(&format!("key {} removed", id.short()));
    if p.global.json {
        p.json(&json!({ "removed": id }));
    }
    Ok(Exit::Done)
}

fn remove_key(repo: &Repository, id: KeyId) -> Result<(), Failure> {
    repo.remove_key(id).map_err(|error| {
        let last = error.to_string().contains("last key");
        let failure = Failure::from(error);
        if last { failure.with_hint("add another one first: `ballast key add`") } else { failure }
    })
}

/// First the new one, then away with the old one: at no time is there none.
fn passwd(new: &NewPassword, p: &mut Printer<'_>) -> Result<Exit, Failure> {
    let repo = connect::open(p)?;
    let old = repo.key_id();
    let password = connect::new_password(p.io, new)?;
    let label = info(&repo, old)?.and_then(|key| key.label).unwrap_or_default();
    let added = repo.add_key(&password, &label, &kdf::DEFAULT)?;
    remove_key(&repo, old)?;
    p.say(&format!("password changed: key {} took the place of {}", added.short(), old.short()));
    p.say("Print the new key:  ballast key export");
    if p.global.json {
        p.json(&json!({ "added": added, "removed": old }));
    }
    Ok(Exit::Done)
}

/// What is known of a key.
pub fn info(repo: &Repository, id: KeyId) -> Result<Option<KeyInfo>, Failure> {
    Ok(repo.keys()?.into_iter().find(|key| key.id == id))
}
