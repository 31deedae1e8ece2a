//! The rows below, byte by byte. Integers are big-endian.
//!
//! The key of a value is the prefix of the cache, 1, the length of the namespace (1), the namespace, the id. Its row:
//!
//! | bytes | |
//! |---|---|
//! | 1 | version: 1 |
//! | 4 | CRC-32C of the key and of all that follows |
//! | 8 | stamp |
//! | 1 | flags: 1 if it expires |
//! | 8 | when it expires; only if the flag says so |
//! | 1 | number of tags; for each its length (1) and the tag |
//! | 4 | length of the metadata, and the metadata |
//! | n | the value |
//!
//! The key of a generation is the prefix, 2, the scope (1 everything, 2 a namespace, 3 a tag) and the name; its row
//! is the version, the CRC-32C of the key and the number, and the number (8).

use bytes::{Buf, BufMut, Bytes};
use millpond_types::UnixMillis;

use crate::generations::{Scope, Stamp};
use crate::{Blob, CacheError, Key, Meta};

/// Longest prefix of the keys of a cache, in bytes.
pub const PREFIX_BYTES_MAX: usize = 255;

const VERSION: u8 = 1;
const VALUES: u8 = 1;
const GENERATIONS: u8 = 2;
const EXPIRES: u8 = 1;
const CHECKED_FROM: usize = 5;

/// What a row holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) blob: Blob,
    pub(crate) stamp: Stamp,
}

/// Names the rows of one cache.
#[derive(Debug, Clone)]
pub(crate) struct Rows {
    pub(crate) prefix: Bytes,
}

impl Rows {
    pub(crate) fn value_key(&self, key: Key<'_>) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.prefix.len() + 1 + key.n_bytes());
        out.put_slice(&self.prefix);
        out.put_u8(VALUES);
        key.encode_into(&mut out);
        out
    }

    pub(crate) fn generation_key(&self, scope: Scope<'_>) -> Vec<u8> {
        let (kind, name) = match scope {
            Scope::All => (1, ""),
            Scope::Namespace(name) => (2, name),
            Scope::Tag(name) => (3, name),
        };
        [&self.prefix[..], &[GENERATIONS, kind], name.as_bytes()].concat()
    }

    /// Everything that an invalidation of everything makes superfluous: the numbers of names, and the values.
    pub(crate) fn superseded(&self) -> [(Vec<u8>, Vec<u8>); 2] {
        let at = |tail: &[u8]| [&self.prefix[..], tail].concat();
        [(at(&[GENERATIONS, 2]), at(&[GENERATIONS, 4])), (at(&[VALUES]), at(&[VALUES + 1]))]
    }

    pub(crate) fn generations(&self) -> (Vec<u8>, Vec<u8>) {
        let at = |tail: u8| [&self.prefix[..], &[tail]].concat();
        (at(GENERATIONS), at(GENERATIONS + 1))
    }

    /// The scope in the key of a generation.
    pub(crate) fn scope<'a>(&self, key: &'a [u8]) -> Result<Scope<'a>, CacheError> {
        let tail =
            key.strip_prefix(&self.prefix[..]).and_then(|tail| tail.strip_prefix(&[GENERATIONS]));
        let (kind, name) =
            tail.and_then(<[u8]>::split_first).ok_or(corrupt("the key of a generation"))?;
        let name = std::str::from_utf8(name).map_err(|_| corrupt("a name is not UTF-8"))?;
        match (kind, name) {
            (1, "") => Ok(Scope::All),
            (2, name) => Ok(Scope::Namespace(name)),
            (3, name) => Ok(Scope::Tag(name)),
            _ => Err(corrupt("an unknown scope")),
        }
    }
}

fn corrupt(why: &'static str) -> CacheError {
    CacheError::Corrupt { why }
}

fn sealed(key: &[u8], mut row: Vec<u8>) -> Vec<u8> {
    let sum = checksum(key, &row[CHECKED_FROM..]);
    row[1..CHECKED_FROM].copy_from_slice(&sum.to_be_bytes());
    row
}

