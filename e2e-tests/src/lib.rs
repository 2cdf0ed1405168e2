//! The real policy under an embedded host, the real webhook under attack and for a long time, and the comparison with upstream's recorded
//! answers.

pub mod conformance;
pub mod host;
pub mod hostile;
pub mod session;
pub mod soak;
