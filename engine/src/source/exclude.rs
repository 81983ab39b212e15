//! What is left out, and why. Nothing is, unless someone asked.
//!
//! Patterns have gitignore's syntax: `*` and `?` stay within a name, `**`
//! crosses names, `[…]` is a set, a trailing `/` means directories only, a
//! leading `!` takes back what an earlier pattern left out (but nothing below a
//! directory that is left out: that is never entered). The last one that fits
//! decides. They are compared with absolute real paths:
//!
//! | pattern | fits |
//! |---|---|
//! | `*.tmp` — no slash | a name anywhere |
//! | `/var/cache` — leading slash | that absolute path |
//! | `logs/*.txt` — a slash inside | at any depth, as if `**/` stood before it |
//!
//! They apply to roots too (a shell may have expanded `*`), not to the
//! directories above a root. Files of patterns may have comments (`#`).
//! `.gitignore`, `.ignore` and hidden names mean nothing here.
//!
//! Patterns that do not mind case stand behind the others, in the same order: the last one that fits
//! decides, of whichever kind.
//!
//! The repository and the cache are always left out, however they are reached:
//! by path, and by device and inode through a bind mount or another name.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ignore::gitignore::{Gitignore, GitignoreBuilder};

use super::patterns::{add, literal};
use super::stat::Stat;
use crate::error::{Error, Result};
use crate::format::tree::NodeKind;

/// What a directory that holds a cache says in its `CACHEDIR.TAG` (bford.info/cachedir).
pub const CACHE_SIGNATURE: &[u8; 43] = b"Signature: 8a477f597d28d172789f06886806bc55";
/// The file that says it.
pub const CACHE_TAG: &str = "CACHEDIR.TAG";

/// What the user asked to leave out.
#[derive(Debug, Clone, Default)]
pub struct ExcludeOptions {
    /// Patterns, in order.
    pub patterns: Vec<String>,
    /// Files of patterns, taken in after `patterns`.
    pub files: Vec<PathBuf>,
    /// Patterns that do not mind case, after `files`.
    pub any_case: Vec<String>,
    /// Files of patterns that do not mind case, taken in last.
    pub any_case_files: Vec<PathBuf>,
    /// Leave out the content of directories that call themselves caches.
    pub caches: bool,
    /// Leave out the content of directories that hold one of these: `NAME`, or `NAME:HEADER`
    /// for a file that begins so.
    pub if_present: Vec<String>,
    /// Leave out files longer than this.
    pub larger_than: Option<u64>,
    /// Do not enter directories on other file systems than the root's.
    pub one_file_system: bool,
    /// Absolute paths of the repository and the cache directory.
    pub own: Vec<PathBuf>,
}

/// Why something is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// A pattern fits.
    Pattern,
    /// Its directory is tagged as a cache.
    CacheTag,
    /// Its directory holds a file that says so.
    Tag,
    /// It is longer than asked for.
    Size,
    /// It lies on another file system.
    OtherFileSystem,
    /// It is the repository or its cache.
    Own,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pattern => "excluded by a pattern",
            Self::CacheTag => "tagged as a cache",
            Self::Tag => "tagged to be left out",
            Self::Size => "larger than asked for",
            Self::OtherFileSystem => "on another file system",
            Self::Own => "the repository or its cache",
        })
    }
}

/// Decides what is left out.
#[derive(Debug, Clone)]
pub struct Exclude {
    patterns: Gitignore,
    tags: Vec<Tag>,
    larger_than: Option<u64>,
    one_file_system: bool,
    own: Vec<Own>,
}

/// A file by whose presence a directory says that its content is to be left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// Its name.
    pub name: OsString,
    /// How a regular file of that name must begin; empty: anything of that name will do.
    pub header: Vec<u8>,
    /// Why the content is left out.
    pub why: Why,
}

impl Tag {
    fn cache() -> Self {
        Self { name: CACHE_TAG.into(), header: CACHE_SIGNATURE.to_vec(), why: Why::CacheTag }
    }

