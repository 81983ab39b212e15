//! Key files: made, opened, listed, removed (design §6).
//!
//! Each wraps the same master secrets and a copy of the config under a password of
//! its own. Removing one takes away the password, not the secret: who kept a copy
//! of the key file and knows its password can still read what he gets hold of.

use std::path::Path;

use serde::Serialize;
use zeroize::Zeroize;

use crate::crypto::aead::SealKey;
use crate::crypto::hash;
use crate::crypto::kdf;
use crate::crypto::keys::{Keyring, Purpose};
use crate::entropy::Surroundings;
use crate::error::{Error, Malformed, Result};
use crate::format::config::ConfigV1;
use crate::format::envelope::NONCE_LEN;
use crate::format::keyfile::{
    BODY_PLAIN_LEN, BodyV1, CLEAR_LEN, Clear, KEYFILE_LEN, KdfParams, LABEL_LEN, LABEL_PLAIN_LEN, LabelV1,
    RIGHTS_FULL, pad_record, unpad_record,
};
use crate::format::wire::{self, Bytes, Stamp, Text, check_extensions};
use crate::id::{KeyId, ObjectKind, ObjectName};
use crate::repo::Repository;
use crate::repo::cache;
use crate::store::{PutMode, Store};

/// At most so many key files are tried with one password.
pub const MAX_TRIED: usize = 16;

/// One key as listed.
#[derive(Debug, Clone, Serialize)]
pub struct KeyInfo {
    /// Its name.
    pub id: KeyId,
    /// Is it the one in use?
    pub current: bool,
    /// Its label; `None` if it cannot be read.
    pub label: Option<String>,
    /// Where it was made.
    pub host: Option<String>,
    /// When it was made, nanoseconds since 1970.
    pub created_ns: Option<i64>,
    /// What is wrong with it, if anything.
    pub damage: Option<String>,
}

/// What a password opened.
pub struct Unlocked {
    /// The key file.
    pub key: KeyId,
    /// Sealing keys.
    pub keyring: Keyring,
    /// The config's copy in it.
    pub config: ConfigV1,
    /// Damaged key files that were passed over.
    pub notices: Vec<String>,
}

/// A label record; long texts are cut so that they fit.
pub fn label(text: &str, host: &str, surroundings: &Surroundings) -> LabelV1 {
    let cut = |s: &str, max: usize| {
        let mut end = s.len().min(max);
        while !s.is_char_boundary(end) {
            end -= 1;
        }
        Text(s[..end].to_owned())
    };
    LabelV1 {
        label: cut(text, 120),
        created: Stamp::from_ns(surroundings.clock.now_ns()),
        host: cut(host, 64),
    }
}

/// A new key file.
pub fn make(
    keyring: &Keyring,
    config: &ConfigV1,
    label: LabelV1,
    password: &[u8],
    kdf: &KdfParams,
    surroundings: &Surroundings,
) -> Result<(KeyId, Vec<u8>)> {
    kdf::check_for_writing(kdf)?;
    if password.is_empty() {
        return Err(Error::Usage("an empty password protects nothing".into()));
    }
    let salt = surroundings.random()?;
    let derived = kdf::derive(password, &salt, kdf)?;
    let clear = Clear { kdf: *kdf, salt, repo_id: config.repo_id, commitment: derived.commitment };
    let mut file = clear.encode().to_vec();

    let field = pad_record(&label, LABEL_PLAIN_LEN).map_err(|e| Error::Usage(e.0))?;
    let nonce: [u8; NONCE_LEN] = surroundings.random()?;
    let sealed = keyring.current(Purpose::Label).seal(&nonce, &file, &field);
    file.extend_from_slice(&nonce);
    file.extend_from_slice(&sealed);

    let body = BodyV1 {
        rights: RIGHTS_FULL,
        secrets: keyring.secrets(),
        config: Bytes(wire::encode(config)),
        extensions: Vec::new(),
    };
    let mut field = pad_record(&body, BODY_PLAIN_LEN).map_err(|e| Error::Internal(e.0))?;
    let nonce: [u8; NONCE_LEN] = surroundings.random()?;
    let sealed = SealKey::new(&derived.wrapping).seal(&nonce, &file, &field);
    field.zeroize();
    file.extend_from_slice(&nonce);
    file.extend_from_slice(&sealed);
    debug_assert_eq!(file.len(), KEYFILE_LEN);
    Ok((KeyId(hash::object_name(&file)), file))
}

