//! Length limits for the lists of a pod.

use azwi_json::{JsonValue, TypeError};

use crate::bounds::{MOST_CONTAINERS, MOST_MOUNTS, MOST_SOURCES, MOST_VARIABLES, MOST_VOLUMES};

/// Remaining number of elements for the lists of a pod.
pub(super) struct Room {
    pub containers: usize,
    pub volumes: usize,
    pub sources: usize,
    pub variables: usize,
    pub mounts: usize,
}

impl Room {
    pub(super) const FOR_A_POD: Self = Self {
        containers: MOST_CONTAINERS,
        volumes: MOST_VOLUMES,
        sources: MOST_SOURCES,
        variables: MOST_VARIABLES,
        mounts: MOST_MOUNTS,
    };
}

/// Subtracts the length of the list under `key` from the room; `expected` describes the limit in errors.
pub(super) fn take_room<'a>(
    parent: JsonValue<'a>,
    key: &str,
    room: &mut usize,
    expected: &'static str,
) -> Result<Option<JsonValue<'a>>, TypeError<'a>> {
    let Some(list) = parent.optional_array(key)? else { return Ok(None) };
    match room.checked_sub(list.elements().count()) {
        Some(left) => *room = left,
        None => return list.wrong(expected),
    }
    Ok(Some(list))
}
