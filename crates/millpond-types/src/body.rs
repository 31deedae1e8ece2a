//! The body of an entry: its headers and its payload, stored together.

use bytes::{BufMut, Bytes, BytesMut};

use crate::LimitExceeded;
use crate::codec::{DecodeError, Reader};
use crate::limits::{HEADER_BYTES_MAX, HEADERS_MAX, PAYLOAD_BYTES_MAX};

/// One header: a name and a value of arbitrary bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The name; names may repeat.
    pub name: String,
    /// The value.
    pub value: Bytes,
}

/// The headers of an entry, in the order in which they were added.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Headers(Vec<Header>);

impl Headers {
    /// Adds a header at the end.
    pub fn push(&mut self, name: impl Into<String>, value: impl Into<Bytes>) {
        self.0.push(Header { name: name.into(), value: value.into() });
    }

    /// The value of the first header with this name.
    pub fn get(&self, name: &str) -> Option<&Bytes> {
        self.0.iter().find(|header| header.name == name).map(|header| &header.value)
    }

    /// All headers in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Header> {
        self.0.iter()
    }

    fn n_bytes(&self) -> usize {
        self.0.iter().map(|header| header.name.len() + header.value.len()).sum()
    }
}

/// What an entry carries: headers and payload.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Body {
    /// Metadata of the user's.
    pub headers: Headers,
    /// The work itself.
    pub payload: Bytes,
}

impl Body {
    /// Whether the body may enter the engine.
    ///
    /// # Errors
    ///
    /// Names the limit that is exceeded: payload bytes, number of headers, or header bytes.
    pub fn check(&self) -> Result<(), LimitExceeded> {
        LimitExceeded::check("payload", self.payload.len(), PAYLOAD_BYTES_MAX, "bytes")?;
        LimitExceeded::check("number of headers", self.headers.0.len(), HEADERS_MAX, "headers")?;
        LimitExceeded::check("sum of headers", self.headers.n_bytes(), HEADER_BYTES_MAX, "bytes")
    }

    /// Length of the stored form, in bytes.
    pub fn encoded_len(&self) -> usize {
        2 + 4 * self.headers.0.len() + self.headers.n_bytes() + self.payload.len()
    }

    /// The stored form. Without headers it is a copy of the payload behind two zero bytes.
    ///
    /// # Panics
    ///
    /// When the body was not [checked](Self::check): the lengths of headers are stored in 16 bits.
    pub fn encode(&self) -> Bytes {
        let short = |n: usize| u16::try_from(n).expect("checked against the header limits");
        let mut out = BytesMut::with_capacity(self.encoded_len());
        out.put_u16(short(self.headers.0.len()));
        for header in &self.headers.0 {
            out.put_u16(short(header.name.len()));
            out.put_slice(header.name.as_bytes());
            out.put_u16(short(header.value.len()));
            out.put_slice(&header.value);
        }
        out.put_slice(&self.payload);
        out.freeze()
    }

    /// Reads the stored form; the payload shares its memory.
    ///
    /// # Errors
    ///
    /// A length runs past the end, or a header's name is not UTF-8.
    pub fn decode(bytes: &Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("entry body", bytes);
        let mut headers = Headers::default();
        for _ in 0..reader.u16()? {
            let name = reader.u16()?;
            let name = std::str::from_utf8(reader.bytes(name.into())?)
                .map_err(|_| reader.error("a header name is not UTF-8"))?;
            let value = reader.u16()?;
            headers.push(name, Bytes::copy_from_slice(reader.bytes(value.into())?));
        }
        Ok(Self { headers, payload: bytes.slice_ref(reader.rest()) })
    }
}
