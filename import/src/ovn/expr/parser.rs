//! From tokens to an expression.

use super::lexer::{Token, TokenKind};
use super::{MatchError, NESTING_MAX};
use ipnet::IpNet;

/// A match as it was written.
#[derive(Debug, Clone, PartialEq)]
pub enum Expression {
    /// `1` or `0`.
    Constant(bool),
    /// A name that stands for a condition.
    Predicate(Predicate),
    /// A field against constants.
    Comparison(Comparison),
    /// `!`
    Not(Box<Expression>),
    /// `&&`
    And(Vec<Expression>),
    /// `||`
    Or(Vec<Expression>),
}

/// Names that stand for conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Predicate {
    /// IPv4 or IPv6.
    Ip,
    /// IPv4.
    Ip4,
    /// IPv6.
    Ip6,
    /// ARP.
    Arp,
    /// TCP over either.
    Tcp,
    /// UDP over either.
    Udp,
    /// SCTP over either.
    Sctp,
    /// ICMP over IPv4, or ICMPv6 over IPv6.
    Icmp,
    /// ICMP over IPv4.
    Icmp4,
    /// ICMPv6 over IPv6.
    Icmp6,
    /// IPv6 neighbour and router discovery.
    NeighborDiscovery,
}

/// Fields that are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// The logical port a packet comes from.
    InPort,
    /// The logical port a packet goes to.
    OutPort,
    /// IPv4 source.
    Ip4Source,
    /// IPv4 destination.
    Ip4Destination,
    /// IPv6 source.
    Ip6Source,
    /// IPv6 destination.
    Ip6Destination,
    /// A source port, and the number of its protocol.
    SourcePort(u8),
    /// A destination port, and the number of its protocol.
    DestinationPort(u8),
    /// ICMP type.
    Icmp4Type,
    /// ICMP code.
    Icmp4Code,
    /// ICMPv6 type.
    Icmp6Type,
    /// ICMPv6 code.
    Icmp6Code,
    /// IP protocol.
    Protocol,
    /// Ethernet type.
    EthernetType,
}

/// Comparisons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

impl Operator {
    /// The operator that holds exactly where this one does not.
    pub(super) fn negated(self) -> Operator {
        match self {
            Operator::Equal => Operator::NotEqual,
            Operator::NotEqual => Operator::Equal,
            Operator::Less => Operator::GreaterOrEqual,
            Operator::LessOrEqual => Operator::Greater,
            Operator::Greater => Operator::LessOrEqual,
            Operator::GreaterOrEqual => Operator::Less,
        }
    }

    /// The operator with its sides exchanged.
    fn mirrored(self) -> Operator {
        match self {
            Operator::Less => Operator::Greater,
            Operator::LessOrEqual => Operator::GreaterOrEqual,
            Operator::Greater => Operator::Less,
            Operator::GreaterOrEqual => Operator::LessOrEqual,
            same => same,
        }
    }

    /// -1 for `<` and `<=`, 1 for `>` and `>=`, 0 for equality.
    fn sense(self) -> i8 {
        match self {
            Operator::Less | Operator::LessOrEqual => -1,
            Operator::Greater | Operator::GreaterOrEqual => 1,
            Operator::Equal | Operator::NotEqual => 0,
        }
    }
}

/// A constant.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A number, with a mask if it has one.
    Number(u128, Option<u128>),
    /// An address or a block, without host bits.
    Net(IpNet),
    /// An Ethernet address.
    Ethernet,
    /// A text.
    Text(String),
    /// The addresses of an address set, or of a port group's ports.
    AddressSet(String),
    /// The ports of a port group.
    PortGroup(String),
}

/// A field against constants, any of which matches (none, for `!=`).
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// Where it stands, in bytes.
    pub at: usize,
    /// The field.
    pub field: Field,
    /// The operator.
    pub operator: Operator,
    /// The constants, at least one; exactly one unless the operator is `==` or `!=`.
    pub values: Vec<Value>,
}

