//! `spanwire verdict`: whether a packet is delivered, and why.
//!
//! | Module | Subject |
//! |---|---|
//! | `question` | from words to questions |
//! | `state` | whom to ask: a controller, or the engine of some files |
//! | `text`, `json` | one answer, for people and for programs |
//! | `matrix` | every pair of some ports |
//! | `batch` | many questions from a file, with what is expected |

mod batch;
mod json;
mod matrix;
mod question;
mod state;
mod text;

use crate::cli::{Format, Global, Scope};
use crate::failure::{Failure, FailureKind};
use crate::offline::OfflineArgs;
use crate::output::{print, print_json};
use clap::{Args, ValueEnum};
use question::{Icmp, parse_end};
use spanwire_adminproto::convert::{SOURCE_PORT_DEFAULT, VerdictPacket, VerdictQuery};
use spanwire_adminproto::wire;
use spanwire_adminproto::wire::verdict_result::Result as Answered;
use spanwire_topology::engine::PacketKind;
use spanwire_topology::model::TransportProtocol;
use state::State;

/// What batches look like, for `--help`.
const BATCH_HELP: &str = "\
Lines of a batch are SOURCE DESTINATION PROTOCOL PORT [EXPECTED]:
  shop/app-0   shop/db-0  tcp   5432  allowed      # what follows # is left alone
  203.0.113.9  shop/web-0 udp   443
  shop/app-0   shop/db-0  icmp  echo  denied       # or a type, as 8, or type and code, as 3/4
PROTOCOL is tcp, udp, sctp or icmp; EXPECTED is allowed, denied or unreachable.
Each line is answered by one JSON object on a line of its own, in order.";

/// The arguments.
#[derive(Debug, Args)]
#[command(after_help = BATCH_HELP)]
pub(crate) struct VerdictArgs {
    /// Who sends: a port as NAME or PROJECT/NAME, an address, or a port with one of its addresses
    /// as NAME@ADDRESS. What looks like an address is one; write port/NAME if it is a name.
    #[arg(required_unless_present_any = ["matrix", "batch"])]
    source: Option<String>,
    /// Who receives, likewise.
    #[arg(required_unless_present_any = ["matrix", "batch"])]
    destination: Option<String>,
    #[command(flatten)]
    packet: PacketArgs,
    /// Fail with code 1 unless this is the verdict.
    #[arg(long, value_enum, value_name = "VERDICT", conflicts_with_all = ["matrix", "batch"])]
    expect: Option<Expected>,
    /// Every pair of the ports that -l, -p and -A select, as a table.
    #[arg(long, conflicts_with_all = ["source", "destination", "batch"])]
    matrix: bool,
    #[command(flatten)]
    scope: Scope,
    /// Ask what stands in a file, or - for stdin, a question a line; see below. Fails with code 1
    /// unless every answer is as expected.
    #[arg(long, value_name = "FILE|-", conflicts_with_all = ["source", "destination"])]
    batch: Option<String>,
    /// Ask the state as it was at this revision, as far back as the controller's log reaches.
    #[arg(long, value_name = "REVISION", conflicts_with = "offline")]
    at: Option<u64>,
    #[command(flatten)]
    offline: OfflineArgs,
}

/// What is sent: the first packet of a connection.
#[derive(Debug, Args)]
struct PacketArgs {
    /// TCP to this port.
    #[arg(long, value_name = "PORT", group = "packet")]
    tcp: Option<u16>,
    /// UDP to this port.
    #[arg(long, value_name = "PORT", group = "packet")]
    udp: Option<u16>,
    /// SCTP to this port.
    #[arg(long, value_name = "PORT", group = "packet")]
    sctp: Option<u16>,
    /// ICMP or ICMPv6, by the family of the addresses [default type: that of an echo request].
    #[arg(long, value_name = "TYPE[/CODE]", group = "packet", num_args = 0..=1)]
    #[arg(default_missing_value = "echo")]
    icmp: Option<Icmp>,
    /// From this port of the sender.
    #[arg(long, value_name = "PORT", default_value_t = SOURCE_PORT_DEFAULT)]
    source_port: u16,
}

/// A verdict that is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Expected {
    /// It is delivered.
    Allowed,
    /// A policy keeps it back.
    Denied,
    /// No path leads there.
    Unreachable,
}