    /// `NAME` or `NAME:HEADER`.
    fn parse(text: &str) -> Result<Self> {
        let (name, header) = text.split_once(':').unwrap_or((text, ""));
        if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
            return Err(Error::Usage(format!(
                "--exclude-if-present {text:?}: this is no name of a file; give NAME or NAME:HEADER, without /"
            )));
        }
        Ok(Self { name: name.into(), header: header.into(), why: Why::Tag })
    }
}

#[derive(Debug, Clone)]
struct Own {
    path: PathBuf,
    identity: Option<(u64, u64)>,
}

impl Exclude {
    /// Reads the pattern files. A pattern that cannot be meant is an error: were
    /// it ignored, something would be stored that nobody wanted.
    pub fn new(options: &ExcludeOptions) -> Result<Self> {
        let mut builder = GitignoreBuilder::new("/");
        for pattern in &options.patterns {
            add(&mut builder, &literal(pattern), "--exclude")?;
        }
        options.files.iter().try_for_each(|file| add_file(&mut builder, file))?;
        builder.case_insensitive(true).map_err(|e| Error::Usage(format!("exclude patterns: {e}")))?;
        for pattern in &options.any_case {
            add(&mut builder, &literal(pattern), "--iexclude")?;
        }
        options.any_case_files.iter().try_for_each(|file| add_file(&mut builder, file))?;
        let patterns = builder.build().map_err(|e| Error::Usage(format!("exclude patterns: {e}")))?;
        let mut tags = options.if_present.iter().map(|text| Tag::parse(text)).collect::<Result<Vec<_>>>()?;
        if options.caches {
            tags.insert(0, Tag::cache());
        }
        Ok(Self {
            patterns,
            tags,
            larger_than: options.larger_than,
            one_file_system: options.one_file_system,
            own: own_of(&options.own),
        })
    }

    /// Nothing is left out.
    pub fn nothing() -> Self {
        Self {
            patterns: Gitignore::empty(),
            tags: Vec::new(),
            larger_than: None,
            one_file_system: false,
            own: Vec::new(),
        }
    }

    /// The same with `paths` for [`ExcludeOptions::own`].
    pub fn with_own(&self, paths: &[PathBuf]) -> Self {
        Self { own: own_of(paths), ..self.clone() }
    }

    /// Is what lies at the absolute `path` left out, its parents aside?
    pub fn judge(&self, path: &Path, stat: &Stat) -> Option<Why> {
        if self.is_own(path, Some(stat)) {
            Some(Why::Own)
        } else if self.fits(path, stat.is_dir()) {
            Some(Why::Pattern)
        } else {
            let too_large = |limit: &u64| stat.is_file() && stat.size > *limit;
            self.larger_than.as_ref().is_some_and(too_large).then_some(Why::Size)
        }
    }

    /// As [`Exclude::judge`], for a root: it may also lie inside of the repository.
    pub fn judge_root(&self, path: &Path, stat: &Stat) -> Option<Why> {
        let above = |dir: &Path| {
            let meta = dir.symlink_metadata().ok();
            meta.is_some_and(|m| self.own.iter().any(|o| o.identity == Some((m.dev(), m.ino()))))
        };
        if !self.own.is_empty() && path.ancestors().skip(1).any(above) {
            return Some(Why::Own);
        }
        self.judge(path, stat)
    }

    /// Is `path`, found below the root `root`, left out, itself or by a
    /// directory between? By names only: what a walk would need to look for
    /// (tags, devices) is not known here.
    pub fn hides(&self, root: &Path, path: &Path, is_dir: bool) -> bool {
        if self.is_own(path, None) {
            return true;
        }
        !self.patterns.is_empty()
            && path.ancestors().take_while(|a| a.starts_with(root)).any(|a| self.fits(a, is_dir || a != path))
    }

    /// By which files a directory says that its content is to be left out.
    pub fn tags(&self) -> &[Tag] {
        &self.tags
    }

    /// Are directories on other file systems left empty?
    pub fn one_file_system(&self) -> bool {
        self.one_file_system
    }

    fn fits(&self, path: &Path, is_dir: bool) -> bool {
        path != Path::new("/") && self.patterns.matched(path, is_dir).is_ignore()
    }

