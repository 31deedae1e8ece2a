//! Proofs of what an acknowledgement of Millpond means: workers that are killed, system calls that are
//! traced, disks that lose what was not synced. It tests no single crate; those test themselves.
//!
//! | module | what it is |
//! |---|---|
//! | [`event`], [`payload`] | what a worker says it intends and what it was promised |
//! | [`rules`] | pauses and limits that workers make |
//! | [`actor`], [`load`], [`worker`] | calls with their events, the mixed load, the process that runs it |
//! | [`oracle`] | what the events so far allow and demand |
//! | [`stored`], [`turns`] | the rows of a stopped store, and the order in which it may hand them out |
//! | [`check`] | reopens a store and holds it to all that |
//! | [`strace`], [`disk`], [`image`] | a trace of system calls, and the files that they make, synced and not |
//! | [`wal`] | RocksDB's log files, byte by byte |
//! | [`coverage`] | for every receipt the sync that covers it |

pub mod actor;
pub mod check;
pub mod coverage;
pub mod disk;
pub mod event;
pub mod image;
pub mod load;
pub mod oracle;
pub mod payload;
pub mod random;
pub mod rules;
pub mod stored;
pub mod strace;
pub mod turns;
pub mod wal;
pub mod worker;

pub use event::{Event, Marker};
pub use oracle::{Oracle, Violation};
