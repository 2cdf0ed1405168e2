//! The real wasm under the embedded host.

// The lint does not treat test helpers as tests.
#![allow(clippy::expect_used, clippy::indexing_slicing)]

mod answers;
mod fixtures;

use std::sync::LazyLock;

use e2e_tests::host::PolicyHost;
use test_support::repository_root;

/// Compiled once for all tests: that takes longer than they do.
static HOST: LazyLock<PolicyHost> =
    LazyLock::new(|| PolicyHost::load(&repository_root().join("policy.wasm")).expect("a policy"));