/// Tries `password` on one key file. `Ok(None)`: it is not this one's password.
pub fn try_open(file: &[u8], password: &[u8]) -> Result<Option<(Keyring, ConfigV1)>, Malformed> {
    let clear = Clear::decode(file)?;
    kdf::check_for_reading(&clear.kdf)?;
    let derived =
        kdf::derive(password, &clear.salt, &clear.kdf).map_err(|e| Malformed::new(e.to_string()))?;
    if !hash::equal(&derived.commitment, &clear.commitment) {
        return Ok(None);
    }
    let (bound, sealed) = file.split_at(CLEAR_LEN + LABEL_LEN);
    let (nonce, sealed) = sealed.split_at(NONCE_LEN);
    let nonce = nonce.try_into().map_err(|_| Malformed::new("ends early"))?;
    let mut field = SealKey::new(&derived.wrapping).open(&nonce, bound, sealed)?;
    let body = unpad_record::<BodyV1>(&field);
    field.zeroize();
    let body = body?;
    check_extensions(&body.extensions, &[], "key file")?;
    if body.rights != RIGHTS_FULL {
        return Err(Malformed::new(format!(
            "grants rights {}, which this program does not know",
            body.rights
        )));
    }
    let config: ConfigV1 = wire::decode(&body.config)?;
    if config.repo_id != clear.repo_id {
        return Err(Malformed::new("is of another repository than it says"));
    }
    Ok(Some((Keyring::derive(&body.secrets)?, config)))
}

/// Reads a key file and compares it with its name.
fn read(store: &dyn Store, id: KeyId) -> Result<Vec<u8>> {
    let name: ObjectName = id.into();
    let file = store.get(&name, KEYFILE_LEN as u64)?;
    if hash::object_name(&file) != id.0 {
        return Err(Error::corrupt(name, "its bytes do not match its name"));
    }
    Ok(file)
}

fn list_ids(store: &dyn Store) -> Result<Vec<KeyId>> {
    let mut ids: Vec<KeyId> = store.list(ObjectKind::Key)?.iter().filter_map(|n| n.parse().ok()).collect();
    ids.sort();
    Ok(ids)
}

/// Finds a key file that opens with `password`: the one that did last time first.
pub fn unlock(store: &dyn Store, password: &[u8], cache_dir: Option<&Path>) -> Result<Unlocked> {
    let mut ids = list_ids(store)?;
    let present = ids.len();
    if present == 0 {
        return Err(Error::corrupt("keys/", "no key file is left"));
    }
    let mut notices = Vec::new();
    let mut tried = 0;
    let mut hinted = false;
    let mut at = 0;
    while at < ids.len() && tried < MAX_TRIED {
        let id = ids[at];
        at += 1;
        let file = match read(store, id) {
            Ok(file) => file,
            Err(error) => {
                notices.push(format!("{error}; it was passed over"));
                continue;
            }
        };
        if !hinted {
            hinted = true;
            let hint = Clear::decode(&file)
                .ok()
                .and_then(|clear| cache::remembered_key(cache_dir?, &clear.repo_id, &store.location()));
            if let Some(best) = hint.filter(|best| *best != id && ids.contains(best)) {
                ids.retain(|other| *other != best && *other != id);
                ids.splice(0..0, [best, id]);
                at = 0;
                continue;
            }
        }
        tried += 1;
        match try_open(&file, password) {
            Ok(Some((keyring, config))) => return Ok(Unlocked { key: id, keyring, config, notices }),
            Ok(None) => {}
            Err(malformed) => {
                notices.push(format!("{}; it was passed over", malformed.of(ObjectName::from(id))))
            }
        }
    }
    if tried == 0 || notices.len() == present {
        return Err(Error::corrupt("keys/", notices.join("; ")));
    }
    Err(Error::WrongPassword { tried, present })
}

impl Repository {
    /// Every key file, with its label.
    pub fn keys(&self) -> Result<Vec<KeyInfo>> {
        list_ids(self.store().as_ref())?.into_iter().map(|id| Ok(self.key_info(id))).collect()
    }

