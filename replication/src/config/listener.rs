//! Where the broker listens and what it tells its clients, in Kafka's syntax: `NAME://host:port`.

use core::net::IpAddr;
use std::sync::Arc;

/// A host and a port as they are written: nothing is looked up here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// `None`: every address of this machine, or its own name.
    pub host: Option<Arc<str>>,
    pub port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// In upper case.
    pub name: Arc<str>,
    pub bind: Address,
    /// Its host is `None` for the machine's own name.
    pub advertised: Address,
}

/// The values of the four keys that decide where to listen. Empty if not set.
#[derive(Clone, Copy, Debug, Default)]
pub struct ListenerSettings<'a> {
    pub listeners: &'a str,
    pub advertised: &'a str,
    /// `listener.security.protocol.map`.
    pub protocols: &'a str,
    /// `controller.listener.names`: no socket is opened for them, as no controller is elsewhere.
    pub controllers: &'a str,
}

/// The listeners for clients, in the order in which they are written.
///
/// # Errors
/// The key that is to blame, and a sentence.
pub fn listeners(settings: ListenerSettings<'_>) -> Result<Vec<Listener>, (&'static str, String)> {
    let controllers: Vec<_> = items(settings.controllers).map(str::to_ascii_uppercase).collect();
    let bound = parse_all("listeners", settings.listeners)?;
    let advertised = parse_all("advertised.listeners", settings.advertised)?;
    let protocols = protocols(settings.protocols)?;
    if let Some((name, _)) =
        advertised.iter().find(|(name, _)| bound.iter().all(|it| it.0 != *name))
    {
        let message =
            format!("{name} is advertised but not in listeners: add it there, or remove it here");
        return Err(("advertised.listeners", message));
    }
    let mut found: Vec<Listener> = vec![];
    for (name, bind) in bound.into_iter().filter(|(name, _)| !controllers.contains(name)) {
        check_protocol(&name, &protocols)?;
        if bind.port == 0 {
            let message = format!(
                "{name} has port 0: every core would listen on another port that the kernel \
                 chooses. Name a port, such as 9092"
            );
            return Err(("listeners", message));
        }
        let clash = found.iter().find(|it| it.bind.port == bind.port && it.bind.host == bind.host);
        if let Some(clash) = clash {
            let message = format!("{name} and {} listen on the same address and port", clash.name);
            return Err(("listeners", message));
        }
        let told =
            advertised.iter().find(|(it, _)| *it == name).map(|(_, address)| address.clone());
        if told.as_ref().is_some_and(|it| it.port == 0) {
            let message = format!("{name} advertises port 0: clients cannot connect to it");
            return Err(("advertised.listeners", message));
        }
        if told.as_ref().and_then(|it| it.host.as_deref()).is_some_and(is_every_address) {
            let message = format!(
                "{name} advertises an address that means every address of this machine: clients \
                 cannot connect to it. \
                 Advertise a host name or address that they can reach"
            );
            return Err(("advertised.listeners", message));
        }
        let own =
            Address { host: bind.host.clone().filter(|it| !is_every_address(it)), port: bind.port };
        found.push(Listener { name: Arc::from(name), advertised: told.unwrap_or(own), bind });
    }
    if found.is_empty() {
        return Err((
            "listeners",
            "there is no listener for clients: PLAINTEXT://:9092 is one".to_owned(),
        ));
    }
    Ok(found)
}

/// `host:port`, where an IPv6 address stands in brackets and no host means every address.
#[must_use]
pub fn address(text: &str) -> Option<Address> {
    let (host, port) = text.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(host) => host.strip_suffix(']').filter(|it| it.contains(':'))?,
        None if host.contains(':') => return None,
        None => host,
    };
    let legal =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'%' | b'.' | b'_' | b':');
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    if !host.bytes().all(legal) || !digits {
        return None;
    }
    Some(Address { host: (!host.is_empty()).then(|| Arc::from(host)), port: port.parse().ok()? })
}

fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|it| !it.is_empty())
}

fn parse_all(
    key: &'static str,
    text: &str,
) -> Result<Vec<(String, Address)>, (&'static str, String)> {
    let mut found: Vec<(String, Address)> = vec![];
    for item in items(text) {
        let (name, address) = item
            .split_once("://")
            .filter(|(name, _)| !name.is_empty())
            .and_then(|(name, rest)| Some((name.to_ascii_uppercase(), address(rest)?)))
            .ok_or_else(|| {
                (
                    key,
                    format!(
                        "\"{item}\" is no listener: write NAME://host:port, \
                 such as PLAINTEXT://:9092"
                    ),
                )
            })?;
        if found.iter().any(|(it, _)| *it == name) {
            return Err((
                key,
                format!("{name} stands there twice: each listener needs a name of its own"),
            ));
        }
        found.push((name, address));
    }
    Ok(found)
}

fn protocols(text: &str) -> Result<Vec<(String, String)>, (&'static str, String)> {
    let pair = |item: &str| {
        let (name, protocol) = item.split_once(':')?;
        Some((name.trim().to_ascii_uppercase(), protocol.trim().to_ascii_uppercase()))
    };
    items(text)
        .map(|item| {
            let message = || format!("\"{item}\" is not NAME:PROTOCOL");
            pair(item).ok_or_else(|| ("listener.security.protocol.map", message()))
        })
        .collect()
}

