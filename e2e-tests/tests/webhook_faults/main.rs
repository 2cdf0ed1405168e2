//! Faults around the webhook. Under load, failed admissions are counted, and there must be none.

// The lint does not treat test helpers as tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod api_server;
mod certificates;
mod connections;
mod load;
mod reads;
mod stopping;
