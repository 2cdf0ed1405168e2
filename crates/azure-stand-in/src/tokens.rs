//! The access tokens that were given.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What an access token allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Grant {
    pub tenant: String,
    pub client_id: String,
    /// The token's audience.
    pub resource: String,
}

/// Tokens are opaque: every program accepts that, and nobody but this stand-in reads them.
#[derive(Debug, Default)]
pub(crate) struct Tokens(Mutex<HashMap<String, Grant>>);

impl Tokens {
    pub(crate) fn give(&self, grant: Grant) -> String {
        let mut given = self.lock();
        let token = format!("stand-in-token-{}", given.len());
        given.insert(token.clone(), grant);
        token
    }

    /// What the value of an `Authorization` header allows.
    pub(crate) fn grant_of(&self, authorization: &str) -> Option<Grant> {
        let (scheme, token) = authorization.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        self.lock().get(token).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Grant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
