//! Opening an engine and finding a queue's partition.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use millpond_partition::{
    Accepted, Counters, Governor, LeaseRef, LeasesAtOpen, Nacked, Partition, PartitionOptions,
    PartitionStore, PayloadStats, Payloads,
};
use millpond_storage_api::{Buffered, Durable};
use millpond_types::limits::PARTITIONS_MAX;
use millpond_types::{QueueId, Settings, UnixMillis};

use crate::time::lease_ms;
use crate::{Entry, Error, Lease, Nack, Queue, Topic};

/// How to open an engine.
///
/// ```
/// use millpond::{LeasesAtOpen, Options};
///
/// let options = Options::new("data")
///     .partitions(4)
///     .cache_bytes(256 << 20)
///     .leases_at_open(LeasesAtOpen::Release);
/// ```
#[derive(Debug, Clone)]
pub struct Options {
    #[cfg_attr(not(feature = "rocksdb"), expect(dead_code, reason = "only a backend has a place"))]
    pub(crate) directory: std::path::PathBuf,
    pub(crate) n_partitions: Option<u16>,
    pub(crate) cache_bytes: usize,
    pub(crate) payload_cache_bytes: Option<usize>,
    pub(crate) write_buffer_bytes: usize,
    pub(crate) create: bool,
    pub(crate) control: bool,
    pub(crate) partition: PartitionOptions,
}

impl Options {
    /// An engine in this directory, which is created if it is not there.
    pub fn new(directory: impl Into<std::path::PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            n_partitions: None,
            cache_bytes: 128 << 20,
            payload_cache_bytes: None,
            write_buffer_bytes: 128 << 20,
            create: true,
            control: true,
            partition: PartitionOptions::default(),
        }
    }

    /// How many partitions a *new* engine gets, 1 to 1,024; the number of cores by default. An existing
    /// engine keeps the number it was created with.
    #[must_use]
    pub fn partitions(mut self, n_partitions: u16) -> Self {
        self.n_partitions = Some(n_partitions);
        self
    }

    /// What all partitions together keep in memory of what is stored, in bytes: blocks of rows, and
    /// [payloads](Self::payload_cache_bytes). 128 MiB by default.
    #[must_use]
    pub fn cache_bytes(mut self, cache_bytes: usize) -> Self {
        self.cache_bytes = cache_bytes;
        self
    }

    /// The part of [`cache_bytes`](Self::cache_bytes) that is for payloads of more than a kilobyte on their way from
    /// a producer to a consumer, in bytes: a quarter by default. With 0 each is read from storage.
    #[must_use]
    pub fn payload_cache_bytes(mut self, bytes: usize) -> Self {
        self.payload_cache_bytes = Some(bytes);
        self
    }

    /// Divides the cache.
    #[cfg(feature = "rocksdb")]
    fn with_payloads(mut self) -> Result<Self, Error> {
        let bytes = self.payload_cache_bytes.unwrap_or(self.cache_bytes / 4);
        millpond_types::LimitExceeded::check("payload cache", bytes, self.cache_bytes, "bytes")?;
        self.cache_bytes -= bytes;
        self.partition.payloads = Payloads::new(bytes);
        Ok(self)
    }

    /// Write buffers shared by all partitions, in bytes. 128 MiB by default.
    #[must_use]
    pub fn write_buffer_bytes(mut self, write_buffer_bytes: usize) -> Self {
        self.write_buffer_bytes = write_buffer_bytes;
        self
    }

    /// Whether to create an engine where there is none. True by default.
    #[must_use]
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// Whether to answer the `millpond` command on a Unix socket in the directory, open to the owner
    /// only. True by default.
    #[must_use]
    pub fn control_socket(mut self, control: bool) -> Self {
        self.control = control;
        self
    }

    /// What happens to leases that were in force when the engine was last open. They are kept by default.
    #[must_use]
    pub fn leases_at_open(mut self, leases: LeasesAtOpen) -> Self {
        self.partition.leases_at_open = leases;
        self
    }

    /// What holds where no [rule](crate::Settings) says anything: of any queue, so limits of several queues
    /// together, pauses and what is for topics only are refused, and a topic for dead letters. Defaults are not
    /// stored: whoever opens the engine says them.
    #[must_use]
    pub fn defaults(mut self, defaults: Settings) -> Self {
        self.partition.defaults = defaults;
        self
    }

    /// The limits of each partition. They replace what was said before of leases at open, which is among them, and
    /// of defaults, if they say any.
    #[must_use]
    pub fn partition_options(mut self, options: PartitionOptions) -> Self {
        let defaults = std::mem::take(&mut self.partition.defaults);
        self.partition = options;
        if self.partition.defaults.is_empty() {
            self.partition.defaults = defaults;
        }
        self
    }
}

