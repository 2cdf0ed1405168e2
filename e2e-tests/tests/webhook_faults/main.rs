//! What may go wrong around the webhook. Where there is load, the admissions that fail are counted, and none may.

// Helpers of tests are tests to a reader, but not to the lint.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod api_server;
mod certificates;
mod connections;
mod load;
mod reads;
mod stopping;
