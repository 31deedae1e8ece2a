//! RocksDB's write-ahead log, byte by byte.
//!
//! A log is a sequence of blocks of 32 KiB. A physical record does not cross a block: masked CRC-32C of
//! type and data (4 bytes), length (2), type (1), and in the *recyclable* kinds the log's number (4), all
//! little-endian, then the data. A logical record is one `full` record or `first`, `middle`…, `last`; it is
//! one write batch: sequence number (8), count (4), then the operations. See `db/log_format.h` and
//! `db/write_batch.cc` of RocksDB.

/// Length of a block, in bytes.
const BLOCK_BYTES: usize = 32 << 10;
/// Length of a header, in bytes.
const HEADER_BYTES: usize = 7;
/// Length of a header that carries the log's number, in bytes.
const RECYCLABLE_HEADER_BYTES: usize = 11;
/// A reader that does not know a type with this bit skips the record.
const SAFE_TO_IGNORE: u8 = 1 << 7;

/// A logical record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The log's length when the record is complete, in bytes.
    pub end: usize,
    /// The write batch.
    pub data: Vec<u8>,
}

/// One operation of a write batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Op<'a> {
    /// What it does.
    pub kind: OpKind,
    /// Id of the column family.
    pub family: u32,
    /// The key.
    pub key: &'a [u8],
    /// The value of a put, the end of a range.
    pub value: &'a [u8],
}

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpKind {
    /// Puts.
    Put,
    /// Deletes.
    Delete,
    /// Deletes what was put once.
    SingleDelete,
    /// Deletes a range.
    DeleteRange,
}

/// Bytes that are not a log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("byte {offset}: {why}")]
pub struct WalError {
    /// Where.
    pub offset: usize,
    /// What is wrong.
    pub why: &'static str,
}

/// The complete logical records of a log. One that is not complete at the end is left out.
///
/// # Errors
///
/// A record is damaged, or of a kind that may not be skipped.
pub fn records(log: &[u8]) -> Result<Vec<Record>, WalError> {
    let mut records = Vec::new();
    let mut begun: Option<Vec<u8>> = None;
    let mut offset = 0;
    loop {
        let left_in_block = BLOCK_BYTES - offset % BLOCK_BYTES;
        let rest_of_block = log.get(offset..).unwrap_or_default();
        let rest_of_block = &rest_of_block[..left_in_block.min(rest_of_block.len())];
        // A rest too short for a header is filled with zeros; which header, the log itself does not say.
        let is_filled_up =
            left_in_block < RECYCLABLE_HEADER_BYTES && rest_of_block.iter().all(|&byte| byte == 0);
        if left_in_block < HEADER_BYTES || is_filled_up {
            offset += left_in_block;
        }
        let start = offset;
        let error = |why| WalError { offset: start, why };
        let Some((header, rest)) =
            log.get(offset..).and_then(|rest| rest.split_first_chunk::<HEADER_BYTES>())
        else {
            return Ok(records);
        };
        let [c0, c1, c2, c3, l0, l1, kind] = *header;
        let length = usize::from(u16::from_le_bytes([l0, l1]));
        if kind == 0 && length == 0 {
            // Space that was reserved and not used.
            return Ok(records);
        }
        let log_number_bytes =
            if is_recyclable(kind) { RECYCLABLE_HEADER_BYTES - HEADER_BYTES } else { 0 };
        let Some(data) = rest.get(..log_number_bytes + length) else { return Ok(records) };
        let crc = crc32c::crc32c_append(crc32c::crc32c(&[kind]), data);
        if masked(crc) != u32::from_le_bytes([c0, c1, c2, c3]) {
            return Err(error("the checksum is wrong"));
        }
        offset += HEADER_BYTES + log_number_bytes + length;
        let data = &data[log_number_bytes..];
        match (kind, &mut begun) {
            (1 | 5, None) => records.push(Record { end: offset, data: data.to_vec() }),
            (2 | 6, None) => begun = Some(data.to_vec()),
            (3 | 7, Some(begun)) => begun.extend_from_slice(data),
            (4 | 8, Some(whole)) => {
                whole.extend_from_slice(data);
                records.push(Record { end: offset, data: std::mem::take(whole) });
                begun = None;
            }
            (1..=8, _) => return Err(error("a fragment stands alone")),
            // Sizes of user-defined timestamps; there are none here.
            (10 | 11, _) => {}
            (kind, _) if kind & SAFE_TO_IGNORE != 0 => {}
            _ => return Err(error("an unknown kind of record")),
        }
    }
}

fn is_recyclable(kind: u8) -> bool {
    matches!(kind, 5..=8 | 11 | 131)
}

/// Checksums that are stored are masked, because one of a string that contains checksums is weak.
fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xA282_EAD8)
}

