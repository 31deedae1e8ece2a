//! The way into the loop: one bounded mailbox, two classes.

use millpond_wakeup::mailbox::{self, Capacity, UNBOUNDED};

use crate::command::{Message, NewEntry, Settle};

/// Closing, giving back grants that nobody received. Few, never refused while open.
pub(crate) const CONTROL: usize = 0;
/// Requests of users, as many as the capacity says.
pub(crate) const COMMAND: usize = 1;

const N_CLASSES: usize = 2;

pub(crate) type MailboxSender = mailbox::MailboxSender<Message, N_CLASSES>;
pub(crate) type MailboxOwner = mailbox::MailboxOwner<Message, N_CLASSES>;

/// Makes a mailbox that holds so many commands, and so many bytes of them.
pub(crate) fn mailbox(commands: impl Into<Capacity>) -> (MailboxSender, MailboxOwner) {
    mailbox::mailbox_weighing([UNBOUNDED.into(), commands.into()], bytes)
}

/// What a message takes beyond the fixed size that all have, in bytes.
pub(crate) fn bytes(message: &Message) -> usize {
    match message {
        Message::Enqueue { entries, .. } | Message::AckAndEnqueue { entries, .. } => {
            let n_key = |entry: &NewEntry| entry.dedup.as_ref().map_or(0, bytes::Bytes::len);
            entries.iter().map(|e| size_of::<NewEntry>() + e.body.len() + n_key(e)).sum()
        }
        Message::Settle { action: Settle::Nack { nack, .. }, .. } => nack.reason.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests;