fn checksum(key: &[u8], rest: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(key), rest)
}

/// What follows version and checksum, if both are right.
fn opened(key: &[u8], row: &[u8], checked: bool) -> Result<usize, CacheError> {
    let (head, rest) = row.split_first_chunk::<CHECKED_FROM>().ok_or(corrupt("too short"))?;
    let [version, sum @ ..] = *head;
    if version != VERSION {
        return Err(corrupt("an unknown version"));
    }
    if checked && u32::from_be_bytes(sum) != checksum(key, rest) {
        return Err(corrupt("the checksum does not match"));
    }
    Ok(CHECKED_FROM)
}

impl Row {
    pub(crate) fn encode(&self, key: &[u8]) -> Vec<u8> {
        let Self { blob: Blob { value, meta }, stamp } = self;
        let metadata = meta.metadata();
        let mut out = Vec::with_capacity(64 + self.blob.n_bytes());
        out.put_bytes(0, CHECKED_FROM);
        out[0] = VERSION;
        out.put_u64(stamp.0);
        out.put_u8(if meta.expires_at().is_some() { EXPIRES } else { 0 });
        if let Some(at) = meta.expires_at() {
            out.put_u64(at.0);
        }
        let short = |n: usize| u8::try_from(n).expect("the constructor bounds it");
        out.put_u8(short(meta.tags().len()));
        for tag in meta.tags() {
            out.put_u8(short(tag.len()));
            out.put_slice(tag.as_bytes());
        }
        out.put_u32(u32::try_from(metadata.len()).expect("the constructor bounds it"));
        out.put_slice(&metadata);
        out.put_slice(value);
        sealed(key, out)
    }

    /// Reads a row. The value is a slice of it, not a copy.
    ///
    /// # Errors
    ///
    /// `Corrupt` if it is not a row of this key.
    pub(crate) fn decode(key: &[u8], mut row: Bytes, checked: bool) -> Result<Self, CacheError> {
        row.advance(opened(key, &row, checked)?);
        let stamp = Stamp(row.try_get_u64().map_err(short_row)?);
        let mut meta = Meta::new();
        match row.try_get_u8().map_err(short_row)? {
            0 => {}
            EXPIRES => meta = meta.expiring_at(UnixMillis(row.try_get_u64().map_err(short_row)?)),
            _ => return Err(corrupt("unknown flags")),
        }
        for _ in 0..row.try_get_u8().map_err(short_row)? {
            let length = row.try_get_u8().map_err(short_row)?;
            let tag = take(&mut row, usize::from(length))?;
            let tag = std::str::from_utf8(&tag).map_err(|_| corrupt("a tag is not UTF-8"))?;
            meta = meta.tagged(tag).map_err(|_| corrupt("too many tags"))?;
        }
        let length = row.try_get_u32().map_err(short_row)?;
        let metadata = take(&mut row, usize::try_from(length).unwrap_or(usize::MAX))?;
        if !metadata.is_empty() {
            meta = meta.described(metadata).map_err(|_| corrupt("too much metadata"))?;
        }
        Ok(Self { blob: Blob::with_meta(row, meta), stamp })
    }
}

fn short_row(_: bytes::TryGetError) -> CacheError {
    corrupt("too short")
}

fn take(row: &mut Bytes, n: usize) -> Result<Bytes, CacheError> {
    if n > row.len() {
        return Err(corrupt("a length runs past the end"));
    }
    Ok(row.split_to(n))
}

pub(crate) fn encode_generation(key: &[u8], number: u64) -> Vec<u8> {
    let mut out = vec![VERSION, 0, 0, 0, 0];
    out.put_u64(number);
    sealed(key, out)
}

/// # Errors
///
/// `Corrupt` if it is not a row of this key.
pub(crate) fn decode_generation(key: &[u8], row: &[u8]) -> Result<u64, CacheError> {
    let rest = &row[opened(key, row, true)?..];
    rest.try_into().map(u64::from_be_bytes).map_err(|_| corrupt("a number has eight bytes"))
}
