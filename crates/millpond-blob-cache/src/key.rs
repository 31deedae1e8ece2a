//! What a value is called.

use bytes::{BufMut, Bytes, BytesMut};
use millpond_types::{LimitExceeded, limits};

/// Longest name of a namespace or tag, in bytes.
pub const NAME_BYTES_MAX: usize = 255;
/// Longest id of a value within its namespace, in bytes.
pub const ID_BYTES_MAX: usize = limits::QUEUE_KEY_BYTES_MAX;

/// The name of one value: a namespace and an id in it. It borrows both, so making one allocates nothing.
///
/// ```
/// use millpond_blob_cache::Key;
///
/// let key = Key::new("thumbnails", b"photo-7")?;
/// assert_eq!((key.namespace(), key.id()), ("thumbnails", &b"photo-7"[..]));
/// # Ok::<(), millpond_types::LimitExceeded>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key<'a> {
    namespace: &'a str,
    id: &'a [u8],
}

impl<'a> Key<'a> {
    /// The value `id` of `namespace`; either may be empty. A namespace exists by being used.
    ///
    /// # Errors
    ///
    /// A namespace of more than [`NAME_BYTES_MAX`] or an id of more than [`ID_BYTES_MAX`] bytes.
    pub fn new(namespace: &'a str, id: &'a [u8]) -> Result<Self, LimitExceeded> {
        LimitExceeded::check("a namespace", namespace.len(), NAME_BYTES_MAX, "bytes")?;
        LimitExceeded::check("an id", id.len(), ID_BYTES_MAX, "bytes")?;
        Ok(Self { namespace, id })
    }

    /// The namespace.
    pub fn namespace(&self) -> &'a str {
        self.namespace
    }

    /// The id in the namespace.
    pub fn id(&self) -> &'a [u8] {
        self.id
    }

    /// Size of the encoded form.
    pub(crate) fn n_bytes(&self) -> usize {
        1 + self.namespace.len() + self.id.len()
    }

    fn name_length(&self) -> u8 {
        u8::try_from(self.namespace.len()).expect("the constructor bounds it")
    }

    /// Length of the namespace (1), the namespace, the id.
    pub(crate) fn encode_into(&self, out: &mut impl BufMut) {
        out.put_u8(self.name_length());
        out.put_slice(self.namespace.as_bytes());
        out.put_slice(self.id);
    }

    pub(crate) fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(self.n_bytes());
        self.encode_into(&mut bytes);
        bytes.freeze()
    }

    /// Whether `encoded` is this key, without encoding it.
    pub(crate) fn is(&self, encoded: &[u8]) -> bool {
        encoded.split_first().is_some_and(|(&length, rest)| {
            length == self.name_length()
                && rest.len() == self.namespace.len() + self.id.len()
                && rest.ends_with(self.id)
                && rest.starts_with(self.namespace.as_bytes())
        })
    }
}

/// The namespace in an encoded key.
pub(crate) fn namespace_of(encoded: &[u8]) -> &[u8] {
    let (&length, rest) = encoded.split_first().expect("an encoded key begins with a length");
    &rest[..usize::from(length)]
}
