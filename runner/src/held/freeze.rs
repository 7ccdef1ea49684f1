//! Stopping everything in the sandbox where it is, and letting it go on.

use super::serve::Held;
use pinfold_runner::Failure;

impl Held<'_> {
    pub(super) fn freeze(&mut self) -> Result<(), Failure> {
        Err(Failure::new("freeze", "nothing here can stop a sandbox"))
    }

    pub(super) fn thaw(&mut self) {
        self.is_frozen = false;
    }
}
