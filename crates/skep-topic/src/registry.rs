//! The topics that this process knows, and which of their groups it reads.

use crate::declaration::{Readers, Start, Topic};
use crate::error::{DeclareError, TopicWithoutReader};
use crate::message::GroupName;
use skep_db::{Db, DbError, Tx, Value, params};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The declared topics. Cheap to clone.
#[derive(Clone, Default)]
pub struct Topics(Arc<Inner>);

#[derive(Default)]
struct Inner {
    known: BTreeMap<String, Known>,
    running: Mutex<BTreeMap<GroupName, usize>>,
}

pub(crate) struct Known {
    pub(crate) topic: Topic,
    pub(crate) schema: Option<jsonschema::Validator>,
}

impl Topics {
    /// Checks the declarations; the store is not touched before [`Topics::register`].
    ///
    /// # Errors
    /// [`DeclareError`], of which none has changed anything.
    pub fn new(declared: Vec<Topic>) -> Result<Self, DeclareError> {
        let mut known = BTreeMap::new();
        for topic in declared {
            topic.check()?;
            let schema = topic.schema.as_ref().map(|schema| {
                jsonschema::validator_for(schema).map_err(|error| DeclareError::Schema {
                    topic: topic.name.clone(),
                    reason: error.to_string(),
                })
            });
            let (name, schema) = (topic.name.clone(), schema.transpose()?);
            if known
                .insert(name.clone(), Known { topic, schema })
                .is_some()
            {
                return Err(DeclareError::Twice { topic: name });
            }
        }
        Ok(Self(Arc::new(Inner {
            known,
            running: Mutex::default(),
        })))
    }

    /// Writes down what was declared: topics, partitions, groups and where new groups start.
    /// Writes nothing where the store has it already.
    ///
    /// # Errors
    /// [`DeclareError`].
    pub async fn register(&self, db: &Db) -> Result<(), DeclareError> {
        for known in self.0.known.values() {
            let looked = known.topic.clone();
            let known_already = async move |tx: &mut Tx<'_>| is_registered(tx, &looked).await;
            if db.read("declare a topic", known_already).await? {
                continue;
            }
            let topic = known.topic.clone();
            let declare = async move |tx: &mut Tx<'_>| register(tx, &topic).await;
            db.write("declare a topic", declare).await?;
        }
        Ok(())
    }

    /// Every declared topic, by name.
    pub fn declared(&self) -> impl Iterator<Item = &Topic> {
        self.0.known.values().map(|known| &known.topic)
    }

    /// One declared topic.
    pub fn declaration(&self, topic: &str) -> Option<&Topic> {
        self.known(topic).map(|known| &known.topic)
    }

    pub(crate) fn known(&self, topic: &str) -> Option<&Known> {
        self.0.known.get(topic)
    }

    /// Says that this process reads `group`, as long as the answer lives.
    pub fn running(&self, group: GroupName) -> Running {
        let mut running = self
            .0
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *running.entry(group.clone()).or_default() += 1;
        Running {
            topics: self.clone(),
            group,
        }
    }

    /// Fails unless every group that is to be read in this process is being read. Called when all
    /// readers were started, before work is taken.
    ///
    /// # Errors
    /// [`TopicWithoutReader`] with every group that has none.
    pub fn check_readers(&self) -> Result<(), TopicWithoutReader> {
        let running = self
            .0
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut without = Vec::new();
        for topic in self.declared() {
            let Readers::Running(groups) = &topic.readers else {
                continue;
            };
            if groups.is_empty() {
                without.push(topic.name.clone());
            }
            let names = groups
                .iter()
                .map(|group| GroupName::new(&topic.name, &group.name));
            without.extend(
                names
                    .filter(|name| !running.contains_key(name))
                    .map(|name| name.to_string()),
            );
        }
        if without.is_empty() {
            Ok(())
        } else {
            Err(TopicWithoutReader { groups: without })
        }
    }
}

/// A reader that runs in this process.
pub struct Running {
    topics: Topics,
    group: GroupName,
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut running = self
            .topics
            .0
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = running.get_mut(&self.group) {
            *count -= 1;
            if *count == 0 {
                running.remove(&self.group);
            }
        }
    }
}

