//! The first hundred bytes of a database, as far as a capture needs them (SQLite file format, 1.3).

/// The first bytes of every SQLite 3 database.
pub const SQLITE_MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// Length of the header.
pub const HEADER_BYTES: usize = 100;
/// Databases from this size on are cut into units, whichever way they are read.
pub const UNITS_FROM_BYTES: u64 = 512 << 10;
/// SQLite locks bytes from here on; the page that holds this byte is never used.
const LOCK_BYTE: u64 = 0x4000_0000;

/// Do these first bytes of a file say that it is a database?
pub fn is_sqlite_header(first_bytes: &[u8]) -> bool {
    first_bytes.starts_with(SQLITE_MAGIC)
}

/// What page 1 says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Bytes a page: a power of two, 512 to 65536.
    pub page_size: u32,
    /// Changes go to a write-ahead log.
    pub is_wal: bool,
    /// File change counter.
    pub change_counter: u32,
    /// Pages, where the header can be trusted with that.
    pub pages: Option<u32>,
    /// Schema cookie.
    pub schema_cookie: u32,
    /// `PRAGMA user_version`.
    pub user_version: u32,
    /// `PRAGMA application_id`.
    pub application_id: u32,
}

impl Header {
    /// Reads it; `None` if no database begins so.
    pub fn parse(first_bytes: &[u8]) -> Option<Self> {
        let bytes = first_bytes.get(..HEADER_BYTES).filter(|b| is_sqlite_header(b))?;
        let word = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let page_size = match u16::from_be_bytes([bytes[16], bytes[17]]) {
            1 => 65536,
            size => u32::from(size),
        };
        let plausible = page_size >= 512
            && page_size.is_power_of_two()
            && matches!(bytes[18], 1 | 2)
            && matches!(bytes[19], 1 | 2)
            && bytes[21..24] == [64, 32, 32];
        let change_counter = word(24);
        plausible.then(|| Self {
            page_size,
            is_wal: bytes[18] == 2 || bytes[19] == 2,
            change_counter,
            // Written by SQLite before 3.7.0, the number is whatever it was.
            pages: Some(word(28)).filter(|n| *n > 0 && word(92) == change_counter),
            schema_cookie: word(40),
            user_version: word(60),
            application_id: word(68),
        })
    }
}

/// Makes `bytes`, which stand at `offset` of a database in any state, those of the plain database
/// that is stored: journal mode (18, 19) "no write-ahead log", since there is none beside it, and
/// zeros in the page that no database uses. So equal states have equal images.
pub fn make_plain(bytes: &mut [u8], offset: u64, page_size: u32) {
    let inside = |at: u64| at.checked_sub(offset).and_then(|at| usize::try_from(at).ok());
    for at in [18, 19] {
        if let Some(byte) = inside(at).and_then(|at| bytes.get_mut(at)) {
            *byte = 1;
        }
    }
    let page = u64::from(page_size).max(1);
    let start = LOCK_BYTE / page * page;
    let from = start.max(offset);
    let to = (start + page).min(offset + bytes.len() as u64);
    if from < to
        && let (Some(from), Some(to)) = (inside(from), inside(to))
    {
        bytes[from..to].fill(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(page_size: u16, version: u8) -> Vec<u8> {
        let mut bytes = SQLITE_MAGIC.to_vec();
        bytes.resize(HEADER_BYTES, 0);
        bytes[16..18].copy_from_slice(&page_size.to_be_bytes());
        bytes[18..24].copy_from_slice(&[version, version, 0, 64, 32, 32]);
        bytes[24..28].copy_from_slice(&7u32.to_be_bytes());
        bytes[28..32].copy_from_slice(&9u32.to_be_bytes());
        bytes[92..96].copy_from_slice(&7u32.to_be_bytes());
        bytes
    }

    #[test]
    fn what_no_database_begins_with_has_no_header() {
        let found = Header::parse(&header(4096, 2)).unwrap();
        assert_eq!((found.page_size, found.is_wal, found.pages), (4096, true, Some(9)));
        assert_eq!(Header::parse(&header(1, 1)).unwrap().page_size, 65536);
        for (size, version) in [(0, 1), (256, 1), (1000, 1), (4096, 0), (4096, 3)] {
            assert_eq!(Header::parse(&header(size, version)), None, "{size} {version}");
        }
        assert_eq!(Header::parse(&header(512, 1)[..99]), None);
        let mut old = header(512, 1);
        old[95] = 8;
        assert_eq!(Header::parse(&old).unwrap().pages, None);
    }

    #[test]
    fn images_have_no_log_and_no_locked_bytes() {
        let mut first = header(512, 2);
        make_plain(&mut first, 0, 512);
        assert_eq!(first, header(512, 1));
        let mut tail = vec![7; 5];
        make_plain(&mut tail, 19, 512);
        assert_eq!(tail, [1, 7, 7, 7, 7]);
        for page in [512u64, 4096, 65536] {
            let mut around = vec![7; 3 * page as usize];
            make_plain(&mut around, LOCK_BYTE - page - 10, u32::try_from(page).unwrap());
            let zeros: Vec<_> = (0..around.len()).filter(|at| around[*at] == 0).collect();
            assert_eq!((zeros[0] as u64, zeros.len() as u64), (page + 10, page));
            let mut half = vec![7; 20];
            make_plain(&mut half, LOCK_BYTE + page - 10, u32::try_from(page).unwrap());
            assert_eq!(half.iter().filter(|b| **b == 0).count(), 10);
        }
    }
}