    /// Is `path` of [`ExcludeOptions::own`], or below it?
    pub fn is_own(&self, path: &Path, stat: Option<&Stat>) -> bool {
        // A link to the repository is not the repository, whatever path was given.
        if stat.is_some_and(|s| s.kind == NodeKind::Symlink) {
            return false;
        }
        let identity = stat.filter(|s| s.is_dir()).map(Stat::identity);
        let bytes = path.as_os_str().as_bytes();
        // By bytes first: asked of every path, and nearly none begins alike.
        let below = |own: &Path| bytes.starts_with(own.as_os_str().as_bytes()) && path.starts_with(own);
        self.own.iter().any(|own| below(&own.path) || (identity.is_some() && own.identity == identity))
    }
}

/// By every name and by identity.
fn own_of(paths: &[PathBuf]) -> Vec<Own> {
    let in_one_spelling = |path: PathBuf| path.components().collect::<PathBuf>();
    let of = |given: &PathBuf| {
        let identity = given.metadata().ok().map(|m| (m.dev(), m.ino()));
        let real = given.canonicalize().ok().filter(|real| real != given);
        let names = std::iter::once(given.clone()).chain(real).map(in_one_spelling);
        names.map(|path| Own { path, identity }).collect::<Vec<_>>()
    };
    paths.iter().flat_map(of).collect()
}

