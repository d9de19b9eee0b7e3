//! Why a northbound database was not read.

use crate::file::ReadError;

/// Why a northbound database was not imported. Nothing of it was.
#[derive(Debug, thiserror::Error)]
pub enum OvnError {
    /// The file could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The database server could not be asked.
    #[error(transparent)]
    Fetch(#[from] super::fetch::FetchError),
    /// The bytes are not what `ovsdb-client -f json dump` prints.
    #[error(
        "line {line}, column {column}: {problem}; expected the output of \
         `ovsdb-client -f json dump SERVER OVN_Northbound`"
    )]
    Json {
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
        /// What is wrong.
        problem: String,
    },
    /// A table is not as it should be.
    #[error("table {table}: {problem}")]
    Table {
        /// The table.
        table: String,
        /// What is wrong and what was expected.
        problem: String,
    },
    /// A row is not as it should be.
    #[error("table {table}, row {row}, column {column}: {problem}")]
    Row {
        /// The table.
        table: String,
        /// The name of the row, or its UUID.
        row: String,
        /// The column.
        column: String,
        /// What is wrong and what was expected.
        problem: String,
    },
    /// The input has none of the tables of a northbound database.
    #[error(
        "there is no table {missing}: is this a dump of the database OVN_Northbound? (found \
         {found})"
    )]
    NotNorthbound {
        /// A table that every northbound database has.
        missing: &'static str,
        /// The tables that are there.
        found: String,
    },
    /// There are more hosts than addresses to give them.
    #[error(
        "{hosts} hosts need tunnel endpoints and {subnet} has {addresses}: give a larger subnet"
    )]
    VtepSubnet {
        /// How many hosts there are.
        hosts: usize,
        /// The subnet.
        subnet: ipnet::IpNet,
        /// How many hosts it has room for.
        addresses: u128,
    },
    /// An option is not what it should be.
    #[error("{0}")]
    Options(#[from] spanwire_topology::model::NameError),
}
