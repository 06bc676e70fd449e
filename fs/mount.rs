//! Mounts (to be written).

/// One mounted file system at one place.
#[derive(Debug)]
pub struct Mount {}