/// Adds the patterns of a file.
fn add_file(builder: &mut GitignoreBuilder, file: &Path) -> Result<()> {
    let bytes = std::fs::read(file).map_err(|e| Error::io(file, e))?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Error::Usage(format!("{} is not UTF-8 text", file.display())))?;
    for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        if !line.trim().is_empty() && !line.starts_with('#') {
            add(builder, line.trim_end_matches('\r'), &format!("{} line {}", file.display(), number + 1))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(patterns: &[&str]) -> Exclude {
        let patterns = patterns.iter().map(|p| (*p).to_owned()).collect();
        Exclude::new(&ExcludeOptions { patterns, ..ExcludeOptions::default() }).unwrap()
    }

    #[test]
    fn the_table_of_patterns() {
        const DIR: bool = true;
        const FILE: bool = false;
        let table: &[(&[&str], &str, bool, bool)] = &[
            (&["*.tmp"], "/a/b/x.tmp", FILE, true),
            (&["*.tmp"], "/x.tmp", FILE, true),
            (&["*.tmp"], "/a.tmp/x", FILE, false),
            (&["tmp"], "/a/tmp", DIR, true),
            (&["tmp"], "/a/tmp2", DIR, false),
            (&["tmp/"], "/a/tmp", DIR, true),
            (&["tmp/"], "/a/tmp", FILE, false),
            (&["/a/tmp"], "/a/tmp", FILE, true),
            (&["/a/tmp"], "/b/a/tmp", FILE, false),
            (&["/tmp"], "/a/tmp", DIR, false),
            (&["logs/*.txt"], "/a/logs/x.txt", FILE, true),
            (&["logs/*.txt"], "/logs/x.txt", FILE, true),
            (&["logs/*.txt"], "/a/logs/b/x.txt", FILE, false),
            (&["a/**/z"], "/q/a/b/c/z", FILE, true),
            (&["a/**"], "/q/a", DIR, false),
            (&["a/**"], "/q/a/b", FILE, true),
            (&["**/z"], "/q/a/z", FILE, true),
            (&["*.log", "!keep.log"], "/a/keep.log", FILE, false),
            (&["*.log", "!keep.log"], "/a/other.log", FILE, true),
            (&["*.log", "!a/*.log"], "/x/a/1.log", FILE, false),
            (&["!keep.log", "*.log"], "/a/keep.log", FILE, true),
            (&["#hash"], "/a/#hash", FILE, true),
            (&["\\!bang"], "/a/!bang", FILE, true),
            (&["a/\\!bang"], "/q/a/!bang", FILE, true),
            (&[".*"], "/a/.hidden", FILE, true),
            (&["*"], "/", DIR, false),
            (&[], "/a/.gitignore", FILE, false),
        ];
        for (patterns, path, is_dir, expected) in table {
            assert_eq!(with(patterns).fits(Path::new(path), *is_dir), *expected, "{patterns:?} on {path}");
        }
    }

    #[test]
    fn invalid_names_can_be_matched() {
        use std::os::unix::ffi::OsStrExt;
        let path = Path::new(std::ffi::OsStr::from_bytes(b"/a/\xff.tmp"));
        assert!(with(&["*.tmp"]).fits(path, false));
    }

    #[test]
    fn what_can_never_fit_is_refused() {
        for bad in ["", "/", "!", "./a", "../a", "a/../b", "a/[z-a]b"] {
            let options = ExcludeOptions { patterns: vec![bad.into()], ..ExcludeOptions::default() };
            assert!(matches!(Exclude::new(&options), Err(Error::Usage(_))), "{bad:?}");
        }
    }

    #[test]
    fn pattern_files() {
        use std::io::Write;
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all("\u{feff}# comment\r\n\r\n*.bin\r\n!keep.bin\n".as_bytes()).unwrap();
        let options = ExcludeOptions { files: vec![file.path().into()], ..ExcludeOptions::default() };
        let exclude = Exclude::new(&options).unwrap();
        assert!(exclude.fits(Path::new("/a/x.bin"), false));
        assert!(!exclude.fits(Path::new("/a/keep.bin"), false));
        let gone = ExcludeOptions { files: vec!["/none/x".into()], ..ExcludeOptions::default() };
        assert!(matches!(Exclude::new(&gone), Err(Error::Io { .. })));
    }

    #[test]
    fn case_is_minded_by_one_kind_only() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        std::io::Write::write_all(&mut file, b"*.Part\n!/A/Keep.part\n").unwrap();
        let options = ExcludeOptions {
            patterns: vec!["*.log".into(), "!*.BAK".into()],
            any_case: vec!["*.TMP".into(), "*.bak".into()],
            any_case_files: vec![file.path().into()],
            ..ExcludeOptions::default()
        };
        let exclude = Exclude::new(&options).unwrap();
        for (path, fits) in [
            ("/a/x.log", true),
            ("/a/x.LOG", false),
            ("/a/x.tmp", true),
            ("/a/x.TmP", true),
            ("/a/x.BAK", true),
            ("/a/x.PART", true),
            ("/a/keep.PART", false),
        ] {
            assert_eq!(exclude.fits(Path::new(path), false), fits, "{path}");
        }
    }

    #[test]
    fn tags_are_names() {
        let tag = |name: &str, header: &[u8]| Tag { name: name.into(), header: header.into(), why: Why::Tag };
        assert_eq!(Tag::parse(".nobackup").unwrap(), tag(".nobackup", b""));
        assert_eq!(Tag::parse("TAG:Signature: 8").unwrap(), tag("TAG", b"Signature: 8"));
        for bad in ["", ":x", "a/b", "..", "."] {
            assert!(matches!(Tag::parse(bad), Err(Error::Usage(_))), "{bad:?}");
        }
    }

    #[test]
    fn hidden_by_a_directory_between() {
        let exclude = with(&["cache/"]);
        let (root, path) = (Path::new("/r"), Path::new("/r/cache/x"));
        assert!(exclude.hides(root, path, false));
        assert!(!exclude.hides(Path::new("/r/cache/x"), path, false), "above the root nothing counts");
        assert!(!exclude.hides(root, Path::new("/r/x"), false));
    }

    #[test]
    fn the_repository_is_known_by_every_name() {
        let dir = tempfile::tempdir().unwrap();
        let repo = dir.path().join("repo");
        std::fs::create_dir_all(repo.join("data")).unwrap();
        let alias = dir.path().join("alias");
        std::os::unix::fs::symlink(&repo, &alias).unwrap();
        let options = ExcludeOptions { own: vec![alias], ..ExcludeOptions::default() };
        let exclude = Exclude::new(&options).unwrap();
        let stat = |p: &Path| crate::source::at::At::of_path(p).unwrap().stat().unwrap();
        assert_eq!(exclude.judge(&repo, &stat(&repo)), Some(Why::Own));
        assert_eq!(exclude.judge(Path::new("/bind/repo"), &stat(&repo)), Some(Why::Own), "by inode");
        let data = repo.join("data");
        assert_eq!(exclude.judge_root(&data, &stat(&data)), Some(Why::Own));
        assert_eq!(exclude.judge(dir.path(), &stat(dir.path())), None);
    }
}
