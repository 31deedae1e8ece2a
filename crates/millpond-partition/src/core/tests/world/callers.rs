//! The callers' side: what they wait for, and what they were told.

use std::collections::BTreeSet;
use std::sync::Arc;

use millpond_storage_api::{Buffered, Durable};
use millpond_sync::oneshot::Receiver;
use millpond_types::{EntryId, LogPosition, UnixMillis};
use proptest::prelude::*;

use super::super::coverage::{Situation, note};
use super::super::oracle::{Checked, fail};
use super::staged::Command;
use super::{World, pick};
use crate::command::{Accepted, Answer, Grants, LeaseAnswer, LeaseCall, LeaseRef, Message, Nacked};
use crate::durability::Receipt;
use crate::{FullOf, LeaseSource, PartitionError};

/// A command whose reply is due when the batch `at` is durable and handled.
pub(super) struct Pending {
    pub(super) at: LogPosition,
    pub(super) reply: Replies,
}

pub(super) enum Replies {
    Enqueued { answer: Awaited<Vec<Accepted>>, accepted: Vec<Accepted>, acked: Option<EntryId> },
    Settled { answer: Awaited<()>, removed: Option<EntryId> },
    Nacked { answer: Receiver<Answer<Durable<Nacked>>>, nacked: Nacked },
    Extended { answer: Receiver<Answer<Durable<UnixMillis>>>, deadline: UnixMillis },
}

/// What a caller who could choose its durability was told, or will be.
pub(super) enum Awaited<T> {
    Synced(Receiver<Answer<Durable<T>>>),
    Buffered(Receiver<Answer<Buffered<T>>>),
}

impl<T> Awaited<T> {
    pub(super) fn new(buffered: bool) -> (Receipt<T>, Self) {
        if buffered {
            let (reply, answer) = millpond_sync::oneshot::channel();
            (Receipt::Buffered(reply), Self::Buffered(answer))
        } else {
            let (reply, answer) = millpond_sync::oneshot::channel();
            (Receipt::Synced(reply), Self::Synced(answer))
        }
    }

    pub(super) fn poll(&mut self) -> Checked<Option<Answer<T>>> {
        Ok(match self {
            Self::Synced(answer) => {
                answer.try_recv().map_err(fail)?.map(|answer| answer.map(Durable::into_inner))
            }
            Self::Buffered(answer) => {
                answer.try_recv().map_err(fail)?.map(|answer| answer.map(Buffered::into_inner))
            }
        })
    }
}

/// What a caller may rely on.
pub(super) enum Promise {
    IsThere(EntryId),
    IsGone(EntryId),
}

impl Pending {
    fn is_buffered(&self) -> bool {
        matches!(
            self.reply,
            Replies::Enqueued { answer: Awaited::Buffered(_), .. }
                | Replies::Settled { answer: Awaited::Buffered(_), .. }
        )
    }

    /// What it promises, once it is answered.
    fn promises(self) -> Vec<Promise> {
        match self.reply {
            Replies::Enqueued { accepted, acked, .. } => {
                let new = accepted.iter().filter(|accepted| !accepted.is_duplicate());
                let new = new.map(|accepted| Promise::IsThere(accepted.id()));
                new.chain(acked.map(Promise::IsGone)).collect()
            }
            Replies::Settled { removed, .. } => removed.map(Promise::IsGone).into_iter().collect(),
            Replies::Nacked { .. } | Replies::Extended { .. } => Vec::new(),
        }
    }

    /// The answer, if it is there; a good one was compared with what it must say.
    pub(super) fn poll(&mut self) -> Checked<Option<Result<(), PartitionError>>> {
        Ok(match &mut self.reply {
            Replies::Enqueued { answer, accepted, .. } => match answer.poll()? {
                Some(Ok(receipt)) => {
                    prop_assert_eq!(&receipt, &*accepted);
                    Some(Ok(()))
                }
                other => other.map(|answer| answer.map(drop)),
            },
            Replies::Settled { answer, .. } => answer.poll()?,
            Replies::Nacked { answer, nacked } => match answer.try_recv().map_err(fail)? {
                Some(Ok(receipt)) => {
                    prop_assert_eq!(receipt.get(), nacked);
                    Some(Ok(()))
                }
                other => other.map(|answer| answer.map(drop)),
            },
            Replies::Extended { answer, deadline } => match answer.try_recv().map_err(fail)? {
                Some(Ok(receipt)) => {
                    prop_assert_eq!(receipt.get(), deadline);
                    Some(Ok(()))
                }
                other => other.map(|answer| answer.map(drop)),
            },
        })
    }
}

