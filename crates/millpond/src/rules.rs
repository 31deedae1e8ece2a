//! Rules of topics, of key prefixes and of queues: stored, and changed while the engine runs.

use millpond_partition::{Governor, Partition};
use millpond_storage_api::Durable;
use millpond_types::{InvalidName, QueueKey, Scope, Setting, Settings, SettingsRow, TopicName};

use crate::{Engine, Error, Queue, Topic};

/// A rule that is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rule {
    /// What it is about.
    pub scope: Scope,
    /// What it says.
    pub settings: Settings,
}

/// The queues of a topic whose keys begin with the same bytes, as those of one tenant may.
#[derive(Debug, Clone)]
pub struct Prefix {
    engine: Engine,
    scope: Result<Scope, InvalidName>,
}

macro_rules! rule_methods {
    ($($of:literal $handle:ident)*) => {$(
        #[doc = concat!("Rules ", $of, ". They are stored, hold from the moment the receipt is there, and are inherited: what a")]
        /// rule does not say, the next more general one says. All limits hold together; whoever pauses is not
        /// overruled. [`Queue::explain`](crate::Queue::explain) says which one keeps a queue.
        impl $handle {
            /// Makes a rule, in place of the one there is. What is leased stays leased, beyond a lowered limit too.
            /// [Empty](Settings::is_empty) settings withdraw it. A [pause](Self::pause) stays, unless the settings
            /// are empty or say [`with_paused(false)`](Settings::with_paused): whoever starts and says its rules
            /// again resumes nothing.
            ///
            /// # Errors
            ///
            /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for a name or settings that make no sense, and
            /// [`Full`](crate::ErrorKind::Full) for too many rules; then nothing was changed.
            /// [`Closed`](crate::ErrorKind::Closed), [`NoSpace`](crate::ErrorKind::NoSpace) or
            /// [`Io`](crate::ErrorKind::Io) when the engine has stopped; then nobody knows. If only some of its
            /// partitions have, the others go by the rule, those that stopped will after the engine is opened
            /// again, and until then limits that are now within others, or no longer, may let nothing through.
            ///
            /// # Cancel safety
            ///
            /// A dropped future changes the rule all the same, if it was polled.
            pub async fn set(&self, settings: Settings) -> Result<Durable<()>, Error> {
                let change = move |before: Settings| match settings.is_empty() {
                    true => settings,
                    false => Settings { paused: settings.paused.or(before.paused), ..settings },
                };
                self.rule_engine().change_rule(self.rule_scope()?, change).await
            }

            /// The rule that was made, if there is one.
            ///
            /// # Errors
            ///
            /// The name is invalid.
            pub fn settings(&self) -> Result<Option<Settings>, Error> {
                Ok(self.rule_engine().0.governor.rule(&self.rule_scope()?))
            }

            /// Leases nothing until [`resume`](Self::resume), across restarts and whatever rules are
            /// [set](Self::set) meanwhile. Entries are accepted, and what is leased stays leased.
            ///
            /// # Errors
            ///
            /// As [`set`](Self::set).
            ///
            /// # Cancel safety
            ///
            /// As [`set`](Self::set).
            pub async fn pause(&self) -> Result<Durable<()>, Error> {
                self.rule_engine().pause_rule(self.rule_scope()?, Some(true)).await
            }

            /// Ends a [`pause`](Self::pause). Older entries come first, as always.
            ///
            /// # Errors
            ///
            /// As [`set`](Self::set).
            ///
            /// # Cancel safety
            ///
            /// As [`set`](Self::set).
            pub async fn resume(&self) -> Result<Durable<()>, Error> {
                self.rule_engine().pause_rule(self.rule_scope()?, None).await
            }
        }
    )*};
}
rule_methods! {
    "of a whole topic" Topic
    "of all queues with a prefix" Prefix
    "of one queue" Queue
}

impl Topic {
    /// The queues whose keys begin so, for rules that hold for them together.
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), millpond::Error> {
    /// use std::time::Duration;
    ///
    /// use millpond::{Engine, Entry, Options, RateLimit, Settings};
    ///
    /// # let directory = tempfile::tempdir().expect("a temporary directory");
    /// # let engine = Engine::open(Options::new(directory.path())).await?;
    /// let emails = engine.topic("emails");
    /// // However many queues tenant 42 has: at most two mails at a time, and a hundred a minute.
    /// let rate = RateLimit::new(100, Duration::from_secs(60), 10);
    /// let tenant = Settings::default().with_concurrency_together(2).with_rate_together(rate);
    /// emails.prefix("tenant-42/").set(tenant).await?;
    ///
    /// for queue in ["tenant-42/a", "tenant-42/b", "tenant-42/c", "tenant-7/a"] {
    ///     emails.queue(queue).enqueue(Entry::new("hello")).await?;
    /// }
    /// let leased = emails.lease().max(10).fetch().await?;
    /// assert_eq!(leased.len(), 3, "two of tenant 42, one of tenant 7");
    /// # drop(leased);
    /// # engine.close().await
    /// # }
    /// ```
    pub fn prefix(&self, prefix: impl AsRef<[u8]>) -> Prefix {
        let scope =
            self.valid_name().and_then(|topic| Ok(Scope::Prefix(topic, QueueKey::prefix(prefix)?)));
        Prefix { engine: self.engine().clone(), scope }
    }

    fn rule_engine(&self) -> &Engine {
        self.engine()
    }

    fn rule_scope(&self) -> Result<Scope, Error> {
        Ok(Scope::Topic(self.valid_name()?))
    }
}

