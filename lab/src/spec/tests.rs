use super::*;
use spanwire_topology::model::{Labels, RouterInterface};

fn resource(project: &str, name: &str, spec: Spec) -> Resource {
    Resource::new(project, name, Labels::new(), spec)
}

fn host(name: &str, vtep: Option<&str>) -> Resource {
    resource("system", name, Spec::Host(HostSpec { vtep: vtep.map(|it| it.parse().unwrap()) }))
}

fn port(
    name: &str,
    addresses: &[&str],
    host: Option<&str>,
    attachment: PortAttachment,
) -> Resource {
    let addresses = addresses.iter().map(|it| it.parse().unwrap()).collect();
    let spec = LogicalPortSpec {
        switch: ObjectRef::new("t", "web"),
        mac: "0a:58:0a:00:00:07".parse().unwrap(),
        addresses,
        host: host.map(Into::into),
        attachment,
        port_security: true,
    };
    resource("t", name, Spec::LogicalPort(spec))
}

/// Switch `web` with a router, two hosts on the underlay.
fn model() -> Vec<Resource> {
    let switch = LogicalSwitchSpec {
        subnets: vec!["10.0.0.0/24".parse().unwrap(), "fd00::/64".parse().unwrap()],
    };
    let interface = RouterInterface {
        switch: ObjectRef::new("t", "web"),
        addresses: vec!["fd00::1".parse().unwrap(), "10.0.0.1".parse().unwrap()],
    };
    let router = LogicalRouterSpec { interfaces: vec![interface], ..Default::default() };
    vec![
        host("h1", Some("198.18.0.1")),
        host("h2", Some("198.18.0.2")),
        resource("t", "web", Spec::LogicalSwitch(switch)),
        resource("t", "edge", Spec::LogicalRouter(router)),
    ]
}

#[test]
fn a_model_becomes_a_lab() {
    let mut model = model();
    model.extend([
        port("both", &["10.0.0.7", "fd00::7"], Some("h1"), PortAttachment::Derived),
        port("named", &["10.9.9.9"], Some("h2"), PortAttachment::Interface("tap0".into())),
        port("itself", &["10.0.0.8"], Some("h2"), PortAttachment::HostStack),
        port("nowhere", &["10.0.0.9"], None, PortAttachment::Derived),
        port("elsewhere", &["10.0.0.10"], Some("h3"), PortAttachment::Derived),
    ]);
    let lab = LabSpec::from_resources("demo", &model, |_| true).unwrap();

    let workload = |name: &str, host: &str, device: String, addresses: &[&str]| LabWorkload {
        key: WorkloadKey::new("t", name),
        host: host.to_owned(),
        device,
        mac: "0a:58:0a:00:00:07".parse().unwrap(),
        addresses: addresses.iter().map(|it| it.parse().unwrap()).collect(),
        gateway_v4: Some("10.0.0.1".parse().unwrap()),
    };
    let expected = LabSpec {
        name: "demo".to_owned(),
        underlay: "198.18.0.0/24".parse().unwrap(),
        mtu: 1600,
        hosts: vec![
            LabHost { name: "h1".to_owned(), vtep: "198.18.0.1".parse().unwrap() },
            LabHost { name: "h2".to_owned(), vtep: "198.18.0.2".parse().unwrap() },
        ],
        workloads: vec![
            workload(
                "both",
                "h1",
                derived_device_name("t", "both"),
                &["10.0.0.7/24", "fd00::7/64"],
            ),
            workload("named", "h2", "tap0".to_owned(), &["10.9.9.9/32"]),
        ],
    };
    assert_eq!(lab, expected);
    assert_eq!(lab.fabric_address(), Some("198.18.0.254".parse().unwrap()));
    assert_eq!(lab.workload_mtu(), 1500);

    let json = serde_json::to_string(&lab).unwrap();
    assert_eq!(serde_json::from_str::<LabSpec>(&json).unwrap(), lab);
    let key = WorkloadKey::new("t", "named");
    assert_eq!(LabSpec::workload_from_resources(&model, &key), Some(lab.workloads[1].clone()));
}