/// A running engine. Cheap to clone; all clones are the same engine.
///
/// Everything but opening may be called from any thread inside a tokio runtime with its time driver.
///
/// Dropping the last handle (deliveries and consumers hold one too) without [`close`](Self::close) closes
/// the engine and **blocks** until its stores are closed. Async code should call `close` and await it.
#[derive(Debug, Clone)]
pub struct Engine(pub(crate) Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) partitions: Vec<Partition>,
    pub(crate) governor: Governor,
    /// One change of rules after the other.
    pub(crate) changing_rules: tokio::sync::Mutex<()>,
    #[cfg_attr(
        not(feature = "rocksdb"),
        expect(dead_code, reason = "only explanations tell them")
    )]
    pub(crate) defaults: Settings,
    #[cfg_attr(
        not(any(feature = "rocksdb", feature = "metrics")),
        expect(dead_code, reason = "only reports tell it")
    )]
    pub(crate) window_bytes_max: usize,
    pub(crate) payloads: Payloads,
    next_partition: AtomicUsize,
    /// Kept for its effect: the directory is ours while it lives.
    #[cfg(feature = "rocksdb")]
    pub(crate) place: Option<crate::layout::Place>,
    #[cfg(all(feature = "control", unix))]
    pub(crate) control: std::sync::Mutex<Option<crate::control::Server>>,
}

/// Sizes and counters of a whole engine. While a restart still brings queues back, the sizes are those of
/// what is back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// Partitions.
    pub n_partitions: usize,
    /// Queues that hold something.
    pub n_queues: usize,
    /// Entries that are ready, leased ones included.
    pub n_entries: u64,
    /// Entries that wait for their time, after a delay or a failed attempt.
    pub n_delayed: u64,
    /// Dead letters.
    pub n_dead: u64,
    /// Entries leased.
    pub n_leased: u64,
    /// Queues in memory, those without work included.
    pub n_resident: usize,
    /// Bytes of entries in the windows of all queues.
    pub window_bytes: usize,
    /// Whether a restart still brings queues back.
    pub recalling: bool,
    /// What keeps them from coming back at the moment, if something does. It is tried again.
    pub recall_failure: Option<String>,
    /// Counts since opening.
    pub counters: Counters,
    /// Of the payload cache.
    pub payloads: PayloadStats,
}

impl Engine {
    /// Opens or creates the engine in a directory, on RocksDB.
    ///
    /// # Errors
    ///
    /// [`AlreadyOpen`](crate::ErrorKind::AlreadyOpen), [`Format`](crate::ErrorKind::Format) for an unknown
    /// or newer layout, [`NotFound`](crate::ErrorKind::NotFound) when it may not be created,
    /// [`NoSpace`](crate::ErrorKind::NoSpace), [`Io`](crate::ErrorKind::Io),
    /// [`Corrupt`](crate::ErrorKind::Corrupt), or [`InvalidInput`](crate::ErrorKind::InvalidInput) for an
    /// option out of range.
    #[cfg(feature = "rocksdb")]
    pub async fn open(options: Options) -> Result<Self, Error> {
        // Before anything is created.
        let options = options.with_payloads()?;
        options.partition.check()?;
        crate::rules::check_defaults(&options.partition.defaults)?;
        let place_options = options.clone();
        let opened = tokio::task::spawn_blocking(move || crate::layout::open(&place_options)).await;
        let (place, stores) =
            opened.map_err(|error| Error::new(crate::ErrorKind::Closed, error.to_string()))??;
        #[cfg(all(feature = "control", unix))]
        let control = options.control;
        let engine = Self::start(stores, options.partition, Some(place)).await?;
        #[cfg(all(feature = "control", unix))]
        if control {
            engine.listen();
        }
        Ok(engine)
    }

