//! What one pod gets.

use super::environment::Environment;
use super::equipped::Equipped;
use super::token_volume::TokenVolume;

/// The parts that are added to a pod, and to which of its containers.
#[derive(Debug)]
pub(crate) struct Equipment<'v, 'a> {
    pub environment: Environment<'v>,
    pub volume: &'v TokenVolume,
    /// The containers that get the environment and the mount.
    pub containers: Vec<Equipped<'v, 'a>>,
}