fn field(name: &str) -> Option<Field> {
    Some(match name {
        "inport" => Field::InPort,
        "outport" => Field::OutPort,
        "ip4.src" => Field::Ip4Source,
        "ip4.dst" => Field::Ip4Destination,
        "ip6.src" => Field::Ip6Source,
        "ip6.dst" => Field::Ip6Destination,
        "tcp.src" => Field::SourcePort(6),
        "tcp.dst" => Field::DestinationPort(6),
        "udp.src" => Field::SourcePort(17),
        "udp.dst" => Field::DestinationPort(17),
        "sctp.src" => Field::SourcePort(132),
        "sctp.dst" => Field::DestinationPort(132),
        "icmp4.type" => Field::Icmp4Type,
        "icmp4.code" => Field::Icmp4Code,
        "icmp6.type" => Field::Icmp6Type,
        "icmp6.code" => Field::Icmp6Code,
        "ip.proto" => Field::Protocol,
        "eth.type" => Field::EthernetType,
        _ => return None,
    })
}

fn predicate(name: &str) -> Option<Predicate> {
    Some(match name {
        "ip" => Predicate::Ip,
        "ip4" => Predicate::Ip4,
        "ip6" => Predicate::Ip6,
        "arp" => Predicate::Arp,
        "tcp" => Predicate::Tcp,
        "udp" => Predicate::Udp,
        "sctp" => Predicate::Sctp,
        "icmp" => Predicate::Icmp,
        "icmp4" => Predicate::Icmp4,
        "icmp6" => Predicate::Icmp6,
        "nd" | "nd_ns" | "nd_na" | "nd_rs" | "nd_ra" => Predicate::NeighborDiscovery,
        _ => return None,
    })
}

fn operator(kind: &TokenKind) -> Option<Operator> {
    let TokenKind::Sign(sign) = kind else { return None };
    Some(match *sign {
        "==" => Operator::Equal,
        "!=" => Operator::NotEqual,
        "<" => Operator::Less,
        "<=" => Operator::LessOrEqual,
        ">" => Operator::Greater,
        ">=" => Operator::GreaterOrEqual,
        _ => return None,
    })
}

