//! What kind of thing files lie on, as far as it decides how many may be read at once.

use std::fs;
use std::path::{Path, PathBuf};

use super::at::At;
use super::file_system::FileSystem;

/// Devices on devices that are followed: a partition below LUKS below LVM below RAID.
const DEPTH: usize = 8;

/// See the module's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Medium {
    /// A head moves from file to file.
    Seeking,
    /// A server, or a program that stands for a file system.
    Remote,
    /// Anything else, and what cannot be told.
    Parallel,
}

impl Medium {
    /// Of what lies at `at`, on `device`.
    pub fn of(at: &At, device: u64) -> Self {
        if FileSystem::of(at.dir()) == FileSystem::Remote {
            return Self::Remote;
        }
        let seeking = block_device(at.path(), device).is_some_and(|device| {
            let number = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
            seeks(&Path::new("/sys/dev/block").join(number), DEPTH)
        });
        if seeking { Self::Seeking } else { Self::Parallel }
    }
}

/// The block device below `path`: `device`, unless that is one that a file system made up (btrfs).
fn block_device(path: &Path, device: u64) -> Option<u64> {
    if rustix::fs::major(device) != 0 {
        return Some(device);
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let below = fs::metadata(mounted_from(&mounts, path)?).ok()?;
    Some(std::os::unix::fs::MetadataExt::rdev(&below))
}

/// What the file system that holds `path` was mounted from, if that is a device (`proc(5)`, mountinfo).
fn mounted_from(mounts: &str, path: &Path) -> Option<PathBuf> {
    let fields = |line: &str| {
        let (place, source) = line.split_once(" - ")?;
        let point = PathBuf::from(place.split(' ').nth(4)?.replace("\\040", " "));
        Some((point, PathBuf::from(source.split(' ').nth(1)?)))
    };
    let holding = mounts.lines().filter_map(fields).filter(|(point, _)| path.starts_with(point));
    // Of two on one point the later hides the earlier.
    let (_, source) = holding.max_by_key(|(point, _)| point.components().count())?;
    source.starts_with("/dev").then_some(source)
}

/// Does the device of this directory of sysfs seek, or one that it lies on?
fn seeks(device: &Path, depth: usize) -> bool {
    let Ok(device) = device.canonicalize() else { return false };
    let slaves = fs::read_dir(device.join("slaves")).into_iter().flatten().flatten();
    let slaves: Vec<PathBuf> = slaves.map(|entry| entry.path()).collect();
    if !slaves.is_empty() {
        return depth > 0 && slaves.iter().any(|slave| seeks(slave, depth - 1));
    }
    // What a hypervisor says of its disk is mostly a default, whatever is below it.
    let names = device.components().rev().take(2);
    let is_virtual = |name: &[u8]| name.starts_with(b"vd") || name.starts_with(b"xvd");
    if names.into_iter().any(|name| is_virtual(name.as_os_str().as_encoded_bytes())) {
        return false;
    }
    // A partition has no queue: its disk, one above, has.
    let queue = [Some(device.as_path()), device.parent()].into_iter().flatten();
    let told = queue.filter_map(|dir| fs::read_to_string(dir.join("queue/rotational")).ok()).next();
    told.is_some_and(|text| text.trim() == "1")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn told(path: PathBuf, what: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::io::Write::write_all(&mut fs::File::create(path).unwrap(), what.as_bytes()).unwrap();
    }

    #[test]
    fn partitions_mappings_and_arrays_are_seen_through() {
        let dir = tempfile::tempdir().unwrap();
        let (devices, numbers) = (dir.path().join("devices"), dir.path().join("dev/block"));
        fs::create_dir_all(&numbers).unwrap();
        told(devices.join("sda/queue/rotational"), "1\n");
        told(devices.join("sda/sda1/partition"), "1\n");
        told(devices.join("nvme0n1/queue/rotational"), "0\n");
        told(devices.join("nvme0n1/nvme0n1p2/partition"), "2\n");
        told(devices.join("sr0/queue/other"), "");
        told(devices.join("vda/queue/rotational"), "1\n");
        told(devices.join("vda/vda1/partition"), "1\n");
        for (name, below) in
            [("dm-0", &["nvme0n1/nvme0n1p2"][..]), ("md0", &["nvme0n1", "sda/sda1"]), ("dm-1", &["md0"])]
        {
            // What the mapping says of itself is not asked.
            told(devices.join(name).join("queue/rotational"), if name == "dm-0" { "1" } else { "0" });
            fs::create_dir_all(devices.join(name).join("slaves")).unwrap();
            for slave in below {
                let link = devices.join(name).join("slaves").join(Path::new(slave).file_name().unwrap());
                symlink(devices.join(slave), link).unwrap();
            }
        }
        symlink(devices.join("dm-2"), devices.join("sda/loop")).unwrap();
        told(devices.join("dm-2/queue/rotational"), "1");
        fs::create_dir_all(devices.join("dm-2/slaves")).unwrap();
        symlink(devices.join("dm-2"), devices.join("dm-2/slaves/dm-2")).unwrap();
        for (name, expected) in [
            ("sda", true),
            ("sda/sda1", true),
            ("nvme0n1", false),
            ("nvme0n1/nvme0n1p2", false),
            ("dm-0", false),
            ("md0", true),
            ("dm-1", true),
            ("dm-2", false),
            ("sr0", false),
            ("vda", false),
            ("vda/vda1", false),
            ("none", false),
        ] {
            let number = numbers.join(name.replace('/', "-"));
            symlink(devices.join(name), &number).unwrap();
            assert_eq!(seeks(&number, DEPTH), expected, "{name}");
        }
    }

    #[test]
    fn what_a_made_up_device_was_mounted_from() {
        let mounts = "22 1 0:20 / / rw,relatime shared:1 - overlay overlay rw\n\
                      35 22 0:31 /sub /srv rw - btrfs /dev/sdb1 rw\n\
                      36 35 0:32 / /srv/my\\040models rw shared:2 - btrfs /dev/sdc rw,compress\n\
                      broken line\n";
        let from = |path: &str| mounted_from(mounts, Path::new(path));
        assert_eq!(from("/srv/x"), Some("/dev/sdb1".into()));
        assert_eq!(from("/srv/my models/y"), Some("/dev/sdc".into()));
        assert_eq!(from("/srvx"), None, "an overlay is no device");
    }
}