/// The operations of a write batch.
///
/// # Errors
///
/// It is malformed, or has an operation that no store of ours writes.
pub fn ops(batch: &[u8]) -> Result<Vec<Op<'_>>, WalError> {
    let mut reader = Reader { bytes: batch, offset: 12 };
    let mut ops = Vec::new();
    while reader.offset < batch.len() {
        let tag = reader.byte()?;
        let (kind, in_family, has_value) = match tag {
            0x0 => (OpKind::Delete, false, false),
            0x1 => (OpKind::Put, false, true),
            0x4 => (OpKind::Delete, true, false),
            0x5 => (OpKind::Put, true, true),
            0x7 => (OpKind::SingleDelete, false, false),
            0x8 => (OpKind::SingleDelete, true, false),
            0xE => (OpKind::DeleteRange, true, true),
            0xF => (OpKind::DeleteRange, false, true),
            // A placeholder.
            0xD => continue,
            _ => return Err(reader.error("an unknown operation")),
        };
        let family = if in_family { reader.number()? } else { 0 };
        let key = reader.string()?;
        let value = if has_value { reader.string()? } else { &[] };
        ops.push(Op { kind, family, key, value });
    }
    let count = batch.get(8..12).and_then(|count| count.first_chunk::<4>());
    if count.map(|count| u32::from_le_bytes(*count)) != u32::try_from(ops.len()).ok() {
        return Err(reader.error("another number of operations than it says"));
    }
    Ok(ops)
}

struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    fn error(&self, why: &'static str) -> WalError {
        WalError { offset: self.offset, why }
    }

    fn byte(&mut self) -> Result<u8, WalError> {
        let byte = self.bytes.get(self.offset).ok_or_else(|| self.error("too short"))?;
        self.offset += 1;
        Ok(*byte)
    }

    /// Seven bits per byte, the lowest first.
    fn number(&mut self) -> Result<u32, WalError> {
        let mut number = 0;
        for shift in (0..32).step_by(7) {
            let byte = self.byte()?;
            number |= u32::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(self.error("a number is too long"))
    }

    fn string(&mut self) -> Result<&'a [u8], WalError> {
        let length = self.number()? as usize;
        let end = self.offset + length;
        let bytes = self.bytes.get(self.offset..end).ok_or_else(|| self.error("too short"))?;
        self.offset = end;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn physical(log: &mut Vec<u8>, kind: u8, data: &[u8]) {
        let crc = masked(crc32c::crc32c_append(crc32c::crc32c(&[kind]), data));
        log.extend(crc.to_le_bytes());
        log.extend(u16::try_from(data.len()).expect("short").to_le_bytes());
        log.push(kind);
        log.extend(data);
    }

    #[test]
    fn fragments_join_across_blocks_and_end_where_the_last_one_ends() {
        let mut log = Vec::new();
        physical(&mut log, 1, b"one");
        let first = vec![7; BLOCK_BYTES - log.len() - HEADER_BYTES];
        physical(&mut log, 2, &first);
        assert_eq!(log.len(), BLOCK_BYTES);
        physical(&mut log, 3, &[8; 100]);
        physical(&mut log, 4, &[9; 10]);
        let found = records(&log).expect("a log");
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].end, &found[0].data[..]), (10, &b"one"[..]));
        assert_eq!((found[1].end, found[1].data.len()), (log.len(), first.len() + 110));
    }

    #[test]
    fn a_block_that_cannot_hold_a_header_is_filled_up() {
        for left in 0..RECYCLABLE_HEADER_BYTES {
            let mut log = Vec::new();
            physical(&mut log, 1, &vec![1; BLOCK_BYTES - HEADER_BYTES - left]);
            log.extend(vec![0; left]);
            physical(&mut log, 1, b"next");
            assert_eq!(records(&log).expect("a log").len(), 2, "{left}");
        }
    }

    #[test]
    fn space_that_was_reserved_ends_a_log() {
        let mut log = Vec::new();
        physical(&mut log, 1, b"one");
        log.resize(2 * BLOCK_BYTES, 0);
        assert_eq!(records(&log).expect("a log").len(), 1);
    }

    #[test]
    fn recyclable_records_carry_the_number_of_their_log() {
        let mut log = Vec::new();
        let data = [&9_u32.to_le_bytes()[..], b"data"].concat();
        physical(&mut log, 5, &data);
        // The length does not count the number.
        log[4] = 4;
        assert_eq!(records(&log).expect("a log")[0].data, b"data");
    }

    #[test]
    fn an_unfinished_record_is_left_out_and_a_damaged_one_is_an_error() {
        let mut log = Vec::new();
        physical(&mut log, 1, b"one");
        physical(&mut log, 2, b"two");
        assert_eq!(records(&log).expect("a log").len(), 1);
        assert_eq!(records(&log[..log.len() - 1]).expect("a log").len(), 1);
        log[9] ^= 1;
        assert!(records(&log).is_err());
        let mut alone = Vec::new();
        physical(&mut alone, 4, b"last");
        assert!(records(&alone).is_err());
        let mut unknown = Vec::new();
        physical(&mut unknown, 9, b"?");
        assert!(records(&unknown).is_err());
    }

    #[test]
    fn a_batch_has_its_operations() {
        let mut batch = [&1_u64.to_le_bytes()[..], &3_u32.to_le_bytes()].concat();
        batch.extend([0x5, 2, 3, b'k', b'e', b'y', 1, b'v']);
        batch.extend([0x8, 0x80, 0x01, 1, b'x']);
        batch.extend([0xE, 1, 1, b'a', 1, b'b']);
        let found = ops(&batch).expect("a batch");
        assert_eq!(found[0], Op { kind: OpKind::Put, family: 2, key: b"key", value: b"v" });
        assert_eq!(found[1], Op { kind: OpKind::SingleDelete, family: 128, key: b"x", value: b"" });
        assert_eq!(found[2], Op { kind: OpKind::DeleteRange, family: 1, key: b"a", value: b"b" });
        batch[8] = 2;
        assert!(ops(&batch).is_err());
        assert!(ops(&batch[..batch.len() - 1]).is_err());
    }
}