    fn key_info(&self, id: KeyId) -> KeyInfo {
        let mut info = KeyInfo {
            id,
            current: id == self.key_id(),
            label: None,
            host: None,
            created_ns: None,
            damage: None,
        };
        let read = read(self.store().as_ref(), id).and_then(|file| {
            let name = ObjectName::from(id);
            self.read_label(&file).map_err(|e| e.of(name))
        });
        match read {
            Ok(label) => {
                info.label = Some(label.label.0);
                info.host = Some(label.host.0);
                info.created_ns = Some(label.created.to_ns());
            }
            Err(error) => info.damage = Some(error.to_string()),
        }
        info
    }

    fn read_label(&self, file: &[u8]) -> Result<LabelV1, Malformed> {
        let clear = Clear::decode(file)?;
        if clear.repo_id != self.config().repo_id {
            return Err(Malformed::new("is of another repository"));
        }
        let (nonce, sealed) = file[CLEAR_LEN..CLEAR_LEN + LABEL_LEN].split_at(NONCE_LEN);
        let nonce = nonce.try_into().map_err(|_| Malformed::new("ends early"))?;
        // A label was sealed under the epoch that was current then.
        let mut last = Malformed::new("holds no label");
        for (epoch, _) in self.keyring().secrets() {
            match self.keyring().key(Purpose::Label, epoch)?.open(&nonce, &file[..CLEAR_LEN], sealed) {
                Ok(field) => return unpad_record(&field),
                Err(e) => last = e,
            }
        }
        Err(last)
    }

    /// Adds a key file for another password.
    pub fn add_key(&self, password: &[u8], label_text: &str, kdf: &KdfParams) -> Result<KeyId> {
        let label = label(label_text, &self.identity().host, self.surroundings());
        let (id, bytes) = make(self.keyring(), self.config(), label, password, kdf, self.surroundings())?;
        self.store().put(&id.into(), &bytes, PutMode::New)?;
        // What was written is what will be needed: read it back before anyone relies on it.
        let back = read(self.store().as_ref(), id)?;
        match try_open(&back, password) {
            Ok(Some(_)) => Ok(id),
            Ok(None) => Err(Error::corrupt(ObjectName::from(id), "does not open with its password")),
            Err(e) => Err(e.of(ObjectName::from(id))),
        }
    }

    /// Removes a key file; never the last one that is whole.
    pub fn remove_key(&self, id: KeyId) -> Result<()> {
        let keys = self.keys()?;
        if !keys.iter().any(|k| k.id == id) {
            return Err(Error::NotFound { what: format!("key {}", id.short()) });
        }
        if !keys.iter().any(|k| k.id != id && k.damage.is_none()) {
            return Err(Error::Usage(
                "the last key cannot be removed: nothing could ever be read again".into(),
            ));
        }
        Ok(self.store().remove(&id.into())?)
    }

    /// A key whose hexadecimal begins with `prefix`.
    pub fn find_key(&self, prefix: &str) -> Result<KeyId> {
        let found: Vec<_> = list_ids(self.store().as_ref())?
            .into_iter()
            .filter(|id| prefix.len() >= 2 && id.to_hex().starts_with(prefix))
            .collect();
        match found.as_slice() {
            [one] => Ok(*one),
            [] => Err(Error::NotFound { what: format!("key {prefix}") }),
            many => Err(Error::Usage(format!("{prefix} fits {} keys: give more digits", many.len()))),
        }
    }

    /// The bytes of a key file, for export.
    pub fn key_file(&self, id: KeyId) -> Result<Vec<u8>> {
        read(self.store().as_ref(), id)
    }
}

/// Puts a key file back into a repository that lost it. The password is needed only to see
/// that it is whole; the file's own name and seals guard the rest.
pub fn import(store: &dyn Store, file: &[u8]) -> Result<KeyId> {
    let id = KeyId(hash::object_name(file));
    let clear = Clear::decode(file).map_err(|e| e.of("imported key"))?;
    for other in list_ids(store)? {
        if let Some(theirs) = read(store, other).ok().and_then(|f| Clear::decode(&f).ok())
            && theirs.repo_id != clear.repo_id
        {
            return Err(Error::Usage("this key is of another repository".into()));
        }
    }
    store.put(&id.into(), file, PutMode::New)?;
    Ok(id)
}
