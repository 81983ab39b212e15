//! Sealed objects: envelope, associated data and names in one place
//! (`docs/format.md`, "Envelope").

use crate::crypto::hash::object_name;
use crate::crypto::keys::{Keyring, Purpose};
use crate::entropy::Surroundings;
use crate::error::{Error, Malformed, Result, StoreErrorKind};
use crate::format::config::ConfigV1;
use crate::format::envelope::{self, Envelope, HEADER_LEN, Prefix};
use crate::format::index::IndexObject;
use crate::format::wire::{self, Record};
use crate::format::{MAX_INDEX_BYTES, MAX_RECORD_BYTES};
use crate::id::{IndexId, ObjectKind, ObjectName, RepoId, SnapshotId};
use crate::repo::Repository;
use crate::store::{PutMode, Store};

/// What an object's associated data ends in.
#[derive(Debug, Clone, Copy)]
pub enum Naming<'a> {
    /// Its name is the hash of its bytes, checked against it.
    ByBytes,
    /// Its name is chosen, so it is authenticated.
    Chosen(&'a str),
}

fn purpose(kind: ObjectKind) -> Purpose {
    match kind {
        ObjectKind::Config => Purpose::Config,
        ObjectKind::Key => Purpose::Label,
        ObjectKind::Pack => Purpose::Trailer,
        ObjectKind::Index => Purpose::Index,
        ObjectKind::Snapshot => Purpose::Snapshot,
        ObjectKind::Ledger => Purpose::Ledger,
        ObjectKind::Lease => Purpose::Lease,
    }
}

fn aad(repo: &RepoId, header: &[u8], naming: Naming<'_>) -> Vec<u8> {
    match naming {
        Naming::ByBytes => envelope::aad(repo, header),
        Naming::Chosen(name) => envelope::aad_named(repo, header, name),
    }
}

fn seal(
    keyring: &Keyring,
    repo: &RepoId,
    surroundings: &Surroundings,
    kind: ObjectKind,
    naming: Naming<'_>,
    plain: &[u8],
) -> Result<Vec<u8>> {
    let header = envelope::header(&Prefix::new(kind, keyring.current_epoch()), &surroundings.random()?);
    let nonce = header[envelope::PREFIX_LEN..].try_into().expect("because a header ends in its nonce");
    let key = keyring.current(purpose(kind));
    let mut out = vec![0; HEADER_LEN + plain.len() + envelope::TAG_LEN];
    out[..HEADER_LEN].copy_from_slice(&header);
    let aad = aad(repo, &header, naming);
    key.seal_into(&nonce, &aad, plain, &mut out[HEADER_LEN..]);
    Ok(out)
}

fn open(
    keyring: &Keyring,
    repo: &RepoId,
    kind: ObjectKind,
    naming: Naming<'_>,
    bytes: &[u8],
) -> Result<Vec<u8>, Malformed> {
    let envelope = Envelope::decode(bytes, kind)?;
    let key = keyring.key(purpose(kind), envelope.prefix.epoch)?;
    key.open(&envelope.nonce, &aad(repo, envelope.header, naming), envelope.sealed)
}

/// The config object of a new repository.
pub fn seal_config(keyring: &Keyring, config: &ConfigV1, surroundings: &Surroundings) -> Result<Vec<u8>> {
    let plain = wire::encode(config);
    seal(keyring, &config.repo_id, surroundings, ObjectKind::Config, Naming::Chosen("config"), &plain)
}

/// Reads the config object.
pub fn read_config(store: &dyn Store, keyring: &Keyring, repo: &RepoId) -> Result<ConfigV1> {
    let name = ObjectName::config();
    let bytes = store.get(&name, MAX_RECORD_BYTES)?;
    let plain =
        open(keyring, repo, ObjectKind::Config, Naming::Chosen("config"), &bytes).map_err(|e| e.of(&name))?;
    let config: ConfigV1 = wire::decode(&plain).map_err(|e| e.of(&name))?;
    if config.repo_id != *repo {
        return Err(Error::corrupt(name, "is of another repository"));
    }
    Ok(config)
}

impl Repository {
    /// Seals a record whose name is chosen.
    pub(crate) fn seal_named<R: Record>(&self, name: &ObjectName, record: &R) -> Result<Vec<u8>> {
        let plain = wire::encode(record);
        let naming = Naming::Chosen(&name.name);
        seal(self.keyring(), &self.config().repo_id, self.surroundings(), name.kind, naming, &plain)
    }

