//! The way into the loop: one bounded mailbox, two classes.

use millpond_wakeup::mailbox::{self, UNBOUNDED};

use crate::command::Message;

/// Closing, giving back grants that nobody received. Few, never refused while open.
pub(crate) const CONTROL: usize = 0;
/// Requests of users, as many as the capacity says.
pub(crate) const COMMAND: usize = 1;

const N_CLASSES: usize = 2;

pub(crate) type MailboxSender = mailbox::MailboxSender<Message, N_CLASSES>;
pub(crate) type MailboxOwner = mailbox::MailboxOwner<Message, N_CLASSES>;

/// Makes a mailbox that holds at most `capacity` commands.
pub(crate) fn mailbox(capacity: usize) -> (MailboxSender, MailboxOwner) {
    mailbox::mailbox([UNBOUNDED, capacity])
}