/// Parses all tokens of a match of `length` bytes.
pub(super) fn parse(tokens: &[Token], length: usize) -> Result<Expression, MatchError> {
    let mut parser = Parser { tokens, at: 0, length };
    let expression = parser.expression(0)?;
    match parser.tokens.get(parser.at) {
        None => Ok(expression),
        Some(_) => Err(parser.syntax("expected && or || or the end")),
    }
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    length: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a TokenKind> {
        self.tokens.get(self.at).map(|token| &token.kind)
    }

    fn offset(&self) -> usize {
        self.tokens.get(self.at).map_or(self.length, |token| token.at)
    }

    fn syntax(&self, problem: &str) -> MatchError {
        MatchError::Syntax { at: self.offset(), problem: problem.to_owned() }
    }

    fn take(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Some(TokenKind::Sign(found)) if *found == sign);
        self.at += usize::from(found);
        found
    }

    fn take_operator(&mut self) -> Option<Operator> {
        let found = operator(self.peek()?)?;
        self.at += 1;
        Some(found)
    }

    fn expression(&mut self, depth: usize) -> Result<Expression, MatchError> {
        if depth > NESTING_MAX {
            return Err(self.syntax("parentheses are nested too deeply"));
        }
        let mut terms = vec![self.primary(depth)?];
        let joined_by = if self.take("&&") {
            "&&"
        } else if self.take("||") {
            "||"
        } else {
            return terms.pop().ok_or_else(|| self.syntax("expected a condition"));
        };
        loop {
            terms.push(self.primary(depth)?);
            if self.take(joined_by) {
                continue;
            }
            if matches!(self.peek(), Some(TokenKind::Sign("&&" | "||"))) {
                return Err(self.syntax("&& and || must be set apart by parentheses"));
            }
            break;
        }
        Ok(if joined_by == "&&" { Expression::And(terms) } else { Expression::Or(terms) })
    }

    fn primary(&mut self, depth: usize) -> Result<Expression, MatchError> {
        if self.take("(") {
            let inner = self.expression(depth + 1)?;
            return match self.take(")") {
                true => Ok(inner),
                false => Err(self.syntax("expected )")),
            };
        }
        if self.take("!") {
            return self.negation(depth);
        }
        match self.peek() {
            Some(TokenKind::Name(name)) => self.named(name),
            Some(TokenKind::Number(value @ (0 | 1), None)) if !self.operator_follows() => {
                self.at += 1;
                Ok(Expression::Constant(*value == 1))
            }
            Some(TokenKind::Sign("{")) => self.constants_first(),
            Some(TokenKind::Sign(_)) | None => {
                Err(self.syntax("expected a field, a predicate, ! or ("))
            }
            Some(_) => self.constants_first(),
        }
    }

    fn operator_follows(&self) -> bool {
        self.tokens.get(self.at + 1).is_some_and(|token| operator(&token.kind).is_some())
    }

    fn negation(&mut self, depth: usize) -> Result<Expression, MatchError> {
        if depth >= NESTING_MAX {
            return Err(self.syntax("negations are nested too deeply"));
        }
        let start = self.at;
        let parenthesis = matches!(self.peek(), Some(TokenKind::Sign("(" | "!")));
        let operand = self.primary(depth + 1)?;
        if !parenthesis && matches!(operand, Expression::Comparison(_) | Expression::And(_)) {
            self.at = start;
            return Err(self.syntax("what ! applies to must be in parentheses"));
        }
        Ok(Expression::Not(Box::new(operand)))
    }

    fn named(&mut self, name: &str) -> Result<Expression, MatchError> {
        let at = self.offset();
        self.at += 1;
        if self.take("[") {
            return Err(MatchError::Unsupported {
                at,
                what: format!("a part of the bits of {name}"),
            });
        }
        if let Some(predicate) = predicate(name) {
            if self.take_operator().is_some() {
                let what = format!("a comparison of the predicate {name}");
                return Err(MatchError::Unsupported { at, what });
            }
            return Ok(Expression::Predicate(predicate));
        }
        let Some(field) = field(name) else {
            let what = format!("the field or predicate {name:?}");
            return Err(MatchError::Unsupported { at, what });
        };
        let operator = self
            .take_operator()
            .ok_or_else(|| self.syntax(&format!("expected ==, !=, <, <=, > or >= after {name}")))?;
        let values = self.constants(operator)?;
        Ok(Expression::Comparison(Comparison { at, field, operator, values }))
    }

    /// `80 == tcp.dst` and `1024 <= tcp.dst <= 2048`.
    fn constants_first(&mut self) -> Result<Expression, MatchError> {
        let start = self.at;
        let values = self.constants(Operator::Equal)?;
        let operator = self
            .take_operator()
            .ok_or_else(|| self.syntax("expected ==, !=, <, <=, > or >= after the constant"))?;
        if operator.sense() != 0 && values.len() != 1 {
            self.at = start;
            return Err(self.syntax("only == and != take more than one constant"));
        }
        let at = self.offset();
        let Some(TokenKind::Name(name)) = self.peek() else {
            return Err(self.syntax("expected a field"));
        };
        let field = field(name)
            .ok_or_else(|| MatchError::Unsupported { at, what: format!("the field {name:?}") })?;
        self.at += 1;
        let first = Comparison { at, field, operator: operator.mirrored(), values };
        if operator.sense() == 0 {
            return Ok(Expression::Comparison(first));
        }
        let Some(second_operator) = self.take_operator() else {
            return Ok(Expression::Comparison(first));
        };
        if second_operator.sense() != operator.sense() {
            return Err(self.syntax("both comparisons of a range must point the same way"));
        }
        let values = self.constants(second_operator)?;
        let second = Comparison { at, field, operator: second_operator, values };
        Ok(Expression::And(vec![Expression::Comparison(first), Expression::Comparison(second)]))
    }

    fn constants(&mut self, operator: Operator) -> Result<Vec<Value>, MatchError> {
        let start = self.at;
        if !self.take("{") {
            return Ok(vec![self.constant()?]);
        }
        if operator.sense() != 0 {
            self.at = start;
            return Err(self.syntax("only == and != take more than one constant"));
        }
        let mut values = Vec::new();
        loop {
            values.push(self.constant()?);
            // OVN takes the comma as an ornament.
            self.take(",");
            if self.take("}") {
                return Ok(values);
            }
        }
    }

    fn constant(&mut self) -> Result<Value, MatchError> {
        let value = match self.peek() {
            Some(TokenKind::Number(value, mask)) => Value::Number(*value, *mask),
            Some(TokenKind::Net(net)) => Value::Net(*net),
            Some(TokenKind::Ethernet) => Value::Ethernet,
            Some(TokenKind::Text(text)) => Value::Text(text.clone()),
            Some(TokenKind::AddressSet(name)) => Value::AddressSet(name.clone()),
            Some(TokenKind::PortGroup(name)) => Value::PortGroup(name.clone()),
            Some(TokenKind::Sign(_) | TokenKind::Name(_)) | None => {
                return Err(self.syntax("expected a constant"));
            }
        };
        self.at += 1;
        Ok(value)
    }
}