/// A lease call and who waits for it.
pub(super) struct Call {
    call: Arc<LeaseCall>,
    source: LeaseSource,
    wait: bool,
    /// Gone with the caller, or once answered.
    answer: Option<LeaseAnswer>,
    elsewhere: bool,
    /// Arrived, and not looked at by the caller yet.
    pub(super) unread: Option<Grants>,
}

impl Call {
    pub(super) fn is_impatient(&self) -> bool {
        !self.wait && self.answer.is_some()
    }

    pub(super) fn source(&self) -> LeaseSource {
        self.source
    }

    fn is_over(&self) -> bool {
        self.answer.is_none() && self.unread.is_none()
    }

    pub(super) fn check_ended(&mut self, why: &PartitionError) -> Checked {
        let Some(answer) = &mut self.answer else { return Ok(()) };
        match answer.try_recv().map_err(fail)? {
            // Refused before, and not heard.
            Some(Err(PartitionError::Full { what: FullOf::LeaseCalls, .. })) => {}
            Some(Err(error)) => prop_assert_eq!(&error, why),
            Some(Ok(grants)) => prop_assert!(self.elsewhere && grants.grants.is_empty()),
            None => return Err(fail("a call was left waiting at the end")),
        }
        self.answer = None;
        Ok(())
    }
}

impl World {
    pub(super) fn lease(
        &mut self,
        source: LeaseSource,
        n_max: usize,
        lease_ms: u64,
        wait: bool,
    ) -> Checked {
        let (call, answer) = LeaseCall::new(n_max, lease_ms);
        let message = Message::Lease { source, call: call.clone(), wait };
        let answer = Some(answer);
        self.calls.push(Call { call, source, wait, answer, elsewhere: false, unread: None });
        match source {
            LeaseSource::Queue(id) => self.send(id, message, Command::Lease),
            LeaseSource::Topic(_) => {
                self.node.core.handle_message(self.now, message);
                Ok(())
            }
        }
    }

    pub(super) fn accept(&mut self, nth: u16) {
        let with_leases = self.calls.iter_mut().filter(|call| call.unread.is_some());
        let mut with_leases: Vec<&mut Call> = with_leases.collect();
        let Some(at) = pick(&with_leases, nth) else { return };
        let grants = with_leases[at].unread.take().expect("just filtered");
        let grants = grants.accept().into_iter().map(Durable::into_inner);
        self.received.extend(grants.map(|grant| LeaseRef { id: grant.id, token: grant.token }));
    }

    /// The caller goes away: with its answer in hand, on its way, or not given yet.
    pub(super) fn abandon(&mut self, nth: u16) {
        if let Some(at) = pick(&self.calls, nth) {
            drop(self.calls.swap_remove(at));
        }
    }

    pub(super) fn claim_elsewhere(&mut self, nth: u16) {
        let open = self.calls.iter_mut().filter(|call| call.call.is_open());
        let mut open: Vec<&mut Call> = open.collect();
        let Some(at) = pick(&open, nth) else { return };
        open[at].elsewhere = true;
        let reply = open[at].call.claim().expect("just filtered");
        let _ = reply.send(Ok(Grants::none()));
    }

    /// Takes in every answer that has come.
    pub(super) fn hear(&mut self) -> Checked {
        self.mail.extend(self.node.take_mail());
        let durable = self.disk.durable_position();
        for mut pending in std::mem::take(&mut self.pending) {
            let Some(answer) = pending.poll()? else {
                prop_assert!(pending.at > self.handled, "no reply after its commit");
                self.pending.push(pending);
                continue;
            };
            answer.map_err(fail)?;
            let at = pending.at;
            if pending.is_buffered() {
                prop_assert!(at <= self.written(), "a reply before its commit was written");
                let is_durable = at <= durable;
                note(if is_durable {
                    Situation::ToldWhenSynced
                } else {
                    Situation::ToldWhenBuffered
                });
                self.buffered.extend(pending.promises().into_iter().map(|promise| (at, promise)));
                continue;
            }
            prop_assert!(at <= durable, "a reply before its commit was durable");
            pending.promises().into_iter().for_each(|promise| self.hold_to(promise));
        }
        let mut calls = std::mem::take(&mut self.calls);
        for call in &mut calls {
            self.hear_call(call)?;
        }
        calls.retain(|call| !call.is_over());
        self.calls = calls;
        self.hear_moves()?;
        self.hear_of_rules()?;
        self.hear_purges()
    }