    /// Opens a record whose name is chosen.
    pub(crate) fn open_named<R: Record>(&self, name: &ObjectName, bytes: &[u8]) -> Result<R> {
        let naming = Naming::Chosen(&name.name);
        open(self.keyring(), &self.config().repo_id, name.kind, naming, bytes)
            .and_then(|plain| wire::decode(&plain))
            .map_err(|e| e.of(name))
    }

    /// Seals an index object and names it.
    pub(crate) fn seal_index(&self, plain: &[u8]) -> Result<(IndexId, Vec<u8>)> {
        let kind = ObjectKind::Index;
        let bytes =
            seal(self.keyring(), &self.config().repo_id, self.surroundings(), kind, Naming::ByBytes, plain)?;
        Ok((IndexId(object_name(&bytes)), bytes))
    }

    /// Seals a snapshot and names it.
    pub(crate) fn seal_snapshot<R: Record>(&self, record: &R) -> Result<(SnapshotId, Vec<u8>)> {
        let plain = wire::encode(record);
        let kind = ObjectKind::Snapshot;
        let bytes =
            seal(self.keyring(), &self.config().repo_id, self.surroundings(), kind, Naming::ByBytes, &plain)?;
        Ok((SnapshotId(object_name(&bytes)), bytes))
    }

    /// Reads an object that is named by its bytes: the name is recomputed, then the seal opened.
    pub(crate) fn read_by_bytes(&self, name: &ObjectName) -> Result<Vec<u8>> {
        let limit = if name.kind == ObjectKind::Index { MAX_INDEX_BYTES } else { MAX_RECORD_BYTES };
        let bytes = match self.store().get(name, limit) {
            Err(e) if e.kind == StoreErrorKind::Size => return Err(Error::corrupt(name, e.reason)),
            got => got?,
        };
        if crate::id::to_hex(&object_name(&bytes)) != name.name {
            return Err(Error::corrupt(name, "its bytes do not match its name"));
        }
        open(self.keyring(), &self.config().repo_id, name.kind, Naming::ByBytes, &bytes)
            .map_err(|e| e.of(name))
    }

    /// The config object as it stands now; what is used comes from it or, where it was damaged, from
    /// its copy in the key file.
    pub fn config_object(&self) -> Result<ConfigV1> {
        read_config(self.store().as_ref(), self.keyring(), &self.config().repo_id)
    }

    /// Writes the config object as it is used here, and reads it back. Only for one that is missing or
    /// does not open: else no object is ever replaced.
    pub(crate) fn write_config_again(&self, missing: bool) -> Result<()> {
        let bytes = seal_config(self.keyring(), self.config(), self.surroundings())?;
        let mode = if missing { PutMode::New } else { PutMode::Replace };
        self.store().put(&ObjectName::config(), &bytes, mode)?;
        match self.config_object()? == *self.config() {
            true => Ok(()),
            false => Err(Error::corrupt(ObjectName::config(), "was written, and reads as something else")),
        }
    }

    /// One index object.
    pub fn index_object(&self, id: IndexId) -> Result<IndexObject> {
        let name: ObjectName = id.into();
        self.read_by_bytes(&name).and_then(|plain| IndexObject::decode(&plain).map_err(|e| e.of(&name)))
    }

    /// Seals and stores an index object whose packs need not exist: repositories of any size, for tests and benches.
    #[cfg(feature = "testing")]
    pub fn put_index_object(&self, object: &IndexObject) -> Result<IndexId> {
        let (id, bytes) = self.seal_index(&object.encode())?;
        self.store().put(&id.into(), &bytes, PutMode::New)?;
        Ok(id)
    }

    /// The plaintext of any sealed object but packs and keys, for `ballast cat`.
    pub fn open_object(&self, name: &ObjectName) -> Result<Vec<u8>> {
        match name.kind {
            ObjectKind::Index | ObjectKind::Snapshot => self.read_by_bytes(name),
            ObjectKind::Config | ObjectKind::Ledger | ObjectKind::Lease => {
                let bytes = self.store().get(name, MAX_RECORD_BYTES)?;
                open(self.keyring(), &self.config().repo_id, name.kind, Naming::Chosen(&name.name), &bytes)
                    .map_err(|e| e.of(name))
            }
            ObjectKind::Key | ObjectKind::Pack => {
                Err(Error::Usage(format!("{name} is not one sealed record")))
            }
        }
    }
}
