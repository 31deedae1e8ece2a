//! Dead letters, seen from outside.

use std::sync::Arc;

use millpond_partition::inspect::{self, DeadLetter};
use millpond_partition::{DeadAction, PartitionError, QueueRef};
use millpond_storage_api::StoreRead;
use millpond_types::{DeadCause, EntryId, EntryRank, Priority, QueueId, Sequence};

use super::{
    Action, Admin, Answer, Content, DeadLetterContent, DeadLetterInfo, DeadLettersDone, HeaderInfo,
    Question, Rank, View, answer, unexpected,
};
use crate::{DeadLetters, Error};

/// Dead letters told in one answer.
const ANSWERED_MAX: usize = 256;

impl Admin {
    /// Up to `n_max` dead letters of a queue in the order in which they would be delivered, beginning after one
    /// that is named by its priority and sequence.
    ///
    /// # Errors
    ///
    /// A name is invalid, or the engine cannot be read or reached.
    pub async fn dead_letters(
        &self,
        topic: &str,
        key: &[u8],
        mut after: Option<(u8, u64)>,
        n_max: usize,
    ) -> Result<Vec<DeadLetterInfo>, Error> {
        let mut letters = Vec::new();
        loop {
            let n_wanted = (n_max - letters.len()).min(ANSWERED_MAX);
            let (topic, key) = (topic.to_owned(), key.to_vec());
            let question = Question::DeadLetters { topic, key, after, n_max: n_wanted };
            let found = match self.ask(question).await? {
                Answer::DeadLetters(found) => found,
                other => return Err(unexpected(other)),
            };
            let is_last = found.len() < n_wanted;
            letters.extend(found);
            if is_last || letters.len() >= n_max {
                return Ok(letters);
            }
            after = letters.last().map(|letter| (letter.priority, letter.sequence));
        }
    }

    /// A dead letter with its headers and payload.
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::ErrorKind::NotFound) when there is none with this priority and sequence; or a name is
    /// invalid, or the engine cannot be read or reached.
    pub async fn dead_letter(
        &self,
        topic: &str,
        key: &[u8],
        rank: (u8, u64),
    ) -> Result<DeadLetterContent, Error> {
        let question = Question::DeadLetter { topic: topic.to_owned(), key: key.to_vec(), rank };
        match self.ask(question).await? {
            Answer::DeadLetter(content) => Ok(*content),
            other => Err(unexpected(other)),
        }
    }

    /// Makes a dead letter ready again, as [`DeadLetters::replay`] does. An engine that is not running is opened
    /// for it, and closed again.
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::ErrorKind::NotFound) when there is none with this priority and sequence; or a name is
    /// invalid, the engine cannot be opened or reached, or its storage failed.
    ///
    /// # Cancel safety
    ///
    /// A dropped future may or may not have done it. The same holds for its siblings below.
    pub async fn replay(
        &self,
        topic: &str,
        key: &[u8],
        rank: (u8, u64),
    ) -> Result<DeadLettersDone, Error> {
        self.settle_one(topic, key, rank, Action::Replay).await
    }

    /// Removes a dead letter for good, as [`DeadLetters::drop`] does. An engine that is not running is opened for
    /// it, and closed again.
    ///
    /// # Errors
    ///
    /// As [`replay`](Self::replay).
    pub async fn drop_dead(
        &self,
        topic: &str,
        key: &[u8],
        rank: (u8, u64),
    ) -> Result<DeadLettersDone, Error> {
        self.settle_one(topic, key, rank, Action::Drop).await
    }

    /// Makes all dead letters of a queue ready again, as [`DeadLetters::replay_all`] does. An engine that is
    /// not running is opened for it, and closed again.
    ///
    /// # Errors
    ///
    /// A name is invalid, the engine cannot be opened or reached, or its storage failed; then a part may be done.
    pub async fn replay_all(&self, topic: &str, key: &[u8]) -> Result<DeadLettersDone, Error> {
        self.settle_all(topic, key, Action::Replay).await
    }

    /// Removes all dead letters of a queue for good, as [`DeadLetters::drop_all`] does. An engine that is not
    /// running is opened for it, and closed again.
    ///
    /// # Errors
    ///
    /// As [`replay_all`](Self::replay_all).
    pub async fn drop_all_dead(&self, topic: &str, key: &[u8]) -> Result<DeadLettersDone, Error> {
        self.settle_all(topic, key, Action::Drop).await
    }

    async fn settle_one(
        &self,
        topic: &str,
        key: &[u8],
        rank: Rank,
        action: Action,
    ) -> Result<DeadLettersDone, Error> {
        let (asked_topic, asked_key) = (topic.to_owned(), key.to_vec());
        let question = Question::SettleDead { topic: asked_topic, key: asked_key, rank, action };
        let (n_done, _) = settled(self.ask(question).await?)?;
        Ok(done(topic, key, n_done))
    }

    async fn settle_all(
        &self,
        topic: &str,
        key: &[u8],
        action: Action,
    ) -> Result<DeadLettersDone, Error> {
        let step = |after| {
            let (topic, key) = (topic.to_owned(), key.to_vec());
            Question::SettleAllDead { topic, key, after, action }
        };
        let n_done = if self.is_running() {
            all_steps(async |after| self.ask(step(after)).await).await?
        } else {
            // Opened once for all steps.
            let engine = self.open().await?;
            let view = View::Running(engine.clone());
            let n_done = all_steps(async |after| answer(&view, step(after)).await).await;
            engine.close().await?;
            n_done?
        };
        Ok(done(topic, key, n_done))
    }
}

