use super::*;
use std::io::Write;

/// Loads a file with this text.
fn load(text: &str) -> Result<Config, String> {
    load_with(text, ConfigLayer::default())
}

fn load_with(text: &str, flags: ConfigLayer) -> Result<Config, String> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let path = file.path().to_owned();
    Config::load(Some(&path), flags)
        .map_err(|error| error.to_string().replace(&path.display().to_string(), "FILE"))
}

#[test]
fn a_file_says_everything() {
    let config = load(
        r#"
        host = "host-01"
        controllers = ["198.18.0.254", "b.example:1", "[2001:db8::1]:6690", "198.18.0.254:6690"]
        state_dir = "/tmp/x"
        datapath = "record"
        forwarding = "none"
        vtep = "198.18.0.1"
        underlay_mtu = 1600
        vxlan_port = 8472
        table = "other"
        nft_program = "/opt/nft"
        audit_seconds = 7
        "#,
    )
    .unwrap();
    let expected = Config {
        host: "host-01".to_owned(),
        controllers: vec![
            "198.18.0.254:6690".to_owned(),
            "[2001:db8::1]:6690".to_owned(),
            "b.example:1".to_owned(),
        ],
        state_dir: "/tmp/x".into(),
        datapath: DatapathKind::Record,
        forwarding: ForwardingMode::None,
        vtep: Some("198.18.0.1".parse().unwrap()),
        underlay_mtu: Some(1600),
        vxlan_port: 8472,
        table: "other".to_owned(),
        nft_program: "/opt/nft".into(),
        audit_interval: Duration::from_secs(7),
        timing: Timing::default(),
    };
    assert_eq!(config, expected);
}

#[test]
fn flags_win_over_the_file_and_defaults_fill_the_rest() {
    let flags = ConfigLayer {
        host: Some("flag".to_owned()),
        controllers: vec!["198.18.0.9:1".to_owned()],
        ..ConfigLayer::default()
    };
    let text = "host = \"file\"\ncontrollers = [\"198.18.0.1\"]\ntable = \"t\"\n";
    let config = load_with(text, flags.clone()).unwrap();
    assert_eq!((config.host.as_str(), config.table.as_str()), ("flag", "t"));
    assert_eq!(config.controllers, ["198.18.0.9:1"]);
    let config = Config::load(None, flags).unwrap();
    assert_eq!(config.state_dir, Path::new("/var/lib/spanwire/agent"));
    assert_eq!(config.datapath, DatapathKind::Linux);
    assert_eq!(config.to_linux_config().controllers, ["198.18.0.9:1".parse().unwrap()]);
}

/// Each case: a file, and what the error must say, the line included.
#[test]
fn errors_name_the_line_and_the_field() {
    let good = "controllers = [\"198.18.0.1\"]\n";
    let cases = [
        ("host = \"a/b\"", "FILE:2: host: host name \"a/b\" has '/' at byte 1"),
        ("nonsense = 1", "FILE:2: unknown field `nonsense`, expected one of `host`"),
        ("host = 7", "FILE:2: invalid type: integer `7`, expected a string"),
        ("host = ", "FILE:2: "),
        ("host = \"a\"\nhost = \"b\"", "FILE:3: duplicate key"),
        ("datapath = \"ovs\"", "FILE:2: datapath: \"ovs\" is no driver: expected linux or record"),
        ("forwarding = \"x\"", "FILE:2: forwarding: \"x\" is no way of forwarding"),
        ("vtep = \"198.18.0.1/24\"", "FILE:2: vtep: \"198.18.0.1/24\" is no IP address"),
        ("vtep = \"::\"", "FILE:2: vtep: :: is not the address of one host"),
        ("underlay_mtu = 1379", "FILE:2: underlay_mtu: is 1379 bytes: expected 1380 to 65535"),
        ("underlay_mtu = -1", "FILE:2: invalid value"),
        ("vxlan_port = 0", "FILE:2: vxlan_port: 0 is no port"),
        ("vxlan_port = 65536", "FILE:2: invalid value"),
        ("table = \"a-b\"", "FILE:2: table: \"a-b\" is no table name"),
        ("table = \"\"", "FILE:2: table: \"\" is no table name"),
        ("audit_seconds = 0", "FILE:2: audit_seconds: is 0: expected 1 to 3600"),
    ];
    for (text, expected) in cases {
        let error = load(&format!("{good}{text}\n")).unwrap_err();
        assert!(error.starts_with(expected), "{text:?} gave {error:?}, not {expected:?}");
    }
    assert!(load("").unwrap_err().starts_with("controllers: names no controller"));
    let many = format!("controllers = {:?}", vec!["a"; CONTROLLERS_MAX + 1]);
    assert!(load(&many).unwrap_err().starts_with("FILE:1: controllers: has 65"));
    for bad in ["http://a:1", "a:0", "a:b", ":1", "a b:1", "198.18.0.1:0", "", "[::1", "a/b"] {
        let error = load(&format!("controllers = [{bad:?}]\n")).unwrap_err();
        assert!(error.starts_with("FILE:1: controllers: "), "{bad:?} gave {error:?}");
    }
}

#[test]
fn a_file_that_is_not_there_or_no_text_is_an_error() {
    let error = Config::load(Some(Path::new("/nonexistent/x.toml")), ConfigLayer::default());
    assert!(error.unwrap_err().to_string().contains("/nonexistent/x.toml"));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), [0xff, 0xfe]).unwrap();
    assert!(Config::load(Some(file.path()), ConfigLayer::default()).is_err());
    std::fs::write(file.path(), vec![b'#'; CONFIG_BYTES_MAX as usize + 1]).unwrap();
    let error = Config::load(Some(file.path()), ConfigLayer::default()).unwrap_err();
    assert!(matches!(error, ConfigError::TooLarge { .. }));
}

/// The file that is shipped is one that the agent takes.
#[test]
fn the_shipped_file_is_good() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/agent.toml");
    Config::load(Some(&path), ConfigLayer::default()).unwrap();
}
