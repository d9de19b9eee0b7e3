//! Rows and options that nothing is made of.

use super::Context;
use std::collections::BTreeMap;

/// What rows of a table would do, for the message that they are left out.
fn purpose(table: &str) -> &'static str {
    match table {
        "Load_Balancer" | "Load_Balancer_Group" | "Load_Balancer_Health_Check" => {
            "Spanwire does not balance load"
        }
        "NAT" => "Spanwire does not translate addresses",
        "DHCP_Options" | "DHCP_Relay" => "Spanwire does not answer DHCP requests",
        "DNS" => "Spanwire does not answer DNS requests",
        "QoS" | "Meter" | "Meter_Band" | "Copp" => "Spanwire does not limit rates",
        "Logical_Router_Policy" => "Spanwire routes by destination only",
        "BFD" => "Spanwire does not watch next hops",
        "Gateway_Chassis" | "HA_Chassis" | "HA_Chassis_Group" => {
            "Spanwire routes on every host, and has no gateways"
        }
        "Forwarding_Group" | "Static_MAC_Binding" => "Spanwire learns neighbours from its ports",
        "Mirror" | "Mirror_Rule" | "Sample" | "Sample_Collector" | "Sampling_App" => {
            "Spanwire does not copy traffic"
        }
        _ => "the table is not known to the importer",
    }
}

/// Options and settings that the importer reads, or that change nothing for Spanwire.
const OPTIONS_KNOWN: [(&str, &[&str]); 4] = [
    ("Logical_Switch_Port", &["requested-chassis", "router-port", "vif-plug-type"]),
    ("Logical_Switch", &["subnet", "ipv6_prefix", "exclude_ips", "mac_only"]),
    (
        "Logical_Router",
        &["always_learn_from_arp_request", "dynamic_neigh_routers", "mac_binding_age_threshold"],
    ),
    ("Logical_Router_Port", &["gateway_mtu_bypass"]),
];

/// Lists the rows of tables that nothing is made of, and notes the options that are passed over.
pub(super) fn list(context: &mut Context<'_>) {
    let nb = context.nb;
    for other in &nb.others {
        context.out.unsupported(&other.table, &other.row, "the row", purpose(&other.table));
    }
    if nb.global_options.get("default_acl_drop").is_some_and(|value| value == "true") {
        context.out.unsupported(
            "NB_Global",
            "options",
            "default_acl_drop=true",
            "packets that no ACL matches are allowed here: add a policy with default actions",
        );
    }
    let mut passed_over: BTreeMap<(&str, &str), Vec<String>> = BTreeMap::new();
    let ports = nb.switch_ports.iter().map(|p| ("Logical_Switch_Port", &p.name, &p.options));
    let switches = nb.switches.iter().map(|s| ("Logical_Switch", &s.name, &s.other_config));
    let routers = nb.routers.iter().map(|r| ("Logical_Router", &r.name, &r.options));
    let router_ports = nb.router_ports.iter().map(|p| ("Logical_Router_Port", &p.name, &p.options));
    for (table, row, options) in ports.chain(switches).chain(routers).chain(router_ports) {
        let known =
            OPTIONS_KNOWN.iter().find(|(known, _)| *known == table).map_or(&[][..], |k| k.1);
        for option in options.keys().filter(|option| !known.contains(&option.as_str())) {
            passed_over.entry((table, option)).or_default().push(row.clone());
        }
    }
    for ((table, option), rows) in passed_over {
        let text = format!("option {option} has no counterpart: {}", super::some_of(&rows));
        context.out.note(table, "", text);
    }
}
