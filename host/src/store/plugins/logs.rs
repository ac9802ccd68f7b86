//! What plugins said: the newest thousand lines of each.

use std::collections::BTreeMap;

use sqlx::FromRow;

use super::Plugins;
use crate::model::{LogLevel, LogLine, Millis, PluginId};
use crate::store::StoreError;
use crate::store::column::{json, parsed, text, unknown};
use crate::store::pool::{Tx, on};
use crate::store::sql::statements;

statements! {
    LIST = "SELECT l.plugin_id, l.at, l.level, l.message, l.fields, l.call_id FROM plugin_logs l
        JOIN plugins p ON p.id = l.plugin_id WHERE p.owner BETWEEN $1 AND $2 AND l.plugin_id = $3
        ORDER BY l.seq DESC LIMIT $4";
    /// Makes no row when the plugin is gone.
    ADD = "INSERT INTO plugin_logs (plugin_id, at, level, message, fields, call_id)
        SELECT id, $1, $2, $3, $4, $5 FROM plugins WHERE owner BETWEEN $6 AND $7 AND id = $8";
    TRIM = "DELETE FROM plugin_logs WHERE plugin_id = $1 AND seq <= (SELECT seq FROM (SELECT seq FROM plugin_logs
        WHERE plugin_id = $2 ORDER BY seq DESC LIMIT 1 OFFSET $3) AS oldest)";
}

/// Lines kept of a plugin.
pub const MOST_LINES: u32 = 1_000;

/// Lines between two trims, on average: counting a thousand rows at every line would cost more than the line.
const TRIM_EVERY: usize = 32;

impl Plugins<'_> {
    /// What a plugin said, newest first; at most [`MOST_LINES`].
    pub async fn logs(&self, plugin: &PluginId, limit: u32) -> Result<Vec<LogLine>, StoreError> {
        let ((low, high), limit) = (self.1.owners(), i64::from(limit.min(MOST_LINES)));
        let rows: Vec<LineRow> = on!(self.0.readers(), |db, q| {
            sqlx::query_as(q(LIST)).bind(low).bind(high).bind(plugin).bind(limit).fetch_all(db).await?
        });
        rows.into_iter().map(LineRow::into_line).collect()
    }

    /// Adds lines; those of a plugin that is gone are left out.
    pub async fn log(&self, lines: &[LogLine]) -> Result<(), StoreError> {
        if lines.is_empty() {
            return Ok(());
        }
        let (owners, lines) = (self.1.owners(), lines.to_vec());
        let work = self.0.write(move |tx| Box::pin(async move { add(tx, owners, &lines).await }));
        work.await
    }
}

/// Adds lines, and from time to time takes away those that are too old.
pub(in crate::store) async fn add(tx: &mut Tx, (low, high): (i64, i64), lines: &[LogLine]) -> Result<(), StoreError> {
    let mut added = BTreeMap::<&PluginId, usize>::new();
    on!(tx, |db, q| {
        for line in lines {
            let add = sqlx::query(q(ADD)).bind(line.at).bind(line.level.name()).bind(text(&line.message));
            let add = add.bind(json(&line.fields)?).bind(text(&line.call)).bind(low).bind(high).bind(&line.plugin);
            add.execute(&mut *db).await?;
            *added.entry(&line.plugin).or_default() += 1;
        }
        for (plugin, lines) in added {
            if rand::random_range(0..TRIM_EVERY) < lines {
                let trim = sqlx::query(q(TRIM)).bind(plugin).bind(plugin).bind(i64::from(MOST_LINES));
                trim.execute(&mut *db).await?;
            }
        }
    });
    Ok(())
}

#[derive(FromRow)]
struct LineRow {
    plugin_id: PluginId,
    at: Millis,
    level: String,
    message: String,
    fields: String,
    call_id: String,
}

impl LineRow {
    fn into_line(self) -> Result<LogLine, StoreError> {
        let Self { plugin_id: plugin, at, level, message, fields, call_id: call } = self;
        let level = LogLevel::named(&level).ok_or_else(|| unknown("log level", &level))?;
        Ok(LogLine { plugin, at, level, message, fields: parsed(&fields)?, call })
    }
}
