//! The portable dump: lines of JSON in UTF-8, one file.
//!
//! ```text
//! {"format":"wagate-dump","version":1,"wagate":"0.1.0","schema":4,"engine":"sqlite","taken_at":1700000000000}
//! {"table":"users","columns":[["id","integer"],["username","text"],…],"next":3}
//! [1,"admin",…]                          a row: its columns in this order, bytes in base64, null for none
//! {"table":"settings",…}                 every table of the schema, empty ones too, parents before their children
//! {"end":{"users":1,…},"keys":["0a1b2c3d"]}  rows by table, and the ids of the master keys the sealed values need
//! {"sha256":"…"}                         of every byte above
//! ```
//!
//! `next` is the number a table would have given to its next row. Rows are written and read one by one, so neither
//! direction needs more memory than the longest of them.
//!
//! Invariant: a dump that differs in one byte from what was written is refused, and so is one that ends early.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};
use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, BufWriter};

use super::rows::{Row, Value};
use super::schema::{Column, Kind, Schema, Table};
use super::sealed::Sealed;
use super::{BackupError, Contents, Sink};
use crate::model::Millis;
use crate::store::dialect;

/// How every dump begins.
pub(super) const MAGIC: &[u8] = b"{\"format\":\"wagate-dump\",";

const FORMAT: &str = "wagate-dump";
const VERSION: u32 = 1;

/// What is read and written at once, bytes.
const BUFFER: usize = 1 << 20;

/// Longest line there can be, bytes: a row of any engine is shorter. Keeps a file that is no dump out of memory.
const LONGEST: u64 = 1 << 30;

const CHECKSUM: &[u8] = b"{\"sha256\":\"";

#[derive(Serialize, Deserialize)]
struct Header {
    format: String,
    version: u32,
    wagate: String,
    schema: i64,
    engine: String,
    taken_at: Millis,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TableLine {
    table: String,
    columns: Vec<(String, Kind)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next: Option<i64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EndLine {
    end: BTreeMap<String, u64>,
    keys: BTreeSet<String>,
}

/// Writes a dump.
pub(super) struct Writer {
    file: BufWriter<File>,
    path: PathBuf,
    digest: Sha256,
    line: Vec<u8>,
    sealed: Option<Sealed>,
    contents: Contents,
}

impl Writer {
    /// Begins in this file, which exists and is empty.
    pub(super) async fn begin(path: &Path, schema: &Schema, engine: &str, now: Millis) -> Result<Self, BackupError> {
        let file = OpenOptions::new().write(true).open(path).await.map_err(|error| BackupError::file(path, &error))?;
        let mut writer = Self {
            file: BufWriter::with_capacity(BUFFER, file),
            path: path.to_owned(),
            digest: Sha256::new(),
            line: Vec::new(),
            sealed: None,
            contents: Contents { schema: schema.version, ..Contents::default() },
        };
        let header = Header {
            format: FORMAT.to_owned(),
            version: VERSION,
            wagate: env!("CARGO_PKG_VERSION").to_owned(),
            schema: schema.version,
            engine: engine.to_owned(),
            taken_at: now,
        };
        writer.put_json(&header).await?;
        Ok(writer)
    }

    /// Ends the dump. It is not on disk yet.
    pub(super) async fn finish(mut self) -> Result<Contents, BackupError> {
        self.put_json(&EndLine { end: self.contents.tables.clone(), keys: self.contents.keys.clone() }).await?;
        self.line = checksum(&self.digest);
        self.put().await?;
        self.file.flush().await.map_err(|error| BackupError::file(&self.path, &error))?;
        Ok(self.contents)
    }

    async fn put_json<T: Serialize>(&mut self, value: &T) -> Result<(), BackupError> {
        self.line = serde_json::to_vec(value).map_err(|error| BackupError::file(&self.path, &error))?;
        self.line.push(b'\n');
        self.put().await
    }

    async fn put(&mut self) -> Result<(), BackupError> {
        self.digest.update(&self.line);
        self.file.write_all(&self.line).await.map_err(|error| BackupError::file(&self.path, &error))
    }
}

impl Sink for Writer {
    async fn table(&mut self, table: &Table, next: Option<i64>) -> Result<(), BackupError> {
        self.sealed = Sealed::of(table);
        self.contents.tables.insert(table.name.clone(), 0);
        let columns = table.columns.iter().map(|column| (column.name.clone(), column.kind)).collect();
        self.put_json(&TableLine { table: table.name.clone(), columns, next }).await
    }

    async fn row(&mut self, table: &Table, row: Row) -> Result<(), BackupError> {
        let key = self.sealed.as_ref().and_then(|sealed| sealed.key(&row));
        self.contents.keys.extend(key.map(|key| key.to_string()));
        if let Some(rows) = self.contents.tables.get_mut(&table.name) {
            *rows += 1;
        }
        encode(&mut self.line, &row).map_err(|error| BackupError::file(&self.path, &error))?;
        self.put().await
    }

    async fn end(&mut self, _table: &Table) -> Result<(), BackupError> {
        Ok(())
    }
}

/// Reads a dump.
pub(super) struct Reader {
    file: BufReader<File>,
    path: PathBuf,
    digest: Sha256,
    line: Vec<u8>,
    /// The number of the line, from 1.
    number: u64,
    schema: Schema,
}

/// Where a reader is.
#[derive(Default)]
struct Progress<'a> {
    table: Option<&'a Table>,
    tables: BTreeMap<String, u64>,
    end: Option<EndLine>,
}

impl Reader {
    /// Opens a dump and reads its first line.
    pub(super) async fn open(path: &Path) -> Result<Self, BackupError> {
        let file = File::open(path).await.map_err(|error| BackupError::file(path, &error))?;
        let mut reader = Self {
            file: BufReader::with_capacity(BUFFER, file),
            path: path.to_owned(),
            digest: Sha256::new(),
            line: Vec::new(),
            number: 0,
            schema: Schema { version: 0, tables: Vec::new() },
        };
        reader.advance().await?;
        reader.digest.update(&reader.line);
        let header: Header = reader.parsed()?;
        if header.format != FORMAT || header.version != VERSION {
            return Err(reader.wrong("this wagate does not know its format; restore it with the wagate that made it"));
        }
        let known = dialect::newest();
        if header.schema > known {
            let path = path.display().to_string();
            return Err(BackupError::Newer { path, found: header.schema, known });
        }
        reader.schema = Schema::of(header.schema).await?;
        Ok(reader)
    }

