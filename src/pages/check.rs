//! Every byte of a file of pages, compared with its checksum.

use super::{BODY, GROUP, PAGE, crc, decode_first};
use lodestore_wal::{DiskFile, Result};

/// A page, or a copy of the first one, that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Odd {
    /// Where in the file, in bytes.
    pub(crate) offset: u64,
    pub(crate) what: String,
}

/// Pages in a file of that many bytes, its checksums and the copies of the first page included.
pub(crate) fn pages_in(bytes: u64) -> u64 {
    bytes.div_ceil(PAGE)
}

/// Reads a file from end to end and lists what is not as it was written. A page that redb has given up may be that after
/// a crash, and one copy of the first page; which pages redb uses it knows itself. `go_on` is asked with the pages read.
pub(crate) fn check(file: &dyn DiskFile, mut go_on: impl FnMut(u64) -> bool) -> Result<Vec<Odd>> {
    let length = file.len()?;
    let mut odd = Vec::new();
    let mut page = vec![0; PAGE as usize];
    for at in [0, PAGE].into_iter().filter(|at| at + PAGE <= length) {
        file.read_at(at, &mut page)?;
        if decode_first(&page).is_none() {
            odd.push(Odd { offset: at, what: format!("copy {} of the first page is not whole", at / PAGE) });
        }
    }
    let (mut at, mut number) = (BODY, 1);
    let mut crcs = vec![0; PAGE as usize];
    while at + PAGE <= length {
        file.read_at(at, &mut crcs)?;
        let crcs_at = at;
        at += PAGE;
        for nth in 0..GROUP as usize {
            let recorded = &crcs[4 * nth..4 * nth + 4];
            if at + PAGE > length {
                if recorded.iter().any(|&byte| byte != 0) {
                    let what = format!("a checksum of page {number}, which there is not");
                    odd.push(Odd { offset: crcs_at + 4 * nth as u64, what });
                }
                number += 1;
                continue;
            }
            file.read_at(at, &mut page)?;
            // A page that nothing was ever written to is of zeros, its checksum included.
            let untouched = recorded == [0; 4] && page.iter().all(|&byte| byte == 0);
            if !untouched && recorded != crc(number, &page) {
                let what = format!("the checksum of page {number} does not match its content");
                odd.push(Odd { offset: at, what });
            }
            (at, number) = (at + PAGE, number + 1);
            if !go_on(1) {
                return Ok(odd);
            }
        }
    }
    if let Some((offset, count)) = lodestore_wal::disk::nonzero(file, at..length)? {
        odd.push(Odd { offset, what: format!("{count} bytes behind the last page are not zero") });
    }
    Ok(odd)
}