#[test]
fn hosts_are_chosen_and_the_underlay_is_as_wide_as_it_must_be() {
    let mut model = model();
    model.push(host("h3", Some("198.18.3.1")));
    let underlay = |chosen: &dyn Fn(&str) -> bool| {
        LabSpec::from_resources("demo", &model, chosen).unwrap().underlay.to_string()
    };
    assert_eq!(underlay(&|_| true), "198.18.0.0/22");
    assert_eq!(underlay(&|host| host != "h3"), "198.18.0.0/24");
    assert_eq!(underlay(&|host| host == "h3"), "198.18.3.0/24");
}

#[test]
fn hosts_without_a_tunnel_endpoint_get_one_that_is_free() {
    let mut model = vec![host("b", None), host("a", None), host("c", Some("198.18.0.1"))];
    let error = LabSpec::from_resources("demo", &model, |_| true).unwrap_err().to_string();
    assert_eq!(
        error,
        "lab \"demo\": host a has no tunnel endpoint: give it one (spec.vtep), as 198.18.0.1"
    );
    assign_vteps(&mut model, DEFAULT_UNDERLAY).unwrap();
    let lab = LabSpec::from_resources("demo", &model, |_| true).unwrap();
    let vteps: Vec<String> = lab.hosts.iter().map(|host| host.vtep.to_string()).collect();
    assert_eq!(vteps, ["198.18.0.2", "198.18.0.3", "198.18.0.1"]);

    let mut many: Vec<Resource> = (0..6).map(|i| host(&format!("h{i}"), None)).collect();
    assert!(assign_vteps(&mut many, "198.18.0.0/29".parse().unwrap()).is_err());
    assert!(assign_vteps(&mut many[..5], "198.18.0.0/29".parse().unwrap()).is_ok());
}

/// Each case breaks one rule of a good spec.
#[test]
fn rules_are_checked() {
    let mut model = model();
    model.push(port("one", &["10.0.0.7"], Some("h1"), PortAttachment::Derived));
    let good = LabSpec::from_resources("demo", &model, |_| true).unwrap();
    let check = |expected: &str, change: fn(&mut LabSpec)| {
        let mut spec = good.clone();
        change(&mut spec);
        let error = spec.check().expect_err(expected).to_string();
        assert!(error.contains(expected), "{error:?} does not say {expected:?}");
    };
    good.check().unwrap();
    check("bad name", |spec| spec.name = "a-b".to_owned());
    check("bad name", |spec| spec.name = String::new());
    check("bad name", |spec| spec.name = "x".repeat(LAB_NAME_MAX + 1));
    check("MTU", |spec| spec.mtu = UNDERLAY_MTU_MIN - 1);
    check("0 hosts", |spec| spec.hosts.clear());
    check("host h1 is there twice", |spec| spec.hosts.push(spec.hosts[0].clone()));
    check("both have the tunnel endpoint", |spec| spec.hosts[1].vtep = spec.hosts[0].vtep);
    check("no host address", |spec| spec.hosts[0].vtep = Ipv4Addr::new(10, 0, 0, 1));
    check("no host address", |spec| spec.hosts[0].vtep = Ipv4Addr::new(198, 18, 0, 255));
    check("host name", |spec| spec.hosts[0].name = "a/b".to_owned());
    check("is too long", |spec| spec.hosts[0].name = "x".repeat(250));
    check("no address left", |spec| spec.underlay = "198.18.0.0/30".parse().unwrap());
    check("which is not here", |spec| spec.workloads[0].host = "h9".to_owned());
    check("is there twice", |spec| spec.workloads.push(spec.workloads[0].clone()));
    check("are both behind device", |spec| {
        let mut other = spec.workloads[0].clone();
        other.key.name = "two".to_owned();
        spec.workloads.push(other);
    });
    for device in ["", "lo", "underlay", "a b", "-x", "a/b", "sixteen-bytes-xx"] {
        let mut spec = good.clone();
        spec.workloads[0].device = device.to_owned();
        assert!(spec.check().is_err(), "{device:?}");
    }
}