    /// The newest migration of its schema.
    pub(super) fn version(&self) -> i64 {
        self.schema.version
    }

    /// Gives every row to `sink`, and checks the whole file on the way.
    pub(super) async fn pour(mut self, sink: &mut impl Sink) -> Result<Contents, BackupError> {
        let schema = std::mem::replace(&mut self.schema, Schema { version: 0, tables: Vec::new() });
        let mut progress = Progress::default();
        loop {
            self.advance().await?;
            if self.line.starts_with(CHECKSUM) {
                break;
            }
            self.digest.update(&self.line);
            if progress.end.is_some() {
                return Err(self.wrong("there is a line behind the last one"));
            } else if self.line.starts_with(b"[") {
                self.row(&mut progress, sink).await?;
            } else if self.line.starts_with(b"{\"table\":") {
                self.table(&mut progress, &schema, sink).await?;
            } else {
                self.end(&mut progress, &schema, sink).await?;
            }
        }
        let Some(end) = progress.end else { return Err(self.wrong("it ends early")) };
        if self.line != checksum(&self.digest) {
            return Err(self.wrong("its checksum does not fit: some of it was changed"));
        }
        let rest = self.file.fill_buf().await.map_err(|error| BackupError::file(&self.path, &error))?;
        if !rest.is_empty() {
            return Err(self.wrong("something was added behind its end"));
        }
        Ok(Contents { schema: schema.version, tables: progress.tables, keys: end.keys })
    }