impl Prefix {
    fn rule_engine(&self) -> &Engine {
        &self.engine
    }

    fn rule_scope(&self) -> Result<Scope, Error> {
        Ok(self.scope.clone()?)
    }
}

impl Queue {
    fn rule_engine(&self) -> &Engine {
        self.engine()
    }

    fn rule_scope(&self) -> Result<Scope, Error> {
        let names = self.names()?;
        Ok(Scope::Queue(names.topic.clone(), names.key.clone()))
    }
}

impl Engine {
    /// All rules.
    pub fn rules(&self) -> Vec<Rule> {
        let rows = self.0.governor.rules().into_iter();
        rows.map(|SettingsRow { scope, settings, .. }| Rule { scope, settings }).collect()
    }

    async fn pause_rule(&self, scope: Scope, paused: Option<bool>) -> Result<Durable<()>, Error> {
        self.change_rule(scope, move |settings| Settings { paused, ..settings }).await
    }

    /// Changes what a rule says, after every change that was begun before. Once begun it goes on, whoever waits
    /// for it: between partitions that know a rule and others that do not, limits within each other let nothing
    /// through.
    pub(crate) async fn change_rule(
        &self,
        scope: Scope,
        change: impl FnOnce(Settings) -> Settings + Send + 'static,
    ) -> Result<Durable<()>, Error> {
        let engine = self.clone();
        let changing = tokio::spawn(async move { engine.make_rule(scope, change).await });
        changing.await.map_err(|error| Error::new(crate::ErrorKind::Closed, error.to_string()))?
    }

    async fn make_rule(
        &self,
        scope: Scope,
        change: impl FnOnce(Settings) -> Settings,
    ) -> Result<Durable<()>, Error> {
        let _changing = self.0.changing_rules.lock().await;
        let governor = &self.0.governor;
        let settings = change(governor.rule(&scope).unwrap_or_default());
        let row = governor.change(scope, settings)?;
        if let Scope::Queue(topic, key) = &row.scope {
            let id = millpond_types::QueueId::derive(topic, key);
            return Ok(self.partition_of(id).configure(row).await?);
        }
        let stored = store(&self.0.partitions, &row).await?;
        if row.settings.is_empty() {
            forget(governor, &self.0.partitions, row.scope).await;
        }
        Ok(stored)
    }
}

/// Stores a rule in all partitions, at the same time. It reaches all that work, also beside one that has stopped.
async fn store(partitions: &[Partition], row: &SettingsRow) -> Result<Durable<()>, Error> {
    let stored = partitions.iter().map(|partition| partition.configure(row.clone()));
    let stored = futures_util::future::join_all(stored).await;
    let mut stored = stored.into_iter().collect::<Result<Vec<_>, _>>()?;
    Ok(stored.pop().expect("an engine has at least one partition"))
}

/// Rules that a crash kept from some of the partitions are stored there now.
pub(crate) async fn complete(governor: &Governor, partitions: &[Partition]) -> Result<(), Error> {
    for (number, partition) in partitions.iter().enumerate() {
        for row in governor.missing_in(number) {
            partition.configure(row).await?;
        }
    }
    for scope in governor.withdrawn() {
        forget(governor, partitions, scope).await;
    }
    Ok(())
}

/// Removes the rows of a withdrawn rule of which every partition knows. Where that fails, the next opening does it.
async fn forget(governor: &Governor, partitions: &[Partition], scope: Scope) {
    let row = Governor::row_to_forget(scope);
    let removed = partitions.iter().map(|partition| partition.configure(row.clone()));
    if futures_util::future::join_all(removed).await.iter().all(Result::is_ok) {
        governor.forget(&row.scope);
    }
}

/// Defaults are about any queue of any topic.
pub(crate) fn check_defaults(defaults: &Settings) -> Result<(), Error> {
    if defaults.paused.is_some() {
        return Err(Error::invalid("an engine is not opened paused: pause its topics"));
    }
    if let Setting::Is(topic) = &defaults.dead_letter_topic {
        return Err(Error::invalid(format!(
            "dead letters of every topic cannot go to {topic}, its own would go round: say it of topics"
        )));
    }
    let any =
        TopicName::new("any").and_then(|topic| Ok(Scope::Queue(topic, QueueKey::new("any")?)))?;
    Ok(defaults.check(&any)?)
}
