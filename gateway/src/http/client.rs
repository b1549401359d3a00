//! Where a request comes from: the connection's other end, or, where that is a proxy that we trust, what it says.

use std::convert::Infallible;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};

use crate::app::App;
use crate::limits::{FORWARDED_MAX, USER_AGENT_CHARS_MAX};

/// The header in which proxies write down where a request came from, each adding one address at the end.
pub const FORWARDED_FOR: &str = "x-forwarded-for";

/// Networks of proxies whose word is taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<(IpAddr, u8)>);

impl TrustedProxies {
    fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|(network, bits)| match (address, network) {
            (IpAddr::V4(address), IpAddr::V4(network)) => {
                let shift = 32 - u32::from(*bits);
                address.to_bits().checked_shr(shift) == network.to_bits().checked_shr(shift)
            }
            (IpAddr::V6(address), IpAddr::V6(network)) => {
                let shift = 128 - u32::from(*bits);
                address.to_bits().checked_shr(shift) == network.to_bits().checked_shr(shift)
            }
            _ => false,
        })
    }
}

impl FromStr for TrustedProxies {
    type Err = String;

    /// Addresses and networks, such as `10.0.0.0/8,192.0.2.7`.
    fn from_str(text: &str) -> Result<Self, String> {
        let network = |part: &str| {
            let (address, bits) = part
                .split_once('/')
                .map_or((part, None), |(address, bits)| (address, Some(bits)));
            let address: IpAddr = address.parse().ok()?;
            let most = if address.is_ipv4() { 32 } else { 128 };
            let bits = bits.map_or(Some(most), |bits| bits.parse().ok())?;
            (bits <= most).then_some((address, bits))
        };
        text.split(',')
            .map(str::trim)
            .map(|part| network(part).ok_or_else(|| format!("{part:?} is no address or network such as 10.0.0.0/8")))
            .collect::<Result<_, _>>()
            .map(TrustedProxies)
    }
}

impl fmt::Display for TrustedProxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let networks: Vec<String> = self
            .0
            .iter()
            .map(|(address, bits)| format!("{address}/{bits}"))
            .collect();
        f.write_str(&networks.join(","))
    }
}

/// Who sends a request, as far as it shows.
#[derive(Clone, Debug)]
pub struct Client {
    /// Where it comes from; none: it came by no connection.
    pub address: Option<IpAddr>,
    /// What the device calls itself, shortened.
    pub user_agent: Option<String>,
}

impl FromRequestParts<App> for Client {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Infallible> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let address = peer.map(|ConnectInfo(peer)| origin(peer.ip(), &parts.headers, &app.options().trusted_proxies));
        let user_agent = parts
            .headers
            .get(header::USER_AGENT)
            .and_then(|value| value.to_str().ok());
        Ok(Client {
            address,
            user_agent: user_agent.map(|text| text.chars().take(USER_AGENT_CHARS_MAX).collect()),
        })
    }
}

/// From the connection inwards: the first address that isn't a trusted proxy's. What stands before it in the header is anybody's word.
pub fn origin(peer: IpAddr, headers: &HeaderMap, trusted: &TrustedProxies) -> IpAddr {
    let mut origin = peer.to_canonical();
    if !trusted.contains(origin) {
        return origin;
    }
    // As bytes: what somebody has put before a proxy's own word may be no text at all.
    let values: Vec<&[u8]> = headers
        .get_all(FORWARDED_FOR)
        .iter()
        .map(|value| value.as_bytes())
        .collect();
    let hops = values.iter().rev().flat_map(|value| value.rsplit(|byte| *byte == b','));
    for hop in hops.take(FORWARDED_MAX) {
        let hop = std::str::from_utf8(hop).ok();
        let Some(address) = hop.and_then(|hop| hop.trim().parse::<IpAddr>().ok()) else {
            break;
        };
        origin = address.to_canonical();
        if !trusted.contains(origin) {
            break;
        }
    }
    origin
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use axum::http::HeaderValue;

    use super::*;

    fn origin_of(peer: &str, forwarded: &[&str], trusted: &str) -> String {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(FORWARDED_FOR, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let trusted = trusted.parse().unwrap_or_default();
        origin(peer.parse().unwrap(), &headers, &trusted).to_string()
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let spoofed = ["203.0.113.9"];
        assert_eq!(origin_of("192.0.2.1", &spoofed, ""), "192.0.2.1");
        assert_eq!(origin_of("192.0.2.1", &spoofed, "10.0.0.0/8"), "192.0.2.1");
        assert_eq!(origin_of("10.1.2.3", &spoofed, "10.0.0.0/8"), "203.0.113.9");
        // What the client wrote itself stands before what the proxy added.
        assert_eq!(
            origin_of("10.1.2.3", &["1.1.1.1, 203.0.113.9"], "10.0.0.0/8"),
            "203.0.113.9"
        );
        assert_eq!(
            origin_of("10.1.2.3", &["1.1.1.1", "203.0.113.9, 10.9.9.9"], "10.0.0.0/8"),
            "203.0.113.9"
        );
        assert_eq!(origin_of("10.1.2.3", &["nonsense"], "10.0.0.0/8"), "10.1.2.3");
        // Not text, but the proxy's word is still behind it.
        assert_eq!(origin_of("10.1.2.3", &["é, 203.0.113.9"], "10.0.0.0/8"), "203.0.113.9");
        assert_eq!(origin_of("10.1.2.3", &["1.1.1.1", "é"], "10.0.0.0/8"), "10.1.2.3");
        assert_eq!(origin_of("::ffff:10.1.2.3", &spoofed, "10.0.0.0/8"), "203.0.113.9");
        assert_eq!(origin_of("2001:db8::1", &spoofed, "2001:db8::/32"), "203.0.113.9");
        assert_eq!(origin_of("192.0.2.1", &spoofed, "0.0.0.0/0"), "203.0.113.9");
    }

    #[test]
    fn networks_are_read() {
        let text = "10.0.0.0/8,192.0.2.7/32,2001:db8::/32";
        assert_eq!(text.parse::<TrustedProxies>().unwrap().to_string(), text);
        for bad in [
            "",
            "10.0.0.0/33",
            "10.0.0/8",
            "proxy",
            "10.0.0.0/x",
            "10.0.0.1,,10.0.0.2",
        ] {
            assert!(bad.parse::<TrustedProxies>().is_err(), "{bad}");
        }
    }
}