    /// An engine over stores that somebody else opened, one per partition. Their number and order must
    /// be the same every time.
    ///
    /// # Errors
    ///
    /// There are no stores or more than 1,024, an option is out of range, or a store cannot be read.
    pub async fn with_stores(
        stores: Vec<Arc<dyn PartitionStore>>,
        options: PartitionOptions,
    ) -> Result<Self, Error> {
        #[cfg(feature = "rocksdb")]
        return Self::start(stores, options, None).await;
        #[cfg(not(feature = "rocksdb"))]
        return Self::start(stores, options).await;
    }

    async fn start(
        stores: Vec<Arc<dyn PartitionStore>>,
        options: PartitionOptions,
        #[cfg(feature = "rocksdb")] place: Option<crate::layout::Place>,
    ) -> Result<Self, Error> {
        check_partitions(stores.len())?;
        options.check()?;
        crate::rules::check_defaults(&options.defaults)?;
        let n_partitions = u16::try_from(stores.len()).expect("just checked");
        let governor = Governor::new(n_partitions);
        let mut partitions = Vec::with_capacity(stores.len());
        for (number, store) in stores.into_iter().enumerate() {
            let opening = Partition::open_under(&governor, number, store, options.clone());
            partitions.push(opening.await?);
        }
        crate::rules::complete(&governor, &partitions).await?;
        Ok(Self(Arc::new(Inner {
            partitions,
            governor,
            changing_rules: tokio::sync::Mutex::new(()),
            defaults: options.defaults,
            window_bytes_max: options.window_bytes_max,
            payloads: options.payloads,
            next_partition: AtomicUsize::new(0),
            #[cfg(feature = "rocksdb")]
            place,
            #[cfg(all(feature = "control", unix))]
            control: std::sync::Mutex::new(None),
        })))
    }

    /// The topic with this name. Topics are not created: they are where their queues are.
    pub fn topic(&self, name: &str) -> Topic {
        Topic::new(self.clone(), name)
    }

    /// Acknowledges an entry by its lease alone. See [`Delivery::ack`](crate::Delivery::ack).
    ///
    /// # Errors
    ///
    /// As [`Delivery::ack`](crate::Delivery::ack).
    pub async fn ack(&self, lease: Lease) -> Result<Durable<()>, Error> {
        Ok(self.partition_of(lease.id.queue).ack(LeaseRef::from(lease)).await?)
    }

    /// Acknowledges an entry by its lease alone, buffered. See
    /// [`Delivery::ack_buffered`](crate::Delivery::ack_buffered).
    ///
    /// # Errors
    ///
    /// As [`Delivery::ack_buffered`](crate::Delivery::ack_buffered).
    pub async fn ack_buffered(&self, lease: Lease) -> Result<Buffered<()>, Error> {
        Ok(self.partition_of(lease.id.queue).ack_buffered(LeaseRef::from(lease)).await?)
    }

    /// Acknowledges an entry by its lease alone, and enqueues what its work has led to, both or neither. See
    /// [`Delivery::ack_and_enqueue`](crate::Delivery::ack_and_enqueue).
    ///
    /// # Errors
    ///
    /// As [`Delivery::ack_and_enqueue`](crate::Delivery::ack_and_enqueue).
    pub async fn ack_and_enqueue(
        &self,
        lease: Lease,
        queue: &Queue,
        entries: Vec<Entry>,
    ) -> Result<Durable<Vec<Accepted>>, Error> {
        let entries = Entry::into_batch(entries)?;
        let partition = self.partition_of(lease.id.queue);
        let names = queue.names_beside(partition, lease.id.queue)?;
        Ok(partition.ack_and_enqueue(lease.into(), names, entries).await?)
    }

    /// Gives an entry back by its lease alone. See [`Delivery::nack`](crate::Delivery::nack).
    ///
    /// # Errors
    ///
    /// As [`Delivery::nack`](crate::Delivery::nack).
    pub async fn nack(&self, lease: Lease) -> Result<Durable<Nacked>, Error> {
        self.nack_with(lease, Nack::retry()).await
    }

