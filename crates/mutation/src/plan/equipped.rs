//! The containers that get the environment and the mount.

use super::skip_list::SkipList;
use crate::patch::{Field, List, Pointer};
use crate::view::{Container, PodSpec};

/// A container that is not skipped, and its position in the pod.
#[derive(Debug)]
pub(crate) struct Equipped<'v, 'a> {
    list: List,
    index: u32,
    pub view: &'v Container<'a>,
}

impl Equipped<'_, '_> {
    /// Position of one of the container's own lists.
    pub(crate) fn place(&self, field: Field) -> Pointer {
        Pointer::field(self.list, self.index, field)
    }
}

/// All containers except the skipped ones, init containers first.
pub(crate) fn equipped_containers<'v, 'a>(
    spec: &'v PodSpec<'a>,
    skip_list: &SkipList<'_>,
) -> Vec<Equipped<'v, 'a>> {
    let mut equipped = Vec::new();
    for (list, containers) in
        [(List::InitContainers, &spec.init_containers), (List::Containers, &spec.containers)]
    {
        for (index, view) in (0..).zip(containers) {
            if !skip_list.contains(&view.name) {
                equipped.push(Equipped { list, index, view });
            }
        }
    }
    equipped
}
