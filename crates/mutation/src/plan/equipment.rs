//! Additions to one pod.

use super::environment::Environment;
use super::equipped::Equipped;
use super::token_volume::TokenVolume;

/// The parts added to a pod, and the containers that get them.
#[derive(Debug)]
pub(crate) struct Equipment<'v, 'a> {
    pub environment: Environment<'v>,
    pub volume: &'v TokenVolume,
    /// The containers that get the environment and the mount.
    pub containers: Vec<Equipped<'v, 'a>>,
}
