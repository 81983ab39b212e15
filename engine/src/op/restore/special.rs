//! Symbolic links, pipes, sockets and devices: made under their name, or beside it and renamed
//! over what stands there. Owner and times are set by a handle of what was made, so that
//! nothing that took its place meanwhile is touched.

use std::fs::File;
use std::sync::Arc;

use rustix::fs::{FileType, Stat, fstat, mknodat, readlinkat, symlinkat};
use rustix::io::Errno;

use super::dir::Dir;
use super::file::in_the_way;
use super::run::{Done, Trouble, cannot, count};
use super::{delete, door, meta};
use crate::error::ProblemKind;
use crate::format::tree::{Node, NodeKind};

/// Restores one of them, which is at `path` in the snapshot.
pub fn restore(dir: &Arc<Dir<'_>>, node: &Node, path: &[u8]) -> Done<()> {
    let run = dir.run;
    let name = &node.name[..];
    match make(&dir.file, name, node) {
        Ok(()) => {}
        Err(Errno::EXIST) => {
            let stands = door::look(&dir.file, name).map_err(|e| cannot("look at what stands there", e))?;
            if let Some(stat) = stands {
                if !run.replaces(node, &stat) {
                    return left(dir);
                }
                if door::type_of(&stat) == FileType::Directory && !delete::makes_way(dir, name) {
                    return Err(in_the_way());
                }
                if is_same(&dir.file, name, node, &stat)
                    && (stat.st_nlink == 1 || meta::is_right(run, &stat, node))
                {
                    finish(dir, node, path, true)?;
                    return left(dir);
                }
            }
            replace(dir, node)?;
        }
        Err(e) => return refused(dir, node, path, e),
    }
    finish(dir, node, path, false)?;
    count(&run.counts.others, 1);
    run.progress.advance(1, 0);
    Ok(())
}

fn left(dir: &Dir<'_>) -> Done<()> {
    count(&dir.run.counts.skipped, 1);
    dir.run.progress.advance(1, 0);
    Ok(())
}

fn make(dir: &File, name: &[u8], node: &Node) -> Result<(), Errno> {
    let node_of = |kind, device| mknodat(dir, name, kind, door::PRIVATE_FILE, device);
    match node.kind {
        NodeKind::Symlink => symlinkat(node.link_target().unwrap_or_default(), dir, name),
        NodeKind::Fifo => node_of(FileType::Fifo, 0),
        NodeKind::Socket => node_of(FileType::Socket, 0),
        NodeKind::CharDevice => node_of(FileType::CharacterDevice, node.rdev),
        NodeKind::BlockDevice => node_of(FileType::BlockDevice, node.rdev),
        NodeKind::File | NodeKind::Directory => Err(Errno::INVAL),
    }
}

fn replace(dir: &Dir<'_>, node: &Node) -> Done<()> {
    let temp = door::temp_name(&node.name, dir.temp_salt);
    door::clear(&dir.file, &temp).map_err(|e| cannot("free its temporary name", e))?;
    make(&dir.file, &temp, node).map_err(|e| cannot("make it", e))?;
    door::publish(&dir.file, &temp, &node.name, true).map_err(|e| {
        door::clear(&dir.file, &temp).ok();
        cannot("put it in place", e)
    })?;
    Ok(())
}

fn refused(dir: &Dir<'_>, node: &Node, path: &[u8], error: Errno) -> Done<()> {
    match (node.kind, error) {
        // As many as there are sockets lying about: said once.
        (NodeKind::Socket, Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP) => {
            let message = format!("cannot make a socket: {error}");
            dir.run.repeated(ProblemKind::Refused, path, message);
            Ok(())
        }
        (NodeKind::CharDevice | NodeKind::BlockDevice, Errno::PERM) => {
            Err(Trouble::Say(ProblemKind::Refused, "a device can only be made by root".to_owned()))
        }
        _ => Err(cannot("make it", error)),
    }
}

fn file_type(kind: NodeKind) -> FileType {
    match kind {
        NodeKind::File => FileType::RegularFile,
        NodeKind::Directory => FileType::Directory,
        NodeKind::Symlink => FileType::Symlink,
        NodeKind::Fifo => FileType::Fifo,
        NodeKind::Socket => FileType::Socket,
        NodeKind::CharDevice => FileType::CharacterDevice,
        NodeKind::BlockDevice => FileType::BlockDevice,
    }
}

/// Is what stands there what the node says, metadata aside?
fn is_same(dir: &File, name: &[u8], node: &Node, stat: &Stat) -> bool {
    door::type_of(stat) == file_type(node.kind)
        && match node.kind {
            NodeKind::Symlink => readlinkat(dir, name, Vec::new())
                .is_ok_and(|target| Some(target.to_bytes()) == node.link_target()),
            NodeKind::CharDevice | NodeKind::BlockDevice => stat.st_rdev == node.rdev,
            _ => true,
        }
}

fn finish(dir: &Dir<'_>, node: &Node, path: &[u8], was_there: bool) -> Done<()> {
    let handle = door::handle(&dir.file, &node.name).map_err(|e| cannot("look at it", e))?;
    let stat = fstat(&handle).map_err(|e| cannot("look at it", e))?;
    if door::type_of(&stat) != file_type(node.kind) {
        let message = "something else took its place while it was restored".to_owned();
        return Err(Trouble::Say(ProblemKind::Refused, message));
    }
    meta::apply_unopened(dir.run, &handle, node, was_there.then_some(&stat), path);
    Ok(())
}
