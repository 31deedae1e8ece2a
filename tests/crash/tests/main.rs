//! Kill −9, receipts against syncs, power cuts and failing disks, each with a twin that must be caught.

mod bad_disk;
mod kill;
mod once;
#[cfg(target_os = "linux")]
mod power_cut;
#[cfg(target_os = "linux")]
mod receipts;
mod support;
