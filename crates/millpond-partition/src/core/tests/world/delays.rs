//! Delays, back-off and dead letters, as readable examples.