    /// A promise that nothing takes back any more.
    pub(super) fn hold_to(&mut self, promise: Promise) {
        match promise {
            Promise::IsThere(id) => drop(self.receipts.insert(id)),
            Promise::IsGone(id) => drop(self.acked.insert(id)),
        }
    }

    fn hear_call(&self, call: &mut Call) -> Checked {
        let Some(answer) = &mut call.answer else { return Ok(()) };
        let Some(answer) = answer.try_recv().map_err(fail)? else { return Ok(()) };
        call.answer = None;
        if let (Err(PartitionError::Read(_)), LeaseSource::Queue(_)) = (&answer, call.source) {
            note(Situation::LookUpFailed);
            return Ok(());
        }
        if let Err(PartitionError::Full { what: FullOf::LeaseCalls, limit }) = answer {
            prop_assert_eq!(limit, self.setup.options.lease_calls_max as u64);
            note(Situation::CallRefused);
            return Ok(());
        }
        let grants = answer.map_err(fail)?;
        if grants.grants.is_empty() {
            prop_assert!(call.elsewhere || !call.wait, "a waiting call was sent away");
            if call.elsewhere {
                note(Situation::ServedElsewhere);
                return Ok(());
            }
            note(Situation::SentAwayWithNothing);
            return if self.has_no_rules() { self.check_none(call.source) } else { Ok(()) };
        }
        prop_assert!(!call.elsewhere && grants.grants.len() <= call.call.n_max);
        for grant in &grants.grants {
            let grant = grant.get();
            let from = self.queues_of(call.source).any(|queue| queue == grant.id.queue);
            prop_assert!(from, "{} is from another queue", grant.id);
            if self.purged.contains(&grant.id) {
                continue;
            }
            let entry = self.model.entries.get(&grant.id);
            let Some(lease) = entry.and_then(|entry| entry.lease.as_ref()) else {
                return Err(fail(format!("{} was handed out without a lease", grant.id)));
            };
            let row = &lease.row;
            prop_assert!(lease.granted <= self.disk.durable_position(), "granted too early");
            let granted = (grant.token, grant.attempt, grant.deadline, grant.enqueued_at);
            prop_assert_eq!(granted, (row.token, row.attempts, row.deadline, row.enqueued_at));
        }
        call.unread = Some(grants);
        Ok(())
    }

    /// "There is nothing" is only said when nothing is ready, or its head cannot be read at present.
    fn check_none(&self, source: LeaseSource) -> Checked {
        for queue in self.queues_of(source) {
            let is_ready =
                self.model.of_queue(queue).any(|(_, entry)| entry.is_ready(self.handled));
            let core = &self.node.core;
            let queue_in_memory = core.queues.find(&queue).map(|slot| &core.queues[slot]);
            let cannot = match queue_in_memory {
                Some(queue) => queue.backing_off().is_some() || queue.purge().is_some(),
                None => core.recall.backing_off.is_some(),
            };
            prop_assert!(!is_ready || cannot, "nothing, although {} has work", queue);
        }
        Ok(())
    }

    /// Every lease of the commit that was just handled is with its caller, or on its way back.
    pub(super) fn check_delivered(&mut self) -> Checked {
        let n_mails = self.mail.len();
        let had_leases: Vec<bool> = self.calls.iter().map(|call| call.unread.is_some()).collect();
        self.mail.extend(self.node.take_mail());
        let mut calls = std::mem::take(&mut self.calls);
        let mut delivered: BTreeSet<EntryId> = BTreeSet::new();
        for (call, had_leases) in calls.iter_mut().zip(had_leases) {
            self.hear_call(call)?;
            if let (Some(grants), false) = (&call.unread, had_leases) {
                delivered.extend(grants.grants.iter().map(|grant| grant.get().id));
            }
        }
        self.calls = calls;
        delivered.extend(self.mail.iter().skip(n_mails).flatten().map(|lease| lease.id));
        delivered.retain(|id| !self.purged.contains(id));
        let granted: BTreeSet<EntryId> = self
            .model
            .entries
            .iter()
            .filter(|(_, entry)| {
                let lease = entry.lease.as_ref();
                !entry.purged && lease.is_some_and(|lease| lease.granted == self.handled)
            })
            .map(|(id, _)| *id)
            .collect();
        prop_assert_eq!(delivered, granted, "leases of commit {}", self.handled);
        Ok(())
    }
}
