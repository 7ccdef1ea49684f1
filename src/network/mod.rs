//! Sandboxes that may connect to the hosts of a list, and to nobody else.
//!
//! Such a sandbox has a network namespace with nothing but loopback in it. An allowed name gets an address there that stands for
//! it, and at each allowed port of that address the supervisor listens: which name was meant is known by the listener. The
//! supervisor resolves and dials the name itself, outside, and relays. Nothing else leads out, for any program: there is no proxy
//! to speak to, no variable to set, and no packet filter that could have a hole.

mod address;
mod dial;
mod dns;
mod gate;
mod hooks;
mod link;
mod log;
mod relay;

pub(crate) use gate::Gate;
pub use hooks::{Answer, AskedHost, Gatekeeper, Observer, Resolver};

use hooks::SystemResolver;
use std::sync::Arc;

/// How many connections of a sandbox are relayed at once. Those beyond wait. Each takes two descriptors, and four more while something
/// is on its way in both directions.
const MOST_CONNECTIONS: usize = 64;

/// About how many different names is decided for one sandbox. Each that is allowed takes sockets, of which there are fewer.
const MOST_NAMES: usize = 4096;

/// What the host does itself.
#[derive(Clone, Debug)]
pub(crate) struct Hooks {
    pub(crate) resolver: Arc<dyn Resolver>,
    pub(crate) gatekeeper: Option<Arc<dyn Gatekeeper>>,
    pub(crate) observer: Option<Arc<dyn Observer>>,
}

impl Default for Hooks {
    fn default() -> Self {
        Self { resolver: Arc::new(SystemResolver), gatekeeper: None, observer: None }
    }
}