    async fn table<'a>(
        &self,
        progress: &mut Progress<'a>,
        schema: &'a Schema,
        sink: &mut impl Sink,
    ) -> Result<(), BackupError> {
        if let Some(before) = progress.table.take() {
            sink.end(before).await?;
        }
        let line: TableLine = self.parsed()?;
        let Some(table) = schema.table(&line.table) else {
            return Err(self.wrong("the schema has no such table"));
        };
        let as_written =
            |(column, written): (&Column, &(String, Kind))| column.name == written.0 && column.kind == written.1;
        let same = table.columns.len() == line.columns.len()
            && table.columns.iter().zip(&line.columns).all(as_written)
            && table.numbered.is_some() == line.next.is_some();
        if !same || progress.tables.insert(line.table, 0).is_some() {
            return Err(self.wrong("the table is not as the schema has it"));
        }
        progress.table = Some(table);
        sink.table(table, line.next).await
    }

    async fn row(&self, progress: &mut Progress<'_>, sink: &mut impl Sink) -> Result<(), BackupError> {
        let Some(table) = progress.table else { return Err(self.wrong("a row without a table")) };
        let values: Vec<Json> = self.parsed()?;
        let Some(row) = decode(values, &table.columns) else {
            return Err(self.wrong("a row that does not fit its table"));
        };
        if let Some(rows) = progress.tables.get_mut(&table.name) {
            *rows += 1;
        }
        sink.row(table, row).await
    }

    async fn end(&self, progress: &mut Progress<'_>, schema: &Schema, sink: &mut impl Sink) -> Result<(), BackupError> {
        if let Some(before) = progress.table.take() {
            sink.end(before).await?;
        }
        let end: EndLine = self.parsed()?;
        if progress.tables.len() != schema.tables.len() || end.end != progress.tables {
            return Err(self.wrong("tables or rows are missing"));
        }
        progress.end = Some(end);
        Ok(())
    }

    /// Reads the next line, with its end.
    async fn advance(&mut self) -> Result<(), BackupError> {
        self.line.clear();
        self.number += 1;
        let read = (&mut self.file).take(LONGEST).read_until(b'\n', &mut self.line).await;
        read.map_err(|error| BackupError::file(&self.path, &error))?;
        if self.line.last() == Some(&b'\n') { Ok(()) } else { Err(self.wrong("it ends early")) }
    }

    fn parsed<'a, T: Deserialize<'a>>(&'a self) -> Result<T, BackupError> {
        serde_json::from_slice(&self.line).map_err(|error| self.wrong(&error.to_string()))
    }

    fn wrong(&self, reason: &str) -> BackupError {
        BackupError::damaged(&self.path, &format!("line {}: {reason}", self.number))
    }
}

fn checksum(digest: &Sha256) -> Vec<u8> {
    format!("{{\"sha256\":\"{}\"}}\n", hex(&digest.clone().finalize())).into_bytes()
}

/// Bytes as hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

/// A row as its line.
fn encode(line: &mut Vec<u8>, row: &[Value]) -> serde_json::Result<()> {
    line.clear();
    line.push(b'[');
    for (at, value) in row.iter().enumerate() {
        if at > 0 {
            line.push(b',');
        }
        match value {
            Value::Null => line.extend_from_slice(b"null"),
            Value::Integer(number) => serde_json::to_writer(&mut *line, number)?,
            Value::Flag(flag) => serde_json::to_writer(&mut *line, flag)?,
            Value::Text(text) => serde_json::to_writer(&mut *line, text)?,
            Value::Bytes(bytes) => serde_json::to_writer(&mut *line, &STANDARD.encode(bytes))?,
        }
    }
    line.extend_from_slice(b"]\n");
    Ok(())
}

/// A row as its line has it; `None` when it does not fit these columns.
fn decode(values: Vec<Json>, columns: &[Column]) -> Option<Row> {
    if values.len() != columns.len() {
        return None;
    }
    let fits = |(value, column): (Json, &Column)| {
        Some(match (column.kind, value) {
            (_, Json::Null) => Value::Null,
            (Kind::Integer, Json::Number(number)) => Value::Integer(number.as_i64()?),
            (Kind::Flag, Json::Bool(flag)) => Value::Flag(flag),
            (Kind::Text, Json::String(text)) => Value::Text(text),
            (Kind::Bytes, Json::String(text)) => Value::Bytes(STANDARD.decode(text).ok()?),
            _ => return None,
        })
    };
    values.into_iter().zip(columns).map(fits).collect()
}

#[cfg(test)]
mod tests;