fn check_protocol(
    name: &str,
    protocols: &[(String, String)],
) -> Result<(), (&'static str, String)> {
    let mapped = protocols.iter().find(|(it, _)| it == name).map(|(_, protocol)| protocol.as_str());
    match mapped.unwrap_or(name) {
        "PLAINTEXT" => Ok(()),
        protocol @ ("SSL" | "SASL_PLAINTEXT" | "SASL_SSL") => Err((
            "listeners",
            format!(
                "{name} asks for {protocol}: only PLAINTEXT is supported yet, and it would let \
                 everyone in"
            ),
        )),
        _ => Err((
            "listener.security.protocol.map",
            format!("listener {name} has no security protocol: add {name}:PLAINTEXT"),
        )),
    }
}

fn is_every_address(host: &str) -> bool {
    host.parse::<IpAddr>().is_ok_and(|it| it.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::{ListenerSettings, address, listeners};

    fn shown(settings: ListenerSettings<'_>) -> Result<String, (&'static str, String)> {
        let host =
            |it: &super::Address| format!("{}:{}", it.host.as_deref().unwrap_or("*"), it.port);
        let line = |it: &super::Listener| {
            format!("{} {} {}", it.name, host(&it.bind), host(&it.advertised))
        };
        Ok(listeners(settings)?.iter().map(line).collect::<Vec<_>>().join("; "))
    }

    #[track_caller]
    fn check(listeners: &str, advertised: &str, want: Result<&str, &str>) {
        let found =
            shown(ListenerSettings { listeners, advertised, ..ListenerSettings::default() });
        assert_eq!(found.as_deref().map_err(|(key, _)| *key), want, "{found:?}");
    }

    #[test]
    fn listeners_and_what_they_advertise() {
        check("PLAINTEXT://:9092", "", Ok("PLAINTEXT *:9092 *:9092"));
        check("plaintext://0.0.0.0:9092", "", Ok("PLAINTEXT 0.0.0.0:9092 *:9092"));
        check("PLAINTEXT://[::1]:9092", "", Ok("PLAINTEXT ::1:9092 ::1:9092"));
        check("PLAINTEXT://[::]:9092", "", Ok("PLAINTEXT :::9092 *:9092"));
        check("PLAINTEXT://[0::0]:9092", "", Ok("PLAINTEXT 0::0:9092 *:9092"));
        check("PLAINTEXT://:1", "PLAINTEXT://a.b:7", Ok("PLAINTEXT *:1 a.b:7"));
        check("PLAINTEXT://:0", "", Err("listeners"));
        check("PLAINTEXT://:0", "PLAINTEXT://a.b:7", Err("listeners"));
        check("PLAINTEXT://:9092", "PLAINTEXT://a.b:0", Err("advertised.listeners"));
        check("PLAINTEXT://:9092", "PLAINTEXT://0.0.0.0:9092", Err("advertised.listeners"));
        check("PLAINTEXT://:9092", "PLAINTEXT://[::]:9092", Err("advertised.listeners"));
        check("PLAINTEXT://:9092", "OTHER://a:1", Err("advertised.listeners"));
        check("PLAINTEXT://:9092,PLAINTEXT://:9093", "", Err("listeners"));
        check("", "", Err("listeners"));
        check("PLAINTEXT:9092", "", Err("listeners"));
        check("PLAINTEXT://:99999", "", Err("listeners"));
        check("SSL://:9092", "", Err("listeners"));
        check("CLIENT://:9092", "", Err("listener.security.protocol.map"));
    }

    #[test]
    fn names_map_to_protocols_and_controllers_are_left_out() {
        let settings = ListenerSettings {
            listeners: "INSIDE://h:1, OUTSIDE://h:2, CONTROLLER://:9093",
            advertised: "OUTSIDE://public:2, CONTROLLER://localhost:9093",
            protocols: "INSIDE:PLAINTEXT,OUTSIDE:plaintext,SSL:SSL",
            controllers: "CONTROLLER",
        };
        assert_eq!(shown(settings), Ok("INSIDE h:1 h:1; OUTSIDE h:2 public:2".to_owned()));
        let clash = ListenerSettings {
            listeners: "INSIDE://h:1, OUTSIDE://h:1",
            advertised: "",
            ..settings
        };
        assert!(shown(clash).is_err_and(|(key, _)| key == "listeners"));
        let secret = ListenerSettings { protocols: "INSIDE:SASL_SSL", ..settings };
        assert!(shown(secret).is_err_and(|(_, message)| message.contains("SASL_SSL")));
    }

    #[test]
    fn addresses() {
        let host = |text| address(text).map(|it| (it.host.map(|it| it.to_string()), it.port));
        assert_eq!(host("127.0.0.1:9644"), Some((Some("127.0.0.1".into()), 9_644)));
        assert_eq!(host(":80"), Some((None, 80)));
        assert_eq!(host("::1:80"), None);
        assert_eq!(host("[a]:80"), None);
        assert_eq!(host("a b:80"), None);
        assert_eq!(host("a:+8"), None);
        assert_eq!(host("a"), None);
    }
}
