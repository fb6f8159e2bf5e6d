//! A file of breached passwords, in the form that Have I Been Pwned gives out: a line for each, `HASH:COUNT`, the hash SHA-1 in
//! upper case, in the order of the hashes. It has tens of gigabytes, so it is searched where it lies: some forty reads.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use aws_lc_rs::digest;

const HASH_LEN: usize = 40;
/// No line is longer, however often its password was seen.
const LINE_MAX: usize = 64;
/// How many places of a file are looked at to tell whether it is in order.
const SAMPLES: u64 = 64;

type Hash = [u8; HASH_LEN];

/// Where the file is. It is opened anew for each question, so that a newer one may be put in its place.
#[derive(Clone, Debug)]
pub struct BreachedFile(PathBuf);

impl BreachedFile {
    pub const fn at(path: PathBuf) -> Self {
        Self(path)
    }

    /// Whether the file can be used, as far as some places in it tell.
    pub fn check(&self) -> io::Result<()> {
        let lines = self.open()?;
        let mut before: Option<(u64, Hash)> = None;
        for sample in 0..=SAMPLES {
            // The last one is the last line.
            let near = lines.len.saturating_sub(as_u64(LINE_MAX));
            let place = u64::try_from(u128::from(near) * u128::from(sample) / u128::from(SAMPLES)).unwrap_or(near);
            let Some(line) = lines.at(place)? else { continue };
            if before.is_some_and(|(start, hash)| start < line.start && hash >= line.hash) {
                return Err(invalid("its lines are not in the order of their hashes"));
            }
            before = Some((line.start, line.hash));
        }
        before.map(|_line| ()).ok_or_else(|| invalid("it has no lines"))
    }

    /// Whether a password stands in the file.
    pub fn contains(&self, password: &[u8]) -> io::Result<bool> {
        let wanted = hash(password)?;
        let lines = self.open()?;
        // All lines that begin before `low` come before the wanted one, all that begin at `high` or later after it.
        let (mut low, mut high) = (0, lines.len);
        while low < high {
            let middle = low + (high - low) / 2;
            match lines.at(middle)? {
                Some(line) if line.start < high => match line.hash.cmp(&wanted) {
                    std::cmp::Ordering::Equal => return Ok(true),
                    std::cmp::Ordering::Less => low = line.end,
                    std::cmp::Ordering::Greater => high = middle,
                },
                // Nothing begins between here and there.
                _ => high = middle,
            }
        }
        Ok(false)
    }

    fn open(&self) -> io::Result<Lines> {
        let file = File::open(&self.0)?;
        let metadata = file.metadata()?;
        if metadata.is_file() { Ok(Lines { file, len: metadata.len() }) } else { Err(invalid("not a regular file")) }
    }
}

/// A file by its lines.
struct Lines {
    file: File,
    len: u64,
}

struct Line {
    hash: Hash,
    start: u64,
    /// Where the next one begins.
    end: u64,
}

impl Lines {
    /// The first line that begins at `place` or later.
    fn at(&self, place: u64) -> io::Result<Option<Line>> {
        // One byte more tells whether a line begins right here.
        let from = place.saturating_sub(1);
        let mut buffer = [0; 2 * LINE_MAX + 1];
        let text = self.read(from, &mut buffer)?;
        let skipped = match place {
            0 => 0,
            _ => match end_of_line(text) {
                Some(skipped) => skipped,
                None if self.reaches_end(from, text) => return Ok(None),
                None => return Err(invalid("a line is too long")),
            },
        };
        let text = text.get(skipped..).unwrap_or_default();
        let start = from + as_u64(skipped);
        if start >= self.len {
            return Ok(None);
        }
        let length = match end_of_line(text) {
            Some(length) => length,
            None if self.reaches_end(start, text) => text.len(),
            None => return Err(invalid("a line is too long")),
        };
        let line = text.get(..length).unwrap_or_default().trim_ascii_end();
        let (hash, count) = line.split_first_chunk().ok_or_else(|| invalid(NOT_A_LINE))?;
        let is_hash = hash.iter().all(|letter| matches!(letter, b'0'..=b'9' | b'A'..=b'F'));
        let is_count = matches!(count, [] | [b':', ..]);
        if !is_hash || !is_count {
            return Err(invalid(NOT_A_LINE));
        }
        Ok(Some(Line { hash: *hash, start, end: start + as_u64(length) }))
    }

    fn read<'a>(&self, from: u64, buffer: &'a mut [u8]) -> io::Result<&'a [u8]> {
        let mut filled = 0;
        while let Some(room) = buffer.get_mut(filled..).filter(|room| !room.is_empty()) {
            match self.file.read_at(room, from + as_u64(filled)) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(why) if why.kind() == ErrorKind::Interrupted => {}
                Err(why) => return Err(why),
            }
        }
        Ok(buffer.get(..filled).unwrap_or_default())
    }

    fn reaches_end(&self, from: u64, text: &[u8]) -> bool {
        from + as_u64(text.len()) >= self.len
    }
}

const NOT_A_LINE: &str = "a line is not a SHA-1 hash in upper case, a colon and a count";

fn end_of_line(text: &[u8]) -> Option<usize> {
    text.iter().position(|letter| *letter == b'\n').map(|index| index + 1)
}

fn hash(password: &[u8]) -> io::Result<Hash> {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let digest = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, password);
    let digits =
        |byte: &u8| [byte >> 4, byte & 0xF].map(|digit| DIGITS.get(usize::from(digit)).copied().unwrap_or(b'0'));
    let text: Vec<u8> = digest.as_ref().iter().flat_map(digits).collect();
    text.try_into().map_err(|_other| io::Error::other("SHA-1 has another length"))
}

fn as_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests;