/// Whether the store has the topic and its groups as they are declared.
async fn is_registered(tx: &mut Tx<'_>, topic: &Topic) -> Result<bool, DbError> {
    let sql = "SELECT partitions, readers, retention_ms, retention_bytes, payload_bytes_max,
            silent_after_ms FROM topic WHERE name = ?1";
    let Some(row) = tx.query_opt(sql, params![&topic.name]).await? else {
        return Ok(false);
    };
    let declared: &[Value] = params![
        topic.partitions,
        topic.readers.as_str(),
        topic.retention_ms,
        topic.retention_bytes,
        i64::try_from(topic.payload_bytes_max).unwrap_or(i64::MAX),
        topic.silent_after_ms,
    ];
    if row.values() != declared {
        return Ok(false);
    }
    let sql = "SELECT tries_max, silent_after_ms FROM topic_group WHERE topic = ?1 AND name = ?2";
    for group in topic.readers.groups() {
        let found = tx.query_opt(sql, params![&topic.name, &group.name]).await?;
        let declared: &[Value] = params![group.tries_max, topic.silent_after_ms];
        if found.is_none_or(|row| row.values() != declared) {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn register(tx: &mut Tx<'_>, topic: &Topic) -> Result<(), DeclareError> {
    let now = tx.now_ms().await?;
    let sql = "SELECT partitions FROM topic WHERE name = ?1 /*lock*/";
    let found = tx.query_opt(sql, params![&topic.name]).await?;
    if let Some(row) = &found {
        let found: i64 = row.get("partitions")?;
        if found != topic.partitions {
            return Err(DeclareError::Partitions {
                topic: topic.name.clone(),
                found,
                asked: topic.partitions,
            });
        }
    }
    let sql = "INSERT INTO topic (name, partitions, readers, retention_ms, retention_bytes,
            payload_bytes_max, silent_after_ms, declared_at_ms)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
        ON CONFLICT (name) DO UPDATE SET readers = excluded.readers,
            retention_ms = excluded.retention_ms, retention_bytes = excluded.retention_bytes,
            payload_bytes_max = excluded.payload_bytes_max,
            silent_after_ms = excluded.silent_after_ms";
    let bytes_max = i64::try_from(topic.payload_bytes_max).unwrap_or(i64::MAX);
    tx.execute(
        sql,
        params![
            &topic.name,
            topic.partitions,
            topic.readers.as_str(),
            topic.retention_ms,
            topic.retention_bytes,
            bytes_max,
            topic.silent_after_ms,
            now,
        ],
    )
    .await?;
    let sql = "INSERT INTO topic_partition (topic, partition, next_offset, bytes)
        VALUES (?1, ?2, 1, 0) ON CONFLICT DO NOTHING";
    for partition in 0..topic.partitions {
        tx.execute(sql, params![&topic.name, partition]).await?;
    }
    register_groups(tx, topic, now).await?;
    Ok(())
}

async fn register_groups(tx: &mut Tx<'_>, topic: &Topic, now: i64) -> Result<(), DbError> {
    for group in topic.readers.groups() {
        let sql =
            "INSERT INTO topic_group (topic, name, tries_max, silent_after_ms, declared_at_ms)
            VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (topic, name)
            DO UPDATE SET tries_max = excluded.tries_max,
                silent_after_ms = excluded.silent_after_ms";
        let row = params![
            &topic.name,
            &group.name,
            group.tries_max,
            topic.silent_after_ms,
            now
        ];
        tx.execute(sql, row).await?;
        // The first message that is still there, or the next one to come.
        let sql = match group.start {
            Start::Earliest => {
                "INSERT INTO topic_cursor
                    (topic, reader_group, partition, first_offset, next_offset, turn, dismissed)
                SELECT p.topic, CAST(?2 AS TEXT), p.partition, p.first_offset, p.first_offset, 0, 0
                FROM (SELECT topic, partition, COALESCE((SELECT MIN(m.message_offset)
                    FROM topic_message m WHERE m.topic = h.topic AND m.partition = h.partition),
                    h.next_offset) AS first_offset FROM topic_partition h WHERE h.topic = ?1) p
                WHERE TRUE ON CONFLICT DO NOTHING"
            }
            Start::Latest => {
                "INSERT INTO topic_cursor
                    (topic, reader_group, partition, first_offset, next_offset, turn, dismissed)
                SELECT topic, CAST(?2 AS TEXT), partition, next_offset, next_offset, 0, 0
                FROM topic_partition WHERE topic = ?1 ON CONFLICT DO NOTHING"
            }
        };
        tx.execute(sql, params![&topic.name, &group.name]).await?;
    }
    Ok(())
}
