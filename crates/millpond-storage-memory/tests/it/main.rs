//! The memory backend under the conformance suite, and the suite under broken stores.

mod broken;
mod harness;

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
suites!(automatic, stepped, late, blocking, resolving);
