//! The memory backend under the conformance suite, the suite under broken stores, and the crash and
//! fault model.
//!
//! Nothing here runs inside a model, so nothing here is built for one.
#![cfg(not(millpond_loom))]

mod broken;
mod buffered;
mod crash;
mod faults;
mod harness;
mod intercept;
mod properties;

macro_rules! suites {
    ($($name:ident),*) => {$(
        mod $name {
            millpond_storage_conformance::conformance_suite!(
                crate::harness::MemoryHarness::$name(),
                faults
            );
        }
    )*};
}
suites!(automatic, stepped, late, blocking, resolving, intercepted);