    /// Gives an entry back by its lease alone, with a wish for its next attempt. See
    /// [`Delivery::nack_with`](crate::Delivery::nack_with).
    ///
    /// # Errors
    ///
    /// As [`Delivery::nack_with`](crate::Delivery::nack_with).
    pub async fn nack_with(&self, lease: Lease, nack: Nack) -> Result<Durable<Nacked>, Error> {
        let partition = self.partition_of(lease.id.queue);
        Ok(partition.nack(LeaseRef::from(lease), nack.checked()?).await?)
    }

    /// Extends a lease from now. See [`Delivery::extend`](crate::Delivery::extend).
    ///
    /// # Errors
    ///
    /// As [`Delivery::extend`](crate::Delivery::extend).
    pub async fn extend(
        &self,
        lease: Lease,
        length: std::time::Duration,
    ) -> Result<Durable<UnixMillis>, Error> {
        let lease_ms = lease_ms(length)?;
        Ok(self.partition_of(lease.id.queue).extend(LeaseRef::from(lease), lease_ms).await?)
    }

    /// Sizes and counters.
    ///
    /// # Errors
    ///
    /// The engine is closed or has stopped.
    pub async fn status(&self) -> Result<Status, Error> {
        let mut status = Status { n_partitions: self.0.partitions.len(), ..Status::default() };
        for partition in &self.0.partitions {
            let report = partition.report(0).await?;
            status.n_queues += report.n_queues;
            status.n_entries += report.n_entries;
            status.n_delayed += report.n_delayed;
            status.n_dead += report.n_dead;
            status.n_leased += report.n_leased;
            status.n_resident += report.n_resident;
            status.window_bytes += report.window_bytes;
            status.recalling |= report.recalling.is_some();
            status.recall_failure = status.recall_failure.or(report.recalling.flatten());
            status.counters.add(&report.counters);
        }
        status.payloads = self.0.payloads.stats();
        Ok(status)
    }

    /// Stops accepting, makes durable what was accepted, answers everybody and closes the stores.
    ///
    /// # Errors
    ///
    /// A partition had stopped, or stops now, because its storage failed.
    pub async fn close(&self) -> Result<(), Error> {
        #[cfg(all(feature = "control", unix))]
        self.stop_listening();
        let mut ended = Ok(());
        for partition in &self.0.partitions {
            let closed = partition.close().await;
            ended = ended.and(closed);
        }
        #[cfg(feature = "rocksdb")]
        if let Some(place) = &self.0.place {
            place.release();
        }
        Ok(ended?)
    }

    pub(crate) fn partition_of(&self, queue: QueueId) -> &Partition {
        self.partition(self.partition_number(queue))
    }

    pub(crate) fn partition_number(&self, queue: QueueId) -> usize {
        usize::from(queue.partition(self.n_partitions()))
    }

    pub(crate) fn n_partitions(&self) -> u16 {
        u16::try_from(self.0.partitions.len()).expect("checked against PARTITIONS_MAX when opened")
    }

    /// All partitions, beginning with another one each time, so that none is asked first always.
    pub(crate) fn partitions_in_turn(&self) -> impl Iterator<Item = usize> + use<> {
        // Relaxed: any order of turns is fair.
        let first = self.0.next_partition.fetch_add(1, Ordering::Relaxed);
        let n = self.0.partitions.len();
        (0..n).map(move |offset| first.wrapping_add(offset) % n)
    }

    pub(crate) fn partition(&self, number: usize) -> &Partition {
        &self.0.partitions[number]
    }
}

/// Whether an engine may have this many partitions.
pub(crate) fn check_partitions(n: usize) -> Result<(), Error> {
    if (1..=usize::from(PARTITIONS_MAX)).contains(&n) {
        return Ok(());
    }
    Err(Error::invalid(format!("an engine has 1 to {PARTITIONS_MAX} partitions, not {n}")))
}

impl Default for Options {
    /// An engine in `data`, below the working directory.
    fn default() -> Self {
        Self::new("data")
    }
}