async fn all_steps(
    mut ask: impl AsyncFnMut(Option<Rank>) -> Result<Answer, Error>,
) -> Result<u64, Error> {
    let (mut n_done, mut after) = (0, None);
    loop {
        let (n, next) = settled(ask(after).await?)?;
        n_done += n;
        if next.is_none() {
            return Ok(n_done);
        }
        after = next;
    }
}

fn settled(answer: Answer) -> Result<(u64, Option<Rank>), Error> {
    match answer {
        Answer::SettledDead { n_done, next } => Ok((n_done, next)),
        other => Err(unexpected(other)),
    }
}

fn done(topic: &str, key: &[u8], n_done: u64) -> DeadLettersDone {
    let key = millpond_types::QueueKey::new(key).map(|key| key.to_string()).unwrap_or_default();
    DeadLettersDone { topic: topic.to_owned(), key, n_done }
}

fn store_of(view: &View, queue: QueueId) -> Arc<dyn StoreRead> {
    let partition = queue.partition(view.n_partitions());
    view.stores().swap_remove(usize::from(partition))
}

fn id_of(queue: QueueId, (priority, sequence): Rank) -> EntryId {
    let rank = EntryRank { priority: Priority(priority), sequence: Sequence(sequence) };
    EntryId { queue, rank }
}

pub(super) async fn list(
    view: &View,
    names: &Arc<QueueRef>,
    after: Option<Rank>,
    n_max: usize,
) -> Result<Answer, Error> {
    let store = store_of(view, names.id);
    let after = after.map(|rank| id_of(names.id, rank).rank);
    let found = inspect::dead_letters(&*store, names.id, after, n_max.min(ANSWERED_MAX)).await?;
    Ok(Answer::DeadLetters(found.into_iter().map(info).collect()))
}

pub(super) async fn show(view: &View, names: &Arc<QueueRef>, rank: Rank) -> Result<Answer, Error> {
    let id = id_of(names.id, rank);
    let found = inspect::dead_letter(&*store_of(view, names.id), id).await?;
    let (letter, body) = found.ok_or(PartitionError::NotDead { id })?;
    let headers = body
        .headers
        .iter()
        .map(|header| HeaderInfo { name: header.name.clone(), value: Content::new(&header.value) });
    let headers = headers.collect();
    let payload = Content::new(&body.payload);
    Ok(Answer::DeadLetter(Box::new(DeadLetterContent { letter: info(letter), headers, payload })))
}

pub(super) async fn settle(
    view: &View,
    names: &Arc<QueueRef>,
    rank: Rank,
    action: Action,
) -> Result<Answer, Error> {
    let engine = view.writable()?;
    engine.partition_of(names.id).dead(id_of(names.id, rank), action.into()).await?;
    Ok(Answer::SettledDead { n_done: 1, next: None })
}

pub(super) async fn settle_step(
    view: &View,
    names: Arc<QueueRef>,
    after: Option<Rank>,
    action: Action,
) -> Result<Answer, Error> {
    let engine = view.writable()?;
    let after = after.map(|rank| id_of(names.id, rank));
    let letters = DeadLetters::new(engine.clone(), Ok(names));
    let step = letters.step(action.into(), after).await?;
    let next = step.next.map(|id| (id.rank.priority.0, id.rank.sequence.0));
    Ok(Answer::SettledDead { n_done: step.n_done, next })
}

fn info(letter: DeadLetter) -> DeadLetterInfo {
    let cause = match letter.cause {
        DeadCause::AttemptsSpent => "attempts_spent",
        DeadCause::Rejected => "rejected",
        _ => "unknown",
    };
    DeadLetterInfo {
        priority: letter.id.rank.priority.0,
        sequence: letter.id.rank.sequence.0,
        cause: cause.to_owned(),
        reason: letter.reason,
        n_attempts: letter.attempts,
        enqueued_at_ms: letter.enqueued_at.0,
        died_at_ms: letter.died_at.0,
        n_body_bytes: letter.n_body_bytes,
    }
}

impl From<Action> for DeadAction {
    fn from(action: Action) -> Self {
        match action {
            Action::Replay => Self::Replay,
            Action::Drop => Self::Drop,
        }
    }
}