impl Expected {
    /// The name in files and answers.
    fn as_str(self) -> &'static str {
        match self {
            Expected::Allowed => "allowed",
            Expected::Denied => "denied",
            Expected::Unreachable => "unreachable",
        }
    }

    /// What a controller answered; nothing if this release does not know it.
    fn of(answer: &wire::VerdictAnswer) -> Option<Expected> {
        use wire::verdict_answer::Verdict;
        match answer.verdict() {
            Verdict::Allowed => Some(Expected::Allowed),
            Verdict::Denied => Some(Expected::Denied),
            Verdict::Unreachable => Some(Expected::Unreachable),
            Verdict::Unspecified => None,
        }
    }
}

/// The name of a verdict.
fn verdict_name(answer: &wire::VerdictAnswer) -> &'static str {
    Expected::of(answer).map_or("unknown to this client", Expected::as_str)
}

impl PacketArgs {
    fn to_packet(&self) -> Result<VerdictPacket, Failure> {
        let transport = |protocol, port| {
            let source_port = self.source_port;
            VerdictPacket::Kind(PacketKind::Transport { protocol, source_port, port })
        };
        match self {
            PacketArgs { tcp: Some(port), .. } => Ok(transport(TransportProtocol::Tcp, *port)),
            PacketArgs { udp: Some(port), .. } => Ok(transport(TransportProtocol::Udp, *port)),
            PacketArgs { sctp: Some(port), .. } => Ok(transport(TransportProtocol::Sctp, *port)),
            PacketArgs { icmp: Some(Icmp(packet)), .. } => Ok(*packet),
            _ => Err(Failure::new(FailureKind::Usage, "nothing says what is sent")
                .remedy("add --tcp PORT, --udp PORT, --sctp PORT or --icmp")),
        }
    }

    fn is_given(&self) -> bool {
        self.tcp.or(self.udp).or(self.sctp).is_some() || self.icmp.is_some()
    }
}

/// Runs the verb.
pub(crate) async fn run(global: &Global, args: VerdictArgs) -> Result<(), Failure> {
    check(&args)?;
    if let Some(file) = &args.batch {
        let questions = batch::read(file, &args.offline, global.project.as_deref())?;
        let mut state = State::open(global, args.at, &args.offline).await?;
        return batch::run(&mut state, &questions).await;
    }
    let packet = args.packet.to_packet()?;
    if args.matrix {
        let mut state = State::open(global, args.at, &args.offline).await?;
        return matrix::run(global, &mut state, &args.scope, packet).await;
    }
    let end = |text: &Option<String>| {
        parse_end(text.as_deref().unwrap_or_default(), global.project.as_deref())
            .map_err(|problem| Failure::new(FailureKind::Usage, problem))
    };
    let query =
        VerdictQuery { source: end(&args.source)?, destination: end(&args.destination)?, packet };
    let mut state = State::open(global, args.at, &args.offline).await?;
    let (mut results, revision) = state.ask(std::slice::from_ref(&query)).await?;
    let answer = match results.pop() {
        Some(Answered::Answer(answer)) => answer,
        Some(Answered::Error(error)) => return Err(state::to_failure_of_query(&error)),
        None => return Err(Failure::refused("the controller answered nothing")),
    };
    let packet = question::to_text(packet, &answer);
    match global.output {
        Format::Table | Format::Wide => print(&text::to_text(&answer, &packet, revision, &state))?,
        Format::Json | Format::Yaml => print_json(&json::to_json(&answer, &query, revision))?,
    }
    match args.expect {
        Some(expected) if Expected::of(&answer) != Some(expected) => {
            let (found, expected) = (verdict_name(&answer), expected.as_str());
            Err(Failure::refused(format!("the packet is {found}, and {expected} was expected")))
        }
        _ => Ok(()),
    }
}

/// What clap cannot say of the arguments.
fn check(args: &VerdictArgs) -> Result<(), Failure> {
    let usage = |message: &str| Err(Failure::new(FailureKind::Usage, message));
    if !args.matrix && (args.scope.selector.is_some() || args.scope.all_projects) {
        return usage("-l and -A select the ports of --matrix, which is not there");
    }
    if args.batch.is_some() && args.packet.is_given() {
        return usage("each line of --batch says what is sent: leave --tcp and the like out");
    }
    Ok(())
}
