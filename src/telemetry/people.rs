//! What the log says of where people are. Which network is mostly enough to see an attack, and is nobody in particular; the
//! audit log has the whole address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::config::LogAddresses;

/// Fields that hold a caller's address. Those of engines and of ports of ours have other names.
pub(super) fn is_address(name: &str) -> bool {
    matches!(name, "ip" | "address" | "peer")
}

/// The address as it may be written. What is none stays: what callers say is proven to be one at the door, and libraries name
/// other things so.
pub(super) fn cut(text: &str, how: LogAddresses) -> String {
    if how == LogAddresses::Full {
        return text.to_owned();
    }
    let port_and_all = text.parse::<SocketAddr>().map(|address| address.ip());
    let Ok(address) = port_and_all.or_else(|_none| text.parse::<IpAddr>()) else { return text.to_owned() };
    match (how, address.to_canonical()) {
        // Of this machine: nobody is there.
        (_, address) if address.is_loopback() => text.to_owned(),
        (LogAddresses::None, _) => String::new(),
        (_, IpAddr::V4(address)) => {
            let [a, b, c, _] = address.octets();
            format!("{}/24", Ipv4Addr::new(a, b, c, 0))
        }
        (_, IpAddr::V6(address)) => {
            let [a, b, c, ..] = address.segments();
            format!("{}/48", Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0))
        }
    }
}
